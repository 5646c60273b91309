"""The tuning and the final runs of section 4, Clicks, not stars. Their results stand in
click_runs.json beside this file; the section reads them and repeats the final fits of one split.

    .venv/bin/python chapters/4_matrix_factorization/click_runs.py [--minutes 5]

Every model gets the same number of trials on the validation part of the first split: its defaults,
then random settings. The best trial is fitted again on all training ratings of three splits. A run
that is stored already is not repeated, unless the code it depends on has changed since; stop it
whenever you like and start it again. All runs take a quarter of an hour on one core.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_search import Candidate, Run, log_uniform, one_of, per_user

from recsys_lab import stored_runs
from recsys_lab.data import Interactions, Split, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate, ranking_metrics, rmse
from recsys_lab.models import (
    ALS,
    BPR,
    EASE,
    EDLAE,
    IALS,
    ItemKNN,
    PureSVD,
    RatingPredictor,
    Recommender,
    UserKNN,
)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "click_runs.json"
SPLITS = (0, 1, 2)
N_TRIALS = 12
N_BLENDS = 100  # random mixtures tried on validation


# ---- BPR's model with another loss -----------------------------------------------------------
class SquaredError(BPR):
    """BPR's model, start, optimiser and samples; the loss alone differs: squared error to 1 at
    the clicked film and to 0 at the drawn one."""

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        users, *films = batch
        p = self.network.users(users)
        loss, size = 0.0, (p * p).sum(1)
        for items, wanted in zip(films, (1.0, 0.0)):
            q, b = self.network.items(items), self.network.biases(items)[:, 0]
            loss = loss + ((p * q).sum(1) + b - wanted) ** 2
            size = size + (q * q).sum(1) + b * b
        return (loss + self.l2 / 2 * size).mean()


# ---- models and what is tried ----------------------------------------------------------------
PAIRS = {
    "n_factors": one_of(32, 64, 128),
    "l2": log_uniform(3e-3, 0.05),
    "lr": log_uniform(6e-3, 3e-2),
    "n_epochs": one_of(30, 60),
}
CANDIDATES = {
    "user-kNN": Candidate(
        UserKNN,
        {"n_neighbors": one_of(30, 60, 100, 200), "shrinkage": log_uniform(1, 100)},
        {},
        "knn",
    ),
    "item-kNN": Candidate(
        ItemKNN,
        {"n_neighbors": one_of(50, 100, 200, 400), "shrinkage": log_uniform(1, 100)},
        {},
        "knn",
    ),
    "PureSVD": Candidate(
        PureSVD,
        {"n_factors": one_of(8, 12, 16, 24, 32, 48), "values": one_of("binary", "ratings")},
        {},
        "svd",
    ),
    "ALS, stars": Candidate(
        ALS,
        {
            "n_factors": one_of(5, 10, 20, 40),
            "l2": log_uniform(0.03, 0.5),
            "n_epochs": one_of(8, 15),
        },
        {},
        "als least_squares",
    ),
    "iALS": Candidate(
        IALS,
        {
            "n_factors": one_of(32, 64, 128),
            "alpha0": log_uniform(0.05, 0.5),
            "l2": log_uniform(0.005, 0.05),
            "n_epochs": one_of(8, 15),
        },
        {},
        "ials least_squares",
    ),
    "EASE": Candidate(EASE, {"l2": log_uniform(50, 2000)}, {}, "ease"),
    "EDLAE": Candidate(
        EDLAE, {"l2": log_uniform(50, 1000), "dropout": one_of(0.1, 0.3, 0.5, 0.7)}, {}, "edlae"
    ),
    "EDLAE, stars": Candidate(
        EDLAE,
        {
            "l2": log_uniform(200, 1000),
            "dropout": one_of(0.0, 0.2, 0.4),
            "stars": one_of(0.4, 0.7, 1.0),
            "user_power": one_of(0.0, 0.2, 0.4),
            "item_power": one_of(0.0, 0.1, 0.2),
        },
        {},
        "edlae",
    ),
    "BPR": Candidate(BPR, PAIRS, {}, "bpr negatives"),
    # Its loss is on another scale than BPR's, and so is its ridge: a range as wide, further up.
    "squared error": Candidate(
        SquaredError, PAIRS | {"l2": log_uniform(0.02, 0.3)}, {}, "bpr negatives"
    ),
}
BLENDED = ("iALS", "EDLAE, stars", "ALS, stars")
SEEDED = (BPR, IALS, ALS)
GRID = {  # iALS, validation: what is swept, and what stands still
    "nu 1": {
        "alpha0": (0.03, 0.1, 0.3, 1.0),
        "l2": (0.0025, 0.005, 0.01, 0.02, 0.04),
        "nu": (1.0,),
    },
    "nu 0": {"alpha0": (0.03, 0.1, 0.3, 1.0), "l2": (1.0, 2.0, 4.0, 8.0, 16.0), "nu": (0.0,)},
    "d": {"n_factors": (4, 8, 16, 32, 64, 128, 256), "l2": (0.005, 0.01, 0.02)},
}


# ---- runs ------------------------------------------------------------------------------------
def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; what follows from tuning comes once that is stored. ``group`` "tune": one trial on
    the first split; "grid": one point of a sweep of iALS, there too; "final": the best trial,
    fitted on all training ratings; "blend": a mixture."""
    for name, grid in GRID.items():
        for number, point in enumerate(product(*grid.values())):
            yield Run("grid", name, number, dict(zip(grid, point, strict=True)))
    for name in CANDIDATES:
        for trial in range(N_TRIALS):
            yield Run("tune", name, trial, CANDIDATES[name].settings(name, trial))
        if (best := best_settings(stored, name)) is not None:
            for split in SPLITS:
                yield Run("final", name, split, best)
    chosen = {name: best_settings(stored, name) for name in BLENDED}
    if all(best is not None for best in chosen.values()):
        yield Run("blend", "blend", 0, chosen)


