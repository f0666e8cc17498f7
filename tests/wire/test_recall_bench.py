"""The evaluation of recall (bench/recall): its data are what they should be, its measures what they say, and it runs."""
import copy
import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "bench" / "recall"
sys.path.append(str(FOLDER))
import check  # noqa: E402
import measures  # noqa: E402
import peers  # noqa: E402


@pytest.fixture(scope="module")
def conversations():
    found, problems = check.check()
    assert problems == []
    return found


def test_data(conversations):
    assert sum(len(c[4]) for c in conversations) >= check.QUESTIONS
    described = (FOLDER / "README.md").read_text()
    assert [line for line in check.counts(conversations) if line not in described] == []


MESSAGES = [{"thread": t, "id": f"{t}-{n}", "user": "c", "role": "person", "name": "Ann", "content": f"words {t} {n}",
             "time": f"2024-05-0{d}T09:0{n}:00Z"}
            for d, t in ((1, "s1"), (2, "s2")) for n in (1, 2)]
QUESTIONS = [{"id": "c-q1", "question": "Who?", "kind": "single-hop", "answer": "Ann", "evidence": ["s1-1"]},
             {"id": "c-q2", "question": "Why?", "kind": "multi-hop", "answer": "Thus", "evidence": ["s1-1", "s2-2"]},
             {"id": "c-q3", "question": "How?", "kind": "unanswerable", "answer": "Never said", "evidence": []}]
IDS = {m["id"] for m in MESSAGES}


def test_check_finds_nothing_in_a_right_conversation():
    assert list(check.message_problems(MESSAGES, "people", "c")) == []
    assert list(check.question_problems(QUESTIONS, IDS)) == []


@pytest.mark.parametrize("line, change, wanted", [
    (2, {"name": None}, "name: not a text"),
    (2, {"more": "x"}, "has the members"),
    (1, {"user": "d"}, "user is not c"),
    (4, {"role": "user"}, "role user is none of person"),
    (2, {"time": "2024-05-01T08:59:00Z"}, "before that of the message above"),
    (3, {"time": "2024-04-30T09:00:00Z"}, "before the one above ends"),
    (4, {"thread": "s1"}, "its thread has ended before"),
    (1, {"time": "2024-05-32T09:00:00Z"}, "time is not of the form"),
    (1, {"time": "2024-05-01 09:00"}, "time is not of the form"),
    (3, {"content": " x"}, "content: not a text"),
])
def test_check_finds_wrong_messages(line, change, wanted):
    messages = copy.deepcopy(MESSAGES)
    messages[line - 1].update(change)
    found = list(check.message_problems(messages, "people", "c"))
    assert [n for n, p in found if wanted in p] == [line], found


@pytest.mark.parametrize("line, change, wanted", [
    (1, {"evidence": ["s3-1"]}, "s3-1 is no message"),
    (1, {"evidence": ["s1-1", "s1-1"]}, "twice"),
    (1, {"evidence": "s1-1"}, "not an array"),
    (1, {"evidence": []}, "exactly when it is unanswerable"),
    (3, {"evidence": ["s1-1"]}, "exactly when it is unanswerable"),
    (2, {"evidence": ["s1-1"]}, "needs two messages"),
    (1, {"kind": "hard"}, "kind hard is none of"),
    (2, {"answer": ""}, "answer: not a text"),
])
def test_check_finds_wrong_questions(line, change, wanted):
    questions = copy.deepcopy(QUESTIONS)
    questions[line - 1].update(change)
    found = list(check.question_problems(questions, IDS))
    assert [n for n, p in found if wanted in p] == [line], found


@pytest.mark.parametrize("change, wanted", [
    (lambda cs: [c for c in cs if c[1] == "people" or c[0] == "dev"], "2 conversations of the kind assistant"),
    (lambda cs: [(*c[:4], c[4][:20]) for c in cs], "questions, fewer than 240"),
    (lambda cs: [(*c[:3], c[3][:200], c[4]) if c[1] == "people" else c for c in cs], "200 turns in"),
    (lambda cs: [(*c[:4], [q for q in c[4] if q["kind"] != "temporal"]) if c[0] == "dev" else c for c in cs],
     "dev/people: no question of the kind temporal"),
    (lambda cs: cs + [cs[0]], "2 times the same conversation"),
    (lambda cs: cs + [("test", *cs[0][1:])], "are in both halves"),
])
def test_check_finds_what_the_whole_lacks(conversations, change, wanted):
    found = list(check.enough(change(conversations)))
    assert any(wanted in p for p in found), found


