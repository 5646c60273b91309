"""Non-negative matrix factorisation of the ratings that are there, by multiplicative updates."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import torch

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor
from recsys_lab.models.sides import one_side, products, weighted_sums


class NMF(RatingPredictor):
    """r(u, i) = p_u . q_i with p, q >= 0; factors only add, so they read as parts.

    Minimises the sum over the ratings of (error^2 + l2 (|p_u|^2 + |q_i|^2)) / 2. An update
    multiplies each factor by the negative part of its gradient over the positive part: it cannot
    change a sign, and it never raises the objective. ``biases=True`` adds mean + b_u + b_i, each
    bias set to its best value in turn; what is left may be negative, and its negative part then
    goes below the line. Users and items without ratings get the mean. Sources: Lee and Seung
    (2001), Luo et al. (2014); defaults are Surprise's.
    Derived in chapters/4_matrix_factorization/3_real_ratings.

    Raises:
        ValueError: bad settings, or (``fit``) negative ratings without biases.
    """

    def __init__(
        self,
        n_factors: int = 15,
        l2: float = 0.06,
        n_epochs: int = 50,
        biases: bool = False,
        seed: int = 0,
    ):
        if min(n_factors, n_epochs) < 1 or l2 < 0:
            raise ValueError(
                f"n_factors and n_epochs start at 1, l2 at 0; got {n_factors=}, {n_epochs=}, {l2=}."
            )
        self.n_factors = n_factors
        self.l2 = l2
        self.n_epochs = n_epochs
        self.biases = biases
        self.seed = seed

    def fit(self, train: Interactions, validation: Interactions | None = None) -> Self:
        """Learn. With ``validation`` the epoch of its lowest RMSE is kept."""
        if train.ratings.min() < 0 and not self.biases:
            raise ValueError("non-negative factors make no negative rating: take biases=True.")
        self.train, where = train, device.pick()
        self.mean = float(train.ratings.mean())
        self.range = train.ratings.min(), train.ratings.max()
        order = np.argsort(train.users, kind="stable")
        users, items = train.users[order], train.items[order]
        centre = self.mean if self.biases else 0.0
        self.ratings = torch.from_numpy((train.ratings[order] - centre).astype(np.float32)).to(
            where
        )
        self.sides = {
            "users": one_side(users, items, where),
            "items": one_side(items, users, where),
        }
        self.owners = {"users": torch.from_numpy(users), "items": torch.from_numpy(items)}
        self.owners = {name: owner.to(where) for name, owner in self.owners.items()}
        self.factors, self.offsets = {}, {}
        rng = np.random.default_rng(self.seed)
        for name in ("users", "items"):
            counts = train.counts(name)
            # Products start below 0.1 where biases do the main work, around the mean elsewhere.
            top = 2 * np.sqrt((0.02 if self.biases else self.mean) / self.n_factors)
            table = rng.uniform(0, top, (len(counts), self.n_factors)) * (counts > 0)[:, None]
            self.factors[name] = torch.from_numpy(table.astype(np.float32)).to(where)
            self.offsets[name] = torch.zeros(len(counts), device=where)
        self.objective, self.rmse, best = [self.loss()], [], None
        for _ in range(self.n_epochs):
            for name, other in (("users", "items"), ("items", "users")):
                self.update(name, other)
            self.objective.append(self.loss())
            if validation is not None:
                error = self.predict(validation.users, validation.items) - validation.ratings
                self.rmse.append(float(np.sqrt(np.mean(error**2))))
                if self.rmse[-1] == min(self.rmse):
                    best = copy.deepcopy((self.factors, self.offsets))
        self.factors, self.offsets = best or (self.factors, self.offsets)
        return self

    def parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What biases leave of each rating, and the products p_u . q_i: (n,), (n,)."""
        users, items = self.factors["users"], self.factors["items"]
        side = self.sides["users"]
        offset = sum(self.offsets[name][self.owners[name]] for name in self.offsets)
        return self.ratings - offset, products(users[side.owners], items, side)

    def update(self, name: str, other: str) -> None:
        """The best biases, then one multiplicative step, for users or for items."""
        side, table = self.sides[name], self.factors[name]
        target, product = self.parts()
        if self.biases:
            left = target - product + self.offsets[name][self.owners[name]]
            total = torch.zeros_like(self.offsets[name]).index_add_(0, self.owners[name], left)
            total[side.owners] /= side.counts[:, 0] * (1 + self.l2)
            self.offsets[name] = total
            target, product = self.parts()
        own = table[side.owners]
        up = weighted_sums(self.factors[other], side, target.clamp_min(0))
        down = weighted_sums(self.factors[other], side, product + (-target).clamp_min(0))
        down.addcmul_(side.counts, own, value=self.l2)
        table[side.owners] = own * up / down.clamp_min(1e-12)

    def loss(self) -> float:
        """The objective, a mean over the ratings."""
        target, product = self.parts()
        total = ((target - product) ** 2).sum()
        for name, side in self.sides.items():
            squares = (self.factors[name][side.owners] ** 2).sum(1)
            squares += self.offsets[name][side.owners] ** 2
            total += self.l2 * (side.counts[:, 0] * squares).sum()
        return float(total) / 2 / len(self.ratings)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        left, right = (self.factors[name].cpu().numpy() for name in ("users", "items"))
        scores = np.einsum("nk,nk->n", left[users], right[items]).astype(float)
        if self.biases:
            b_user, b_item = (self.offsets[name].cpu().numpy() for name in ("users", "items"))
            scores += self.mean + b_user[users] + b_item[items]
        else:  # somebody or something without ratings
            known = (left.any(axis=1)[users]) & (right.any(axis=1)[items])
            scores = np.where(known, scores, self.mean)
        return np.clip(scores, *self.range)
