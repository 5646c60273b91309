"""The two models that every comparison needs: chance and popularity."""

from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class Random(Recommender):
    """Scores drawn uniformly at random: the chance level.

    Used in chapters/1_recsys_basics/5_measuring.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, train: Interactions) -> Self:
        self.train = train
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        scores = np.random.default_rng(self.seed).random((self.train.n_users, self.train.n_items))
        return scores[users]  # a user keeps the same scores whoever else is asked for


class Popularity(Recommender):
    """Every user gets the same list: items by their number of ratings in training.

    Derived in chapters/1_recsys_basics/2_sixty_years.
    """

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.counts = train.counts("items").astype(float)  # (n_items,)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        return np.tile(self.counts, (len(users), 1))
