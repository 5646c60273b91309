"""The federated runs of section 4, Private: rounds of federated averaging on MovieLens, under ways
of taking part, local steps, weights and noise. Results stand in federated_runs.json beside this
file; the section reads them and makes one again.

    .venv/bin/python chapters/7_limitations/federated_runs.py [--minutes 4] [--only tune]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs together take about five minutes of one core.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys_lab import models, stored_runs
from recsys_lab.data import Interactions, Split, holdout_per_user, load_movielens
from recsys_lab.limits.federated import Clients, FederatedMF, aggregate, local_updates

ROOT = Path(__file__).resolve().parents[2]
STORE = Path(__file__).resolve().with_suffix(".json")
DRAWS = (0, 1, 2)  # splits that test; the seed of the table and of who takes part, too
N_FACTORS = 8
LR = {1: 0.5, 5: 0.2, 20: 0.1}  # of a local step, by the number of steps
L2 = {1: [0.14], 5: [0.07, 0.1], 20: [0.07, 0.1]}  # more steps fit more closely: less ridge
# Devices a round (None: all), local steps, weights, rounds at most, rounds between looks.
WAYS = {
    "all, 1 step": (None, 1, "rating", 75, 5),
    "100, 1 step": (100, 1, "rating", 400, 20),
    "10, 1 step": (10, 1, "rating", 2000, 100),
    "100, 5 steps": (100, 5, "rating", 200, 10),
    "100, 20 steps": (100, 20, "rating", 75, 5),
    "100, 1 step, by client": (100, 1, "client", 400, 20),
    "100, 1 step, twice": (100, 1, "rating twice", 400, 20),
}
SERVER_LR = {
    "all, 1 step": [300.0, 600.0, 900.0],
    "100, 1 step": [40.0, 75.0, 150.0],
    "10, 1 step": [10.0, 20.0, 40.0, 75.0],
    "100, 5 steps": [75.0, 150.0, 300.0],
    "100, 20 steps": [150.0, 300.0, 600.0],
    "100, 1 step, by client": [75.0, 150.0, 300.0],
    "100, 1 step, twice": [20.0, 40.0, 75.0, 150.0],
}
CENTRAL = {"l2": [0.1, 0.14, 0.17, 0.2], "n_epochs": 150}
NOISE = (0.0, 0.1, 0.3, 1.0)  # standard deviation, in norms of the clipped update
NOISE_SERVER_LR = [37.5, 75.0, 150.0, 300.0, 600.0, 1200.0, 2400.0, 4800.0]
CLIP = 1.0
N_NOISY = 40  # rounds at most


class Run(NamedTuple):
    """One run: what is done, and with which settings."""

    key: str
    settings: dict[str, Any]


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; the tests rest on what the tuning chose."""
    yield Run("tune/central", CENTRAL | {"d": N_FACTORS})
    for way, setting in WAYS.items():
        for l2 in L2[setting[1]]:
            shared = {"way": list(setting), "lr": LR[setting[1]], "server_lr": SERVER_LR[way]}
            yield Run(f"tune/{way}/{l2}", shared)
    for level in NOISE:
        for rate in NOISE_SERVER_LR:
            yield Run(f"tune/noise {level}/{rate}", {"clip": CLIP, "n_rounds": N_NOISY})
    for what in ("central", *WAYS, *(f"noise {level}" for level in NOISE)):
        chosen = chosen_for(what, stored)
        if chosen is not None:
            for draw in DRAWS[:1] if what.startswith("noise") else DRAWS:
                yield Run(f"test/{what}/{draw}", {"chosen": chosen})


def chosen_for(what: str, stored: dict[str, Any]) -> dict[str, Any] | None:
    """The settings with the smallest validation RMSE; None while some are still to be tried."""
    ends = [""]
    if what.startswith("noise"):
        ends = [f"/{rate}" for rate in NOISE_SERVER_LR]
    elif what != "central":
        ends = [f"/{l2}" for l2 in L2[WAYS[what][1]]]
    keys = [f"tune/{what}{end}" for end in ends]
    if not all(key in stored for key in keys):
        return None
    return min((stored[key] for key in keys), key=lambda one: one["best"])["chosen"]


# ---- data ------------------------------------------------------------------------------------
@cache
def split_of(draw: int) -> Split:
    """A quarter of each user's ratings tests."""
    return holdout_per_user(load_movielens(), 0.25, seed=draw)


@cache
def trial() -> Split:
    """The same with three in twenty to choose settings by; its test part is not looked at."""
    return holdout_per_user(load_movielens(), 0.25, 0.15, seed=DRAWS[0])


def errors(model: models.RatingPredictor, test: Interactions) -> list[float]:
    """Each user's sum of squared errors."""
    squared = (model.predict(test.users, test.items) - test.ratings) ** 2
    return np.round(np.bincount(test.users, squared, test.n_users), 3).tolist()


