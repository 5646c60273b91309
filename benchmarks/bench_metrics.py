"""nDCG@10 of all users: recsys_lab beside pytrec_eval, ranx and scikit-learn, in one run.

    python benchmarks/bench_metrics.py [--repeat 5] [--sizes ml-100k ml-1m]

Every contender starts from the same score matrix without ties and the same training items to
leave out, and must give the same mean. pytrec_eval and ranx need dictionaries of strings: they get
the ten best items of each user, the cheapest input that gives the right answer. The column
"metric only" leaves out what turns scores into that input. Best of `repeat` runs, one thread each
(but for ranx, whose compiled loops use all cores); their first, compiling run is not counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytrec_eval
import ranx
from scipy import sparse
from sklearn.metrics import ndcg_score

from recsys_lab.evaluation import ranking_metrics

SIZES = {"ml-100k": (943, 1682, 100_000), "ml-1m": (6040, 3706, 1_000_209)}
K = 10


def synthetic(n_users: int, n_items: int, n_ratings: int, seed: int = 0):
    """Scores without ties, a quarter of the ratings held out, the rest to leave out."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(
        np.tile(np.arange(n_items, dtype=np.float32), (n_users, 1)), axis=1
    )  # (n_users, n_items)
    appeal = rng.permutation(n_items) + 1.0
    rated = rng.random((n_users, n_items)) < n_ratings / (n_users * n_items) * (
        n_items / appeal / (n_items / appeal).mean()
    )
    held_out = rng.random(rated.shape) < 0.25
    relevant, train = sparse.csr_matrix(rated & held_out), sparse.csr_matrix(rated & ~held_out)
    return scores, relevant, train


def best_of(run: Callable[[], object], repeat: int) -> float:
    """Seconds of the fastest of `repeat` runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def top_lists(scores: np.ndarray, train: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Unordered top ten of each user and their scores, by numpy: what a trec run needs."""
    masked = scores.copy()
    masked[train.nonzero()] = -np.inf
    top = np.argpartition(masked, -K, axis=1)[:, -K:]
    return top, np.take_along_axis(masked, top, axis=1)


def as_run(top: np.ndarray, values: np.ndarray) -> dict[str, dict[str, float]]:
    """The dictionary that pytrec_eval and ranx read."""
    items, values = top.astype(str).tolist(), values.astype(float).tolist()
    return {str(u): dict(zip(items[u], values[u])) for u in range(len(items))}


def as_qrels(relevant: sparse.csr_matrix) -> dict[str, dict[str, int]]:
    """Relevant items of each user who has any, as a dictionary."""
    items, ends = relevant.indices.astype(str).tolist(), relevant.indptr
    return {
        str(u): dict.fromkeys(items[ends[u] : ends[u + 1]], 1)
        for u in np.flatnonzero(np.diff(ends))
    }


def contenders(scores, relevant, train):
    """name -> (whole run, metric only or None); each returns the mean nDCG@10."""
    qrels = as_qrels(relevant)
    run = {
        user: items for user, items in as_run(*top_lists(scores, train)).items() if user in qrels
    }
    trec = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{K}"})
    ranx_qrels, ranx_run = ranx.Qrels(qrels), ranx.Run(run)
    judged = np.flatnonzero(np.diff(relevant.indptr))

    def ours(metrics=("ndcg",)):
        return ranking_metrics(scores, relevant, K, train, metrics=metrics)["ndcg"].mean()

    def of_trec(lists):
        return np.mean([row[f"ndcg_cut_{K}"] for row in trec.evaluate(lists).values()])

    def of_ranx(lists):
        return ranx.evaluate(ranx_qrels, lists, f"ndcg@{K}", make_comparable=True)

    def of_sklearn():
        masked = scores.copy()
        masked[train.nonzero()] = -1
        return ndcg_score(relevant.toarray()[judged], masked[judged], k=K, ignore_ties=True)

    return {
        "recsys_lab": (ours, None),
        "recsys_lab, all nine metrics": (
            lambda: ours(
                ("precision", "recall", "f1", "hit", "map", "mrr", "mrr_at_k", "ndcg", "auc")
            ),
            None,
        ),
        "pytrec_eval": (
            lambda: of_trec(as_run(*top_lists(scores, train))),
            lambda: of_trec(run),
        ),
        "ranx": (
            lambda: of_ranx(ranx.Run(as_run(*top_lists(scores, train)))),
            lambda: of_ranx(ranx_run),
        ),
        "scikit-learn": (of_sklearn, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    options = parser.parse_args()
    print(f"numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} cores")
    for size in options.sizes:
        n_users, n_items, _ = SIZES[size]
        print(f"\n{size}: {n_users:,} users x {n_items:,} items, best of {options.repeat}")
        print(f"{'':30}{'from scores, s':>16}{'metric only, s':>16}{'nDCG@10':>12}")
        for name, (whole, metric) in contenders(*synthetic(*SIZES[size])).items():
            value = whole()
            seconds = best_of(whole, options.repeat)
            alone = f"{best_of(metric, options.repeat):16.3f}" if metric else " " * 16
            print(f"{name:30}{seconds:16.3f}{alone}{value:12.6f}")


if __name__ == "__main__":
    main()
