"""Slow measurements of section 3, Wider: nearest neighbours in large catalogues, the endpoint under
load, answers of one process and of two, a slow model behind a fast one. They stand in
serving_runs.json beside this file; the section reads them and repeats some.

    .venv/bin/python chapters/7_limitations/serving_runs.py [--minutes 4] [--only ann]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about twenty minutes. Nothing else should
run beside "load" and "longer", whose clock is that on the wall.
"""

from __future__ import annotations

import hashlib
import inspect
import multiprocessing as mp
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys_lab import evaluation, stored_runs
from recsys_lab.data import holdout_per_user, load_movielens
from recsys_lab.limits import load, neighbours, served
from recsys_lab.models import EASE, IALS, SASRec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "serving_runs.json"
sys.path.insert(0, str(HERE.parent / "5_llm_finetuning"))
DRAWS, TWO = (0, 1, 2), (0, 1)
SPLIT = 0  # of the cascade; section 7.1 compares its models on three

# Neighbours
CURVE = {"n": 200_000, "cells": 450, "asked": 200, "k": 10}
PROBES = [1, 2, 4, 8, 16, 32, 64, 128]
EF = [10, 20, 40, 80, 160, 320]
SIZES = [1_682, 10_000, 100_000, 1_000_000]

# Load: share of capacity; "elsewhere" is EASE behind a pause, as if it stood on another machine
SHARES = [0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0]
SERVED = {
    "elsewhere": {"options": ["--model", "EASE", "--pause", "0.01"], "seconds": 6},
    "EASE": {"options": ["--model", "EASE"]},  # these two for batches only: what they can do in a
    "MiniLM": {"options": ["--model", "MiniLM"]},  # second depends on what else the cores do
}
LIMIT = 16
LENGTHS = [2, 4, 8]  # seconds of a run at one and a half times what it can do
BATCHES = [1, 4, 16]

# A slow model behind a fast one: section 3.5 and 7.1 chose the settings
SASREC = {"lr": 5e-3, "batch_size": 32, "dropout": 0.2, "n_epochs": 34}
EASE_L2 = 400.0
TOPS = [10, 50, 200]
N_READ, N_TIMED = (
    4,
    16,
)  # users that SmolLM2 is asked for, in each of three parts; requests on the clock of the others
N_APART = {"stored": 300, "MiniLM": 60, "SmolLM2": 8}


class Run(NamedTuple):
    group: str
    name: str
    draw: int
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}/{self.draw}"


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    for draw in DRAWS:
        yield Run("ann", "curve", draw, CURVE | {"probes": PROBES, "ef": EF})
    yield Run("ann", "sizes", 0, CURVE | {"sizes": SIZES})
    for draw in DRAWS:
        how = SERVED["elsewhere"] | {"shares": SHARES, "limit": LIMIT}
        yield Run("load", "elsewhere", draw, how)
    for draw in TWO:
        yield Run("longer", "elsewhere", draw, {"lengths": LENGTHS, "batches": BATCHES})
    for name in ("MiniLM", "SASRec"):
        how = SASREC if name == "SASRec" else {}
        yield Run("behind", name, 0, how | {"tops": TOPS, "timed": N_TIMED})
    for part in DRAWS:
        yield Run("behind", "SmolLM2", part, {"tops": TOPS, "asked": N_READ})
    for name, n in N_APART.items():
        yield Run("apart", name, 0, {"n": n})


def rounded(values: Any, digits: int = 4) -> list[float]:
    return np.round(np.asarray(values, dtype=float), digits).tolist()


