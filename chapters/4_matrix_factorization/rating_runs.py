"""The long runs of section 3, Real ratings. Their results stand in rating_runs.json beside this
file; the section reads them and repeats some of them.

    .venv/bin/python chapters/4_matrix_factorization/rating_runs.py [--only nested] [--limit 280]

A run that is stored already is not repeated, unless the code of the models has changed since; stop
it whenever you like and start it again. All runs take about twenty minutes of one core.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV

from recsys_lab.data import (
    Interactions,
    Split,
    k_fold,
    last_fraction_per_user,
    load_movielens,
    time_split,
)
from recsys_lab.models import (
    ALS,
    FM,
    NMF,
    Baseline,
    BayesianMF,
    BiasedMF,
    ItemMean,
    RatingKNN,
    RatingPredictor,
    SlopeOne,
    SVDpp,
)
from recsys_lab.models.fm import side_features

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "rating_runs.json"
CODE = (  # what the stored numbers depend on
    "data/splits.py training.py models/base.py models/baseline.py models/rating_knn.py "
    "models/slope_one.py models/sides.py models/biased_mf.py models/svdpp.py models/nmf.py "
    "models/fm.py models/bayesian_mf.py models/als.py models/least_squares.py"
).split()

# ---- models ----------------------------------------------------------------------------------
# Defaults as published: Surprise's, for all five folds.
PUBLISHED: dict[str, tuple[type[RatingPredictor], dict[str, Any]]] = {
    "item mean": (ItemMean, {}),
    "baseline": (Baseline, {}),
    "SVD": (BiasedMF, {}),
    "SVD++": (SVDpp, {}),
    "kNN basic": (RatingKNN, {"kind": "basic"}),
    "kNN centred": (RatingKNN, {"kind": "centred"}),
    "kNN-Baseline": (RatingKNN, {"kind": "baseline"}),
    "SlopeOne": (SlopeOne, {}),
    "NMF": (NMF, {}),
}
SEEDED = ("SVD", "SVD++", "NMF")
SEEDS = (0, 1, 2)
SGD = {"n_epochs": [150], "patience": [5]}
RIDGES = [0.1, 0.12, 0.15]
# At most six settings a family; "side" True stands for `side_features`.
FAMILIES: dict[str, tuple[type[RatingPredictor], dict[str, list[Any]]]] = {
    "baseline": (Baseline, {"user_reg": [2, 3, 6], "item_reg": [3, 6]}),
    "SlopeOne": (SlopeOne, {}),
    "kNN-Baseline": (RatingKNN, {"kind": ["baseline"], "n_neighbors": [20, 40, 80]}),
    "kNN-Baseline, films": (
        RatingKNN,
        {"kind": ["baseline"], "n_neighbors": [20, 40, 80], "user_based": [False]},
    ),
    "FunkSVD": (
        BiasedMF,
        SGD
        | {
            "biases": [False],
            "n_factors": [20, 100],
            "l2": RIDGES,
            "lr": [0.01],
            "batch_size": [2048],  # without biases the vectors are long: shorter steps
        },
    ),
    "SVD": (
        BiasedMF,
        SGD | {"n_factors": [100, 200], "l2": RIDGES, "lr": [0.01], "batch_size": [4096]},
    ),
    "SVD++": (SVDpp, SGD | {"n_factors": [50, 100], "l2": RIDGES}),
    "NMF": (NMF, {"n_factors": [15, 30], "l2": [0.1, 0.14, 0.2], "n_epochs": [100]}),
    "PMF": (
        ALS,
        {
            "biases": [False],
            "nu": [0.0],
            "n_factors": [3, 5],
            "l2": [3.0, 4.5, 6.0],
            "n_epochs": [30],
        },
    ),
    "ALS": (ALS, {"n_factors": [20, 50], "l2": [0.1, 0.14, 0.18], "n_epochs": [30]}),
    "FM, ids": (FM, {"features": [()], "n_factors": [8, 16], "l2": RIDGES}),
    "FM": (FM, {"features": ["side"], "n_factors": [8, 16], "l2": RIDGES}),
    "Bayesian MF": (BayesianMF, {"n_factors": [8, 16]}),
    "Bayesian MF, side": (BayesianMF, {"features": ["side"], "n_factors": [8, 16]}),
    "Bayesian MF, implicit": (BayesianMF, {"implicit": [True], "n_factors": [8, 16]}),
    "Bayesian MF, both": (
        BayesianMF,
        {"implicit": [True], "features": ["side"], "n_factors": [8, 16]},
    ),
}
SHARES = (1.0, 0.25, 0.05)
RANKS = (1, 2, 5, 10, 20, 50, 100)
CURVE_RIDGES = (0.05, 0.1, 0.15, 0.2, 0.3)


def make(family: str, settings: dict[str, Any], data: Interactions, seed: int = 0):
    """The unfitted model of a family."""
    kind = FAMILIES[family][0]
    settings = dict(settings)
    if settings.get("features") == "side":
        settings["features"] = side_features(data)
    if "seed" in inspect.signature(kind.__init__).parameters:
        settings["seed"] = seed
    return kind(**settings)


def predicted(model: RatingPredictor, part: Interactions) -> np.ndarray:
    """On the scale of one to five stars: (n,)."""
    return np.clip(model.predict(part.users, part.items), 1, 5)


def rmse(guess: np.ndarray, part: Interactions) -> float:
    return float(np.sqrt(np.mean((guess - part.ratings) ** 2)))


def user_squares(guess: np.ndarray, part: Interactions) -> list[float]:
    """Of user 0, 1, ...: the sum of squared errors."""
    return np.bincount(part.users, (guess - part.ratings) ** 2, part.n_users).round(2).tolist()


# ---- tuning ----------------------------------------------------------------------------------
def tune(family: str, inner: Split) -> tuple[dict[str, Any], np.ndarray, list[Any]]:
    """Best settings on inner.test, its prediction there, and all that was tried with its RMSE.

    Models with an early stop keep the epoch of their best RMSE; the settings then say how many
    epochs that was.
    """
    kind, grid = FAMILIES[family]
    best, tried = (np.inf, {}, np.empty(0)), []
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        model = make(family, settings, inner.train)
        if kind in (BiasedMF, SVDpp, NMF, ALS):
            model.fit(inner.train, validation=inner.test)
            curve = model.history if kind is ALS else model.rmse
            settings["n_epochs"] = int(np.argmin(curve)) + 1
            settings.pop("patience", None)
        else:
            model.fit(inner.train)
        guess = predicted(model, inner.test)
        tried.append([settings, round(rmse(guess, inner.test), 4)])
        if rmse(guess, inner.test) < best[0]:
            best = rmse(guess, inner.test), settings, guess
    return best[1], best[2], tried


def outer_splits(data: Interactions) -> dict[str, tuple[Split, Split]]:
    """name -> what is tested, and a split of its training part of the same kind to tune on."""
    folds = {}
    for number, fold in enumerate(k_fold(data, 5, seed=0), start=1):
        folds[f"fold {number}"] = fold, k_fold(fold.train, 5, seed=1)[0]
    last = last_fraction_per_user(data, 0.2)
    cut = time_split(data, (0.8, 0.2))
    return folds | {
        "last": (last, last_fraction_per_user(last.train, 0.2)),
        "time": (cut, time_split(cut.train, (0.8, 0.2))),
    }


def nested(data: Interactions, name: str) -> dict[str, Any]:
    """Each family tuned inside the training part, fitted on all of it, and tested; then a blend,
    whose weights come from the inner predictions."""
    outer, inner = outer_splits(data)[name]
    chosen, inside, outside = {}, [], []
    for family in FAMILIES:
        start = time.process_time()
        settings, guess, tried = tune(family, inner)
        tuning = time.process_time() - start
        start = time.process_time()
        model = make(family, settings, outer.train).fit(outer.train)
        outside.append(predicted(model, outer.test))
        seconds = time.process_time() - start
        inside.append(guess)
        chosen[family] = {
            "settings": settings,
            "tried": tried,
            "rmse": round(rmse(outside[-1], outer.test), 5),
            "inner": round(rmse(guess, inner.test), 5),
            "seconds": round(seconds, 2),
            "tuning_seconds": round(tuning, 1),
            "squares": user_squares(outside[-1], outer.test),
        }
    stack = RidgeCV(alphas=np.logspace(-1, 4, 11)).fit(np.transpose(inside), inner.test.ratings)
    blend = np.clip(stack.predict(np.transpose(outside)), 1, 5)
    chosen["blend"] = {
        "weights": dict(zip(FAMILIES, stack.coef_.round(3).tolist(), strict=True)),
        "rmse": round(rmse(blend, outer.test), 5),
        "inner": round(rmse(stack.predict(np.transpose(inside)), inner.test), 5),
        "seconds": round(sum(part["seconds"] for part in chosen.values()), 2),
        "squares": user_squares(blend, outer.test),
    }
    return {"families": chosen}


def published(data: Interactions, name: str) -> dict[str, Any]:
    """Five folds with the published settings."""
    kind, settings = PUBLISHED[name]
    by_seed, total, seconds = [], np.zeros(data.n_users), []
    for seed in SEEDS if name in SEEDED else SEEDS[:1]:
        folds = []
        for fold in k_fold(data, 5, seed=0):
            model = kind(**settings, **({"seed": seed} if name in SEEDED else {}))
            start = time.process_time()
            model.fit(fold.train)
            guess = predicted(model, fold.test)
            seconds.append(time.process_time() - start)
            folds.append(round(rmse(guess, fold.test), 5))
            if seed == 0:
                total += user_squares(guess, fold.test)
        by_seed.append(folds)
    return {
        "rmse": by_seed,
        "seconds": round(float(np.mean(seconds)), 2),
        "squares": total.round(2).tolist(),
    }


def thin(train: Interactions, share: float, seed: int) -> Interactions:
    """A random share of the ratings."""
    rows = np.random.default_rng([seed, 7]).permutation(len(train))[: round(share * len(train))]
    return train.select(np.sort(rows))


def sparse(data: Interactions, share: float) -> dict[str, Any]:
    """The first fold with a share of its training ratings, with, without and with shuffled side
    features; what needs a ridge takes the best of four on a fifth of the training part."""
    fold = k_fold(data, 5, seed=0)[0]
    total: dict[str, np.ndarray] = {}
    by_seed: dict[str, list[float]] = {}
    for seed in SEEDS:
        train = thin(fold.train, share, seed)
        inner = k_fold(train, 5, seed=1)[0]
        rng = np.random.default_rng([seed, 8])
        true = side_features(data)
        views = {"ids": (), "side": true, "shuffled": tuple(rng.permutation(x) for x in true)}
        models = {"baseline": Baseline(6, 3), "kNN-Baseline": RatingKNN("baseline")}
        for name, features in views.items():
            models[f"Bayesian MF, {name}"] = BayesianMF(8, features=features or None, seed=seed)
            ridge = best_ridge(lambda l2: FM(8, l2, features=features, seed=seed), inner)  # noqa: B023
            models[f"FM, {name}"] = FM(8, ridge, features=features, seed=seed)
        ridge = best_ridge(lambda l2: BiasedMF(50, l2, 40, 0.01, seed=seed), inner)  # noqa: B023
        models["SVD"] = BiasedMF(50, ridge, 40, 0.01, seed=seed)
        for name, model in models.items():
            guess = predicted(model.fit(train), fold.test)
            by_seed.setdefault(name, []).append(round(rmse(guess, fold.test), 5))
            total[name] = total.get(name, 0) + np.array(user_squares(guess, fold.test)) / len(SEEDS)
    squares = {name: values.round(2).tolist() for name, values in total.items()}
    return {"rmse": by_seed, "squares": squares}


def best_ridge(build: Any, inner: Split) -> float:
    """Of four ridges, the one with the lowest RMSE on inner.test."""
    ridges = (0.05, 0.1, 0.2, 0.3)
    scores = [rmse(predicted(build(l2).fit(inner.train), inner.test), inner.test) for l2 in ridges]
    return ridges[int(np.argmin(scores))]


def curve(data: Interactions, rank: int) -> dict[str, Any]:
    """RMSE by ridge of ALS with ``rank`` factors, run until its sweeps change nothing, and of
    Bayesian MF, on the part of the first fold's training ratings that tunes."""
    inner = outer_splits(data)["fold 1"][1]
    found = {}
    for l2 in CURVE_RIDGES:
        model = ALS(rank, l2, n_epochs=40).fit(inner.train)
        found[str(l2)] = round(rmse(predicted(model, inner.test), inner.test), 4)
    result: dict[str, Any] = {"ALS": found}
    if rank <= 50:
        model = BayesianMF(rank, n_epochs=120).fit(inner.train)
        result["Bayesian MF"] = round(rmse(predicted(model, inner.test), inner.test), 4)
    return result


