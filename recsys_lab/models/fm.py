"""Factorisation machine: users, films and what is known of them, all in one second-order model."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import nn

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor
from recsys_lab.training import train as train_network


def side_features(data: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """What the tables say: (n_users, 2 + n ages + n occupations), (n_items, n genres + n decades).

    Ones and zeros; genres of a film share a length of 1. An unknown entry is a row of zeros.
    """
    people, films = data.user_table, data.item_table
    decades = pd.Series(pd.to_numeric(films["year"], errors="coerce") // 10 * 10)
    ages = pd.cut(pd.to_numeric(people["age"], errors="coerce"), [0, 18, 25, 35, 45, 56, 200])
    user_parts = [ages, people["gender"], people["occupation"]]
    genres = films["genres"].map(lambda names: "|".join(names)).str.get_dummies().to_numpy(float)
    genres = genres / np.sqrt(np.maximum(genres.sum(axis=1, keepdims=True), 1))
    users = [pd.get_dummies(part, dtype=float).to_numpy() for part in user_parts]
    return np.hstack(users), np.hstack([genres, pd.get_dummies(decades, dtype=float).to_numpy()])


class Machine(nn.Module):
    """Features of users and of items -> y = w_0 + sum_i w_i x_i + sum_{i<j} (v_i . v_j) x_i x_j.

    The feature vector of a pair is [one-hot user, user features, one-hot item, item features]. The
    double sum over n features is half of |sum_i x_i v_i|^2 - sum_i |x_i v_i|^2, k n steps instead
    of k n^2; the sums of a user and of an item are formed once for all pairs.
    """

    def __init__(self, users: torch.Tensor, items: torch.Tensor, n_factors: int):
        super().__init__()
        self.w_0 = nn.Parameter(torch.zeros(()))
        self.register_buffer("user_features", users)  # (n_users, d_u)
        self.register_buffer("item_features", items)  # (n_items, d_i)
        for name, x in (("user", users), ("item", items)):
            n, d = x.shape
            # The first n rows belong to the ids, the other d to their features.
            self.register_parameter(f"{name}_w", nn.Parameter(torch.zeros(n + d)))
            table = torch.randn(n + d, n_factors) * 0.1
            self.register_parameter(f"{name}_v", nn.Parameter(table))

    def sums(self, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each user (item): sum of w x (n,), of x v (n, k), of |x v|^2 (n,)."""
        x, w, v = (getattr(self, f"{name}_{part}") for part in ("features", "w", "v"))
        n = len(x)
        squares = (v**2).sum(dim=1)
        return w[:n] + x @ w[n:], v[:n] + x @ v[n:], squares[:n] + x**2 @ squares[n:]

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """y of each pair (n,), and the squares that l2 pulls at (n,)."""
        (w_u, v_u, s_u), (w_i, v_i, s_i) = self.sums("user"), self.sums("item")
        # |a + b|^2 = |a|^2 + |b|^2 + 2 a . b: only the last term needs the pair.
        alone_u, alone_i = w_u + (v_u**2).sum(1) / 2 - s_u / 2, w_i + (v_i**2).sum(1) / 2 - s_i / 2
        meet = (v_u.index_select(0, users) * v_i.index_select(0, items)).sum(dim=1)
        return self.w_0 + alone_u[users] + alone_i[items] + meet, s_u[users] + s_i[items]


class FM(RatingPredictor):
    """Ratings by a second-order factorisation machine (Rendle 2010), trained with AdamW.

    ``features`` is a pair of arrays (n_users, d_u), (n_items, d_i); None takes `side_features`,
    ``()`` takes none, and the machine is `BiasedMF`. A new user keeps what their features say.
    Derived in chapters/4_matrix_factorization/3_real_ratings.

    Raises:
        ValueError: bad settings; (``fit``) features that do not fit the data.
    """

    def __init__(
        self,
        n_factors: int = 16,
        l2: float = 0.05,
        n_epochs: int = 20,
        lr: float = 0.01,
        features: tuple[np.ndarray, ...] | None = None,
        batch_size: int = 4096,
        patience: int | None = None,
        seed: int = 0,
    ):
        if min(n_factors, n_epochs, batch_size) < 1 or lr <= 0 or l2 < 0:
            raise ValueError(
                "n_factors, n_epochs and batch_size start at 1, lr is above 0, l2 not below it; "
                f"got {n_factors=}, {n_epochs=}, {batch_size=}, {lr=}, {l2=}."
            )
        self.n_factors = n_factors
        self.l2 = l2
        self.n_epochs = n_epochs
        self.lr = lr
        self.features = features
        self.batch_size = batch_size
        self.patience = patience
        self.seed = seed

    def build(self, data: Interactions) -> Machine:
        """The untrained machine for this data."""
        sizes = data.n_users, data.n_items
        features = side_features(data) if self.features is None else self.features
        if len(features) == 0:
            features = tuple(np.zeros((n, 0)) for n in sizes)
        if len(features) != 2 or any(len(x) != n for x, n in zip(features, sizes)):
            raise ValueError(
                f"features: two arrays, of {sizes[0]} users and {sizes[1]} items rows."
            )
        torch.manual_seed(self.seed)
        machine = Machine(*(torch.tensor(x, dtype=torch.float32) for x in features), self.n_factors)
        with torch.no_grad():  # an id without ratings says nothing
            machine.user_v[: sizes[0]][torch.from_numpy(data.counts("users") == 0)] = 0
            machine.item_v[: sizes[1]][torch.from_numpy(data.counts("items") == 0)] = 0
            machine.w_0.fill_(data.ratings.mean())
        return machine

    def fit(
        self,
        train: Interactions,
        validation: Interactions | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Learn. With ``validation`` the epoch of its lowest RMSE is kept."""
        self.train, where = train, device.pick()
        self.range = train.ratings.min(), train.ratings.max()
        self.machine = self.build(train).to(where)
        columns = (torch.from_numpy(x.copy()) for x in (train.users, train.items, train.ratings))
        users, items, ratings = (column.to(where) for column in columns)

        def batches(epoch: int) -> list[torch.Tensor]:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(train))
            return list(torch.from_numpy(order).to(where).split(self.batch_size))

        def loss(rows: torch.Tensor) -> torch.Tensor:
            predicted, squares = self.machine(users[rows], items[rows])
            return ((predicted - ratings[rows].float()) ** 2 + self.l2 * squares).mean()

        def minus_rmse() -> float:
            error = self.predict(validation.users, validation.items) - validation.ratings
            return -float(np.sqrt(np.mean(error**2)))

        self.history = train_network(
            self.machine,
            batches,
            loss,
            n_epochs=self.n_epochs,
            lr=self.lr,
            lr_decay=True,
            validate=None if validation is None else minus_rmse,
            patience=self.patience,
            checkpoint=checkpoint,
            name="FM",
        )
        return self

    @torch.no_grad()
    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        where = self.machine.w_0.device
        pairs = (torch.from_numpy(np.array(index)).to(where) for index in (users, items))
        return np.clip(self.machine(*pairs)[0].cpu().numpy().astype(float), *self.range)
