"""The baselines of rating prediction: an item's mean; a mean and offsets of user and item."""

from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor


class ItemMean(RatingPredictor):
    """An item's mean rating, the same for everybody: the popularity row of rating tables.

    ``damping`` imaginary ratings at the overall mean pull items with few ratings towards it;
    an item without any gets it. Derived in chapters/1_recsys_basics/5_measuring.
    """

    def __init__(self, damping: float = 0.0):
        self.damping = damping

    def fit(self, train: Interactions) -> Self:
        self.train, overall = train, train.ratings.mean()
        n = train.counts("items") + self.damping
        total = np.bincount(train.items, train.ratings, train.n_items) + self.damping * overall
        self.mean = np.where(n > 0, total / np.maximum(n, 1e-12), overall)  # (n_items,)
        return self

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        return self.mean[items]


class Baseline(RatingPredictor):
    """r(u, i) = mean + b_u + b_i, with offsets shrunk towards zero.

    Alternating ridge regressions: each offset is the mean residual of its ratings, divided
    by (count + regularisation) instead of the count. Source: Koren (2010). Defaults are
    Surprise's. Derived in chapters/1_recsys_basics/3_neighbours.
    """

    def __init__(self, user_reg: float = 15.0, item_reg: float = 10.0, n_epochs: int = 10):
        self.user_reg = user_reg
        self.item_reg = item_reg
        self.n_epochs = n_epochs

    def fit(self, train: Interactions) -> Self:
        self.train = train
        users, items = train.users, train.items
        self.mean = float(train.ratings.mean())
        residual = train.ratings - self.mean  # (n,), in stars
        # Without regularisation, a user or an item without ratings divides zero by this.
        user_weight = np.maximum(train.counts("users") + self.user_reg, 1e-12)
        item_weight = np.maximum(train.counts("items") + self.item_reg, 1e-12)
        self.user_bias = np.zeros(train.n_users)
        for _ in range(self.n_epochs):
            left = residual - self.user_bias[users]
            self.item_bias = np.bincount(items, left, train.n_items) / item_weight
            left = residual - self.item_bias[items]
            self.user_bias = np.bincount(users, left, train.n_users) / user_weight
        self.range = train.ratings.min(), train.ratings.max()
        return self

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        return np.clip(self.mean + self.user_bias[users] + self.item_bias[items], *self.range)