# ---- neighbours --------------------------------------------------------------------------------
@cache
def factors(draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Users and films of iALS, fitted to three quarters of the ratings."""
    model = IALS(**served.IALS_SETTINGS, seed=draw)
    model.fit(holdout_per_user(load_movielens(), 0.25, seed=draw).train)
    return model.user_factors, model.item_factors


def grown(real: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n vectors, each between a real film and one of its ten nearest, and a little beside it."""
    rng = np.random.default_rng([seed, 73])
    square = (real**2).sum(1)
    distance = square[:, None] + square - 2 * real @ real.T
    np.fill_diagonal(distance, -1)  # each is first among its own
    near = np.argsort(distance, axis=1, kind="stable")[:, 1:11]
    one = rng.integers(len(real), size=n)
    other = near[one, rng.integers(near.shape[1], size=n)]
    way = rng.random((n, 1), dtype=np.float32)
    beside = 0.1 * real.std(axis=0) * rng.standard_normal((n, real.shape[1]), dtype=np.float32)
    return (real[one] + way * (real[other] - real[one]) + beside).astype(np.float32)


def shapeless(real: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n normal vectors with the mean and the covariance of the real ones, and no groups."""
    rng = np.random.default_rng([seed, 74])
    return rng.multivariate_normal(real.mean(0), np.cov(real.T), n).astype(np.float32)


def seconds_each(call: Callable, queries: np.ndarray) -> tuple[float, list]:
    """Processor seconds of a query, asked one by one, and the answers."""
    call(queries[:1])
    start = time.process_time()
    found = [call(query[None]) for query in queries]
    return (time.process_time() - start) / len(queries), found


def points(call: Callable, queries: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    seconds, found = seconds_each(call, queries)
    return seconds, neighbours.recall(np.concatenate(found), true).mean()


def faiss_cells(index: neighbours.InvertedFile) -> Any:
    """faiss's inverted file with our centres and our cells; it probes by inner product."""
    import faiss

    quantizer = faiss.IndexFlatIP(index.items.shape[1])
    quantizer.add(index.centres)
    theirs = faiss.IndexIVFFlat(quantizer, quantizer.d, index.n_cells, faiss.METRIC_INNER_PRODUCT)
    theirs.is_trained = True
    rows, cells = np.ascontiguousarray(index.items), index.cell.astype(np.int64)
    theirs.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(cells))
    return theirs


def library(index: neighbours.InvertedFile, queries: np.ndarray, true: np.ndarray) -> dict:
    """faiss on one thread: exact, the same cells, and a graph (HNSW)."""
    import faiss

    faiss.omp_set_num_threads(1)
    k, d, result = true.shape[1], index.items.shape[1], {}
    flat, cells = faiss.IndexFlatIP(d), faiss_cells(index)
    graph = faiss.IndexHNSWFlat(d, 16, faiss.METRIC_INNER_PRODUCT)
    flat.add(index.items)
    start = time.process_time()
    graph.add(index.items)
    result["graph built"] = round(time.process_time() - start, 1)
    result["faiss exact"] = [points(lambda q: flat.search(q, k)[1], queries, true)]
    result["faiss cells"], result["faiss graph"] = [], []
    for cells.nprobe in PROBES:
        result["faiss cells"].append(points(lambda q: cells.search(q, k)[1], queries, true))
    for graph.hnsw.efSearch in EF:
        result["faiss graph"].append(points(lambda q: graph.search(q, k)[1], queries, true))
    return result


def ours(items: np.ndarray, queries: np.ndarray, draw: int, probes: list[str]) -> tuple:
    """Exact search, and our inverted file with as many cells as are set down above."""
    k = CURVE["k"]
    seconds, found = seconds_each(lambda q: neighbours.exact_top_k(q, items, k), queries)
    true, result = np.concatenate(found), {"exact": [(seconds, 1.0)]}
    start = time.process_time()
    index = neighbours.InvertedFile(CURVE["cells"], seed=draw).fit(items)
    result["built"] = round(time.process_time() - start, 1)
    for index.probe in probes:
        result[f"ours {index.probe}"] = [
            points(lambda q, n=n: index.search(q, k, n)[0], queries, true) for n in PROBES
        ]
    return index, true, result


def curve(run: Run) -> dict[str, Any]:
    """Seconds of a query and recall, for several ways to look, in 200,000 grown vectors."""
    users, films = factors(run.draw)
    rows = np.random.default_rng(run.draw).choice(len(users), CURVE["asked"], replace=False)
    queries = users[rows]
    index, true, found = ours(grown(films, CURVE["n"], run.draw), queries, run.draw, ["ip", "l2"])
    found |= library(index, queries, true)
    other = ours(shapeless(films, CURVE["n"], run.draw), queries, run.draw, ["ip"])[2]
    found |= {f"shapeless {name}": values for name, values in other.items()}
    return {
        name: [[float(f"{s:.4g}"), round(float(r), 4)] for s, r in values]
        if isinstance(values, list)
        else values
        for name, values in found.items()
    }


def sizes(run: Run) -> dict[str, Any]:
    """Seconds of an exact query and of one with a recall of nine tenths, as the catalogue grows."""
    users, films = factors(0)
    asked = np.random.default_rng(0).choice(len(users), CURVE["asked"], replace=False)
    queries, k, rows = users[asked], CURVE["k"], []
    for n in SIZES:
        items = films if n == len(films) else grown(films, n, 0)
        few = queries[:50] if n > 100_000 else queries
        exact, true = seconds_each(lambda q, x=items: neighbours.exact_top_k(q, x, k), few)
        start = time.process_time()
        index = neighbours.InvertedFile(round(np.sqrt(n))).fit(items)
        built, n_probe, good = time.process_time() - start, 0, 0.0
        while good < 0.9:
            n_probe = max(1, round(1.5 * n_probe + 0.5))
            each, good = points(
                lambda q, p=n_probe, i=index: i.search(q, k, p)[0], few, np.concatenate(true)
            )
        work = index.search(few, k, n_probe)[1].mean()
        row = {"n": n, "cells": index.n_cells, "probed": n_probe, "recall": round(float(good), 4)}
        row |= {"exact": float(f"{exact:.4g}"), "cells_seconds": float(f"{each:.4g}")}
        rows.append(row | {"built": round(built, 2), "work": round(float(work))})
    return {"rows": rows}


# ---- the endpoint under load ---------------------------------------------------------------------
def addresses(url: str, n: int, seed: int) -> list[str]:
    """n requests, each by a user drawn at random."""
    users = np.random.default_rng([seed, 75]).integers(943, size=n)
    return [f"{url}/recommend?user={user}&k=10" for user in users]


def capacity(url: str, seed: int, seconds: float = 2.0) -> float:
    """Answers a second when eight clients ask without a break."""
    few = load.closed_loop(addresses(url, 40, seed), 8)
    n = max(80, int(seconds * few.throughput))
    return load.closed_loop(addresses(url, n, seed + 1), 8).throughput


def told(found: load.Outcomes, rate: float) -> dict[str, Any]:
    """What is stored of a run under load: milliseconds."""
    codes, counts = np.unique(found.status, return_counts=True)
    return {
        "rate": round(rate, 3),
        "status": {str(code): int(count) for code, count in zip(codes, counts)},
        "throughput": round(found.throughput, 2),
        "late": round(1000 * float(np.percentile(found.sent - found.intended, 99)), 1),
        "answered": rounded(1000 * found.latency[found.answered], 1),
        "refused": rounded(np.percentile(1000 * found.latency[~found.answered], [50, 99]), 1)
        if not found.answered.all()
        else [],
    }


def loaded(url: str, rate: float, seconds: float, seed: int) -> load.Outcomes:
    n = max(20, round(rate * seconds))
    return load.open_loop(addresses(url, n, seed), load.arrivals(rate, n, seed))


def under_load(run: Run) -> dict[str, Any]:
    """The bounded endpoint at rising shares of what it can do."""
    how = run.settings
    with served.serving(*how["options"], "--limit", str(how["limit"])) as url:
        most = capacity(url, run.draw)
        alone = load.closed_loop(addresses(url, max(30, round(most)), run.draw))
        rows = {
            str(share): told(loaded(url, share * most, how["seconds"], 10 * run.draw + place), most)
            | {"share": share}
            for place, share in enumerate(how["shares"])
        }
    quiet = rounded(np.percentile(1000 * alone.latency, [50, 95, 99]), 2)
    return {"capacity": round(most, 2), "quiet": quiet, "rows": rows}


def longer(run: Run) -> dict[str, Any]:
    """Half as many requests again as it can answer, for ever longer, with a bound and without;
    clients that wait for their answers, at the same endpoint; several users in one call."""
    result: dict[str, Any] = {}
    options = SERVED["elsewhere"]["options"]
    for bound in (0, LIMIT):
        more = ["--limit", str(bound), "--deadline", "1" if bound else "600"]
        with served.serving(*options, *more) as url:
            result[f"capacity {bound}"] = most = round(capacity(url, run.draw), 2)
            for seconds in LENGTHS:
                found = loaded(url, 1.5 * most, seconds, 100 + run.draw)
                result[f"open {bound}/{seconds}"] = told(found, 1.5 * most)
            if not bound:
                n = round(LENGTHS[-1] * most / 2)
                found = load.closed_loop(addresses(url, n, run.draw))
                result["closed"] = told(found, most)
    for batch in BATCHES:
        for name in ("elsewhere", "EASE", "MiniLM"):
            if name == "elsewhere" or run.draw == 0:
                more = ["--limit", "0", "--batch", str(batch)]
                with served.serving(*SERVED[name]["options"], *more) as url:
                    few = load.closed_loop(addresses(url, 64, 0), 32)
                    n = max(96, int(2 * few.throughput))
                    many = load.closed_loop(addresses(url, n, run.draw), 32)
                    result[f"batch {name}/{batch}"] = round(many.throughput, 1)
    return result


# ---- a slow model behind a fast one --------------------------------------------------------------
@cache
def asked() -> Any:
    import zero_shot_runs

    return zero_shot_runs


def heads(draw: int) -> tuple[np.ndarray, Any]:
    """The 200 best unseen films of EASE for each user, and the split."""
    split = asked().split_of(draw)
    scores = EASE(EASE_L2).fit(split.train).score()
    return evaluation.rank_items(scores, exclude=split.train.matrix(), k=max(TOPS)), split


def places(head: np.ndarray, second: np.ndarray, truth: np.ndarray) -> dict[str, list[int]]:
    """Place of the true film when the second model orders so many; 0 if EASE's 200 lack it.

    Args:
        head, second: (n_users, 200) films in EASE's order, and what the second model says of them.
        truth: (n_users,) the films.
    """
    found = {"0": np.where(head == truth[:, None], np.arange(head.shape[1]) + 1, 0).max(1)}
    for n in TOPS:
        order = np.argsort(-second[:, :n], axis=1, kind="stable")
        now = head.copy()
        now[:, :n] = np.take_along_axis(head[:, :n], order, 1)
        found[str(n)] = np.where(now == truth[:, None], np.arange(now.shape[1]) + 1, 0).max(1)
    return {name: place.tolist() for name, place in found.items()}


def behind(run: Run) -> dict[str, Any]:
    """The cascade's places of the film seen next, and processor seconds of its requests."""
    head, split = heads(SPLIT)
    truth = split.test.matrix().tocsr()
    users = np.flatnonzero(np.diff(truth.indptr))
    if run.name == "SmolLM2":
        users = asked().users_of(f"seed {SPLIT}")[run.draw * N_READ :][:N_READ]
    order, clock = SECOND[run.name](run, split, head)
    seconds: dict[str, list] = {str(n): [] for n in TOPS}
    said = []
    for user in users[:N_TIMED].tolist():
        for n in TOPS:
            start = time.process_time()
            found = clock(user, n)
            seconds[str(n)].append(round(time.process_time() - start, 5))
        said.append(found)
    second = order(users) if order else np.array(said)
    weights = EASE(EASE_L2).fit(split.train).weights
    seen, first = split.train.matrix(), []
    for user in users[:N_TIMED]:
        start = time.process_time()
        scores = weights[seen[user].indices].sum(0)
        scores[seen[user].indices] = -np.inf
        neighbours.best(scores, max(TOPS))
        first.append(time.process_time() - start)
    where = places(head[users], second, truth[users].indices)
    return {"users": users.tolist(), "places": where, "seconds": seconds | {"0": rounded(first, 5)}}


def by_minilm(run: Run, split: Any, head: np.ndarray) -> tuple[Callable, Callable]:
    from recsys_lab.language import Encoder
    from recsys_lab.language.texts import liked_items

    encoder, titles = Encoder(), asked().movielens()[1]
    films = encoder.encode(titles)

    def order(users: np.ndarray) -> np.ndarray:
        past = [films[liked_items(split.train, int(user), 8)].sum(0) for user in users]
        return np.array([films[head[user]] @ one for user, one in zip(users, past)])

    def clock(user: int, n: int) -> np.ndarray:
        liked = liked_items(split.train, user, 8)
        rows = encoder.compute([titles[i] for i in (*liked, *head[user, :n])])
        return rows[len(liked) :] @ rows[: len(liked)].sum(0)

    clock(0, 10)
    return order, clock


def by_sasrec(run: Run, split: Any, head: np.ndarray) -> tuple[Callable, Callable]:
    model = SASRec(seed=SPLIT, **SASREC).fit(split.train)

    def order(users: np.ndarray) -> np.ndarray:
        return np.take_along_axis(model.score(users), head[users], 1)

    def clock(user: int, n: int) -> np.ndarray:
        return model.score(np.array([user]))[0, head[user, :n]]

    return order, clock


def by_smollm2(run: Run, split: Any, head: np.ndarray) -> tuple[None, Callable]:
    import cost_runs

    model, titles, template = asked().language_model(), asked().movielens()[1], cost_runs.wording()

    def clock(user: int, n: int) -> np.ndarray:
        prompt = template.read(asked().history_of(f"seed {SPLIT}", user))
        shown = [template.about(titles[i]) for i in head[user, :n]]
        return model.log_likelihood(prompt, shown)

    clock(int(asked().users_of("tuning")[0]), 10)  # to warm up
    return None, clock  # what it says on the clock is what it says


SECOND = {"MiniLM": by_minilm, "SASRec": by_sasrec, "SmolLM2": by_smollm2}


# ---- one process or two --------------------------------------------------------------------------
def work_of(name: str) -> Callable[[int, int, int], np.ndarray]:
    """(number of the request, part, parts) -> what a process finds in its part of the work."""
    from recsys_lab.language import Encoder
    from recsys_lab.language.texts import liked_items

    titles, data = asked().movielens()[1], asked().movielens()[0]
    if name == "stored":
        films = Encoder().encode(titles)
        users = [films[liked_items(data, user, 8)].sum(0) for user in range(300)]
        return lambda row, part, parts: neighbours.best(
            np.array_split(films, parts)[part] @ users[row], 10
        )
    if name == "MiniLM":
        encoder, films = Encoder(), Encoder().encode(titles)
        texts = [[titles[i] for i in liked_items(data, user, 8)] for user in range(300)]

        def read(row: int, part: int, parts: int) -> np.ndarray:
            mine = texts[row][part::parts]
            past = encoder.compute(mine).sum(0) if mine else np.zeros(films.shape[1], np.float32)
            return films @ past  # the parts' scores are added

        return read
    import cost_runs

    model = asked().language_model()

    def say(row: int, part: int, parts: int) -> np.ndarray:
        prompt, lines = cost_runs.question(row % 3, row // 3)
        return cost_runs.shared(model, prompt, lines[part::parts])

    return say


def worker(name: str, pipe: Any) -> None:
    import torch

    torch.set_num_threads(1)
    do = work_of(name)
    do(0, 0, 1), do(0, 0, 2)
    pipe.send("ready")
    while (given := pipe.recv()) is not None:
        start = time.process_time()
        do(*given)
        pipe.send(time.process_time() - start)


def apart(run: Run) -> dict[str, Any]:
    """Seconds of requests: one process; two, a request each; two that share each request.

    Processor seconds of each process, as if it had a core to itself: on two cores with other work
    the clock on the wall would measure that. A shared request takes as long as its slower half.
    """
    context, n, pipes, members = mp.get_context("spawn"), run.settings["n"], [], []
    for _ in range(2):
        mine, its = context.Pipe()
        members.append(context.Process(target=worker, args=(run.name, its), daemon=True))
        members[-1].start()
        pipes.append(mine)
    assert [pipe.recv() for pipe in pipes] == ["ready"] * 2
    seconds: dict[str, list] = {"one": [], "two": [], "split": []}
    busy = np.zeros(2)  # of the two, with a request each
    for row in range(0, n - 1, 2):  # the three ways take turns
        for one in (row, row + 1):
            pipes[0].send((one, 0, 1))
            seconds["one"].append(pipes[0].recv())
        for place, pipe in enumerate(pipes):  # both at once
            pipe.send((row + place, 0, 1))
        pair = [pipe.recv() for pipe in pipes]
        seconds["two"] += pair
        busy += pair
        for one in (row, row + 1):
            for place, pipe in enumerate(pipes):
                pipe.send((one, place, 2))
            seconds["split"].append(max(pipe.recv() for pipe in pipes))
    for pipe, member in zip(pipes, members):
        pipe.send(None)
        member.join(20)
    lasted = {"one": sum(seconds["one"]), "two": busy.max(), "split": sum(seconds["split"])}
    return {way: rounded(values, 6) for way, values in seconds.items()} | {
        "lasted": {way: round(float(value), 4) for way, value in lasted.items()}
    }


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    if run.group == "ann":
        return {"curve": curve, "sizes": sizes}[run.name](run)
    return {"load": under_load, "longer": longer, "behind": behind, "apart": apart}[run.group](run)


# ---- the store -----------------------------------------------------------------------------------
FILES = {
    "ann": "limits/neighbours models/ials models/least_squares data/splits",
    "load": "limits/server limits/desk limits/served limits/load",
    "longer": "limits/server limits/desk limits/served limits/load",
    "behind": "models/ease models/sasrec models/sequences language/encoder language/causal_lm",
    "apart": "language/encoder language/causal_lm limits/neighbours",
}
NEAR = (ours, library, faiss_cells, grown, shapeless, seconds_each, points, factors.__wrapped__)
LOADING = (addresses, capacity, told, loaded)
PARTS = {
    "ann": (curve, sizes, *NEAR),
    "load": (under_load, *LOADING),
    "longer": (longer, *LOADING),
    "behind": (behind, heads, places),
    "apart": (apart, worker, work_of),
}


def code_hash(run: Run) -> str:
    """Of the code that the run depends on."""
    digest = hashlib.sha256()
    for file in FILES[run.group].split():
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in PARTS[run.group]:
        digest.update(inspect.getsource(part).encode())
    if run.group == "behind":
        digest.update(inspect.getsource(SECOND[run.name]).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("ann/curve/0"); an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "ann", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())
