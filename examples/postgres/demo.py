"""The demonstration that `run` starts: the real PostgresStore fills a database, Cenote serves it, each sees what the other does."""
import os
import pathlib
import sys
import urllib.parse

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests" / "wire"))

from langgraph.store.postgres import PostgresStore  # noqa: E402
from langgraph_sdk import get_sync_client  # noqa: E402

from postgres import any_server, database  # noqa: E402
from server import Server  # noqa: E402

NOTES = {
    "boat": {"title": "Boat", "text": "The boat is called Heron and lies at berth fourteen.", "year": 2019},
    "bread": {"title": "Bread", "text": "Feed the rye starter in the evening, bake at seven.", "year": 2021},
    "walnut": {"title": "Allergy", "text": "Allergic to walnuts; pecans are fine.", "year": 2024},
    "brücke": {"title": "Brücke 🌉", "text": "The bridge opens for boats at nine and at four.", "year": 2024},
}
NS = ("notes", "ann")
failures = 0


def step(text):
    print(f"\n{text}", flush=True)


def see(what, seen, wanted):
    """One line for what was seen; counts it when it is not what was wanted."""
    global failures
    good = seen == wanted
    failures += not good
    print(f"  {'ok  ' if good else 'NOT '}{what}: {seen!r}" + ("" if good else f", wanted {wanted!r}"), flush=True)


def shown(url):
    """The URL without a password."""
    u = urllib.parse.urlsplit(url)
    return u._replace(netloc=u.netloc.rsplit("@")[-1]).geturl()


def demo(url):
    step(f"1. PostgreSQL runs: {shown(url)}")
    with PostgresStore.from_conn_string(url) as python:
        step("2. LangGraph's PostgresStore makes its tables and fills them")
        python.setup()
        for key, value in NOTES.items():
            python.put(NS, key, value)
        python.put(("notes", "bob"), "secret", {"text": "Bob's boat is for sale."})
        see("items that PostgresStore finds", sorted(i.key for i in python.search(NS)), sorted(NOTES))

        step("3. cenote serve --store postgresql://...")
        with Server(store=url) as server:
            print(f"  ok  listening on {server.url}", flush=True)
            share(python, get_sync_client(url=server.url).store)
            see("exit code of cenote after SIGTERM", server.stop(), 0)
        see("PostgresStore goes on without it", python.get(NS, "bread").value["title"], "Rye bread")


def share(python, cenote):
    ns = list(NS)
    found = lambda query, **kw: [i["key"] for i in cenote.search_items(ns, query=query, **kw)["items"]]  # noqa: E731

    step("4. The stock langgraph-sdk reads through Cenote what PostgresStore wrote")
    see("get", cenote.get_item(ns, "brücke")["value"], NOTES["brücke"])
    see("namespaces", cenote.list_namespaces(prefix=["notes"])["namespaces"], [["notes", "ann"], ["notes", "bob"]])
    see("filter year = 2024", sorted(i["key"] for i in cenote.search_items(ns, filter={"year": 2024})["items"]), ["brücke", "walnut"])
    see('words "what am I allergic to?"', found("what am I allergic to?"), ["walnut"])
    see('words "boats", only in notes.ann', sorted(found("boats")), ["boat", "brücke"])

    step("5. The SDK changes, adds and deletes; PostgresStore sees it")
    cenote.put_item(ns, "bread", {"title": "Rye bread", "text": "Bake at eight."})
    cenote.put_item(ns, "ferry", {"title": "Ferry", "text": "The ferry leaves at ten."}, ttl=60)
    cenote.delete_item(ns, "walnut")
    see("changed", python.get(NS, "bread").value, {"title": "Rye bread", "text": "Bake at eight."})
    see("added", python.get(NS, "ferry").value["title"], "Ferry")
    see("deleted", python.get(NS, "walnut"), None)
    see("all that is there", sorted(i.key for i in python.search(NS)), ["boat", "bread", "brücke", "ferry"])

    step("6. PostgresStore changes, adds and deletes; Cenote's next search knows it")
    python.put(NS, "boat", {"title": "Boat", "text": "Sold. Now a kayak."})
    python.put(NS, "tea", {"text": "Green tea, three minutes, with a kayak on the cup."})
    python.delete(NS, "brücke")
    see('words "kayak"', sorted(found("kayak")), ["boat", "tea"])
    see('words "heron"', found("heron"), [])
    see('words "bridge"', found("bridge"), [])
    see("get of what was deleted", cenote.get_item(ns, "brücke"), None)
    see("newest first", [i["key"] for i in cenote.search_items(ns)["items"]], ["tea", "boat", "ferry", "bread"])


if __name__ == "__main__":
    os.environ.setdefault("CENOTE_BIN", str(TREE / "build" / "cenote"))
    with any_server() as pg, database(pg) as one:
        demo(one)
    print(f"\n{'Everything was seen.' if not failures else f'{failures} NOT seen as wanted.'}")
    sys.exit(1 if failures else 0)
