"""The data of the comparisons: each a list of splits, and the file that hands one to a worker.

`clicks`: who rated what, a quarter of each user's items held out; the quality is nDCG@10 over the
full catalogue. `stars`: ratings, a fifth held out; the quality is the RMSE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.synthetic import Shape, synthetic
from recsys_lab.data import Interactions, Split, holdout_per_user, k_fold, load_movielens
from recsys_lab.evaluation import chance_level, chance_ratings, evaluate, evaluate_ratings
from recsys_lab.models import ItemMean, Popularity

MANY = 10_000  # from so many users on, so many drawn ones are judged


@dataclass(frozen=True)
class Part:
    """A split, what is measured on it, and who is judged (all users if None)."""

    split: Split
    kind: str  # "clicks" or "stars"
    judged: np.ndarray | None = None

    @property
    def users(self) -> np.ndarray:
        """Whose scores are wanted: none for stars, where the test pairs are."""
        if self.kind == "stars":
            return np.empty(0, dtype=np.int64)
        return np.arange(self.split.train.n_users) if self.judged is None else self.judged

    def save(self, path: Path) -> None:
        """The file that a worker loads. Indices take 4 bytes, ratings 8."""
        train, test = self.split.train, self.split.test
        np.savez(
            path,
            shape=np.array([train.n_users, train.n_items]),
            users=train.users.astype(np.int32),
            items=train.items.astype(np.int32),
            ratings=train.ratings,
            test_users=test.users.astype(np.int32),
            test_items=test.items.astype(np.int32),
            wanted_users=self.users,
        )

    def quality(self, scores: np.ndarray) -> np.ndarray:
        """nDCG@10 of each judged user (n, 2), or squared errors (n, 2), beside the user's number.

        Raises:
            ValueError: scores of a wrong shape or with nan, see `evaluate`.
        """
        if self.kind == "stars":
            table = evaluate_ratings(_Answers(scores), self.split)
            return table[["user", "squared_error"]].to_numpy()
        rows = np.zeros(self.split.train.n_users, dtype=np.int64)
        rows[self.users] = np.arange(len(self.users))
        table = evaluate(_Rows(scores, rows), self.split, k=10, users=self.users, metrics=("ndcg",))
        return np.column_stack([table.index, table["ndcg"]])


@dataclass(frozen=True)
class _Answers:
    """Ratings that were predicted elsewhere, for the test pairs in order."""

    values: np.ndarray

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.values


@dataclass(frozen=True)
class _Rows:
    """Scores that were made elsewhere; ``rows`` says which row a user has."""

    scores: np.ndarray
    rows: np.ndarray

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.scores[self.rows[users]]


def clicks(data: Interactions, n_splits: int = 3) -> list[Part]:
    """A quarter of each user's items held out, by chance, ``n_splits`` times."""
    judged = None
    if data.n_users >= MANY:
        judged = np.sort(np.random.default_rng(0).choice(data.n_users, 2_000, replace=False))
    splits = (holdout_per_user(data, 0.25, seed=seed) for seed in range(n_splits))
    return [Part(split, "clicks", judged) for split in splits]


def stars(data: Interactions, n_splits: int = 5) -> list[Part]:
    """The first ``n_splits`` of five folds."""
    return [Part(split, "stars") for split in k_fold(data, 5, seed=0)[:n_splits]]


def floors(part: Part) -> dict[str, float]:
    """What no taste is needed for: chance, and popularity (for stars: the items' means)."""
    split = part.split
    if part.kind == "stars":
        tables = chance_ratings(split), evaluate_ratings(ItemMean().fit(split.train), split)
        values = [float(np.sqrt(table["squared_error"].mean())) for table in tables]
    else:
        options = {"k": 10, "users": part.users, "metrics": ("ndcg",)}
        model = Popularity().fit(split.train)
        tables = chance_level(split, **options), evaluate(model, split, **options)
        values = [float(table["ndcg"].mean()) for table in tables]
    return dict(zip(("chance", "popularity"), values))


def share(data: Interactions, n: int, seed: int = 0) -> Interactions:
    """``n`` of the events, by chance; users and items stay."""
    if n >= len(data):
        return data
    rows = np.random.default_rng(seed).permutation(len(data))[:n]
    return data.select(np.sort(rows), f"{data.name}, {n:,} events")


def first_users(data: Interactions, n_users: int) -> Interactions:
    """The events of the first users, who are all that is left."""
    keep = data.users < n_users
    return Interactions(
        users=data.users[keep],
        items=data.items[keep],
        ratings=data.ratings[keep],
        user_ids=np.arange(n_users),
        item_ids=np.arange(data.n_items),
        name=f"{data.name}, {n_users} users",
    )


def tiny() -> Interactions:
    """Something to warm up on."""
    return synthetic(Shape(80, 60, 1_600))


SETS: dict[str, tuple[str, Callable[[], list[Part]]]] = {  # key -> name in tables, its parts
    "100k-clicks": ("ML-100K", lambda: clicks(load_movielens())),
    "100k-stars": ("ML-100K", lambda: stars(load_movielens())),
    "1m-clicks": ("shape of ML-1M", lambda: clicks(synthetic("ml-1m"))),
    "1m-stars": ("shape of ML-1M", lambda: stars(synthetic("ml-1m"), 2)),
    "20m-clicks": ("shape of ML-20M", lambda: clicks(synthetic("ml-20m"), 1)),
    "tiny-clicks": ("tiny", lambda: clicks(tiny(), 1)),
    "tiny-stars": ("tiny", lambda: stars(tiny(), 1)),
}
