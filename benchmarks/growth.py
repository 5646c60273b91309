"""How seconds grow with size: the sweeps, and the exponent that is fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks import data_sets
from benchmarks.pairs import Pair, bpr, ials
from benchmarks.synthetic import Shape, synthetic
from recsys_lab.data import Interactions, Split, load_movielens


@dataclass(frozen=True)
class Sweep:
    """One pair over several sizes of one thing.

    Args:
        name: of the sweep.
        what: grows, as a label of an axis.
        sizes: ascending.
        data: size -> what is trained on.
        pair: size -> who fits it; its data's key says which kind of set it is.
        repeats: fits of each contender at each size.
    """

    name: str
    what: str
    sizes: tuple[int, ...]
    data: Callable[[int], data_sets.Part]
    pair: Callable[[int], Pair]
    repeats: int = 3


def exponent(sizes: Sequence[float], seconds: Sequence[Sequence[float]]) -> dict[str, float]:
    """The a of seconds ~ size^a: a line through the logarithms.

    Args:
        sizes: (n_sizes,).
        seconds: (n_sizes, n_repeats).

    Returns:
        value: fitted to the medians over the repeats; low, high: the extremes of the fits to each
        repeat alone; last: the slope from the last size but one to the last.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    if y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise ValueError(f"{len(x)} sizes and times of shape {y.shape}: one row of times a size")
    middle = np.median(y, axis=1)
    each = [slope(x, column) for column in y.T]
    value = slope(x, middle)
    last = (middle[-1] - middle[-2]) / (x[-1] - x[-2])
    return {
        "value": value,
        "low": min(*each, value),
        "high": max(*each, value),
        "last": float(last),
    }


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the line of least squares through the points."""
    x = x - x.mean()
    return float(x @ y / (x @ x))


def line(found: dict[str, Any]) -> str:
    """What a sweep found, for the terminal."""
    ours, theirs = found["exponents"]
    return (
        f"  {found['name']}: seconds ~ {found['what']}^a, a = {ours['value']:.2f} "
        f"[{ours['low']:.2f}, {ours['high']:.2f}] ours, {theirs['value']:.2f} "
        f"[{theirs['low']:.2f}, {theirs['high']:.2f}] theirs"
    )


# ---- the sweeps ----------------------------------------------------------------------------
@cache
def events_of_1m() -> Interactions:
    return synthetic("ml-1m")


def all_of(data: Interactions, kind: str) -> data_sets.Part:
    """Everything is trained on; the first events stand in as the test part."""
    return data_sets.Part(Split(data, None, data.select(np.arange(10)), "all"), kind)


def sweeps() -> list[Sweep]:
    events = tuple(125_000 * 2**step for step in range(4))
    dimensions = (16, 32, 64, 128, 256)
    n_items = (500, 1_000, 2_000, 4_000)
    n_users = (118, 236, 472, 943)
    clicks, stars = "growth-clicks", "growth-stars"

    def some(n: int) -> data_sets.Part:
        return all_of(data_sets.share(events_of_1m(), n), "clicks")

    def movielens(_: int) -> data_sets.Part:
        return all_of(load_movielens(), "clicks")

    def users(n: int) -> data_sets.Part:
        return all_of(data_sets.first_users(load_movielens(), n), "stars")

    def items(n: int) -> data_sets.Part:
        return all_of(synthetic(Shape(2_000, n, 40 * n if n > 1_500 else 60_000)), "clicks")

    def ials_of(solver: str, name: str, n_epochs: int) -> Callable[[int], Pair]:
        def pair(size: int) -> Pair:
            d = size if "d" in name.split() else 64
            return Pair("IALS", clicks, "IALS", "implicit.ALS", *ials(solver, d, n_epochs))

        return pair

    def svd(ours: str, theirs: str) -> Callable[[int], Pair]:
        settings = {"n_epochs": 5, "seed": 0}, {"n_epochs": 5, "random_state": 0}
        return lambda _: Pair(ours, stars, ours, f"surprise.{theirs}", *settings)

    ease = {"l2": 200.0}, {"reg_weight": 200.0}
    return [
        Sweep("IALS, events", "events", events, some, ials_of("cg", "events", 5)),
        Sweep("IALS, d", "d", dimensions, movielens, ials_of("cg", "d", 5)),
        Sweep("IALS Cholesky, d", "d", dimensions, movielens, ials_of("cholesky", "d", 2), 2),
        Sweep("BPR, events", "events", events, some,
              lambda _: Pair("BPR", clicks, "BPR", "implicit.BPR", *bpr(2)), 2),
        Sweep("EASE, items", "items", n_items, items,
              lambda _: Pair("EASE", clicks, "EASE", "recbole.EASE", *ease), 2),
        Sweep("BiasedMF, users", "users", n_users, users, svd("BiasedMF", "SVD")),
        Sweep("SVDpp, users", "users", n_users, users, svd("SVDpp", "SVDpp"), 2),
    ]  # fmt: skip
