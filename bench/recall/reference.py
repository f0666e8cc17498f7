"""The ranker of messages a second time, from the definitions of its features and the decisions in docs/index.md, and a check that Cenote gives every
feature of every message the same value.

    build/.venv/bin/python bench/recall/reference.py             # the development half; by words, and with the model if it is there
    build/.venv/bin/python bench/recall/reference.py --words

English only, whole scopes of less than 1,000 messages, no two messages of one text. Word lists are those of src/index/lang.c: data, not the ranker."""
import argparse
import collections
import datetime
import math
import os
import pathlib
import re
import sys
import unicodedata

import snowballstemmer

TREE = pathlib.Path(__file__).resolve().parents[2]
LISTS = (TREE / "src" / "index" / "lang.c").read_text(encoding="utf-8").split('.name = "english"')[1].split(".id = 2")[0]
K1, B, PASSAGE = 0.9, 0.4, 95
NO_ROLES, ROLES = ("cover", "answer", "ask", "spk"), ("user",)
WEIGHTS = {  # name: (with vectors, by words)
    "lex": (2.0, 3.7), "pair": (1.0, 1.5), "prev2": (0.7, 0.9), "sess": (0.5, 0.8), "date": (3.8, 3.9), "when": (0.8, 0.9), "v": (3.4, 0),
    "vnext": (1.2, 0), "cover": (3.3, 3.6), "answer": (2.8, 3.1), "ask": (-3.0, -2.3), "spk": (1.2, 1.2), "user": (2.0, 2.6)}
ABOUT = {"ask": 0.5 / 255 + 1e-9, "v": 0.01, "vnext": 0.01}  # kept in 8 bits; cosines of stored vectors
STEMMER = snowballstemmer.stemmer("english")


def word_list(field):
    return "".join(re.findall(r'"([^"]*)"', re.search(rf'\.{field} =\s*((?:"[^"]*"\s*)+)[,}}]', LISTS)[1]))


STOP, TIMES = set(word_list("stop").split()), set(word_list("times").split())
WHEN, TOLD, ASIDE = (word_list(x).split("|") for x in ("when", "told", "aside"))
MONTHS = [m.capitalize() for m in re.findall(r'"([a-z]+)"', re.search(r"\.months = \{([^}]*)\}", LISTS)[1])]


def fold(text):
    text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in text if not unicodedata.combining(c))


def words(text):
    return re.findall(r"[^\W_]+", fold(text))


def stems(text):
    return [STEMMER.stemWord(w) for w in words(text) if w not in STOP]


def idf(n, df):
    return math.log(1 + (n - df + 0.5) / (df + 0.5))


def bm25(counts, lengths, terms):
    """Scores of documents (Counters); terms: {term: weight}."""
    mean, out = sum(lengths) / len(lengths), [0.0] * len(counts)
    for term, weight in terms.items():
        having = [i for i, c in enumerate(counts) if term in c]
        for i in having:
            tf = counts[i][term]
            out[i] += weight * idf(len(counts), len(having)) * tf * (K1 + 1) / (tf + K1 * (1 - B + B * lengths[i] / mean))
    return out


def stretch(v):
    return [(x - min(v)) / (max(v) - min(v) + 1e-9) for x in v]


def ask_share(text):
    """Share of the characters in sentences that end in a question mark."""
    parts = re.findall(r"""(?:[^?\n.!]|[.!](?![\s"')\]*_]|$))*(?:[?\n]|[.!]|$)""", text)
    return sum(len(p) for p in parts if p.endswith("?")) / len(text) if text else 0.0


def asks_told(question):
    text = fold(question)
    for phrase in sorted(ASIDE, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(phrase)}\b", "|", text)
    return any(re.search(rf"\b{re.escape(p)}\b", text) for p in TOLD)


