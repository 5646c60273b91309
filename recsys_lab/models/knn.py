"""Neighbours for ranking: cosine between users, or between items, of who rated what."""

from typing import Self

import numpy as np
from scipy import sparse

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


def cosine_similarity(vectors: sparse.csr_matrix, shrinkage: float = 0.0) -> np.ndarray:
    """Cosine between the rows of ``vectors`` (n, d), with a zero diagonal: (n, n).

    ``shrinkage`` is added to the product of the norms: it pulls similarities that rest on
    few common entries towards zero. Derived in chapters/1_recsys_basics/3_neighbours.
    """
    dot = (vectors @ vectors.T).toarray().astype(float)  # (n, n)
    norms = np.sqrt(dot.diagonal())
    similarity = dot / np.maximum(np.outer(norms, norms) + shrinkage, 1e-12)
    np.fill_diagonal(similarity, 0.0)
    return similarity


def keep_neighbours(similarity: np.ndarray, n_neighbors: int) -> np.ndarray:
    """``similarity`` (n, n) with all but the ``n_neighbors`` largest entries of a row set to 0."""
    if n_neighbors >= similarity.shape[1]:
        return similarity
    smallest_kept = np.partition(similarity, -n_neighbors, axis=1)[:, [-n_neighbors]]
    return np.where(similarity >= smallest_kept, similarity, 0.0)


class UserKNN(Recommender):
    """A film scores the summed similarity of the neighbours who rated it.

    Derived in chapters/1_recsys_basics/3_neighbours.
    """

    def __init__(self, n_neighbors: int = 100, shrinkage: float = 0.0):
        self.n_neighbors = n_neighbors
        self.shrinkage = shrinkage

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.seen = train.matrix()
        similarity = cosine_similarity(self.seen, self.shrinkage)
        self.similarity = keep_neighbours(similarity, self.n_neighbors)  # (n_users, n_users)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        return self.similarity[users] @ self.seen  # (n_selected, n_items)


class ItemKNN(Recommender):
    """A film scores its summed similarity to the films that the user has rated.

    Derived in chapters/1_recsys_basics/3_neighbours.
    """

    def __init__(self, n_neighbors: int = 300, shrinkage: float = 0.0):
        self.n_neighbors = n_neighbors
        self.shrinkage = shrinkage

    def fit(self, train: Interactions) -> Self:
        self.train = train
        similarity = cosine_similarity(train.matrix().T.tocsr(), self.shrinkage)
        self.similarity = keep_neighbours(similarity, self.n_neighbors)  # (n_items, n_items)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        return self.train.matrix()[users] @ self.similarity.T  # (n_selected, n_items)
