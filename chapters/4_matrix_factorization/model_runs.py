"""The tuning and the final runs of section 5, The additive trap. Their results stand in
model_runs.json beside this file; the section reads them and repeats one of them.

    .venv/bin/python chapters/4_matrix_factorization/model_runs.py [--minutes 5] [--only tune]

Every model gets the same number of trials on the validation part of the first split: its defaults,
then random settings. The best trial is fitted again on all training ratings of three splits. A run
that is stored already is not repeated, unless the code it depends on has changed since; stop it
whenever you like and start it again. All runs take about half an hour of one core.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Self

import click_runs
import numpy as np
import torch
from random_search import Candidate, Run, log_uniform, one_of, per_user
from torch import nn
from torch.nn import functional

from recsys_lab import device, stored_runs
from recsys_lab.data import Interactions, Split, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate, ranking_metrics
from recsys_lab.models import (
    EASE,
    IALS,
    NCF,
    Autoencoder,
    LightGCN,
    MultVAE,
    Recommender,
    TwoTower,
)
from recsys_lab.models.implicit_base import ImplicitModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "model_runs.json"
SPLITS = (0, 1, 2)
N_TRIALS = 12
N_BLENDS = 400  # random mixtures tried on validation
NOISE = 0.1  # share of made-up events


# ---- a small GAN -----------------------------------------------------------------------------
class GAN(Recommender):
    """A generator writes a user's row of films from a part of the history; a discriminator sees the
    same part and tells the written row from the real one. It is shown the user's films and a few
    others, whose entries the generator also learns to keep near zero. After CFGAN (Chae et al.
    2018). Two optimisers take turns, so `training.train`, which has one, is not used; the best
    epoch on ``validation`` is kept.

    Args:
        n_factors: width of the hidden layer of both networks.
        dropout: share of the history that neither is shown.
        n_negatives: films besides the user's own that the discriminator is shown, on average.
        zero_weight: of the generator's loss for writing them.
        lr, slower: learning rate of the generator; the discriminator's is ``slower`` times it.
    """

    def __init__(
        self,
        n_factors: int = 128,
        dropout: float = 0.5,
        n_negatives: int = 100,
        zero_weight: float = 0.03,
        n_epochs: int = 100,
        lr: float = 3e-3,
        slower: float = 0.1,
        l2: float = 0.01,
        batch_size: int = 128,
        seed: int = 0,
    ):
        self.n_factors, self.dropout, self.n_negatives = n_factors, dropout, n_negatives
        self.zero_weight, self.n_epochs, self.lr, self.slower = zero_weight, n_epochs, lr, slower
        self.l2, self.batch_size, self.seed = l2, batch_size, seed

    def fit(
        self,
        train: Interactions,
        validation: Interactions | None = None,
        every: int = 5,
        patience: int = 4,
    ) -> Self:
        self.train, self.device, n = train, device.pick(), train.n_items
        torch.manual_seed(self.seed)
        self.rows = torch.from_numpy(train.matrix().toarray().astype(np.float32)).to(self.device)
        d, ask = self.n_factors, functional.softplus  # softplus(-x): the loss of "real"
        generator = nn.Sequential(nn.Linear(n, d), nn.Tanh(), nn.Linear(d, n))
        with torch.no_grad():  # start from popularity
            generator[2].bias.copy_(torch.logit((self.rows.mean(0) + 1e-3).clamp_max(0.999)))
            generator[2].weight.mul_(0.3)
        critic = nn.Sequential(nn.Linear(2 * n, d), nn.LeakyReLU(0.2), nn.Dropout(0.3))
        critic.append(nn.Linear(d, 1))
        self.network = nn.ModuleDict({"generator": generator, "discriminator": critic})
        self.network.to(self.device)
        steps = [(generator, self.lr), (critic, self.lr * self.slower)]
        of_generator, of_critic = (
            torch.optim.AdamW(part.parameters(), lr=lr, weight_decay=self.l2) for part, lr in steps
        )
        self.curve, best, start = [], None, time.perf_counter()
        for epoch in range(1, self.n_epochs + 1):
            self.network.train()
            for users in torch.randperm(len(self.rows)).split(self.batch_size):
                real = self.rows[users.to(self.device)]  # (B, n_items)
                part = real * (torch.rand_like(real) >= self.dropout)
                others = (torch.rand_like(real) < self.n_negatives / n) * (1 - real)
                written = torch.sigmoid(generator(functional.normalize(part))) * (real + others)
                of_real = critic(torch.cat([part, real], dim=1))
                of_written = critic(torch.cat([part, written.detach()], dim=1))
                of_critic.zero_grad()
                (ask(-of_real) + ask(of_written)).mean().backward()
                of_critic.step()
                fooled = ask(-critic(torch.cat([part, written], dim=1))).mean()
                too_much = (written * others).square().sum(dim=1).mean()
                of_generator.zero_grad()
                (fooled + self.zero_weight * too_much).backward()
                of_generator.step()
            if validation is not None and epoch % every == 0:
                relevant, seen = validation.matrix(), train.matrix()
                value = ranking_metrics(self.score(), relevant, k=10, exclude=seen)["ndcg"].mean()
                self.curve.append((epoch, float(value), time.perf_counter() - start))
                values = [point[1] for point in self.curve]
                if value == max(values):
                    best = {k: v.clone() for k, v in self.network.state_dict().items()}
                if len(values) - 1 - values.index(max(values)) >= patience:
                    break
        if best is not None:
            self.network.load_state_dict(best)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = torch.as_tensor(self.user_index(users), device=self.device)
        with torch.inference_mode():
            return self.network["generator"](functional.normalize(self.rows[users])).cpu().numpy()


# ---- models and what is tried ----------------------------------------------------------------
PAIRS = {
    "n_factors": one_of(16, 32, 64),
    "n_negatives": one_of(2, 4),
    "dropout": one_of(0.0, 0.2, 0.4),
    "lr": log_uniform(2e-3, 2e-2),
    "l2": log_uniform(0.03, 5.0),
}
ROWS = {
    "lr": log_uniform(3e-4, 5e-3),
    "dropout": one_of(0.3, 0.5, 0.7),
    "l2": log_uniform(0.01, 3.0),
}
CANDIDATES = {
    # Those of section 4 have its ranges, so its trials.
    **{name: click_runs.CANDIDATES[name] for name in ("EASE", "iALS", "BPR")},
    "dot product": Candidate(
        NCF, PAIRS, {"interaction": "dot", "n_epochs": 48}, "ncf implicit_base negatives", 2
    ),
    "MLP": Candidate(
        NCF, PAIRS, {"interaction": "mlp", "n_epochs": 48}, "ncf implicit_base negatives", 2
    ),
    "NCF": Candidate(
        NCF, PAIRS, {"interaction": "neumf", "n_epochs": 48}, "ncf implicit_base negatives", 2
    ),
    "two towers": Candidate(
        TwoTower,
        {
            "n_factors": one_of(32, 64),
            "loss_kind": one_of("full", "in-batch"),
            "dropout": one_of(0.0, 0.3, 0.5),
            "lr": log_uniform(5e-4, 5e-3),
            "l2": log_uniform(0.03, 3.0),
            "batch_size": one_of(512, 1024),
        },
        {"n_epochs": 8},
        "two_tower implicit_base",
        1,
    ),
    "autoencoder": Candidate(
        Autoencoder,
        ROWS | {"n_factors": one_of(64, 128, 256), "batch_size": one_of(64, 128)},
        {"n_epochs": 60},
        "autoencoder implicit_base",
        3,
    ),
    "Mult-VAE": Candidate(
        MultVAE,
        ROWS
        | {
            "n_factors": one_of(32, 64, 128),
            "n_hidden": one_of(128, 256),
            "beta": one_of(0.1, 0.2, 0.5, 1.0),
            "anneal": one_of(0, 20),
            "batch_size": one_of(64, 128),
        },
        {"n_epochs": 60},
        "mult_vae autoencoder implicit_base",
        3,
    ),
    "GAN": Candidate(
        GAN,
        {
            "n_factors": one_of(64, 128, 256),
            "dropout": one_of(0.3, 0.5, 0.7),
            "n_negatives": one_of(50, 100, 300),
            "zero_weight": log_uniform(0.01, 0.3),
            "lr": log_uniform(1e-3, 1e-2),
            "slower": one_of(0.05, 0.1, 0.2),
            "l2": log_uniform(1e-3, 0.3),
        },
        {"n_epochs": 100},
        "",
        5,
    ),
    "LightGCN": Candidate(
        LightGCN,
        {
            "n_factors": one_of(32, 64),
            "n_layers": one_of(1, 2, 3),
            "n_negatives": one_of(1, 4),
            "lr": log_uniform(2e-3, 3e-2),
            "l2": log_uniform(1e-3, 0.3),
        },
        {"n_epochs": 120},
        "lightgcn implicit_base negatives",
        4,
    ),
}
BLENDED = ("EASE", "iALS", "two towers", "autoencoder", "GAN")
NOISY = ("EASE", "iALS", "autoencoder", "Mult-VAE", "GAN")


# ---- runs ------------------------------------------------------------------------------------
def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; what follows from tuning comes once that is stored. ``group`` "tune": one trial on
    the first split; "final": the best trial, fitted on all training ratings; "noise": the same
    beside a fit with made-up events; "blend": a mixture."""
    for trial in range(N_TRIALS):
        for name in CANDIDATES:
            yield Run("tune", name, trial, CANDIDATES[name].settings(name, trial))
    for split in SPLITS:
        for name in CANDIDATES:
            if best := best_settings(stored, name):
                yield Run("final", name, split, best)
    for split in SPLITS:
        for name in NOISY:
            if best := best_settings(stored, name):
                yield Run("noise", name, split, best)
    chosen = {name: best_settings(stored, name) for name in BLENDED}
    if all(chosen.values()):
        yield Run("blend", "blend", 0, chosen)


