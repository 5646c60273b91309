"""SlopeOne: how much more stars does this film get than that one?"""

from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor


class SlopeOne(RatingPredictor):
    """The user's mean plus the mean difference between the item and the items they rated.

    Source: Lemire and Maclachlan (2005), unweighted. Derived in
    chapters/1_recsys_basics/3_neighbours.
    """

    def fit(self, train: Interactions) -> Self:
        self.train = train
        # float32 holds these sums exactly: whole stars of at most a thousand users.
        ratings = train.matrix("ratings").toarray().astype(np.float32)  # (n_users, n_items)
        rated = train.matrix().toarray().astype(np.float32)
        n_common = rated.T @ rated  # (n_items, n_items)
        sums = ratings.T @ rated  # entry (i, j): stars of i among those who rated j too
        difference = (sums - sums.T) / np.maximum(n_common, 1)  # mean of r(u, i) - r(u, j)
        # A user's mean is over their own items; the differences only over comparable ones.
        total = rated @ difference.T  # (n_users, n_items)
        n_comparable = rated @ (n_common > 0).astype(np.float32)
        n_rated = rated.sum(axis=1, keepdims=True)
        mean = np.where(n_rated > 0, ratings.sum(axis=1, keepdims=True), 0) / np.maximum(n_rated, 1)
        mean = np.where(n_rated > 0, mean, train.ratings.mean())
        predicted = mean + total / np.maximum(n_comparable, 1)
        self.predicted = np.clip(predicted, train.ratings.min(), train.ratings.max())
        return self

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        return self.predicted[users, items].astype(float)
