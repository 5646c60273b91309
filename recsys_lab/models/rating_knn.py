"""Neighbours for rating prediction: basic, centred, and around the baseline."""

from typing import Literal, Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor
from recsys_lab.models.baseline import Baseline


def msd_similarity(ratings: np.ndarray, rated: np.ndarray) -> np.ndarray:
    """1 / (1 + mean squared difference over the columns that both rows have): (n, n).

    ``ratings`` (n, d) holds zeros where ``rated`` (n, d) is 0. Rows with nothing in common
    get 0. Source: Surprise's ``msd``. Derived in chapters/1_recsys_basics/3_neighbours.
    """
    # float32 holds these sums exactly: squared stars times a few hundred common columns.
    ratings, rated = ratings.astype(np.float32), rated.astype(np.float32)
    n_common = rated @ rated.T  # (n, n)
    squares = ratings**2 @ rated.T
    squared_difference = squares + squares.T - 2 * ratings @ ratings.T
    similarity = n_common / (squared_difference + np.maximum(n_common, 1))
    np.fill_diagonal(similarity, 0.0)
    return similarity


class RatingKNN(RatingPredictor):
    """A weighted mean of what the ``n_neighbors`` most similar raters of the item gave.

    ``kind`` says what is averaged: the stars themselves (``basic``), their distance from
    each neighbour's own mean (``centred``), or from the baseline (``baseline``). With
    ``user_based=False`` the roles of users and items are swapped. Sources: Herlocker et
    al. (1999), Koren (2010). Derived in chapters/1_recsys_basics/3_neighbours.
    """

    def __init__(
        self,
        kind: Literal["basic", "centred", "baseline"] = "basic",
        n_neighbors: int = 40,
        user_based: bool = True,
    ):
        if kind not in ("basic", "centred", "baseline"):
            raise ValueError(f"kind={kind!r}: choose basic, centred or baseline.")
        self.kind = kind
        self.n_neighbors = n_neighbors
        self.user_based = user_based

    def fit(self, train: Interactions) -> Self:
        self.train = train
        ratings, rated = train.matrix("ratings").toarray(), train.matrix().toarray()
        self.offset = self.offsets(train, ratings, rated)  # (n_users, n_items), in stars
        if not self.user_based:
            ratings, rated, self.offset = ratings.T, rated.T, self.offset.T
        self.similarity = msd_similarity(ratings, rated)  # (n_rows, n_rows)
        self.residual = np.where(rated > 0, ratings - self.offset, 0.0)  # (n_rows, n_columns)
        # The raters of every column, one after another.
        self.raters = [np.flatnonzero(column) for column in rated.T]
        self.fallback = train.ratings.mean() if self.kind == "basic" else 0.0
        self.range = train.ratings.min(), train.ratings.max()
        return self

    def offsets(self, train: Interactions, ratings: np.ndarray, rated: np.ndarray) -> np.ndarray:
        """What is taken off each rating before averaging, and put back after."""
        if self.kind == "basic":
            return np.zeros_like(ratings)
        if self.kind == "baseline":
            biases = Baseline().fit(train)
            return biases.mean + biases.user_bias[:, None] + biases.item_bias
        axis = 1 if self.user_based else 0
        n_rated = rated.sum(axis, keepdims=True)
        means = ratings.sum(axis, keepdims=True) / np.maximum(n_rated, 1)
        means = np.where(n_rated > 0, means, train.ratings.mean())
        return np.broadcast_to(means, ratings.shape)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.user_index(users)
        rows, columns = (users, items) if self.user_based else (items, users)
        rows, columns = np.asarray(rows), np.asarray(columns)
        predicted = np.full(len(rows), self.fallback)
        order = np.argsort(columns, kind="stable")
        starts = np.flatnonzero(np.diff(columns[order], prepend=-1))
        for group in np.split(order, starts[1:]):  # the pairs that share a column
            if len(group) and len(raters := self.raters[columns[group[0]]]):
                average, known = self.average(rows[group], raters, columns[group[0]])
                predicted[group[known]] = average[known]
        return np.clip(predicted + self.offset[rows, columns], *self.range)

    def average(
        self, rows: np.ndarray, raters: np.ndarray, column: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Similarity-weighted mean residual of the nearest raters, and where it is defined."""
        weights = self.similarity[np.ix_(rows, raters)]  # (n_pairs, n_raters)
        values = np.broadcast_to(self.residual[raters, column], weights.shape)
        if len(raters) > self.n_neighbors:
            nearest = np.argpartition(-weights, self.n_neighbors, axis=1)[:, : self.n_neighbors]
            weights = np.take_along_axis(weights, nearest, axis=1)
            values = np.take_along_axis(values, nearest, axis=1)
        total = weights.sum(axis=1)
        return (weights * values).sum(axis=1) / np.maximum(total, 1e-12), total > 0