class Scope:
    """The messages of one user, as /cenote/v1/messages takes them, oldest first in each thread."""

    def __init__(self, messages, vectors=None):
        self.messages, self.vectors = messages, vectors
        self.roles = any(m["role"] in ("user", "assistant") for m in messages)
        self.days = [datetime.date.fromisoformat(m["time"][:10]) if m.get("time") else None for m in messages]
        self.years = range(min(d.year for d in self.days if d), max(d.year for d in self.days if d) + 1) if any(self.days) else ()
        self.names = sorted({m["name"] for m in messages if m.get("name")})
        self.passages, self.of = [], []  # stems of each; the message it belongs to
        for i, m in enumerate(messages):
            text = m["content"].split()
            pieces = max(1, math.ceil(len(text) / PASSAGE))
            date = f"{self.days[i].day} {MONTHS[self.days[i].month - 1]} {self.days[i].year}" if self.days[i] else ""
            for k in range(pieces):
                piece = " ".join(text[len(text) * k // pieces:len(text) * (k + 1) // pieces])
                self.passages.append(stems(f"{m.get('name') or ''} {piece} {date}"))
                self.of.append(i)
        self.counts = [collections.Counter(p) for p in self.passages]
        self.pairs = [collections.Counter(zip(p, p[1:])) for p in self.passages]
        self.lengths = [len(p) for p in self.passages]
        self.threads = list(dict.fromkeys(m["thread"] for m in messages))

    def best_passage(self, values):
        out = [-math.inf] * len(self.messages)
        for i, v in zip(self.of, values):
            out[i] = max(out[i], v)
        return out

    def beside(self, values, step):
        """Of the message `step` further on in the same thread; 0 where there is none."""
        m = self.messages
        return [values[i + step] if 0 <= i + step < len(m) and m[i + step]["thread"] == m[i]["thread"] else 0.0 for i in range(len(m))]

    def named(self, question):
        """The one speaker that the question names, or None."""
        asked, parts = set(words(question)), {n: set(words(n)) for n in self.names}
        found = [n for n in self.names if parts[n] <= asked or any(
            p in asked and not any(p in parts[o] for o in self.names if o != n) for p in parts[n])]
        return found[0] if len(found) == 1 else None

    def nameless(self, question):
        """The question without the names of speakers, for the encoder."""
        names = "|".join(re.escape(p) for n in self.names for p in words(n))
        out = re.sub(rf"\b(?:{names})\b(?:'s)?", "", question, flags=re.I) if names else question
        return out if words(out) else question

    def dates(self, question):
        """(spans of days, the question without its dates)."""
        spans, month = [], "|".join(MONTHS)

        def take(m):
            number, day = MONTHS.index(m["m"].capitalize()) + 1, int(m["d"] or m["e"] or 0)
            if m["m"][0] == "m" and number == 5:
                return m[0]
            for year in [int(m["y"])] if m["y"] else self.years:
                first = datetime.date(year, number, 1)
                last = datetime.date(year + number // 12, number % 12 + 1, 1) - datetime.timedelta(1)
                if day <= last.day:
                    spans.append((first.replace(day=day),) * 2 if day else (first, last))
            return " "

        ending = r"(?:st|nd|rd|th)?"
        rest = re.sub(rf"\b(?:(?P<d>\d\d?){ending}(?: of)? )?(?P<m>{month})\b(?(d)|(?: (?P<e>\d\d?){ending}\b)?)(?:,? (?P<y>\d{{4}})\b)?",
                      take, question, flags=re.I)
        return spans, rest

    def cover(self, terms):
        known = {t: w * idf(len(self.counts), df) for t, w in terms.items() if (df := sum(t in c for c in self.counts))}
        out = []
        for p in range(len(self.passages)):
            thread = self.messages[self.of[p]]["thread"]
            near = [self.counts[o] for o in range(max(0, p - 2), min(len(self.passages), p + 3)) if self.messages[self.of[o]]["thread"] == thread]
            out.append(sum(x for t, x in known.items() if any(t in c for c in near)) / (sum(known.values()) or 1))
        return self.best_passage(out)

    def sessions(self, terms):
        texts = {t: [p for p, i in zip(self.passages, self.of) if self.messages[i]["thread"] == t] for t in self.threads}
        counts = [collections.Counter(s for p in texts[t] for s in p) for t in self.threads]
        return dict(zip(self.threads, stretch(bm25(counts, [c.total() for c in counts], terms))))

    def features(self, question, vector=None):
        """{name: [value of each message]}."""
        m, zero = self.messages, [0.0] * len(self.messages)
        spans, rest = self.dates(question)
        asked, names = stems(rest), {s for n in self.names for s in stems(n)}
        terms = {t: 0.5 if t in names else 1.0 for t in asked}
        scores = bm25(self.counts, self.lengths, terms)
        most = max(scores)
        scale = 1 / most if most > 0 else 0.0
        f = {"lex": self.best_passage([s * scale for s in scores]),
             "pair": self.best_passage([s * scale for s in bm25(self.pairs, self.lengths, dict.fromkeys(zip(asked, asked[1:]), 1.0))])}
        f["prev2"] = self.beside(f["lex"], -2)
        by_thread = self.sessions(terms)
        f["sess"] = [by_thread[x["thread"]] if most > 0 else 0.0 for x in m]
        f["date"] = [max((1.0 if a <= d <= b else math.exp((b - d).days / 7) if d > b else math.exp((d - a).days / 2) for a, b in spans),
                         default=0.0) if d else 0.0 for d in self.days]
        opening = " ".join(words(question)) + " "
        f["when"] = [float(any(w in TIMES or re.fullmatch(r"(?:19|20)\d\d", w) for w in words(x["content"]))) for x in m] \
            if any(opening.startswith(w + " ") for w in WHEN) else zero
        f["v"] = stretch([max(0.0, sum(a * b for a, b in zip(vector, v))) for v in self.vectors]) if vector else zero
        f["vnext"] = self.beside(f["v"], 1)
        f["cover"] = self.cover(terms)
        asks = [bool(re.search(r"""\?[\s"')\]}*_]*$""", x["content"])) for x in m]
        f["answer"] = self.beside([x * y for x, y in zip(f["lex"], asks)], -1)
        f["ask"] = [ask_share(x["content"]) for x in m]
        one = self.named(question)
        f["spk"] = [float(one is not None and x.get("name") == one) for x in m]
        f["user"] = [float(x["role"] == "user" and not asks_told(question)) for x in m]
        return {name: zero if name in (NO_ROLES if self.roles else ROLES) else f[name] for name in WEIGHTS}


def differences(scope, features, hits, by_words):
    """(feature, id, value here, value of Cenote) where they differ, and the same for weights."""
    at = {m["id"]: i for i, m in enumerate(scope.messages)}
    for hit in hits:
        for name, x in hit["explain"]["features"].items():
            here, weight = features[name][at[hit["id"]]], WEIGHTS[name][by_words]
            if abs(here - x["value"]) > ABOUT.get(name, 1e-6):
                yield name, hit["id"], here, x["value"]
            if abs(weight - x["weight"]) > 1e-9:
                yield f"weight of {name}", hit["id"], weight, x["weight"]


def compare(api, tools, conversation, by_words):
    """Differences of one conversation, with the question's id in front."""
    vectors = None if by_words else tools.encode([m["content"] for m in conversation.messages])
    scope = Scope(conversation.messages, vectors)
    for q in conversation.questions:
        vector = None if by_words else tools.encode([scope.nameless(q["question"])])[0]
        body = {"query": q["question"], "user": conversation.name, "kinds": ["message"], "limit": 1000, "explain": True,
                "mode": "words" if by_words else "auto"}
        hits = api.must(api.post("/cenote/v1/recall", body))["results"]
        for d in differences(scope, scope.features(q["question"], vector), hits, by_words):
            yield q["id"], *d


def main():
    sys.path[1:1] = [str(TREE / "bench"), str(TREE / "tests" / "wire")]
    import contextlib

    import dataset
    import evaluate
    from server import Server
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--words", action="store_true", help="only by words: needs no model")
    a = p.parse_args()
    model = os.environ.get("CENOTE_EMBED_MODEL_DIR", str(TREE / "build" / "models"))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(env={} if a.words else {"CENOTE_EMBED_MODEL_DIR": model}))
        api = evaluate.Api(server)
        tools = evaluate.Tools(api, stack)
        conversations = dataset.load("dev")
        evaluate.load(api, conversations)
        if not a.words and not tools.model:
            raise SystemExit("reference: the server has no encoder; --words compares without one")
        ways = (True,) if a.words else (True, False)
        found = [(by_words, *d) for c in conversations for by_words in ways for d in compare(api, tools, c, by_words)]
    for by_words, question, name, message, here, there in found[:20]:
        print(f"{'words' if by_words else 'auto'} {question} {message} {name}: {here:.6f}, Cenote {there:.6f}")
    print(f"{sum(len(c.questions) for c in conversations)} questions, {len(found)} values differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
