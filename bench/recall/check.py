"""Whether the evaluation set is what README.md says: prints counts, and each problem with its place; exit code 1 when there is one.

    build/.venv/bin/python bench/recall/check.py [FOLDER]

Nothing of the texts is printed, so it may be run on the test half too."""
import collections
import datetime
import pathlib
import re
import statistics
import sys

from dataset import FOLDER, HALVES, KINDS, QUESTION_KINDS, lines

# What the whole set has at least.
QUESTIONS = 240
CONVERSATIONS = {"people": 3, "assistant": 3}
SESSIONS = {"people": 12, "assistant": 2}
TURNS = {"people": 250, "assistant": 100}
SHARED = 60  # characters from which on a text in both halves is no accident

MESSAGE = {"people": {"thread", "id", "user", "role", "name", "content", "time"}, "assistant": {"thread", "id", "user", "role", "content", "time"}}
ROLES = {"people": {"person"}, "assistant": {"user", "assistant"}}
QUESTION = {"id", "question", "kind", "answer", "evidence"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def text(x):
    return isinstance(x, str) and x.strip() == x and x != ""


def time_of(x):
    """None when it is no time."""
    try:
        return datetime.datetime.fromisoformat(x.replace("Z", "+00:00")) if isinstance(x, str) and TIME.fullmatch(x) else None
    except ValueError:
        return None


def members(x, wanted):
    """What is wrong with an object's members, or None."""
    if set(x) != wanted:
        return f"has the members {', '.join(sorted(x))} instead of {', '.join(sorted(wanted))}"
    bad = sorted(k for k, v in x.items() if k != "evidence" and not text(v))
    return f"{', '.join(bad)}: not a text, empty, or with space around it" if bad else None


def message_problems(messages, kind, name):
    """Each with the line. Threads lie together and follow one another in time, messages of a thread in order."""
    last, seen = {}, None
    for n, m in enumerate(messages, 1):
        if wrong := members(m, MESSAGE[kind]):
            yield n, wrong
            continue
        if m["user"] != name:
            yield n, f"user is not {name}"
        if m["role"] not in ROLES[kind]:
            yield n, f"role {m['role']} is none of {', '.join(sorted(ROLES[kind]))}"
        time = time_of(m["time"])
        if not time:
            yield n, "time is not of the form 2024-05-01T09:30:00Z"
            continue
        if m["thread"] != seen:
            if m["thread"] in last:
                yield n, "its thread has ended before"
            if seen in last and time < last[seen]:
                yield n, "its thread begins before the one above ends"
        elif time < last[seen]:
            yield n, "time is before that of the message above"
        seen, last[m["thread"]] = m["thread"], time


def question_problems(questions, ids):
    for n, q in enumerate(questions, 1):
        if wrong := members(q, QUESTION):
            yield n, wrong
            continue
        evidence = q["evidence"]
        if q["kind"] not in QUESTION_KINDS:
            yield n, f"kind {q['kind']} is none of {', '.join(QUESTION_KINDS)}"
        if not isinstance(evidence, list) or not all(isinstance(x, str) for x in evidence):
            yield n, "evidence is not an array of ids"
            continue
        if len(set(evidence)) != len(evidence):
            yield n, "evidence names a message twice"
        if missing := [x for x in evidence if x not in ids]:
            yield n, f"evidence {', '.join(missing)} is no message of this conversation"
        if (q["kind"] == "unanswerable") != (not evidence):
            yield n, "a question has no evidence exactly when it is unanswerable"
        if q["kind"] == "multi-hop" and len(evidence) < 2:
            yield n, "a multi-hop question needs two messages of evidence"


def enough(conversations):
    """conversations: [(half, kind, name, messages, questions)]. Problems of the whole: counts, names, what both halves share."""
    for kind in KINDS:
        of_kind = [c for c in conversations if c[1] == kind]
        if len(of_kind) < CONVERSATIONS[kind]:
            yield f"{len(of_kind)} conversations of the kind {kind}, fewer than {CONVERSATIONS[kind]}"
        for half in HALVES:
            asked = {q.get("kind") for c in of_kind if c[0] == half for q in c[4]}
            if missing := [k for k in QUESTION_KINDS if k not in asked]:
                yield f"{half}/{kind}: no question of the kind {', '.join(missing)}"
    if (n := sum(len(c[4]) for c in conversations)) < QUESTIONS:
        yield f"{n} questions, fewer than {QUESTIONS}"
    for half, kind, name, messages, _ in conversations:
        threads = len({m.get("thread") for m in messages})
        if threads < SESSIONS[kind] or len(messages) < TURNS[kind]:
            yield f"{half}/{kind}/{name}: {len(messages)} turns in {threads} sessions, fewer than {TURNS[kind]} in {SESSIONS[kind]}"
    for what, of in (("conversation", lambda c: [c[2]]), ("message id", lambda c: [m.get("id") for m in c[3]]),
                     ("question id", lambda c: [q.get("id") for q in c[4]]), ("question", lambda c: [q.get("question") for q in c[4]])):
        for x, count in collections.Counter(x for c in conversations for x in of(c)).items():
            if count > 1:
                yield f"{count} times the same {what}" + (f": {x}" if what != "question" else "")
    dev, test = ({m.get("content") for c in conversations if c[0] == half for m in c[3]} for half in HALVES)
    if shared := sum(isinstance(x, str) and len(x) >= SHARED for x in dev & test):
        yield f"{shared} messages of {SHARED} characters or more are in both halves"


def check(folder=FOLDER):
    """([(half, kind, name, messages, questions)], [problem]); problems of the whole are looked for when each file is right."""
    conversations, problems = [], []
    for half in HALVES:
        for kind in KINDS:
            for where in sorted((pathlib.Path(folder) / half / kind).glob("*/")):
                at = f"{half}/{kind}/{where.name}"
                try:
                    messages, questions = lines(where / "messages.jsonl"), lines(where / "questions.jsonl")
                except (OSError, ValueError) as e:
                    problems.append(f"{at}: {e}")
                    continue
                conversations.append((half, kind, where.name, messages, questions))
                problems += [f"{at}/messages.jsonl line {n}: {p}" for n, p in message_problems(messages, kind, where.name)]
                ids = {m["id"] for m in messages if isinstance(m.get("id"), str)}
                problems += [f"{at}/questions.jsonl line {n}: {p}" for n, p in question_problems(questions, ids)]
    return conversations, problems or list(enough(conversations))


def counts(conversations):
    """Lines of a Markdown table, for README.md."""
    yield "| half | kind | conversations | sessions | messages | words a message | " + " | ".join(QUESTION_KINDS) + " | evidence a question |"
    yield "|---" * (7 + len(QUESTION_KINDS)) + "|"
    for half in HALVES:
        for kind in KINDS:
            these = [c for c in conversations if c[:2] == (half, kind)]
            messages, questions = [m for c in these for m in c[3]], [q for c in these for q in c[4]]
            if not messages or not questions:
                continue
            by = collections.Counter(q["kind"] for q in questions)
            sessions = len({m["thread"] for m in messages})
            words = statistics.fmean(len(m["content"].split()) for m in messages)
            evidence = statistics.fmean([len(q["evidence"]) for q in questions if q["evidence"]] or [0])
            yield f"| {half} | {kind} | {len(these)} | {sessions} | {len(messages)} | {words:.0f} | " \
                + " | ".join(str(by[k]) for k in QUESTION_KINDS) + f" | {evidence:.1f} |"


def main():
    conversations, problems = check(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
    for p in problems:
        print(p, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} problems")
    print("\n".join(counts(conversations)))


if __name__ == "__main__":
    main()
