"""Stacking: a logistic regression learns what each part's score is worth."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from recsys_lab.fusion.linear import stack


class Stacking:
    """log-odds(relevant) = intercept + sum over parts of coefficient * scaled score.

    Source: Wolpert (1992). Derived in chapters/6_fusion/2_one_scale.

    Args:
        C: inverse strength of the ridge, as in scikit-learn.
        n_negatives: candidates drawn for each relevant film of a user; the order of the result
            does not depend on their share, only the intercept does.
        seed: of these draws.

    Attributes:
        coefficients: (n_parts,).
        intercept: log-odds among the pairs drawn.
    """

    def __init__(self, C: float = 1.0, n_negatives: int = 20, seed: int = 0):
        self.C, self.n_negatives, self.seed = C, n_negatives, seed

    def fit(
        self, parts: Sequence[np.ndarray], relevant: sparse.spmatrix, where: np.ndarray
    ) -> Self:
        """Learn from validation events.

        Args:
            parts: n_parts arrays (n_users, n_items) on one scale, from models fitted without the
                rows of `relevant`.
            relevant: (n_users, n_items) sparse, the *validation* events.
            where: boolean (n_users, n_items), the candidates.

        Raises:
            ValueError: no relevant candidate, or NaN in the parts.
        """
        stacked = self._check(parts)
        positive = (relevant.toarray() > 0) & where
        if not positive.any():
            raise ValueError("no relevant film is a candidate: where is True for unseen films.")
        rng = np.random.default_rng(self.seed)
        free = where & ~positive
        share = self.n_negatives * positive.sum(axis=1) / np.maximum(free.sum(axis=1), 1)
        drawn = free & (rng.random(free.shape) < share[:, None])
        rows, columns = np.nonzero(positive | drawn)
        model = LogisticRegression(C=self.C, max_iter=1000)
        model.fit(stacked[:, rows, columns].T, positive[rows, columns])  # (n_pairs, n_parts)
        self.coefficients, self.intercept = model.coef_[0], float(model.intercept_[0])
        return self

    def score(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Log-odds (n_users, n_items), from parts in the order and on the scale of `fit`."""
        if not hasattr(self, "coefficients"):
            raise RuntimeError("Stacking is not fitted: call fit(parts, relevant, where) first.")
        stacked = self._check(parts)
        if len(stacked) != len(self.coefficients):
            raise ValueError(f"{len(stacked)} parts, fitted with {len(self.coefficients)}.")
        return self.intercept + np.tensordot(self.coefficients, stacked, axes=1)

    @staticmethod
    def _check(parts: Sequence[np.ndarray]) -> np.ndarray:
        stacked = stack(parts)
        if not np.isfinite(stacked).all():
            raise ValueError(
                "a part holds NaN or inf: say what unknown films count, e.g. linear()."
            )
        return stacked