# ---- runs ------------------------------------------------------------------------------------
class NoisyMF(FederatedMF):
    """Each device clips the norm of its update to CLIP and adds noise to the *whole* table."""

    noise = 0.0

    def mean_update(self, part: Clients) -> np.ndarray:
        updates = local_updates(self.table, part, self.lr, self.l2, self.n_steps)
        size = np.sqrt(np.add.reduceat((updates**2).sum(axis=1), part.starts))
        clipped = updates * np.repeat(np.minimum(1.0, CLIP / size), part.counts)[:, None]
        mean = aggregate(clipped, part, len(self.table))
        rng = np.random.default_rng([self.seed, 2, self.turn])
        self.turn += 1
        n = len(part.ids)  # as if each of n devices had added its own
        drawn = rng.normal(0, self.noise * CLIP * np.sqrt(n), mean.shape)
        return mean + (drawn / part.counts.sum()).astype(mean.dtype)


def federated(way: str, l2: float, server_lr: float, n_rounds: int, seed: int) -> FederatedMF:
    """The model of one way, not trained yet."""
    n_clients, n_steps, by, _, every = WAYS[way]
    return FederatedMF(
        N_FACTORS, l2, n_rounds, n_clients, n_steps, LR[n_steps], server_lr, by, False, every, seed
    )


def noisy(level: float, server_lr: float, n_rounds: int, seed: int) -> NoisyMF:
    model = NoisyMF(N_FACTORS, 0.14, n_rounds, None, 1, 0.5, server_lr, every=5, seed=seed)
    model.noise, model.turn = level, 0
    return model


def best_of(history: list[float], every: int) -> tuple[float, int]:
    """The smallest RMSE and its round."""
    at = int(np.argmin(history))
    return round(history[at], 5), (at + 1) * every


def tune(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Validation RMSE of each setting; the best of them, with its number of rounds."""
    _, what, *end = run.key.split("/")
    inner, tried = trial(), {}
    if what == "central":
        for l2 in CENTRAL["l2"]:
            model = models.ALS(N_FACTORS, l2, n_epochs=CENTRAL["n_epochs"])
            model.fit(inner.train, inner.validation, patience=3)
            best, n = best_of(model.history, 1)
            tried[l2] = best, {"l2": l2, "n_epochs": n}
    elif what.startswith("noise"):
        rate = float(end[0])
        model = noisy(float(what.split()[1]), rate, N_NOISY, 0)
        best, n = best_of(model.fit(inner.train, inner.validation).history, 5)
        tried[rate] = best, {"server_lr": rate, "n_rounds": n}
    else:
        l2 = float(end[0])
        for rate in run.settings["server_lr"]:
            model = federated(what, l2, rate, WAYS[what][3], 0)
            history = model.fit(inner.train, inner.validation).history
            best, n = best_of(np.nan_to_num(history, nan=9.0).tolist(), WAYS[what][4])
            tried[rate] = best, {"l2": l2, "server_lr": rate, "n_rounds": n}
    best, chosen = min(tried.values(), key=lambda pair: pair[0])
    return {"tried": {str(k): v[0] for k, v in tried.items()}, "best": best, "chosen": chosen}


def test(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Each user's squared error on the test part, and the test RMSE by round."""
    _, what, draw = run.key.split("/")
    split, chosen = split_of(int(draw)), run.settings["chosen"]
    if what == "central":
        model = models.ALS(N_FACTORS, seed=int(draw), **chosen).fit(split.train)
        return {"errors": errors(model, split.test), "curve": []}
    if what.startswith("noise"):
        model = noisy(float(what.split()[1]), seed=int(draw), **chosen)
    else:
        model = federated(what, seed=int(draw), **chosen)
    model.fit(split.train, split.test)  # the test part is watched, and chooses nothing
    return {"errors": errors(model, split.test), "curve": np.round(model.history, 4).tolist()}


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return {"tune": tune, "test": test}[run.key.split("/")[0]](run, stored)


# ---- the store -------------------------------------------------------------------------------
FILES = "data/splits limits/federated models/als models/least_squares"
PARTS = (NoisyMF, chosen_for, federated, noisy, best_of, tune, test, errors, split_of.__wrapped__)


def code_hash(run: Run) -> str:
    """Of the code that the run depends on, which is the same for all."""
    return _code_hash()


@cache
def _code_hash() -> str:
    digest = hashlib.sha256()
    for file in FILES.split():
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in (*PARTS, trial.__wrapped__):
        digest.update(inspect.getsource(part).encode())
    digest.update(repr((WAYS, LR, L2, N_FACTORS, CLIP, N_NOISY)).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("test/central/0"); an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "tune", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())
