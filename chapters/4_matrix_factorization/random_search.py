"""What the long runs of sections 4 and 5 share: random search."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from recsys_lab.data import Split
from recsys_lab.evaluation import evaluate
from recsys_lab.models import Recommender


def log_uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    """Uniform in the logarithm, two digits."""
    return lambda rng: float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.2g}")


def one_of(*values: Any) -> Callable[[np.random.Generator], Any]:
    return lambda rng: values[rng.integers(len(values))]


class Candidate(NamedTuple):
    """A model, what is tried for it, what is fixed, and the files it depends on. ``every``: how
    many epochs between validations; None: the number of epochs is a setting like the others."""

    make: Callable[..., Recommender]
    space: dict[str, Callable[[np.random.Generator], Any]]
    fixed: dict[str, Any]
    files: str
    every: int | None = None

    def settings(self, name: str, trial: int) -> dict[str, Any]:
        """The defaults for trial 0, random settings for the others."""
        if trial == 0:
            return self.fixed
        rng = np.random.default_rng([trial, zlib.crc32(name.encode())])
        return self.fixed | {key: draw(rng) for key, draw in self.space.items()}


class Run(NamedTuple):
    """One run; what its ``group`` means says the script that makes it."""

    group: str
    name: str
    number: int  # of the trial, of the point, or of the split
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}/{self.number}"


def per_user(scores: np.ndarray, split: Split) -> list[float]:
    """nDCG@10 of each user on the test part."""
    table = evaluate(scores, split, metrics=["ndcg"])
    assert len(table) == split.train.n_users
    return table["ndcg"].round(4).tolist()
