"""A cascade: a fast model retrieves, a slow one orders what it retrieved."""

import numpy as np

from recsys_lab.evaluation import rank_items
from recsys_lab.fusion.scales import check


def cascade(
    first: np.ndarray,
    second: np.ndarray,
    n: int = 20,
    where: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The n best of `first`, in the order of `second`; the rest below, in the order of `first`.

    Source: Covington, Adams and Sargin (2016), two stages. Derived in
    chapters/6_fusion/2_one_scale.

    Args:
        first: (n_users, n_items), higher is better; NaN or a film outside `where` is no candidate.
        second: (n_users, n_items), read only at the films that `first` retrieved; one that it
            does not know (NaN) stays behind those that it knows. Its ties keep the first's order.
        n: films retrieved.
        where: boolean (n_users, n_items), the candidates; all if None.
        seed: of the draw among equal scores of `first`.

    Returns:
        (n_users, n_items): n_items for a user's first place, n_items - 1 for the next, and so on;
        -inf for films that are no candidates.

    Raises:
        ValueError: n below 1, shapes that differ.
    """
    first, where = check(first, where)
    second = np.asarray(second, dtype=float)
    if n < 1 or second.shape != first.shape:
        raise ValueError(f"n is {n}, scores have shapes {first.shape} and {second.shape}.")
    allowed = np.where(where & ~np.isnan(first), first, -np.inf)
    order = rank_items(allowed, seed=seed)  # (n_users, n_items), -1 where nothing is left
    rows = np.arange(len(first))[:, None]
    head = order[:, :n]
    value = np.where(head < 0, -np.inf, np.nan_to_num(second[rows, head], nan=-1e300))
    order[:, :n] = head[rows, np.argsort(-value, axis=1, kind="stable")]
    result = np.full(first.shape, -np.inf)
    row, place = np.nonzero(order >= 0)
    result[row, order[row, place]] = first.shape[1] - place
    return result