def test_measures():
    ranking = [f"m{n}" for n in range(1, 51)]
    row = measures.of_question(ranking, ["m2", "m7", "m26", "gone"])
    assert [row[f"recall@{k}"] for k in measures.CUTS] == [0.25, 0.5, 0.5, 0.75]
    assert row["mrr"] == 0.5
    best = 1 + 1 / math.log2(3) + 0.5 + 1 / math.log2(5)
    assert row["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(8)) / best)
    assert measures.of_question(ranking, ["m1"]) == dict.fromkeys(measures.NAMES, 1.0)
    assert measures.of_question([], ["m1"]) == dict.fromkeys(measures.NAMES, 0.0)


TEXTS = [{"id": "a", "name": "Ann", "content": "The cat sat on the mat"}, {"id": "b", "name": "Bob", "content": "Dogs chase cats, and cats run"},
         {"id": "c", "name": "Ann", "content": "Nothing to see here"}]


def test_bm25():
    found = peers.Bm25(TEXTS, None).ask("running cats?")
    lengths = [7, 7, 5]  # with the name

    def weight(tf, df, length):
        return math.log(1 + (3 - df + 0.5) / (df + 0.5)) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / (sum(lengths) / 3)))

    assert found == [("b", pytest.approx(weight(2, 2, 7) + weight(1, 1, 7))), ("a", pytest.approx(weight(1, 2, 7)))]


class Encoder:
    """Vectors that count the letters a and c."""

    @staticmethod
    def encode(texts):
        counts = [[t.lower().count("a"), t.lower().count("c")] for t in texts]
        return [[x / (math.hypot(*v) or 1) for x in v] for v in counts]


def test_other_peers():
    assert [x for x, _ in peers.Fts5(TEXTS, None).ask("Which \"dogs\" OR cats-run*?")] == ["b", "a"]
    assert peers.Fts5(TEXTS, None).ask("?!") == []
    vectors = peers.Vectors(TEXTS, Encoder).ask("a")
    assert vectors == [("a", pytest.approx(3 / math.sqrt(10))), ("b", pytest.approx(4 / 5)), ("c", 0)]
    assert [x for x, _ in peers.Fusion(TEXTS, Encoder).ask("cats")] == ["b", "a", "c"]


def evaluate(folder, *args):
    env = {**os.environ, "CENOTE_EMBED_MODEL_DIR": str(folder / "none")}
    return subprocess.run([sys.executable, FOLDER / "evaluate.py", "--data", folder, *args], env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One small conversation, in both halves."""
    folder = tmp_path_factory.mktemp("recall")
    texts = ["The key lies under the blue pot", "We sold the boat in Oban", "Our cat had five kittens", "Rain again, nothing to tell"]
    messages = [{**m, "content": text} for m, text in zip(MESSAGES, texts)]
    questions = [{**QUESTIONS[0], "question": "Where is the key?"}, {**QUESTIONS[1], "question": "Which pot, and which weather: rain?"},
                 {**QUESTIONS[2], "question": "Who painted the kittens?"}]
    for half in ("dev", "test"):
        where = folder / half / "people" / "c"
        where.mkdir(parents=True)
        (where / "messages.jsonl").write_text("".join(json.dumps(m) + "\n" for m in messages))
        (where / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    return folder


def test_run(small):
    """What the server cannot do is not measured, and what it can is measured rightly."""
    r = evaluate(small, "--json", "--methods", "words,vectors,auto,fts5,bm25,cosine")
    assert r.returncode == 0, r.stderr
    result = json.loads(r.stdout)
    assert sorted(result["missing"]) == ["auto", "cosine", "vectors"]
    groups = {(g["question_kind"], g["method"]): g for g in result["groups"]}
    for method in ("words", "fts5", "bm25"):
        assert groups[None, method]["questions"] == 2 and groups[None, method]["ms"] > 0
        assert groups["single-hop", method]["recall@5"] == groups["single-hop", method]["mrr"] == 1
        assert groups["multi-hop", method]["recall@5"] == 1
    tops = {t["method"]: t for t in result["best_scores"]}
    assert tops["words"]["unanswerable_questions"] == 1 and tops["words"]["answerable"] > 0
    ranked = {(q["method"], q["id"]): q["ranking"] for q in result["questions"]}
    assert ranked["words", "c-q1"][0] == ranked["bm25", "c-q1"][0] == "s1-1"


def test_run_prints_tables(small):
    r = evaluate(small, "--methods", "words,vectors,bm25", "--misses", "words,bm25")
    assert r.returncode == 0, r.stderr
    assert "dev, people: 2 questions" in r.stdout and "dev, people, multi-hop: 1 questions" in r.stdout
    assert "| Cenote, words | 100.0 / 100.0 / 100.0 / 100.0 / 100.0 / " in r.stdout
    assert "| Cenote, vectors | - |" in r.stdout and "Cenote, vectors: not measured, " in r.stdout


def test_run_keeps_the_test_half_shut(small):
    r = evaluate(small, "--half", "test", "--json", "--methods", "words")
    assert r.returncode == 0 and "questions" not in json.loads(r.stdout)
    assert "Where is" not in r.stdout + r.stderr and "s1-1" not in r.stdout
    for more in (["--limit", "1"], ["--misses", "words,bm25"]):
        r = evaluate(small, "--half", "test", "--methods", "words,bm25", *more)
        assert r.returncode == 2 and "as a whole" in r.stderr


def test_features_are_what_their_definitions_say():
    r = subprocess.run([sys.executable, str(FOLDER / "reference.py"), "--words"], capture_output=True, text=True, check=False,
                       env=os.environ | {"CENOTE_EMBED_MODEL_DIR": ""})
    assert r.returncode == 0, r.stdout + r.stderr
    assert r.stdout.endswith("questions, 0 values differ\n") and not r.stdout.startswith("0 ")