# ---- the store -------------------------------------------------------------------------------
def keys() -> Iterator[str]:
    """All runs."""
    yield from (f"published/{name}" for name in PUBLISHED)
    yield from (f"nested/fold {number}" for number in range(1, 6))
    yield from ("nested/last", "nested/time")
    yield from (f"sparse/{share:g}" for share in SHARES)
    yield from (f"curve/{rank}" for rank in RANKS)


def run(key: str) -> dict[str, Any]:
    group, name = key.split("/")
    data = load_movielens()
    if group == "published":
        return published(data, name)
    if group == "nested":
        return nested(data, name)
    if group == "sparse":
        return sparse(data, float(name))
    return curve(data, int(name))


def code_hash() -> str:
    """Of the code that the stored numbers depend on."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update((ROOT / "recsys_lab" / name).read_bytes())
    own = Path(__file__).read_text().split("\n# ---- the store")[0]
    digest.update(own.split("\n# ---- models", 1)[1].encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("nested/fold 1").

    Raises:
        FileNotFoundError: nothing is stored yet; the message says how to make it.
    """
    if not STORE.exists():
        raise FileNotFoundError(f"{STORE.name} is not here. Make it: python {Path(__file__).name}")
    return json.loads(STORE.read_text())["runs"]


def _save(stored: dict[str, Any]) -> None:
    lines = [f"{json.dumps(key)}: {json.dumps(stored[key])}" for key in sorted(stored)]
    head = json.dumps({"code": code_hash(), "torch": torch.__version__.split("+")[0]})
    text = head[:-1] + ', "runs": {\n' + ",\n".join(lines) + "\n}}\n"
    unfinished = STORE.with_suffix(".part")
    unfinished.write_text(text)
    os.replace(unfinished, STORE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", help="published, nested, sparse or curve")
    parser.add_argument("--limit", type=float, default=np.inf, help="seconds; no run starts later")
    arguments = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    saved = json.loads(STORE.read_text()) if STORE.exists() else {}
    if saved and saved["code"] != code_hash():
        print("The models' code has changed: all runs are repeated.")
    stored = saved["runs"] if saved.get("code") == code_hash() else {}
    begun = time.monotonic()
    while todo := [k for k in keys() if k not in stored and k.startswith(arguments.only)]:
        if time.monotonic() - begun > arguments.limit:
            print(f"{len(todo)} runs are left")
            return 1
        stored[todo[0]] = run(todo[0])
        _save(stored)
        print(f"{todo[0]}  ({len(todo) - 1} left)", flush=True)
    print(f"{len(stored)} runs in {STORE.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
