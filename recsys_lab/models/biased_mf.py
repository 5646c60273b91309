"""Biased matrix factorisation for ratings, by minibatch stochastic gradient descent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor
from recsys_lab.models.sides import Side, one_side, products, weighted_sums


class BiasedMF(RatingPredictor):
    """r(u, i) = mean + b_u + b_i + p_u . q_i, fitted by minibatch SGD; known as "SVD".

    A step takes the *sum* of the gradients of its batch, so ``lr`` means what it means when the
    ratings come one at a time. The batches are drawn once, their order anew in each epoch.
    ``biases=False`` leaves mean + p_u . q_i (Funk 2006). Users and items without ratings keep
    zero vectors. Source: Koren, Bell and Volinsky (2009); the defaults are Surprise's.
    Derived in chapters/4_matrix_factorization/3_real_ratings.

    Raises:
        ValueError: bad settings, or (``fit``) the checkpoint of another model.
        FloatingPointError: (``fit``) the steps were too large: large batches need a small ``lr``.
    """

    def __init__(
        self,
        n_factors: int = 100,
        l2: float = 0.02,
        n_epochs: int = 20,
        lr: float = 0.005,
        biases: bool = True,
        batch_size: int = 8192,
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
        self.biases = biases
        self.batch_size = batch_size
        self.patience = patience
        self.seed = seed

    def fit(
        self,
        train: Interactions,
        validation: Interactions | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Learn. With ``validation`` the epoch of its lowest RMSE is kept, and ``patience`` epochs
        without a better one end the training. ``checkpoint``: a file to resume from."""
        if self.patience is not None and validation is None:
            raise ValueError("patience needs validation: without it nothing says when to stop.")
        self.train = train
        self.mean = float(train.ratings.mean())
        self.range = train.ratings.min(), train.ratings.max()
        self.weights = self.start(train)
        self.rmse: list[float] = []  # on the validation part, epoch by epoch
        best, epoch = None, 0
        if checkpoint is not None and Path(checkpoint).exists():
            self.weights, self.rmse, best, epoch = self.resume(checkpoint)
        batches = self.batches(train)
        while epoch < self.n_epochs and not self.is_over():
            for batch in np.random.default_rng([self.seed, epoch]).permutation(len(batches)):
                self.step(*batches[batch])
            epoch += 1
            if not all(torch.isfinite(table).all() for table in self.weights.values()):
                raise FloatingPointError(f"epoch {epoch}: not a number; try a smaller lr or batch.")
            if validation is not None:
                error = self.predict(validation.users, validation.items) - validation.ratings
                self.rmse.append(float(np.sqrt(np.mean(error**2))))
                if self.rmse[-1] == min(self.rmse):
                    best = {name: table.clone() for name, table in self.weights.items()}
            if checkpoint is not None:
                state = (self.weights, self.rmse, best, epoch)
                torch.save({"settings": self.settings(), "state": state}, f"{checkpoint}.part")
                os.replace(f"{checkpoint}.part", checkpoint)  # complete or absent, never half
        self.weights = best or self.weights
        return self

    def start(self, train: Interactions) -> dict[str, torch.Tensor]:
        """The first weights: (n, 2 + n_factors), biases and ones in front, so that a row of users
        times a row of items is b_u * 1 + 1 * b_i + p_u . q_i."""
        where, rng = device.pick(), np.random.default_rng(self.seed)
        weights = {}
        for name, own, one in (("users", 0, 1), ("items", 1, 0)):
            counts = train.counts(name)
            table = rng.normal(0, 0.1, (len(counts), 2 + self.n_factors))
            table[counts == 0] = 0.0
            table[:, own], table[:, one] = 0.0, self.biases
            weights[name] = torch.from_numpy(table.astype(np.float32)).to(where)
        return weights

    def batches(self, train: Interactions) -> list[tuple[torch.Tensor, Side, Side]]:
        """Ratings less the mean, and their two sides; each batch sorted by user."""
        where = self.weights["users"].device
        part = np.random.default_rng([self.seed, 2**32 - 1]).permutation(len(train))
        batches = []
        for rows in np.array_split(part, -(-len(train) // self.batch_size)):
            rows = rows[np.argsort(train.users[rows], kind="stable")]
            users, items = train.users[rows], train.items[rows]
            residual = torch.from_numpy((train.ratings[rows] - self.mean).astype(np.float32))
            sides = one_side(users, items, where), one_side(items, users, where)
            batches.append((residual.to(where), *sides))
        return batches

    def step(self, ratings: torch.Tensor, by_user: Side, by_item: Side) -> None:
        """One descent step on sum of (error^2 + l2 (|user|^2 + |item|^2)) / 2 over a batch."""
        users, items = self.weights["users"], self.weights["items"]
        own, theirs = users[by_user.owners], items[by_item.owners]
        error = ratings - products(own, items, by_user)  # (n_batch,)
        down_users = weighted_sums(items, by_user, error)
        down_items = weighted_sums(users, by_item, error)
        down_users.addcmul_(by_user.counts, own, value=-self.l2)
        down_items.addcmul_(by_item.counts, theirs, value=-self.l2)
        down_users[:, 1] = down_items[:, 0] = 0.0  # the ones stay ones
        users.index_add_(0, by_user.owners, down_users, alpha=self.lr)
        items.index_add_(0, by_item.owners, down_items, alpha=self.lr)

    def is_over(self) -> bool:
        """Whether ``patience`` epochs have passed since the best one."""
        if self.patience is None or not self.rmse:
            return False
        return len(self.rmse) - 1 - int(np.argmin(self.rmse)) >= self.patience

    def settings(self) -> list[str]:
        """What two runs must share for one to continue the other."""
        names = ("n_factors", "l2", "lr", "biases", "batch_size", "seed")
        return [type(self).__name__, *(f"{name}={getattr(self, name)}" for name in names)]

    def resume(self, checkpoint: str | Path) -> tuple[Any, ...]:
        where = self.weights["users"].device
        saved = torch.load(checkpoint, weights_only=True, map_location=where)
        shapes = {name: table.shape for name, table in self.weights.items()}
        found = {name: table.shape for name, table in saved["state"][0].items()}
        if saved["settings"] != self.settings() or found != shapes:
            raise ValueError(
                f"{checkpoint} is the checkpoint of {saved['settings']}, this is "
                f"{self.settings()}. Delete it to start anew."
            )
        return saved["state"]

    def user_vectors(self) -> torch.Tensor:
        """(n_users, 2 + n_factors)"""
        return self.weights["users"]

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        left, right = (t.cpu().numpy() for t in (self.user_vectors(), self.weights["items"]))
        scores = self.mean + np.einsum("nk,nk->n", left[users], right[items])
        return np.clip(scores, *self.range).astype(float)

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        scores = self.user_vectors()[torch.as_tensor(users.copy())] @ self.weights["items"].T
        return np.clip(self.mean + scores.cpu().numpy().astype(float), *self.range)
