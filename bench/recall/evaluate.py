"""Asks each question of the evaluation set of Cenote and of its peers, and prints how much of the evidence comes among the first.

Every conversation is a memory of its own: a user of a real `cenote serve`, a table of each peer. What a method needs and the machine or the
server has not is printed as - with the reason; no figure is made up for it."""
import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
sys.path[1:1] = [str(TREE / "bench"), str(TREE / "tests" / "wire")]
import dataset  # noqa: E402
import measures  # noqa: E402
import peers  # noqa: E402
from server import Server, run  # noqa: E402

MODES = ("words", "vectors", "auto")
METHODS = MODES + tuple(peers.PEERS)
TITLES = {"words": "Cenote, words", "vectors": "Cenote, vectors", "auto": "Cenote, both", "fts5": "SQLite FTS5", "ts_rank": "PostgreSQL ts_rank",
          "ts_rank_cd": "PostgreSQL ts_rank_cd", "bm25": "BM25", "cosine": "cosine", "pgvector": "pgvector", "fusion": "BM25 + cosine, fused"}
ENCODE_BATCH = 64
PENDING_WAIT = 1200  # seconds
PENDING_STEP = 30


class Missing(Exception):
    """Why a method cannot be measured here."""


class Api:
    """Requests to a server on one connection, which stays open: times are those of the question, not of connecting."""

    def __init__(self, server):
        self.conn = http.client.HTTPConnection(server.host, server.port, timeout=120)

    def post(self, path, body):
        self.conn.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return self.answer()

    def get(self, path):
        self.conn.request("GET", path)
        return self.answer()

    def answer(self):
        r = self.conn.getresponse()
        return r.status, json.loads(r.read())

    def must(self, answer):
        status, body = answer
        if status != 200:
            raise RuntimeError(f"the server answered {status}: {body}")
        return body


class Tools:
    """What peers take from outside: vectors from the server's encoder, a PostgreSQL."""

    def __init__(self, api, stack):
        self.api, self.stack, self.url, self.known = api, stack, None, {}
        status, models = api.get("/v1/models")
        self.model = models["data"][0]["id"] if status == 200 and models["data"] else None

    def need(self, what):
        if what == "encoder" and not self.model:
            raise Missing("the server has no encoder (/v1/models is empty)")
        if what == "postgres":
            self.postgres()

    def encode(self, texts):
        """Vectors; those of messages (many texts) are kept, as several peers want the same."""
        key = tuple(texts)
        if key in self.known:
            return self.known[key]
        out = []
        for at in range(0, len(texts), ENCODE_BATCH):
            part = self.api.must(self.api.post("/v1/embeddings", {"model": self.model, "input": texts[at:at + ENCODE_BATCH]}))["data"]
            out += [x["embedding"] for x in sorted(part, key=lambda x: x["index"])]
        if len(texts) > 1:
            self.known[key] = out
        return out

    def postgres(self):
        """The URL of an empty database, of a server that runs until the end."""
        if not self.url:
            import postgres
            self.stack.callback(postgres.stop)
            try:
                self.url = postgres.url("bench_recall")
            except Exception as e:
                raise Missing(f"no PostgreSQL by tools/pg: {e}") from e
        return self.url


class Cenote:
    """One mode of /cenote/v1/recall, in the memory of one conversation's user."""

    def __init__(self, api, mode, user):
        self.api, self.mode, self.user = api, mode, user

    def request(self, question, **more):
        body = {"query": question, "user": self.user, "kinds": ["message"], "limit": peers.LIMIT, "mode": self.mode, **more}
        return self.api.post("/cenote/v1/recall", body)

    def ask(self, question):
        return [(x["id"], x["score"]) for x in self.api.must(self.request(question))["results"]]

    def best(self, question):
        """The best hit's weighted sum: scores are relative to the other candidates of the same answer, so the best always has 1."""
        results = self.api.must(self.request(question, limit=1, explain=True))["results"]
        return results[0]["explain"].get("sum", 0.0) if results else 0.0

    def need(self):
        """Missing, unless the server answers in this mode."""
        status, body = self.request("which modes are there?")
        if status == 422:
            raise Missing(body["detail"])
        mode = self.api.must((status, body))["mode"]
        if mode != self.mode:
            raise Missing(f"the server answers {self.mode} by {mode}")


def load(api, conversations):
    """Into Cenote; returns when the messages are found in every way the server has."""
    for c in conversations:
        stored = api.must(api.post("/cenote/v1/messages", {"messages": c.messages}))["stored"]
        if stored != len(c.messages):
            raise RuntimeError(f"{c.name}: {stored} of {len(c.messages)} messages stored")
    # A server waits no longer than its http.request_timeout, and says whether that was enough. Without an encoder the answer comes at once.
    again, last = conversations[0].messages[:1], time.monotonic() + PENDING_WAIT
    while not api.must(api.post(f"/cenote/v1/messages?wait=indexed&wait_ms={PENDING_STEP * 1000}", {"messages": again}))["indexed"]:
        if not api.must(api.get("/v1/models"))["data"]:
            return
        if time.monotonic() > last:
            raise RuntimeError(f"the messages have no vectors after {PENDING_WAIT} s")


