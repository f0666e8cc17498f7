"""The other ways of finding messages. Each class is made for one conversation and asked its questions one by one:

    ask(question) -> [(message id, score)], best first, at most LIMIT; equal scores: older first

Word searches see a message as "name: content", and the question's words joined by OR. Vectors are those of the server's /v1/embeddings, of
the content alone and of the question as it is; a question is encoded anew each time it is asked."""
import collections
import math
import operator
import re
import sqlite3

LIMIT = 50
RRF_K = 60


def text_of(m):
    return f"{m['name']}: {m['content']}" if m.get("name") else m["content"]


def best(scores):
    """scores: of positions. The LIMIT best positions, equal ones in order."""
    return sorted(scores.items(), key=lambda x: (-x[1], x[0]))[:LIMIT]


class Fts5:
    """SQLite's FTS5 with its Porter stemmer, ranked by its bm25()."""

    def __init__(self, messages, _):
        self.ids = [m["id"] for m in messages]
        self.db = sqlite3.connect(":memory:")
        self.db.execute("create virtual table words using fts5(text, tokenize='porter unicode61')")
        self.db.executemany("insert into words(rowid, text) values (?, ?)", ((i, text_of(m)) for i, m in enumerate(messages)))

    def ask(self, question):
        words = re.findall(r"\w+", question)
        if not words:
            return []
        query = " OR ".join(f'"{w}"' for w in words)
        rows = self.db.execute("select rowid, -bm25(words) from words where words match ? order by bm25(words), rowid limit ?", (query, LIMIT))
        return [(self.ids[i], score) for i, score in rows]


class Bm25:
    """BM25 with k1 = 1.2 and b = .75 over whole messages; tokens and stems are those of FTS5 (porter unicode61)."""
    K1, B = 1.2, 0.75

    def __init__(self, messages, _):
        self.ids = [m["id"] for m in messages]
        self.db = sqlite3.connect(":memory:")
        self.db.execute("create virtual table words using fts5(text, tokenize='porter unicode61')")
        self.db.execute("create virtual table terms using fts5vocab(words, 'instance')")
        counts = [collections.Counter(self.stems(text_of(m))) for m in messages]
        lengths = [c.total() for c in counts]
        mean = sum(lengths) / len(lengths)
        df = collections.Counter(t for c in counts for t in c)
        self.postings = collections.defaultdict(list)  # term -> [(position, weight)]
        for i, c in enumerate(counts):
            for term, tf in c.items():
                idf = math.log(1 + (len(counts) - df[term] + 0.5) / (df[term] + 0.5))
                norm = self.K1 * (1 - self.B + self.B * lengths[i] / mean)
                self.postings[term].append((i, idf * tf * (self.K1 + 1) / (tf + norm)))

    def stems(self, text):
        self.db.execute("delete from words")
        self.db.execute("insert into words(text) values (?)", (text,))
        return [term for term, in self.db.execute("select term from terms")]

    def scores(self, question):
        out = collections.Counter()
        for term in set(self.stems(question)):
            for i, weight in self.postings.get(term, ()):
                out[i] += weight
        return out

    def ask(self, question):
        return [(self.ids[i], score) for i, score in best(self.scores(question))]


class Vectors:
    """Cosine with every message, in single precision as the server sends it."""

    def __init__(self, messages, tools):
        self.ids = [m["id"] for m in messages]
        self.encode = tools.encode
        self.vectors = tools.encode([m["content"] for m in messages])

    def scores(self, question):
        q = self.encode([question])[0]
        return {i: sum(map(operator.mul, q, v)) for i, v in enumerate(self.vectors)}

    def ask(self, question):
        return [(self.ids[i], score) for i, score in best(self.scores(question))]


class Fusion:
    """Reciprocal rank fusion (k = 60) of Bm25 and Vectors, each with all that it ranks."""

    def __init__(self, messages, tools):
        self.ids = [m["id"] for m in messages]
        self.parts = Bm25(messages, tools), Vectors(messages, tools)

    def ask(self, question):
        out = collections.Counter()
        for part in self.parts:
            scores = part.scores(question)
            for rank, i in enumerate(sorted(scores, key=lambda i: (-scores[i], i)), 1):
                out[i] += 1 / (RRF_K + rank)
        return [(self.ids[i], score) for i, score in best(out)]


class Postgres:
    """What the ways on PostgreSQL share: a table of its own per conversation, in a session of its own."""
    columns = ""

    def __init__(self, messages, tools):
        import psycopg
        self.db = psycopg.connect(tools.postgres(), autocommit=True, prepare_threshold=None)
        self.setup()
        self.db.execute(f"create temp table m (pos int primary key, id text not null, {self.columns})")
        rows = [(i, m["id"], x) for i, (m, x) in enumerate(zip(messages, self.values(messages, tools)))]
        with self.db.cursor() as c:
            c.executemany(f"insert into m values (%s, %s, {self.value})", rows)
        self.db.execute("analyze m")

    def setup(self):
        pass


class TsRank(Postgres):
    """ts_rank over to_tsvector('english'), the question's words joined by OR."""
    function, columns, value = "ts_rank", "words tsvector", "to_tsvector('english', %s)"

    def values(self, messages, _):
        return [text_of(m) for m in messages]

    def ask(self, question):
        return self.db.execute(
            f"""select id, {self.function}(words, q) as score
                from m, (select replace(plainto_tsquery('english', %s)::text, '&', '|')::tsquery as q) as question
                where words @@ q order by score desc, pos limit %s""", (question, LIMIT)).fetchall()


class TsRankCd(TsRank):
    """The same by cover density."""
    function = "ts_rank_cd"


class PgVector(Postgres):
    """pgvector's cosine distance, exact (no index), ties by position."""
    columns, value = "v vector", "%s::vector"

    def setup(self):
        self.db.execute("create extension if not exists vector")

    def values(self, messages, tools):
        self.encode = tools.encode
        return [str(v) for v in tools.encode([m["content"] for m in messages])]

    def ask(self, question):
        return self.db.execute("select id, 1 - (v <=> q) from m, (select %s::vector as q) as question order by v <=> q, pos limit %s",
                               (str(self.encode([question])[0]), LIMIT)).fetchall()


# name: class, what it needs of the machine beyond Python
PEERS = {
    "fts5": (Fts5, ()),
    "ts_rank": (TsRank, ("postgres",)),
    "ts_rank_cd": (TsRankCd, ("postgres",)),
    "bm25": (Bm25, ()),
    "cosine": (Vectors, ("encoder",)),
    "pgvector": (PgVector, ("encoder", "postgres")),
    "fusion": (Fusion, ("encoder",)),
}
