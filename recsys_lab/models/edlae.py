"""EDLAE: EASE with dropout in closed form, and weights for stars, busy users and popular films."""

from typing import Self

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class EDLAE(Recommender):
    """Ridge regression of every film on all others, with more to choose than in `EASE`.

    Minimises sum_u w_u |x_u - x_u B|^2 + l2 |B|^2 + dropout / (1 - dropout) sum_ij g_ii B_ij^2
    with a zero diagonal in B, where g_ii = sum_u w_u x_ui^2. With P = (X^T W X + l2 I +
    dropout / (1 - dropout) diag(g))^-1 the solution is B = I - P / diag(P) by columns.

    Args:
        l2: ridge.
        dropout: the last term is what dropping each input with this probability (and scaling up
            the rest) adds to the squared error on average, so no draw is needed.
        stars: 0 fills the table with ones; 1 with each rating over the mean rating; values
            between lie on the line between the two.
        user_power: w_u is n_u ** -user_power, scaled so that the n_u w_u add up to the number
            of ratings. Above 0, users with long histories count less.
        item_power: scores are divided by n_i ** item_power. Above 0, popular films rank lower.

    With all but l2 at 0 this is `EASE`. Source: Steck (2020). Derived in
    chapters/4_matrix_factorization/4_clicks.
    """

    def __init__(
        self,
        l2: float = 400.0,
        dropout: float = 0.0,
        stars: float = 0.0,
        user_power: float = 0.0,
        item_power: float = 0.0,
    ):
        if not l2 > 0 or not 0 <= dropout < 1:
            raise ValueError(f"l2={l2} must be positive, dropout={dropout} in [0, 1).")
        self.l2 = l2
        self.dropout = dropout
        self.stars = stars
        self.user_power = user_power
        self.item_power = item_power

    def fit(self, train: Interactions) -> Self:
        self.train = train
        seen = train.matrix("ratings" if self.stars else "binary").astype(np.float32)
        if self.stars:
            seen.data = 1 + self.stars * (seen.data / train.ratings.mean() - 1)
        self.seen = seen
        n_user = np.maximum(train.counts("users"), 1)
        weight = n_user**-self.user_power  # (n_users,)
        weight = weight * len(train) / (weight @ train.counts("users"))
        gram = (seen.T @ sparse.diags(weight.astype(np.float32)) @ seen).toarray()
        diagonal = np.diag_indices_from(gram)
        gram[diagonal] += self.l2 + self.dropout / (1 - self.dropout) * gram[diagonal]
        factor, failed = lapack.spotrf(gram, lower=1)
        if failed:
            raise ValueError(f"l2={self.l2} is too small for this data: raise it.")
        inverse = lapack.spotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        self.weights = -inverse / inverse.diagonal()
        np.fill_diagonal(self.weights, 0.0)  # (n_items, n_items)
        n_item = np.maximum(train.counts("items"), 1)
        self.weights /= (n_item**self.item_power).astype(np.float32)  # by columns
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        return self.seen[users] @ self.weights  # (n_selected, n_items)
