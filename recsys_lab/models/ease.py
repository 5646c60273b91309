"""EASE: an item-to-item model with a closed form."""

from typing import Self

import numpy as np
from scipy.linalg import lapack

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class EASE(Recommender):
    """Ridge regression of every item on all others, solved at once.

    Minimises |X - XB|^2 + l2 |B|^2 with a zero diagonal in B. With P = (X^T X + l2 I)^-1
    the solution is B = I - P / diag(P) by columns. Source: Steck (2019). Derived in
    chapters/1_recsys_basics/2_sixty_years.
    """

    def __init__(self, l2: float = 200.0):
        self.l2 = l2

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.seen = train.matrix().astype(np.float32)
        gram = (self.seen.T @ self.seen).toarray()  # (n_items, n_items)
        gram[np.diag_indices_from(gram)] += self.l2
        # Cholesky, then the inverse from its factor: a third of the work of a general inverse.
        factor, failed = lapack.spotrf(gram, lower=1)
        if failed:
            raise ValueError(f"l2={self.l2}: the ridge must be positive.")
        inverse = lapack.spotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        self.weights = -inverse / inverse.diagonal()
        np.fill_diagonal(self.weights, 0.0)  # (n_items, n_items)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        return self.seen[users] @ self.weights  # (n_selected, n_items)
