"""Scores of different models on one scale, user by user."""

import numpy as np
from scipy import sparse, stats

SCALES = ("minmax", "z", "rank", "none")


def candidates(seen: sparse.spmatrix) -> np.ndarray:
    """The films that may be recommended: boolean (n_users, n_items), False where `seen` is not 0.

    Derived in chapters/6_fusion/2_one_scale.
    """
    return seen.toarray() == 0


def scale(scores: np.ndarray, how: str = "z", where: np.ndarray | None = None) -> np.ndarray:
    """Each row on its own scale, set by its candidates alone.

    Derived in chapters/6_fusion/2_one_scale. Source: Lee (1997) for "minmax"; "z" without `where`
    is `models.standardize`.

    Args:
        scores: (n_users, n_items), higher is better; NaN is a film that the model does not know,
            and stays NaN.
        how: "minmax" 0 the lowest, 1 the highest; "z" mean 0 and standard deviation 1; "rank" 1
            the best, 0 the worst, ties share their mean; "none" as it is.
        where: boolean (n_users, n_items), the candidates (unseen films); all if None. Other films
            do not set the scale, and become 0.

    Returns:
        (n_users, n_items) float64. A row whose candidates all score the same becomes zeros: a
        model that prefers nothing adds nothing.

    Raises:
        ValueError: an unknown scale, shapes that differ, an infinite score of a candidate.
    """
    if how not in SCALES:
        raise ValueError(f"how is {how!r}: choose one of {SCALES}.")
    scores, where = check(scores, where)
    known = where & ~np.isnan(scores)
    if how == "none":
        scaled = scores
    elif how == "rank":
        place, n = mean_ranks(scores, known), known.sum(axis=1, keepdims=True)
        same = _lowest(scores, known) == _highest(scores, known)
        scaled = np.where(same, 0.0, (n - place) / np.maximum(n - 1, 1))
    else:
        values = np.where(known, scores, 0.0)  # no warning for a row without candidates
        n = np.maximum(known.sum(axis=1, keepdims=True), 1)
        if how == "minmax":
            centre = _lowest(scores, known)
            spread = _highest(scores, known) - centre
        else:
            centre = values.sum(axis=1, keepdims=True) / n
            spread = np.sqrt(((values - centre) ** 2 * known).sum(axis=1, keepdims=True) / n)
        centre = np.where(known.any(axis=1, keepdims=True), centre, 0.0)
        empty = np.zeros_like(scores)
        scaled = np.divide(values - centre, spread, out=empty, where=known & (spread > 1e-9))
    return np.where(known, scaled, np.where(where, np.nan, 0.0))


def check(scores: np.ndarray, where: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays (n_users, n_items), or an error that says what does not fit."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}: expected (n_users, n_items).")
    where = np.ones(scores.shape, dtype=bool) if where is None else np.asarray(where)
    if where.shape != scores.shape or where.dtype != bool:
        raise ValueError(
            f"where is {where.dtype} of shape {where.shape}: expected booleans {scores.shape}."
        )
    if np.isinf(scores[where]).any():
        raise ValueError("a candidate scores inf: leave it out by `where`, or give NaN (unknown).")
    return scores, where


def mean_ranks(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 for a row's best, ties their mean rank; what is not `known` comes behind all."""
    return stats.rankdata(np.where(known, -scores, np.inf), method="average", axis=1)


def _lowest(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, scores, np.inf).min(axis=1, keepdims=True)


def _highest(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, scores, -np.inf).max(axis=1, keepdims=True)
