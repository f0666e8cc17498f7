"""Documents for a group: passages are stored with where they come from, and found by meaning, in the group's own namespace alone.

    cenote serve --store sqlite:./data &
    pip install ./clients/python
    python clients/python/examples/documents.py [URL]
"""

from __future__ import annotations

import sys
from typing import Any

from langgraph.store.base import PutOp

from cenote import CenoteStore

WORDS = 80  # of a passage: a paragraph or a few sentences, of which a search shall find the one

GARDEN = """The vegetable beds are watered before eight in the morning, from the rain barrels behind the shed. When both barrels are empty the tap may be
used, but not at noon.

Compost needs air: it is turned every three weeks, and what is cooked does not belong on it, because it brings rats.

The key of the tool shed hangs at Mrs. Okafor's, first floor. Who takes the mower writes it into the book."""

OFFICE = """Laptops are locked when their owner leaves the desk. A laptop that was lost is reported within the hour, so that it can be wiped.

Visitors are met at the reception, and carry a badge that opens no doors."""


def passages(text: str) -> list[str]:
    """Paragraphs; long ones in pieces that share a fifth of their words, so that a sentence at a border is whole in one of them."""
    out = []
    for paragraph in text.split("\n\n"):
        words = paragraph.split()
        step = WORDS * 4 // 5
        out += [" ".join(words[i:i + WORDS]) for i in range(0, max(1, len(words) - WORDS // 5), step) if words]
    return out


def store_document(store: CenoteStore, group: str, name: str, text: str, **metadata: Any) -> int:
    """A document in the place of its earlier version, in one transaction. Only "text" is searched in; the rest can be filtered by."""
    namespace = ("documents", group)
    new = {f"{name}#{i}": {"text": p, "document": name, "passage": i, **metadata} for i, p in enumerate(passages(text))}
    old = [hit.key for hit in store.search(namespace, filter={"document": name}, limit=10_000)]
    store.batch([PutOp(namespace, key, value, ["text"]) for key, value in new.items()] +
                [PutOp(namespace, key, None) for key in old if key not in new])
    return len(new)


def find(store: CenoteStore, group: str, question: str, limit: int = 3, **metadata: Any) -> list[dict[str, Any]]:
    """The passages of the group's documents that have most to do with the question, best first."""
    return [hit.value for hit in store.search(("documents", group), query=question, filter=metadata or None, limit=limit)]


def main() -> None:
    with CenoteStore.connect(sys.argv[1] if len(sys.argv) > 1 else None) as store:
        print("stored", store_document(store, "gardeners", "rules", GARDEN, language="en"), "passages for gardeners")
        print("stored", store_document(store, "office", "rules", OFFICE, language="en"), "passages for office")
        store.client.request("GET", "/cenote/v1/vectors?wait=indexed")  # a moment later it would be so by itself: until then words find them
        for group in ("gardeners", "office"):
            for question in ("where is the key of the shed?", "what to do when a laptop is lost?"):
                best = find(store, group, question, limit=1)
                print(f"{group:10}{question:35}-> {best[0]['passage'] if best else None}: {best[0]['text'][:60] if best else 'nothing'}")


if __name__ == "__main__":
    main()