def usable(methods, api, tools, user):
    """(methods that can be measured, {method: why not})."""
    have, missing = [], {}
    for method in methods:
        try:
            if method in MODES:
                Cenote(api, method, user).need()
            else:
                for what in peers.PEERS[method][1]:
                    tools.need(what)
            have.append(method)
        except Missing as e:
            missing[method] = str(e)
    return have, missing


def asked(conversation, method, asker, limit):
    """One row per question: its measures (None without evidence), its best score, the ranking."""
    ids, rows = {m["id"] for m in conversation.messages}, []
    for q in conversation.questions[:limit]:
        began = time.perf_counter()
        hits = asker.ask(q["question"])
        took = (time.perf_counter() - began) * 1000
        ranking = [x for x, _ in hits]
        if len(set(ranking)) != len(ranking) or not set(ranking) <= ids or len(ranking) > peers.LIMIT:
            raise RuntimeError(f"{method} gave messages twice, of others, or too many for {q['id']}")
        top = asker.best(q["question"]) if hasattr(asker, "best") else hits[0][1] if hits else 0.0
        row = {"method": method, "conversation": conversation.name, "kind": conversation.kind, "id": q["id"], "question_kind": q["kind"],
               "question": q["question"], "evidence": q["evidence"], "ranking": ranking, "top": float(top), "ms": took}
        if q["evidence"]:
            row |= measures.of_question(ranking, q["evidence"])
        rows.append(row)
    return rows


def measure(conversations, methods, api, tools, limit):
    rows = []
    for c in conversations:
        for method in methods:
            asker = Cenote(api, method, c.name) if method in MODES else peers.PEERS[method][0](c.messages, tools)
            rows += asked(c, method, asker, limit)
        print(f"  {c.kind}, {c.name if c.half == 'dev' else 'a conversation'}: {len(c.messages)} messages, "
              f"{len(c.questions[:limit])} questions", file=sys.stderr, flush=True)
    return rows


def summary(rows, methods):
    """Means by kind of conversation, and by kind of question within it; best scores with and without an answer."""
    groups, tops = [], []
    for kind in dataset.KINDS:
        for question_kind in (None,) + dataset.QUESTION_KINDS[:-1]:
            for method in methods:
                chosen = [r for r in rows if r["method"] == method and r["kind"] == kind and r["evidence"]
                          and question_kind in (None, r["question_kind"])]
                if chosen:
                    groups.append({"kind": kind, "question_kind": question_kind, "method": method, **measures.means(chosen)})
        for method in methods:
            by = collections.defaultdict(list)
            for r in rows:
                if r["method"] == method and r["kind"] == kind:
                    by[bool(r["evidence"])].append(r["top"])
            if by:
                tops.append({"kind": kind, "method": method, "answerable": statistics.fmean(by[True]) if by[True] else None,
                             "unanswerable": statistics.fmean(by[False]) if by[False] else None, "unanswerable_questions": len(by[False])})
    return groups, tops


def cells(g):
    """recall at 5/10/25/50, MRR, nDCG in percent; ms."""
    if g is None:
        return ["-"] * (len(measures.NAMES) + 1)
    return [f"{100 * g[name]:.1f}" for name in measures.NAMES] + [f"{g['ms']:.1f}"]


HEAD = [f"R@{k}" for k in measures.CUTS] + ["MRR", f"nDCG@{measures.NDCG_AT}", "ms"]


def print_tables(result, methods):
    at = {(g["kind"], g["question_kind"], g["method"]): g for g in result["groups"]}
    for kind, question_kind in dict.fromkeys((k, q) for k, q, _ in at):
        n = next(g["questions"] for key, g in at.items() if key[:2] == (kind, question_kind))
        print(f"\n{result['half']}, {kind}" + (f", {question_kind}" if question_kind else "") + f": {n} questions")
        print(f"  {'':24}" + "".join(f"{h:>8}" for h in HEAD))
        for method in methods:
            print(f"  {TITLES[method]:24}" + "".join(f"{x:>8}" for x in cells(at.get((kind, question_kind, method)))))
    print("\nbest score, mean: questions with an answer / without one")
    for t in result["best_scores"]:
        with_and_without = " / ".join("-" if t[x] is None else f"{t[x]:.3f}" for x in ("answerable", "unanswerable"))
        print(f"  {t['kind']:10} {TITLES[t['method']]:24}{with_and_without} ({t['unanswerable_questions']})")
    for method, why in result["missing"].items():
        print(f"\n{TITLES[method]}: not measured, {why}")


