"""Metrics of predicted ratings and of predicted probabilities.

Derived in chapters/1_recsys_basics/5_measuring.
"""

from __future__ import annotations

import numpy as np


def rmse(ratings: np.ndarray, predicted: np.ndarray) -> float:
    """Root mean squared error, in stars: one large error weighs more than two half as large.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    ratings, predicted = _check(ratings, predicted)
    return float(np.sqrt(np.mean((ratings - predicted) ** 2)))


def mae(ratings: np.ndarray, predicted: np.ndarray) -> float:
    """Mean absolute error, in stars. Derived in chapters/1_recsys_basics/5_measuring."""
    ratings, predicted = _check(ratings, predicted)
    return float(np.mean(np.abs(ratings - predicted)))


def brier(outcomes: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared error of probabilities of a yes/no outcome (Brier 1950); 0 is best.

    Derived in chapters/1_recsys_basics/5_measuring.

    Raises:
        ValueError: outcomes other than 0 and 1, probabilities outside 0..1.
    """
    outcomes, probabilities = check_probabilities(outcomes, probabilities)
    return float(np.mean((outcomes - probabilities) ** 2))


def classification_metrics(
    ratings: np.ndarray, predicted: np.ndarray, threshold: float = 4.0
) -> dict[str, float]:
    """Ratings read as yes/no: "liked" from `threshold` on, "predicted liked" likewise.

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        ratings: (n,) true ratings.
        predicted: (n,) predicted ratings.
        threshold: lowest rating that counts as liked.

    Returns:
        accuracy; majority, the accuracy of always answering the commoner class, without which
        accuracy cannot be read; precision, recall and f1 of "liked" (0 where undefined).
    """
    ratings, predicted = _check(ratings, predicted)
    liked, chosen = ratings >= threshold, predicted >= threshold
    both = int((liked & chosen).sum())
    n_liked, n_chosen = int(liked.sum()), int(chosen.sum())
    return {
        "accuracy": float((liked == chosen).mean()),
        "majority": max(n_liked, len(liked) - n_liked) / len(liked),
        "precision": both / n_chosen if n_chosen else 0.0,
        "recall": both / n_liked if n_liked else 0.0,
        "f1": 2 * both / (n_liked + n_chosen) if n_liked + n_chosen else 0.0,
    }


def check_probabilities(
    outcomes: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays (n,), or one clear error."""
    outcomes, probabilities = _check(outcomes, probabilities)
    if not np.isin(outcomes, (0, 1)).all():
        raise ValueError("outcomes must be 0 or 1: compare the ratings with a threshold first")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"probabilities run from {probabilities.min():g} to {probabilities.max():g}: "
            "expected 0 to 1, turn scores into probabilities first"
        )
    return outcomes, probabilities


def _check(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    if truth.ndim != 1 or truth.shape != predicted.shape or len(truth) == 0:
        raise ValueError(
            f"shapes {truth.shape} and {predicted.shape}: expected two flat arrays of one length"
        )
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        raise ValueError("nan or infinite values: every pair needs a rating and a prediction")
    return truth, predicted
