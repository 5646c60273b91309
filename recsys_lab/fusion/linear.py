"""The weighted sum of several models' scores."""

from collections.abc import Sequence

import numpy as np

MISSING = ("zero", "lowest", "renormalise")


def linear(
    parts: Sequence[np.ndarray], weights: np.ndarray, missing: str | None = None
) -> np.ndarray:
    """sum over parts of weight * score. Derived in chapters/6_fusion/1_five_books.

    Bring the parts on one scale first (`scale`): else the part with the largest spread decides,
    whatever the weights.

    Args:
        parts: n_parts arrays (n_users, n_items); NaN is a film that the part does not know.
        weights: (n_parts,), or (n_users, n_parts) for weights of each user's own. The article's
            two parts have the weights (alpha, 1 - alpha).
        missing: what a NaN counts: "zero"; "lowest", the lowest score that the part gives this
            user; "renormalise", nothing, and the weights of the parts that know the film are
            scaled up to the sum of all. Parts with NaN and None are refused: the choice decides
            the ranking, so it is yours.

    Returns:
        (n_users, n_items) float64. Under "renormalise" a film that no part with a weight knows is
        -inf: no candidate.

    Raises:
        ValueError: shapes that do not fit, weights that are not finite, NaN without `missing`,
            an unknown `missing`, negative weights to renormalise.
    """
    stacked = stack(parts)  # (n_parts, n_users, n_items)
    weights = per_user(weights, stacked)  # (n_parts, n_users, 1)
    unknown = np.isnan(stacked)
    if missing is not None and missing not in MISSING:
        raise ValueError(f"missing is {missing!r}: choose one of {MISSING}.")
    if missing is None and unknown.any():
        raise ValueError(
            f"{unknown.sum()} scores are missing (NaN): say what they count: {MISSING}"
        )
    if missing == "lowest":
        lowest = np.where(unknown, np.inf, stacked).min(axis=2, keepdims=True)
        lowest[np.isinf(lowest)] = 0.0  # a part that knows nothing of this user
        return (weights * np.where(unknown, lowest, stacked)).sum(axis=0)
    total = (weights * np.where(unknown, 0.0, stacked)).sum(axis=0)
    if missing != "renormalise":
        return total
    if (weights < 0).any():
        raise ValueError("a weight is negative: weights to renormalise are 0 or more.")
    kept = (weights * ~unknown).sum(axis=0)  # (n_users, n_items)
    rescaled = np.full_like(total, -np.inf)
    return np.divide(total * weights.sum(axis=0), kept, out=rescaled, where=kept > 0)


def stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The parts as one array (n_parts, n_users, n_items), or an error that names the odd one."""
    parts = [np.asarray(part, dtype=float) for part in parts]
    if not parts:
        raise ValueError("no parts: give at least one array (n_users, n_items).")
    for place, part in enumerate(parts):
        if part.ndim != 2 or part.shape != parts[0].shape:
            raise ValueError(
                f"part {place} has shape {part.shape}, part 0 {parts[0].shape}: give arrays "
                "(n_users, n_items) of the same users and items."
            )
    return np.stack(parts)


def per_user(weights: np.ndarray, stacked: np.ndarray) -> np.ndarray:
    """Weights (n_parts,) or (n_users, n_parts) as (n_parts, 1 or n_users, 1)."""
    weights, (n_parts, n_users, _) = np.asarray(weights, dtype=float), stacked.shape
    if weights.shape not in ((n_parts,), (n_users, n_parts)):
        raise ValueError(
            f"weights have shape {weights.shape}: expected ({n_parts},) or ({n_users}, {n_parts})."
        )
    if not np.isfinite(weights).all():
        raise ValueError("a weight is NaN or infinite.")
    return np.atleast_2d(weights).T[:, :, None]
