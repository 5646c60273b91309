"""PureSVD: the best low-rank copy of the table of who rated what."""

from typing import Self

import numpy as np
from scipy.sparse.linalg import svds

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class PureSVD(Recommender):
    """Scores are the truncated singular value decomposition of the zero-filled matrix.

    ``values`` chooses ones (``binary``) or stars (``ratings``); zeros stand for "not rated",
    so this ranks but does not predict stars. Source: Cremonesi, Koren and Turrin (2010).
    Derived in chapters/1_recsys_basics/2_sixty_years.
    """

    def __init__(self, n_factors: int = 32, values: str = "binary"):
        self.n_factors = n_factors
        self.values = values

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.matrix = train.matrix(self.values).astype(float)
        # A fixed start vector: the same factors on every run.
        start = np.ones(min(self.matrix.shape))
        _, _, item_axes = svds(self.matrix, k=self.n_factors, v0=start)
        self.item_factors = item_axes.T  # (n_items, n_factors), orthonormal columns
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        # R V V^T: a user is folded in through their row, so no user vector is stored.
        history = self.matrix[users]
        return (history @ self.item_factors) @ self.item_factors.T  # (n_selected, n_items)
