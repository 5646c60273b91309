"""Bayesian matrix factorisation by Gibbs sampling, with side information in the prior."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.stats import wishart

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor
from recsys_lab.models.sides import one_side, products, weighted_sums


def draw_rows(
    gram: torch.Tensor,
    right: torch.Tensor,
    prior_mean: torch.Tensor,
    prior_precision: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """A draw of every row from its normal posterior, all rows at once: (n, d).

    Row j has precision A_j = ``gram[j]`` + ``prior_precision`` and mean A_j^-1 (``right[j]`` +
    ``prior_precision`` @ ``prior_mean[j]``). ``gram`` (n, d, d) and ``right`` (n, d) carry the
    precision of the ratings already; ``noise`` (n, d) is standard normal, and zeros give the mean.
    """
    root = torch.linalg.cholesky(gram + prior_precision)  # (n, d, d), A = root root^T
    target = right + prior_mean @ prior_precision
    half = torch.linalg.solve_triangular(root, target[:, :, None], upper=False)
    # root^-T (half + noise): the mean, and a deviation with covariance A^-1.
    both = half + noise[:, :, None]
    return torch.linalg.solve_triangular(root.mT, both, upper=True)[:, :, 0]


class Prior:
    """z_j ~ N(B^T x_j, Lambda^-1) for the rows of one side, its B and Lambda drawn as well.

    B ~ N(0, (strength Lambda)^-1), Lambda ~ Wishart; x_j holds a 1 and the side information of
    row j. B is drawn along the principal axes of x, where its entries are independent.
    Source: Simm et al. (2017), "Macau"; without side information Salakhutdinov and Mnih (2008).
    """

    def __init__(self, features: np.ndarray, n_columns: int, rng: np.random.Generator):
        x = np.hstack([np.ones((len(features), 1)), features])
        axes, sizes, _ = np.linalg.svd(x, full_matrices=False)
        keep = sizes > 1e-8 * sizes[0]
        self.sizes = sizes[keep]
        self.x = axes[:, keep] * self.sizes  # (n, r), orthogonal columns
        self.rng = rng
        self.strength = 1.0
        self.mean, self.precision = np.zeros((len(x), n_columns)), np.eye(n_columns)

    def draw(self, z: np.ndarray) -> None:
        """New mean (n, d) and precision (d, d), given the rows z (n, d)."""
        n, d = z.shape
        r = len(self.sizes)
        scale = self.sizes**2 + self.strength  # (r,)
        best = self.x.T @ z / scale[:, None]  # (r, d), the ridge solution
        spread = z.T @ z - best.T @ (scale[:, None] * best)  # (d, d)
        self.precision = wishart.rvs(d + n, np.linalg.inv(np.eye(d) + spread), 1, self.rng)
        self.precision = np.reshape(self.precision, (d, d))  # scipy drops the axes if d = 1
        root = np.linalg.cholesky(np.linalg.inv(self.precision))
        noise = self.rng.standard_normal((r, d)) @ root.T
        weights = best + noise / np.sqrt(scale)[:, None]
        self.mean = self.x @ weights
        size = np.sum((weights @ self.precision) * weights)
        self.strength = self.rng.gamma(1 + r * d / 2, 1 / (1 + size / 2))


class BayesianMF(RatingPredictor):
    """r(u, i) = mean + b_u + b_i + p_u . q_i + noise, averaged over draws from the posterior.

    Nothing is regularised by hand: the spread of biases, factors and noise is drawn too. In turn
    all users and all items are drawn from their exact conditional, one batched Cholesky
    factorisation each. ``implicit=True`` lets the prior of a user depend on *which* films they have
    rated, and that of a film on who has rated it, as SVD++ does; ``features`` (arrays (n_users,
    d_u), (n_items, d_i)) adds to that. Sources: Salakhutdinov and Mnih (2008), Simm et al. (2017).
    Derived in chapters/4_matrix_factorization/3_real_ratings.

    Raises:
        ValueError: bad settings, or (``fit``) features that do not fit the data.
    """

    def __init__(
        self,
        n_factors: int = 16,
        n_epochs: int = 150,
        burn_in: int = 30,
        implicit: bool = False,
        features: tuple[np.ndarray, np.ndarray] | None = None,
        seed: int = 0,
    ):
        if n_factors < 1 or not 0 <= burn_in < n_epochs:
            raise ValueError(
                "n_factors starts at 1, and burn_in leaves epochs to average over; got "
                f"{n_factors=}, {burn_in=}, {n_epochs=}."
            )
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.burn_in = burn_in
        self.implicit = implicit
        self.features = features
        self.seed = seed

    def fit(self, train: Interactions, validation: Interactions | None = None) -> Self:
        """Draw. ``rmse`` follows the averaged prediction on ``validation``, epoch by epoch."""
        self.train, where = train, device.pick()
        self.mean = float(train.ratings.mean())
        self.range = train.ratings.min(), train.ratings.max()
        order = np.argsort(train.users, kind="stable")
        users, items = train.users[order], train.items[order]
        ratings = torch.from_numpy((train.ratings[order] - self.mean).astype(np.float32)).to(where)
        sides = {"users": one_side(users, items, where), "items": one_side(items, users, where)}
        owners = {"users": torch.tensor(users).to(where), "items": torch.tensor(items).to(where)}
        rng, d = np.random.default_rng(self.seed), 1 + self.n_factors
        priors = {
            name: Prior(x, d, rng) for name, x in zip(sides, self.side_information(), strict=True)
        }
        z = {name: rng.normal(0, 0.1, prior.mean.shape) for name, prior in priors.items()}
        z = {
            name: torch.from_numpy(table.astype(np.float32)).to(where) for name, table in z.items()
        }
        precision = 1.0  # of a rating, 1 / stars^2
        self.draws: list[tuple[np.ndarray, np.ndarray]] = []
        self.rmse, total = [], 0.0
        for epoch in range(self.n_epochs):
            for name, other in (("users", "items"), ("items", "users")):
                side, prior = sides[name], priors[name]
                prior.draw(z[name].cpu().numpy().astype(float))
                # A row (1, factors) of the other side multiplies (bias, factors) of this one.
                seen = torch.cat([torch.ones_like(z[other][:, :1]), z[other][:, 1:]], dim=1)
                target = ratings - z[other][owners[other], 0]
                outer = (seen[:, :, None] * seen[:, None, :]).flatten(1)  # (n_others, d^2)
                gram = torch.zeros(len(z[name]), d * d, device=where)
                gram[side.owners] = precision * weighted_sums(outer, side)
                right = torch.zeros_like(z[name])
                right[side.owners] = precision * weighted_sums(seen, side, target)
                given = (prior.mean, prior.precision, rng.standard_normal(z[name].shape))
                given = (torch.from_numpy(table.astype(np.float32)).to(where) for table in given)
                z[name] = draw_rows(gram.view(-1, d, d), right, *given)
            left = torch.cat([z["users"], torch.ones_like(z["users"][:, :1])], dim=1)
            left[:, [0, -1]] = left[:, [-1, 0]]  # (1, p_u, b_u) against (b_i, q_i, 1)
            right = torch.cat([z["items"], torch.ones_like(z["items"][:, :1])], dim=1)
            predicted = products(left[sides["users"].owners], right, sides["users"])
            squares = float(((ratings - predicted) ** 2).sum())
            precision = rng.gamma(1 + len(ratings) / 2, 1 / (1 + squares / 2))
            if epoch >= self.burn_in:
                self.draws.append((left.cpu().numpy(), right.cpu().numpy()))
                if validation is not None:
                    total = total + self.one_draw(-1, validation.users, validation.items)
                    error = self.mean + total / len(self.draws) - validation.ratings
                    self.rmse.append(float(np.sqrt(np.mean(error**2))))
        return self

    def side_information(self) -> tuple[np.ndarray, np.ndarray]:
        """What the priors may know of users and of items: (n_users, d_u), (n_items, d_i)."""
        sizes = self.train.n_users, self.train.n_items
        found = self.features or tuple(np.zeros((n, 0)) for n in sizes)
        if len(found) != 2 or any(len(x) != n for x, n in zip(found, sizes)):
            raise ValueError(
                f"features: two arrays, of {sizes[0]} users and {sizes[1]} items rows."
            )
        if not self.implicit:
            return found
        rated = self.train.matrix().toarray().astype(float)  # (n_users, n_items)
        rows = (m / np.sqrt(np.maximum(m.sum(axis=1, keepdims=True), 1)) for m in (rated, rated.T))
        return tuple(np.hstack([x, row]) for x, row in zip(found, rows))

    def one_draw(self, which: int, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Ratings less the mean under one draw: (n,)."""
        left, right = self.draws[which]
        return np.einsum("nk,nk->n", left[users], right[items]).astype(float)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        total = sum(self.one_draw(which, users, items) for which in range(len(self.draws)))
        return np.clip(self.mean + total / len(self.draws), *self.range)
