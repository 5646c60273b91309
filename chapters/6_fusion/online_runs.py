"""The rounds of feedback of section 6, Learning on line: newcomers answer page after page. The
results stand in online_runs.json beside this file; the section reads them and repeats one of them.

    .venv/bin/python chapters/6_fusion/online_runs.py [--minutes 4] [--only tune]

Each user is a newcomer once: in one of three groups by lot. A part of the other two groups serves
to choose settings, the rest to fit the models that the settings are chosen with. A run that is
stored already is not repeated, unless the code it depends on has changed since. All runs take less
than a minute of one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from recsys_lab import stored_runs
from recsys_lab.data import load_movielens
from recsys_lab.evaluation import ranking_metrics
from recsys_lab.fusion.linucb import LinUCB
from recsys_lab.models import EASE, PureSVD, standardize

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "online_runs.json"
GROUPS, N_ROUNDS, PAGE = (0, 1, 2), 10, 10
ASKERS = ("chance", "popularity", "entropy", "popularity x entropy", "fused", "bandit")
L2, HALVES = (200, 400, 800, 1600), (3, 10, 30)
ALPHAS, RIDGES = (0.0, 0.3, 1.0), (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Run:
    """``part`` is "tune" or "final"; ``asker`` chooses the pages."""

    part: str
    group: int
    asker: str
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        values = "/".join(str(v) for v in self.settings.values()) if self.part == "tune" else ""
        return f"{self.part}/{self.asker}/{self.group}" + (f"/{values}" if values else "")


class Newcomers:
    """Users ``who`` of whom nothing is known yet, and models fitted on the users ``base``.

    By lot, half of a newcomer's films can be recognised when asked about; the rest is the exam.
    """

    def __init__(self, base: np.ndarray, who: np.ndarray, seed: int):
        data = load_movielens()
        self.who, self.train = who, data.select(np.isin(data.users, base))
        events = data.select(np.isin(data.users, who))
        known = np.random.default_rng(seed).random(len(events)) < 0.5
        self.answers = events.select(known).matrix()[who].toarray() > 0  # (n_who, n_items)
        self.exam = events.select(~known).matrix()[who]
        self.popularity = self.train.counts("items").astype(float)
        self.share = (self.popularity + 0.5) / (len(base) + 1)  # of users who have rated it
        self.popular = standardize(np.log(self.popularity + 1)[None])
        self.factors = PureSVD(16).fit(self.train).item_factors  # (n_items, 16)
        stars = [
            (self.train.matrix("ratings") == star).toarray().sum(axis=0) for star in range(1, 6)
        ]
        p = np.array(stars) / np.maximum(self.popularity, 1)
        self.entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=0)  # of its stars, in nats
        self.films: dict[float, np.ndarray] = {}

    def scores(self, history: np.ndarray, l2: float, half: float) -> np.ndarray:
        """EASE weighs n / (n + half) after n answers, popularity the rest: (n_who, n_items)."""
        if l2 not in self.films:
            self.films[l2] = EASE(l2).fit(self.train).weights
        n = history.sum(axis=1, keepdims=True)
        alpha = n / (n + half)
        return alpha * standardize(history @ self.films[l2]) + (1 - alpha) * self.popular

    def grade(self, scores: np.ndarray) -> np.ndarray:
        """nDCG@10 of the exam, of each newcomer; the films to recognise are no candidates."""
        table = ranking_metrics(
            scores,
            self.exam,
            exclude=sparse.csr_matrix(self.answers),
            users=self.who,
            metrics=["ndcg"],
        )
        return table["ndcg"].reindex(self.who).to_numpy()

    def wish(
        self, asker: str, history: np.ndarray, settings: dict, bandit: LinUCB, rng: Any
    ) -> np.ndarray:
        """How much the asker wants to ask about each film: (n_who, n_items)."""
        lots = rng.random(self.answers.shape)
        if asker == "chance":
            return lots
        if asker == "clairvoyant":  # sees what can be recognised
            return lots + self.answers
        if asker == "fused":
            return self.scores(history, settings["l2"], settings["half"])
        if asker == "bandit":
            return self.share + bandit.index(self.factors)
        fixed = {
            "popularity": self.popularity,
            "entropy": np.where(self.popularity >= 10, self.entropy, 0.0),
            "popularity x entropy": np.log(self.popularity + 1) * self.entropy,
        }
        return fixed[asker] + 1e-9 * lots


def play(world: Newcomers, asker: str, settings: dict, seed: int) -> dict[str, np.ndarray]:
    """Ten pages of ten films; nDCG@10 (n_rounds + 1, n_who) and films recognised so far."""
    rng = np.random.default_rng(seed)
    asked = np.zeros(world.answers.shape, dtype=bool)
    history = np.zeros(asked.shape, dtype=np.float32)
    bandit = LinUCB(
        len(asked), world.factors.shape[1], settings.get("alpha", 0), settings.get("ridge", 1)
    )
    ndcg, known = [], []
    for step in range(N_ROUNDS + 1):
        ndcg.append(world.grade(world.scores(history, settings["l2"], settings["half"])))
        known.append(history.sum(axis=1))
        if step == N_ROUNDS:
            break
        wish = np.where(asked, -np.inf, world.wish(asker, history, settings, bandit, rng))
        page = np.argpartition(-wish, PAGE, axis=1)[:, :PAGE]  # (n_who, PAGE)
        np.put_along_axis(asked, page, True, axis=1)
        answers = np.take_along_axis(world.answers, page, axis=1)
        if asker == "bandit":
            for film, answer in zip(page.T, answers.T):
                bandit.update(world.factors[film], answer - world.share[film])
        row, place = np.nonzero(answers)
        history[row, page[row, place]] = 1
    return {"ndcg": np.array(ndcg), "known": np.array(known)}


@cache
def world(part: str, group: int) -> Newcomers:
    """The newcomers whose pages choose settings ("tune"), or those of the group itself."""
    lots = np.random.default_rng(0).permutation(load_movielens().n_users)
    new = np.sort(lots[group :: len(GROUPS)])
    others = lots[~np.isin(lots, new)]
    if part == "tune":
        n = len(others) // 3
        return Newcomers(np.sort(others[n:]), np.sort(others[:n]), seed=group)
    return Newcomers(np.sort(others), new, seed=group)


# ---- the runs --------------------------------------------------------------------------------
def chosen(stored: dict[str, Any], asker: str, group: int) -> dict[str, Any] | None:
    """The settings with the best mean over rounds and tuning users; None if not all are tried."""
    trials = list(tuning(stored, asker, group))
    if not trials or any(run.key not in stored for run in trials):
        return None
    return max(trials, key=lambda run: stored[run.key]["ndcg"]).settings


def tuning(stored: dict[str, Any], asker: str, group: int) -> Iterator[Run]:
    if asker == "popularity":
        for l2, half in product(L2, HALVES):
            yield Run("tune", group, asker, {"l2": l2, "half": half})
    elif (base := chosen(stored, "popularity", group)) is not None:
        for alpha, ridge in product(ALPHAS, RIDGES):
            yield Run("tune", group, asker, base | {"alpha": alpha, "ridge": ridge})


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs wanted, given what is stored."""
    for group in GROUPS:
        for asker in ("popularity", "bandit"):
            yield from tuning(stored, asker, group)
        settings, of_bandit = (chosen(stored, a, group) for a in ("popularity", "bandit"))
        if settings is not None and of_bandit is not None:
            for asker in (*ASKERS, "clairvoyant"):
                yield Run("final", group, asker, of_bandit if asker == "bandit" else settings)


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    result = play(world(run.part, run.group), run.asker, run.settings, seed=run.group)
    if run.part == "tune":
        return {"ndcg": round(float(result["ndcg"].mean()), 5)}
    return {
        "users": world(run.part, run.group).who.tolist(),
        "ndcg": result["ndcg"].round(4).tolist(),
        "known": result["known"].mean(axis=1).round(3).tolist(),
    }


def code_hash(run: Run) -> str:
    """Of the code that every run depends on: this file, and the models."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in (
        "models/ease",
        "models/svd",
        "models/hybrid",
        "fusion/linucb",
        "data/interactions",
        "evaluation/ranking",
    ):
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
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