def best_settings(stored: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Settings of the best trial, with the number of epochs at which it was best; None if the
    trials are not all run yet."""
    trials = [stored.get(f"tune/{name}/{trial}") for trial in range(N_TRIALS)]
    if None in trials:
        return None
    best = max(trials, key=lambda trial: trial["ndcg"])
    return best["settings"] | ({"n_epochs": best["best_epoch"]} if "best_epoch" in best else {})


def fit(name: str, settings: dict[str, Any], train: Interactions, seed: int) -> Recommender:
    """The model of this name, trained on ``train``."""
    seeded = {} if name == "EASE" else {"seed": seed}
    return CANDIDATES[name].make(**settings, **seeded).fit(train)


def tune_one(run: Run, split: Split) -> dict[str, Any]:
    """One trial: nDCG@10 on the validation part, and the learning curve."""
    candidate = CANDIDATES[run.name]
    if candidate.every is None:
        model = fit(run.name, run.settings, split.train, seed=0)
        table = evaluate(model, split, part="validation", metrics=["ndcg"])
        return {"ndcg": round(float(table["ndcg"].mean()), 5)}
    model = candidate.make(**run.settings, seed=0).fit(
        split.train, validation=split.validation, every=candidate.every, patience=4
    )
    if isinstance(model, ImplicitModel):
        history = model.history.dropna()
        curve = list(zip(history["epoch"], history["validation"], history["seconds"]))
    else:
        curve = model.curve
    epochs, values, seconds = zip(*curve)
    best = int(np.argmax(values))
    return {
        "ndcg": round(float(values[best]), 5),
        "best_epoch": int(epochs[best]),
        "epochs": [int(epoch) for epoch in epochs],
        "curve": [round(float(value), 4) for value in values],
        "curve_seconds": [round(float(second), 2) for second in seconds],
    }


def final(run: Run, data: Interactions) -> dict[str, Any]:
    """The best settings on one split: nDCG@10 of each user, and what the model costs."""
    split = holdout_per_user(data, 0.25, seed=run.number)
    start = time.process_time()
    model = fit(run.name, run.settings, split.train, seed=run.number)
    seconds = time.process_time() - start
    return {
        "ndcg": per_user(model.score(), split),
        "fit_seconds": round(seconds, 2),
        "parameters": n_parameters(model),
    }


def n_parameters(model: Recommender) -> int:
    """Numbers that the model has learnt."""
    if isinstance(model, EASE):
        return model.weights.size - len(model.weights)  # the diagonal is zero
    if isinstance(model, IALS):
        return model.user_factors.size + model.item_factors.size
    return sum(p.numel() for p in model.network.parameters() if p.requires_grad)


def with_noise(split: Split, share: float, seed: int) -> Interactions:
    """The training part with ``share`` times as many events more for each user, drawn among the
    films that the user has rated in no part."""
    train = split.train
    rng = np.random.default_rng([seed, 1])
    chance = rng.random((train.n_users, train.n_items))
    chance[split.train.users, split.train.items] = -1
    chance[split.test.users, split.test.items] = -1
    n_new = np.rint(train.counts("users") * share).astype(int)
    place = np.argsort(np.argsort(-chance, axis=1), axis=1)
    users, items = np.nonzero(place < n_new[:, None])
    return Interactions(
        np.concatenate([train.users, users]),
        np.concatenate([train.items, items]),
        user_ids=train.user_ids,
        item_ids=train.item_ids,
        user_table=train.user_table,
        item_table=train.item_table,
    )


def noise(run: Run, data: Interactions) -> dict[str, Any]:
    """Trained on clean and on noisy events; both ranked without the made-up films."""
    split = holdout_per_user(data, 0.25, seed=run.number)
    noisy = with_noise(split, NOISE, seed=run.number)
    candidates = Split(noisy, None, split.test, "noise")
    return {
        which: per_user(fit(run.name, run.settings, train, run.number).score(), candidates)
        for which, train in [("clean", split.train), ("noisy", noisy)]
    }


def blend(run: Run, data: Interactions) -> dict[str, Any]:
    """Weights of a sum of standardised scores, chosen on the validation part of the first split;
    then the sum on three splits."""
    tuning = holdout_per_user(data, 0.25, 0.15, seed=0)
    parts = [
        standardised(fit(n, s, tuning.train, 0), tuning.train) for n, s in run.settings.items()
    ]
    rng = np.random.default_rng(0)
    tried = np.vstack([np.eye(len(parts)), rng.dirichlet(np.full(len(parts), 0.7), N_BLENDS)])
    relevant, seen = tuning.validation.matrix(), tuning.train.matrix()
    values = []
    for weights in tried:
        mixed = np.tensordot(weights.astype(np.float32), parts, axes=1)
        values.append(ranking_metrics(mixed, relevant, k=10, exclude=seen)["ndcg"].mean())
    weights = tried[int(np.argmax(values))].round(3)
    result = {"weights": weights.tolist(), "validation": round(float(max(values)), 5)}
    for number in SPLITS:
        split = holdout_per_user(data, 0.25, seed=number)
        parts = [
            standardised(fit(n, s, split.train, number), split.train)
            for n, s in run.settings.items()
        ]
        mixed = np.tensordot(weights.astype(np.float32), parts, axes=1)
        result[f"ndcg/{number}"] = per_user(mixed, split)
    return result


def standardised(model: Recommender, train: Interactions) -> np.ndarray:
    """Scores as z-scores of each user's unseen films."""
    scores = model.score().astype(np.float32)
    unseen = train.matrix().toarray() == 0
    mean = scores.mean(axis=1, where=unseen, keepdims=True)
    spread = scores.std(axis=1, where=unseen, keepdims=True)
    return (scores - mean) / np.maximum(spread, 1e-9)


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    data = load_movielens()
    if run.group == "tune":
        return tune_one(run, holdout_per_user(data, 0.25, 0.15, seed=0))
    return {"final": final, "noise": noise, "blend": blend}[run.group](run, data)


# ---- the store -------------------------------------------------------------------------------
PARTS = {
    "tune": (tune_one,),
    "final": (final, per_user),
    "noise": (noise, with_noise, per_user),
    "blend": (blend, standardised, per_user),
}
_source = cache(inspect.getsource)


def code_hash(run: Run) -> str:
    """Of the code that the run depends on: that of its models, and the functions above."""
    names = BLENDED if run.group == "blend" else (run.name,)
    files = sorted({file for name in names for file in CANDIDATES[name].files.split()})
    digest = hashlib.sha256()
    for file in ["training", "data/splits", *(f"models/{file}" for file in files)]:
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in [fit, *PARTS[run.group], *([GAN] if "GAN" in names else [])]:
        digest.update(_source(part).encode())
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
        "tune/NCF",
        store=STORE,
        wanted=runs,
        code=code_hash,
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())
