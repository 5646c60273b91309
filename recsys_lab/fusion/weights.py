"""The weight of a mixture, chosen on validation data: one for all, or by length of history."""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import expit

from recsys_lab.evaluation import ranking_metrics
from recsys_lab.fusion.linear import linear

ALPHAS = np.linspace(0, 1, 21)
INTERCEPTS, SLOPES = np.linspace(-6, 10, 65), np.linspace(0, 4, 33)  # of AlphaByHistory


class AlphaChoice(NamedTuple):
    """The chosen weight, and all that was tried."""

    alpha: float
    curve: pd.DataFrame  # alpha, ndcg: the mean over users
    per_user: pd.DataFrame  # (n_judged, n_alphas), a row a user with relevant items


def choose_alpha(
    first: np.ndarray,
    second: np.ndarray,
    relevant: sparse.spmatrix,
    seen: sparse.spmatrix,
    alphas: np.ndarray = ALPHAS,
    k: int = 10,
    seed: int = 0,
) -> AlphaChoice:
    """The alpha of alpha * first + (1 - alpha) * second with the highest nDCG@k.

    Derived in chapters/6_fusion/2_one_scale.

    Args:
        first, second: (n_users, n_items) on one scale (`scale`), from models that were fitted
            without the rows of `relevant`.
        relevant: (n_users, n_items) sparse, the *validation* events; never those of the test.
        seen: (n_users, n_items) sparse, the films that are no candidates.
        alphas: the weights to try; of equally good ones the smallest is taken.
        k, seed: as in `ranking_metrics`.

    Raises:
        ValueError: weights outside 0..1; else as `linear` and `ranking_metrics`.
    """
    alphas = np.sort(np.asarray(alphas, dtype=float))
    if not (len(alphas) and alphas[0] >= 0 and alphas[-1] <= 1):
        raise ValueError(f"alphas are {alphas}: give some from 0 to 1.")
    judged = {
        alpha: ranking_metrics(
            linear([first, second], [alpha, 1 - alpha]),
            relevant,
            k,
            seen,
            seed=seed,
            metrics=["ndcg"],
        )["ndcg"]
        for alpha in alphas
    }
    per_user = pd.DataFrame(judged)
    mean = per_user.mean().to_numpy()
    curve = pd.DataFrame({"alpha": alphas, "ndcg": mean})
    return AlphaChoice(float(alphas[mean.argmax()]), curve, per_user)


class AlphaByHistory:
    """The weight of the first part as a smooth function of the length n of a user's history:

    alpha(n) = 1 / (1 + exp(-(intercept - slope * log(1 + n)))), slope 0 or more: the longer the
    history, the less the first part (text, say) weighs. Slope 0 is one alpha for all. The two
    numbers are those of a grid with the highest nDCG@k on validation data; between two alphas
    tried, a user's nDCG is interpolated. Derived in chapters/6_fusion/3_warm_and_cold.
    """

    def __init__(
        self,
        intercepts: np.ndarray = INTERCEPTS,
        slopes: np.ndarray = SLOPES,
    ):
        self.intercepts = np.asarray(intercepts, dtype=float)
        self.slopes = np.sort(np.asarray(slopes, dtype=float))
        if self.slopes[0] < 0:
            raise ValueError(
                f"a slope is {self.slopes[0]}: alpha falls with the history, give >= 0"
            )

    def fit(self, tried: AlphaChoice, lengths: np.ndarray) -> Self:
        """Learn from what `choose_alpha` tried on validation data.

        Args:
            tried: its answer; rows may be users whose histories were cut short on purpose.
            lengths: (n_users,) training events of each row of the scores it was given.
        """
        lengths = np.asarray(lengths, dtype=float)[tried.per_user.index]
        values, alphas = tried.per_user.to_numpy(), tried.per_user.columns.to_numpy(dtype=float)
        rows = np.arange(len(values))
        self.table = pd.DataFrame(
            [(a, b) for b in self.slopes for a in self.intercepts], columns=["intercept", "slope"]
        )
        ndcg = []
        for intercept, slope in self.table.to_numpy():
            alpha = np.clip(_alpha(intercept, slope, lengths), alphas[0], alphas[-1])
            right = np.clip(np.searchsorted(alphas, alpha), 1, len(alphas) - 1)
            share = (alpha - alphas[right - 1]) / (alphas[right] - alphas[right - 1])
            ndcg.append(
                np.mean((1 - share) * values[rows, right - 1] + share * values[rows, right])
            )
        self.table["ndcg"] = ndcg
        self.intercept, self.slope, self.ndcg = self.table.iloc[int(np.argmax(ndcg))]
        return self

    def alpha(self, lengths: np.ndarray) -> np.ndarray:
        """(n,) weights of the first part for histories of these lengths."""
        if not hasattr(self, "intercept"):
            raise RuntimeError("AlphaByHistory is not fitted: call fit(tried, lengths) first.")
        return _alpha(self.intercept, self.slope, np.asarray(lengths, dtype=float))


def _alpha(intercept: float, slope: float, lengths: np.ndarray) -> np.ndarray:
    return expit(intercept - slope * np.log1p(lengths))