def print_markdown(result, methods):
    at = {(g["kind"], g["question_kind"], g["method"]): g for g in result["groups"]}
    kinds = [k for k in dataset.KINDS if any(key[0] == k for key in at)]
    print(f"\nFor bench/RESULTS.md ({result['half']} half, {result['store']}, {result['version']}):\n")
    print("| " + " / ".join(HEAD[:-1]) + ", ms | " + " | ".join(kinds) + " |\n|---|" + "---|" * len(kinds))
    for method in methods:
        row = []
        for kind in kinds:
            c = cells(at.get((kind, None, method)))
            row.append("-" if c[0] == "-" else " / ".join(c[:-1]) + f", {c[-1]} ms")
        print(f"| {TITLES[method]} | " + " | ".join(row) + " |")
    columns = [(k, q) for k in kinds for q in dataset.QUESTION_KINDS[:-1] if any(key[:2] == (k, q) for key in at)]
    print("\n| R@10 | " + " | ".join(f"{k}, {q}" for k, q in columns) + " |\n|---|" + "---|" * len(columns))
    for method in methods:
        print(f"| {TITLES[method]} | " + " | ".join(cells(at.get((*c, method)))[1] for c in columns) + " |")


def print_misses(rows, first, second):
    """Questions of which `first` has some evidence beyond 10, with the ranks that both give it; < where `second` has more among the first 10."""
    other = {r["id"]: r for r in rows if r["method"] == second}

    def ranks(r):
        return " ".join(str(r["ranking"].index(e) + 1) if e in r["ranking"] else "-" for e in r["evidence"])

    print(f"\nevidence beyond 10 in {TITLES[first]}: ranks there, then in {TITLES[second]}")
    for r in rows:
        if r["method"] == first and r["evidence"] and r["recall@10"] < 1:
            o = other[r["id"]]
            print(f"{'<' if r['recall@10'] < o['recall@10'] else ' '} {r['id']} {r['question_kind']}: {r['question']}\n"
                  f"      {' '.join(r['evidence'])}: {ranks(r)} | {ranks(o)}")


def arguments():
    p = argparse.ArgumentParser(prog="bench/recall/run", description="Recall of Cenote and its peers on the evaluation set (bench/recall/README.md).")
    p.add_argument("--half", choices=dataset.HALVES, default="dev", help="default: dev")
    p.add_argument("--kind", choices=dataset.KINDS, help="only these conversations")
    p.add_argument("--methods", default=",".join(METHODS), help=f"some of {','.join(METHODS)}")
    p.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite", help="of Cenote; default: sqlite")
    p.add_argument("--json", action="store_true", help="print JSON instead of tables; with each question's ranking, but for the test half")
    p.add_argument("--limit", type=int, metavar="N", help="only the first N questions of each conversation")
    p.add_argument("--misses", metavar="A,B", help="also list the questions of which method A misses some evidence, with its ranks in A and B")
    p.add_argument("--data", type=pathlib.Path, default=dataset.FOLDER, metavar="FOLDER", help="other conversations in the same format")
    a = p.parse_args()
    a.methods = [m for m in METHODS if m in a.methods.split(",")] if set(a.methods.split(",")) <= set(METHODS) else \
        p.error(f"--methods: some of {','.join(METHODS)}")
    a.misses = a.misses.split(",") if a.misses else []
    if a.misses and (len(a.misses) != 2 or not set(a.misses) <= set(a.methods)):
        p.error("--misses: two of the methods that are measured")
    if a.half == "test" and (a.limit or a.misses):
        p.error("the test half is measured as a whole: no --limit, no --misses")
    if a.limit is not None and a.limit < 1:
        p.error("--limit: at least 1")
    return a, p


def main():
    a, p = arguments()
    conversations = dataset.load(a.half, (a.kind,) if a.kind else dataset.KINDS, a.data)
    if not conversations:
        p.error(f"no conversations in {a.data / a.half}")
    with contextlib.ExitStack() as stack:
        more = {"CENOTE_EMBED_CACHE_BYTES": "0",  # each question is encoded when it is asked
                "CENOTE_EMBED_MODEL_DIR": os.environ.get("CENOTE_EMBED_MODEL_DIR", str(TREE / "build" / "models"))}
        store = None
        if a.store == "postgres":
            import postgres
            stack.callback(postgres.stop)
            store = postgres.url("bench_recall_store")
        server = stack.enter_context(Server(env=more, store=store))
        api = Api(server)
        tools = Tools(api, stack)
        load(api, conversations)
        methods, missing = usable(a.methods, api, tools, conversations[0].name)
        rows = measure(conversations, methods, api, tools, a.limit)
    groups, tops = summary(rows, methods)
    result = {"half": a.half, "store": a.store, "version": run("--version", check=0).stdout.strip(), "limit": peers.LIMIT,
              "groups": groups, "best_scores": tops, "missing": missing}
    if a.json:
        print(json.dumps(result | ({"questions": rows} if a.half == "dev" else {}), indent=1))
        return
    print_tables(result, a.methods)
    print_markdown(result, a.methods)
    if a.misses:
        if set(a.misses) <= set(methods):
            print_misses(rows, *a.misses)
        else:
            p.error("--misses: " + "; ".join(f"{m}: {missing[m]}" for m in a.misses if m in missing))


if __name__ == "__main__":
    main()
