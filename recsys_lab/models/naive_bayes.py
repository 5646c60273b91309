"""Naive Bayes: which film is next, given the films already seen?"""

from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class NaiveBayes(Recommender):
    """log P(i) + sum over the history of log P(j | i), as if the films seen were independent.

    P(j | i) is the share of the raters of film i who also rated j, smoothed by ``alpha``
    pseudo-counts spread over the catalogue in proportion to popularity. ``alpha`` is in
    users. Derived in chapters/1_recsys_basics/2_sixty_years.
    """

    def __init__(self, alpha: float = 1000.0):
        self.alpha = alpha

    def fit(self, train: Interactions) -> Self:
        self.train = train
        seen = train.matrix()  # (n_users, n_items)
        together = (seen.T @ seen).toarray()  # (n_items, n_items), raters in common
        counts = together.diagonal() + 1.0
        popularity = counts / train.n_users
        np.fill_diagonal(together, 0)
        given = (together + self.alpha * popularity) / (counts + self.alpha)[:, None]
        self.log_prior = np.log(popularity)  # (n_items,)
        self.log_given = np.log(given)  # (n_items, n_items): row i holds log P(j | i)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        history = self.train.matrix()[users]
        return self.log_prior + history @ self.log_given.T  # (n_selected, n_items)
