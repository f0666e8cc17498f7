"""Measures of a ranking against the messages that hold the answer (the evidence), and their means over groups of questions."""
import math
import statistics

CUTS = (5, 10, 25, 50)
NDCG_AT = 10


def recall_at(k, ranking, evidence):
    """Share of the evidence among the first k."""
    return len(set(ranking[:k]) & set(evidence)) / len(evidence)


def reciprocal_rank(ranking, evidence):
    """1 / rank of the first evidence message; 0 when there is none in the ranking."""
    return next((1 / n for n, x in enumerate(ranking, 1) if x in evidence), 0.0)


def ndcg(k, ranking, evidence):
    """Sum of 1 / log2(1 + rank) of the evidence among the first k, divided by what the best ranking has."""
    gain = sum(1 / math.log2(1 + n) for n, x in enumerate(ranking[:k], 1) if x in evidence)
    return gain / sum(1 / math.log2(1 + n) for n in range(1, min(k, len(evidence)) + 1))


def of_question(ranking, evidence):
    evidence = set(evidence)
    out = {f"recall@{k}": recall_at(k, ranking, evidence) for k in CUTS}
    out["mrr"] = reciprocal_rank(ranking, evidence)
    out[f"ndcg@{NDCG_AT}"] = ndcg(NDCG_AT, ranking, evidence)
    return out


NAMES = tuple(f"recall@{k}" for k in CUTS) + ("mrr", f"ndcg@{NDCG_AT}")


def means(rows):
    """rows: what of_question gave, each with "ms". Means of the measures, the median of the times."""
    if not rows:
        return None
    out = {name: statistics.fmean(r[name] for r in rows) for name in NAMES}
    out["questions"] = len(rows)
    out["ms"] = statistics.median(r["ms"] for r in rows)
    return out
