"""The row `vectors`: exact search among vectors of 384 dimensions, one core, against a ranking of the original floats in double precision; peers: numpy
(float32 matrix product and argpartition) and faiss (flat, and 8 bits per component), one thread each.

The vectors lie in clusters, as those of a sentence encoder do: questions have near neighbours whose cosines lie close. Times are CPU time of the
searching thread, the least and the median over the questions; ours and the peers' take turns."""
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import time

DIMS, HITS, QUESTIONS = 384, 10, 50
SIZES = (100_000, 1_000_000)
PACKAGES = ("numpy==2.4.6", "faiss-cpu==1.15.1")


def vectors(folder):
    from load import HERE, row, say
    tree = HERE.parent
    env = tree / "build" / ".venv-vectors"
    if not (env / "ok").exists():
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        subprocess.run([env / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        (env / "ok").touch()
    subprocess.run(["ninja", "-C", tree / "build", "tests/libbench-vectors.so"], check=True, stdout=subprocess.DEVNULL)
    one = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for size in SIZES:
        r = subprocess.run([env / "bin" / "python", __file__, tree / "build" / "tests" / "libbench-vectors.so", str(size)],
                           stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **one})
        r = json.loads(r.stdout)
        for name, (least, median, found) in r["times"].items():
            say(f"{name}: {least:.2f} ms, median {median:.2f} ms, recall at {HITS} {found:.4f}")
        ours, peers = r["times"].pop(r["ours"]), r["times"]
        others = ", ".join(f"{name} {least:.1f} ms" for name, (least, _, _) in peers.items())
        most = 4 if size == SIZES[0] else 45
        row(f"vector search, {size:,} x {DIMS}, one core", f"{ours[0]:.2f} ms, median {ours[1]:.2f} ms ({r['ours']}; {others})", f"{most} ms",
            ours[0] <= most)
        row(f"vector search, {size:,} x {DIMS}: recall at {HITS} against double precision", f"{ours[2]:.4f} ({r['bytes']:.0f} bytes a vector)", "0.99",
            ours[2] >= 0.99)


ROWS = {"vectors": vectors}


class Index:
    def __init__(self, path, v):
        self.lib = ctypes.CDLL(path)
        self.lib.bench_new.restype, self.lib.bench_new.argtypes = ctypes.c_void_p, [ctypes.c_uint32]
        self.lib.bench_add.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
        self.lib.bench_bytes.restype, self.lib.bench_bytes.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
        self.lib.bench_kernel.restype = ctypes.c_char_p
        self.lib.bench_search.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p]
        self.handle = self.lib.bench_new(DIMS)
        assert self.handle and self.lib.bench_add(self.handle, v.ctypes.data, len(v)) == 0
        self.bytes = self.lib.bench_bytes(self.handle) / len(v)
        self.kernel = self.lib.bench_kernel().decode()

    def search(self, q, kernel):
        import numpy as np
        ids, scores = np.empty(HITS, np.int64), np.empty(HITS)
        assert self.lib.bench_search(self.handle, q.ctypes.data, kernel.encode(), HITS, ids.ctypes.data, scores.ctypes.data) == HITS
        return ids


def clustered(np, count):
    """`count` vectors and QUESTIONS questions of length 1: about 1,000 of a cluster."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((count // 1000, DIMS), np.float32) + 0.5 * rng.standard_normal(DIMS, np.float32)
    out = []
    for n in (count, QUESTIONS):
        v = np.empty((n, DIMS), np.float32)
        for at in range(0, n, 50_000):
            part = v[at:at + 50_000]
            part[:] = centres[rng.integers(0, len(centres), len(part))] + 0.5 * rng.standard_normal(part.shape, np.float32)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        out.append(v)
    return out


def truth(np, v, questions):
    """The ids of the nearest, in double precision."""
    scores, ids = np.empty((len(questions), 0)), np.empty((len(questions), 0), np.int64)
    for at in range(0, len(v), 50_000):
        part = v[at:at + 50_000].astype(np.float64)
        found = questions.astype(np.float64) @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T
        best = np.argpartition(-found, HITS, axis=1)[:, :HITS]
        scores, ids = np.hstack([scores, np.take_along_axis(found, best, 1)]), np.hstack([ids, best + at])
        best = np.argsort(-scores, axis=1)[:, :HITS]
        scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
    return ids


def main(path, count):
    import faiss
    import numpy as np
    faiss.omp_set_num_threads(1)
    v, questions = clustered(np, count)
    best = [set(ids) for ids in truth(np, v, questions)]
    index = Index(path, v)
    flat, small = faiss.IndexFlatIP(DIMS), faiss.IndexScalarQuantizer(DIMS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    small.train(v[:100_000])
    for other in (flat, small):
        other.add(v)
    ways = {index.kernel: lambda q: index.search(q, index.kernel),
            "portable": lambda q: index.search(q, "portable"),
            "numpy float32": lambda q: np.argpartition(-(v @ q), HITS)[:HITS],
            "faiss flat": lambda q: flat.search(q[None], HITS)[1][0],
            "faiss 8 bits": lambda q: small.search(q[None], HITS)[1][0]}
    took, found = {name: [] for name in ways}, {name: [] for name in ways}
    for q, want in zip(questions, best):
        for name, way in ways.items():
            began = time.thread_time()
            ids = way(q)
            took[name].append((time.thread_time() - began) * 1000)
            found[name].append(len(want & set(ids.tolist())) / HITS)
    print(json.dumps({"ours": index.kernel, "bytes": index.bytes,
                      "times": {name: (min(took[name]), float(np.median(took[name])), float(np.mean(found[name]))) for name in ways}}))


if __name__ == "__main__":
    main(str(pathlib.Path(sys.argv[1])), int(sys.argv[2]))
