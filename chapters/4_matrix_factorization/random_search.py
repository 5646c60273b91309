"""What the long runs of sections 4 and 5 share: random search, and a store that survives a stop."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
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


def load(store: Path, script: str) -> dict[str, Any]:
    """The stored runs, by key ("tune/EASE/0").

    Raises:
        FileNotFoundError: nothing is stored yet; the message says how to make it.
    """
    if not store.exists():
        raise FileNotFoundError(f"{store.name} is not here. Make it: python {Path(script).name}")
    return json.loads(store.read_text())


def save(store: Path, stored: dict[str, Any]) -> None:
    """Write all runs, a line each: complete or not at all."""
    lines = [f"{json.dumps(key)}: {json.dumps(stored[key])}" for key in sorted(stored)]
    unfinished = store.with_suffix(".part")
    unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(unfinished, store)


def work_through(
    store: Path,
    wanted: Callable[[dict[str, Any]], list[Run]],
    is_current: Callable[[Run, dict[str, Any]], bool],
    perform: Callable[[Run], dict[str, Any]],
    only: str = "",
    minutes: float = np.inf,
) -> int:
    """Do what is not stored yet, in the order of ``wanted``; 0 if nothing is left.

    ``only``: runs whose key begins so. No run starts after ``minutes``. Another process may work on
    other runs of the same store.
    """

    def read() -> dict[str, Any]:
        return json.loads(store.read_text()) if store.exists() else {}

    stored, end = read(), time.monotonic() + 60 * minutes
    while todo := [
        run for run in wanted(stored) if run.key.startswith(only) and not is_current(run, stored)
    ]:
        if time.monotonic() > end:
            print(f"{len(todo)} runs left, of those known so far: start this again")
            return 1
        result = perform(todo[0])
        stored = read() | {todo[0].key: result}
        save(store, stored)
        value, seconds = np.mean(result.get("ndcg", np.nan)), result["cpu_seconds"]
        print(f"{len(todo) - 1:4} left  {todo[0].key}  {value:.4f}  {seconds} s", flush=True)
    known = {run.key for run in wanted(stored)}
    if not only and stored.keys() - known:  # of models that are no more
        stored = {key: stored[key] for key in stored if key in known}
        save(store, stored)
    print(f"{len(stored)} runs in {store.name}")
    return 0
