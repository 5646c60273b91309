"""Fusion of rankings: what counts is a film's place in each list, or that it is in it at all."""

from collections.abc import Sequence

import numpy as np

from recsys_lab.evaluation import rank_items
from recsys_lab.fusion.linear import per_user, stack
from recsys_lab.fusion.scales import check, mean_ranks, scale


def ranks(scores: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Each film's place, 1 for the user's best; equal scores share their mean place.

    Derived in chapters/6_fusion/2_one_scale.

    Args:
        scores: (n_users, n_items), higher is better; NaN is a film that is not in the list.
        where: boolean (n_users, n_items), the candidates; all if None.

    Returns:
        (n_users, n_items); NaN for films that are not in the list, or no candidates.
    """
    scores, where = check(scores, where)
    known = where & ~np.isnan(scores)
    return np.where(known, mean_ranks(scores, known), np.nan)


def keep_top(
    scores: np.ndarray, n: int, where: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Only the n best candidates keep their score, the others become NaN: a list of n.

    Equal scores at its end fall by a seeded draw. Derived in chapters/6_fusion/2_one_scale.
    """
    scores, where = check(scores, where)
    known = where & ~np.isnan(scores)
    top = rank_items(np.where(known, scores, -np.inf), k=min(n, scores.shape[1]), seed=seed)
    kept = np.full_like(scores, np.nan)
    rows, places = np.nonzero(top >= 0)
    kept[rows, top[rows, places]] = scores[rows, top[rows, places]]
    return kept


def reciprocal_rank(
    parts: Sequence[np.ndarray],
    weights: np.ndarray | None = None,
    k: float = 60,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Reciprocal rank fusion: sum over the lists of weight / (k + place).

    Source: Cormack, Clarke and Büttcher (2009). Without ties equal to ranx's "rrf".
    Derived in chapters/6_fusion/2_one_scale.

    Args:
        parts: n_parts arrays (n_users, n_items), any scale; a film that is not in a list (NaN)
            gets nothing from it.
        weights: (n_parts,) or (n_users, n_parts); 1 each if None.
        k: how little the first places differ, above -1.
        where: boolean (n_users, n_items), the candidates; all if None. The others get 0.
    """
    if k <= -1:
        raise ValueError(f"k is {k}: the first place would get 1 / {k + 1}; take 0 or more.")
    stacked = stack(parts)
    weights = per_user(np.ones(len(stacked)) if weights is None else weights, stacked)
    return sum(
        weight * np.nan_to_num(1 / (k + ranks(part, where)))
        for weight, part in zip(weights, stacked, strict=True)
    )


def borda(parts: Sequence[np.ndarray], where: np.ndarray | None = None) -> np.ndarray:
    """Borda's count: of N films the best of a list gets N points, the next N - 1; over N, added.

    N counts the films in any of a user's lists. Those that a list leaves out share the points
    that are left over. Source: Aslam and Montague (2001). Without ties equal to ranx's
    "bordafuse". Derived in chapters/6_fusion/2_one_scale. Arguments as in `reciprocal_rank`.
    """
    places = np.stack([ranks(part, where) for part in stack(parts)])  # (n_parts, n_users, n_items)
    listed = ~np.isnan(places)
    any_list = listed.any(axis=0)  # (n_users, n_items)
    n = np.maximum(any_list.sum(axis=1, keepdims=True), 1)
    left_over = 0.5 - (listed.sum(axis=2, keepdims=True) - 1) / (2 * n)
    points = np.where(listed, 1 - (places - 1) / n, left_over).sum(axis=0)
    return np.where(any_list, points, 0.0)


def comb_mnz(parts: Sequence[np.ndarray], where: np.ndarray | None = None) -> np.ndarray:
    """CombMNZ: the sum of the min-max scores, times the number of lists that hold the film.

    Where each part scores each film this is the plain sum, times a constant: it needs lists with
    an end (`keep_top`). Source: Fox and Shaw (1994); equal to ranx's "mnz" with "min-max".
    Derived in chapters/6_fusion/2_one_scale. Arguments as in `reciprocal_rank`.
    """
    scaled = np.stack([scale(part, "minmax", where) for part in stack(parts)])
    listed = ~np.isnan(scaled)
    return np.where(listed, scaled, 0.0).sum(axis=0) * listed.sum(axis=0)
