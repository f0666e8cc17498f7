"""Texts in every script that Unicode has letters of, texts of 1 MB, without letters, and empty ones: both stores take them, give each its vector,
and find the same."""
import unicodedata

from embed_server import EmbedServer
from test_vectors import API, DIMS, recall, settings, settled


def scripts():
    """Name of the script: some words of its letters and marks."""
    found = {}
    for c in map(chr, range(0x110000)):
        if unicodedata.category(c) in ("Lu", "Ll", "Lo", "Lm", "Mn", "Mc"):
            words = unicodedata.name(c, "").replace("-", " ").split()
            stop = next((i for i, w in enumerate(words) if w in KINDS), len(words) - 1)
            found.setdefault(" ".join(words[:stop]), []).append(c)
    out = {}
    for name, letters in found.items():
        if len(letters) >= 10 and name:
            step = max(1, len(letters) // 40)
            some = letters[::step][:40]
            out[name] = " ".join("".join(some[i:i + 4]) for i in range(0, len(some), 4))
    return out


KINDS = {"LETTER", "CAPITAL", "SMALL", "SYLLABLE", "VOWEL", "SIGN", "IDEOGRAPH", "MODIFIER", "MARK", "CONSONANT", "HIEROGLYPH", "DIGIT", "INDEPENDENT",
         "DEPENDENT", "LIGATURE", "CHARACTER", "RADICAL", "SYMBOL", "COMPONENT", "POINT", "ACCENT", "TONE", "SUBJOINED", "FINAL", "INITIAL"}
ODD = {"empty": "", "blank": " \t\n", "dots": "... --- ...", "numbers": "1 2 3 4", "zero width": "\u200b\u200d\ufeff", "marks": "\u0301\u0301\u0301",
       "private": "\ue000\uf8ff", "emoji": "👩‍👩‍👧‍👦🏳️‍🌈", "controls": "\u0001\u001f\u007f\u0085", "not a character": "\ufdd0\uffff", "right to left": "\u202eabc\u202c",
       "long": "harbour " * 131072, "one word": "x" * 1000000, "long and far": "漢" * 349000, "many marks": "a" + "\u0300" * 20000}


def load(s, all_texts):
    items = [{"op": "put", "namespace": ["s"], "key": name, "value": {"text": text}} for name, text in all_texts.items()]
    for i in range(0, len(items), 50):
        r = s.request("POST", f"{API}/batch", {"operations": items[i:i + 50]}, timeout=120)
        assert r.status == 200 and all("error" not in x for x in r.json["results"]), r
    for name, text in all_texts.items():
        if text.strip():
            body = {"messages": [{"thread": name, "user": "ann", "role": "user", "id": "1", "content": text}]}
            assert s.request("POST", f"{API}/messages", body).status == 200, name
    x = settled(s)
    assert (x["pending"], x["refused"]) == (0, 0), x
    return x["done"]


def answers(s, texts):
    out = {}
    for name, text in texts.items():
        for mode in ("words", "vectors") if name not in ODD else ("words", "auto"):
            found = recall(s, text[:400], mode=mode, limit=5)
            assert found["pending"] == 0, (name, found)
            out[name, mode] = [(h["kind"], h["key"] or h["thread"], h["score"]) for h in found["results"]]
    return out


def test_every_script(start):
    texts = scripts()
    assert len(texts) >= 150, len(texts)
    seen, done = {}, {}
    with EmbedServer(dims=DIMS, model="first") as service:
        for kind in ("sqlite", "postgres"):
            with start(kind, env=settings(service, CENOTE_EMBED_QUESTION_TIMEOUT="20s", CENOTE_EMBED_TIMEOUT="30s")) as s:
                done[kind] = load(s, {**texts, **ODD})
                seen[kind] = answers(s, {**texts, **{k: v for k, v in ODD.items() if v.strip()}})
    assert done["sqlite"] == done["postgres"] > 2 * len(texts)
    for at, hits in seen["sqlite"].items():
        assert hits == seen["postgres"][at], at
    by_words = [name for name in texts if name in [key for _, key, _ in seen["sqlite"][name, "words"]]]
    assert set(texts) - set(by_words) <= NO_WORDS, set(texts) - set(by_words)
    for name in texts:
        assert seen["sqlite"][name, "vectors"][0][1] == name, (name, seen["sqlite"][name, "vectors"])


# Marks alone are no words; and letters of one mathematical style are found as those of all the others.
NO_WORDS = {"COMBINING", "COMBINING LATIN", "VARIATION SELECTOR", "MATHEMATICAL MONOSPACE"}