def best_settings(
    stored: dict[str, Any], name: str, metric: str | None = None
) -> dict[str, Any] | None:
    """Settings of the best trial; None if the trials are not all run yet.

    A rating predictor is chosen by its RMSE, others by nDCG@10, unless ``metric`` says otherwise.
    """
    trials = [stored.get(f"tune/{name}/{trial}") for trial in range(N_TRIALS)]
    if None in trials:
        return None
    if metric is None:
        metric = "rmse" if "rmse" in trials[0] else "ndcg"
    sign = -1 if metric == "rmse" else 1
    return max(trials, key=lambda trial: sign * trial[metric])["settings"]


def fit(name: str, settings: dict[str, Any], train: Interactions, seed: int) -> Recommender:
    """The model of this name, trained on ``train``."""
    make = CANDIDATES[name].make
    seeded = {"seed": seed} if issubclass(make, SEEDED) else {}
    return make(**settings, **seeded).fit(train)


def tune_one(run: Run, split: Split) -> dict[str, Any]:
    """nDCG@10 on the validation part; of a rating predictor the RMSE too."""
    name = "iALS" if run.group == "grid" else run.name
    model = fit(name, run.settings, split.train, seed=0)
    table = evaluate(model, split, part="validation", metrics=["ndcg"])
    result = {"ndcg": round(float(table["ndcg"].mean()), 5)}
    if isinstance(model, RatingPredictor):
        held_out = split.validation
        error = rmse(held_out.ratings, model.predict(held_out.users, held_out.items))
        result["rmse"] = round(float(error), 5)
    return result


def final(run: Run, data: Interactions) -> dict[str, Any]:
    """The best settings on one split: nDCG@10 of each user, and seconds of training."""
    split = holdout_per_user(data, 0.25, seed=run.number)
    start = time.process_time()
    model = fit(run.name, run.settings, split.train, seed=run.number)
    seconds = time.process_time() - start
    return {"ndcg": per_user(model.score(), split), "fit_seconds": round(seconds, 2)}


def blend(run: Run, data: Interactions) -> dict[str, Any]:
    """Weights of a sum of standardised scores, chosen on the validation part of the first split;
    then the sum on three splits."""
    tuning = holdout_per_user(data, 0.25, 0.15, seed=0)
    parts = [of_unseen(fit(n, s, tuning.train, 0), tuning) for n, s in run.settings.items()]
    rng = np.random.default_rng(0)
    tried = np.vstack([np.eye(len(parts)), rng.dirichlet(np.ones(len(parts)), N_BLENDS)])
    relevant, seen = tuning.validation.matrix(), tuning.train.matrix()
    values = []
    for weights in tried:
        mixed = np.tensordot(weights, parts, axes=1)
        table = ranking_metrics(mixed, relevant, k=10, exclude=seen, metrics=["ndcg"])
        values.append(table["ndcg"].mean())
    weights = tried[int(np.argmax(values))].round(3)
    result = {"weights": weights.tolist(), "validation": round(float(max(values)), 5)}
    for number in SPLITS:
        split = holdout_per_user(data, 0.25, seed=number)
        parts = [of_unseen(fit(n, s, split.train, number), split) for n, s in run.settings.items()]
        result[f"ndcg/{number}"] = per_user(np.tensordot(weights, parts, axes=1), split)
    return result


def of_unseen(model: Recommender, split: Split) -> np.ndarray:
    """Scores as z-scores of each user's films that are not in training."""
    scores, unseen = model.score(), split.train.matrix().toarray() == 0
    mean = scores.mean(axis=1, where=unseen, keepdims=True)
    spread = scores.std(axis=1, where=unseen, keepdims=True)
    return (scores - mean) / np.maximum(spread, 1e-9)


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    data = load_movielens()
    if run.group in ("tune", "grid"):
        return tune_one(run, holdout_per_user(data, 0.25, 0.15, seed=0))
    return {"final": final, "blend": blend}[run.group](run, data)


# ---- the store -------------------------------------------------------------------------------
def code_hash(run: Run) -> str:
    """Of the code that the run depends on: that of its models, and the functions above."""
    names = {"blend": BLENDED, "grid": ("iALS",)}.get(run.group, (run.name,))
    files = sorted({file for name in names for file in CANDIDATES[name].files.split()})
    digest = hashlib.sha256()
    for file in ["training", "data/splits", *(f"models/{file}" for file in files)]:
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    parts = {"final": [final, per_user], "blend": [blend, of_unseen, per_user]}.get(
        run.group, [tune_one]
    )
    for part in [fit, *parts] + ([SquaredError] if "squared" in run.name else []):
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__,
        "tune/BPR",
        store=STORE,
        wanted=runs,
        code=code_hash,
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())
