"""Makes the reference vectors of the encoder's tests, in double precision and without any of its code:

    python make.py tiny                >src/embed/minilm/tiny_vectors.h
    python make.py reference FOLDER    >src/embed/minilm/reference_vectors.h

`tiny` is a small model with weights from a generator, which src/embed/minilm/testing.h makes in the same way. `reference` reads a folder with
model.safetensors, config.json and tokenizer.json (all-MiniLM-L6-v2). Needs numpy, and for the second the package tokenizers."""
import json
import math
import pathlib
import struct
import sys

import numpy as np

erf = np.vectorize(math.erf)


def norm(x, w, name, eps):
    d = x - x.mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * w[name + ".weight"] + w[name + ".bias"]


def encode(w, config, ids):
    n, hidden, heads, eps = len(ids), config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]

    def dense(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:n]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm", eps)
    for i in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{i}."
        q, k, v = (dense(x, p + "attention.self." + s).reshape(n, heads, -1).transpose(1, 0, 2) for s in ("query", "key", "value"))
        s = q @ k.transpose(0, 2, 1) / math.sqrt(hidden / heads)
        s = np.exp(s - s.max(-1, keepdims=True))
        c = (s / s.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, hidden)
        x = norm(x + dense(c, p + "attention.output.dense"), w, p + "attention.output.LayerNorm", eps)
        g = dense(x, p + "intermediate.dense")
        g = g / 2 * (1 + erf(g / math.sqrt(2)))
        x = norm(x + dense(g, p + "output.dense"), w, p + "output.LayerNorm", eps)
    y = x.mean(0)
    return y / np.linalg.norm(y)


TINY = {"num_hidden_layers": 2, "hidden_size": 192, "num_attention_heads": 6, "intermediate_size": 256, "vocab_size": 64,
        "max_position_embeddings": 40, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
TINY_TEXTS = [[2, 3], [2, 17, 3], [2] + list(range(10, 20)) + [3], [2] + [63, 4] * 19 + [3], [2] + list(range(60, 30, -1)) + [3], [40]]


def tiny_tensors(c):
    """Name, shape, middle and half width of its numbers, in the order in which they are made."""
    h, inner = c["hidden_size"], c["intermediate_size"]
    e = "embeddings."
    yield e + "word_embeddings.weight", (c["vocab_size"], h), 0, 1
    yield e + "position_embeddings.weight", (c["max_position_embeddings"], h), 0, 0.5
    yield e + "token_type_embeddings.weight", (c["type_vocab_size"], h), 0, 0.25
    yield e + "LayerNorm.weight", (h,), 1, 0.25
    yield e + "LayerNorm.bias", (h,), 0, 0.25
    for i in range(c["num_hidden_layers"]):
        p = f"encoder.layer.{i}."
        for name, n, k in (("attention.self.query", h, h), ("attention.self.key", h, h), ("attention.self.value", h, h),
                           ("attention.output.dense", h, h), ("intermediate.dense", inner, h), ("output.dense", h, inner)):
            yield p + name + ".weight", (n, k), 0, 0.125
            yield p + name + ".bias", (n,), 0, 0.25
        for name in ("attention.output", "output"):
            yield p + name + ".LayerNorm.weight", (h,), 1, 0.25
            yield p + name + ".LayerNorm.bias", (h,), 0, 0.25


def tiny_weights():
    state, w = 1, {}

    def number():  # xorshift64*, the upper 24 bits: 0 <= x < 1, exact in float32
        nonlocal state
        state ^= state >> 12
        state ^= state << 25 & 0xffffffffffffffff
        state ^= state >> 27
        return ((state * 2685821657736338717 & 0xffffffffffffffff) >> 40) / 2.0 ** 24

    for name, shape, middle, half in tiny_tensors(TINY):
        values = [middle + (number() - 0.5) * 2 * half for _ in range(math.prod(shape))]
        w[name] = np.array(values, dtype=np.float32).astype(np.float64).reshape(shape)
    return w


TEXTS = [
    "", "a", "hello", "Yes!", "What did Anna say about the boat trip in May?", "How long has Tom been learning the violin?",
    "I am allergic to peanuts, so please keep them out of the cake.", "The meeting was moved from Tuesday to Thursday at half past nine.",
    "static int f(const char *p)\n{\n\tfor (size_t i = 0; p[i]; i++)\n\t\tn += p[i] == '\\n';\n\treturn n;\n}",
    "SELECT name, count(*) FROM visits WHERE day >= '2024-05-12' GROUP BY name ORDER BY 2 DESC;", "12345 67890 3.14159 -40 1e9",
    "Die Brücke über den Fluß wird nächste Woche gesperrt.", "Привет, как прошла неделя?", "今日は天気がいいですね。", "请问图书馆几点开门？",
    "أين تقع المحطة؟", "🙂🎉 party!!! 🎂", "--- *** ___ ...", "supercalifragilisticexpialidocious antidisestablishmentarianism",
    " ".join(f"On day {i} we walked {i * 3} miles along the coast and slept near a lighthouse." for i in range(1, 30)),
]


def load(folder):
    data = (folder / "model.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: np.frombuffer(data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]], "<f4").reshape(t["shape"]).astype(np.float64)
            for k, t in json.loads(data[8:8 + n]).items() if k != "__metadata__" and t["dtype"] == "F32"}


def c_string(text):
    return '"' + "".join(f"\\{b:03o}" if b < 32 or b > 126 or b in b'"\\?' else chr(b) for b in text.encode()) + '"'


def rows(name, vectors):
    print(f"static const int16_t {name}[][{len(vectors[0])}] = {{")
    for v in vectors:
        line = "\t{"
        for x in np.round(v * 32767).astype(int):
            if len(line) > 120:
                print(line)
                line = "\t "
            line += f"{x},"
        print(line + "},")
    print("};")


def main():
    print("/* Made by tests/data/encoder/make.py; vectors of length 1 times 32767. For the tests of embed/minilm. */")
    print("/* clang-format off */")
    if sys.argv[1] == "tiny":
        w = tiny_weights()
        print("static const uint32_t tiny_ids[][41] = { /* how many, and which */")
        for ids in TINY_TEXTS:
            print("\t{" + ",".join(str(i) for i in [len(ids)] + ids) + "},")
        print("};")
        rows("tiny_vectors", [encode(w, TINY, ids) for ids in TINY_TEXTS])
        return
    from tokenizers import Tokenizer
    folder = pathlib.Path(sys.argv[2])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    w, config = load(folder), json.loads((folder / "config.json").read_text())
    print("static const char *const reference_texts[] = {")
    for t in TEXTS:
        print(f"\t{c_string(t)},")
    print("};")
    rows("reference_vectors", [encode(w, config, tokenizer.encode(t).ids) for t in TEXTS])


main()
