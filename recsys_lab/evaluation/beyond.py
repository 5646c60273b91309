"""What accuracy does not see: variety, surprise, popularity, calibration, groups of users.

Derived in chapters/1_recsys_basics/5_measuring.

Lists are what `rank_items` returns: `recommended` (n_users, k) item indices, -1 for an empty place.
Functions that grade each user return (n_users,) floats, nan for a user without a list, so that
`bootstrap_mean` and `paired_bootstrap` apply; `coverage` and `gini` grade all lists together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_lab.evaluation.rating import check_probabilities
from recsys_lab.evaluation.stats import bootstrap_means, interval


def exposure(recommended: np.ndarray, n_items: int) -> np.ndarray:
    """Lists that show each item: (n_items,). Derived in chapters/1_recsys_basics/5_measuring."""
    return np.diff(_lists(recommended, n_items).tocsc().indptr)


def coverage(recommended: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that stands in at least one list.

    Catalogue coverage of Ge et al. (2010). Derived in chapters/1_recsys_basics/5_measuring.
    """
    return float((exposure(recommended, n_items) > 0).mean())


def gini(counts: np.ndarray) -> float:
    """Inequality of `counts` (n_items,), zeros included: 0 all equal, (n-1)/n all on one item.

    Give it `exposure(...)` for the inequality of exposure.
    Derived in chapters/1_recsys_basics/5_measuring.

    Raises:
        ValueError: negative counts, or nothing counted.
    """
    counts = np.sort(np.asarray(counts, dtype=float))
    if counts.ndim != 1 or not counts.sum() > 0 or counts[0] < 0:
        raise ValueError("counts must be a flat array of numbers >= 0, not all zero")
    n = len(counts)
    return float(((2 * np.arange(1, n + 1) - n - 1) @ counts) / (n * counts.sum()))


def novelty(recommended: np.ndarray, popularity: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information of a list's items, in bits: -log2 of the share of users who know one.

    Zhou et al. (2010). Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        recommended: (n_users, k) lists.
        popularity: (n_items,) users of each item in training. An item without any counts as
            known to one, the rarest that `n_users` can tell apart.
        n_users: users in training.

    Returns:
        (n_users,) bits; 0 for items that everybody knows.
    """
    popularity = _per_item(popularity, "popularity")
    if popularity.max(initial=0) > n_users:
        raise ValueError(f"an item has {popularity.max():g} users, but there are {n_users}")
    return _list_mean(recommended, np.log2(n_users / np.maximum(popularity, 1)))


def long_tail_share(
    recommended: np.ndarray, popularity: np.ndarray, head: float = 0.2
) -> np.ndarray:
    """Share of a list outside the `head` (a share of the catalogue) of most popular items.

    An item as popular as the last one of the head belongs to the head.
    Derived in chapters/1_recsys_basics/5_measuring.

    Returns:
        (n_users,) shares.
    """
    popularity = _per_item(popularity, "popularity")
    if not 0 < head <= 1:
        raise ValueError(f"head is {head}: expected a share of the catalogue, such as 0.2")
    last = int(np.ceil(round(head * len(popularity), 9))) - 1  # 0.2 * 15 is a little above 3
    return _list_mean(recommended, popularity < np.sort(popularity)[::-1][last])


def intra_list_diversity(
    recommended: np.ndarray, features: np.ndarray | sparse.spmatrix
) -> np.ndarray:
    """1 - mean cosine over all pairs of a list (Ziegler et al. 2005; Smyth and McClave 2001).

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        recommended: (n_users, k) lists.
        features: (n_items, d) dense or sparse: genres, an embedding. A row of zeros has cosine 0
            with every other.

    Returns:
        (n_users,) from 0 (all alike) to 1 (nothing in common; 2 at most if features may be
        negative); nan for a list of fewer than two.
    """
    features = sparse.csr_matrix(features, dtype=float)
    norm = np.sqrt(np.asarray(features.multiply(features).sum(axis=1)).ravel())  # (n_items,)
    unit = sparse.diags(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)) @ features
    lists = _lists(recommended, features.shape[0])
    total = lists @ unit  # (n_users, d): sum of a list's unit vectors
    # |sum of v|^2 counts every pair twice, and each item with itself once
    squared = np.asarray(total.multiply(total).sum(axis=1)).ravel() - lists @ (norm > 0)
    n = np.diff(lists.indptr)
    pairs = n * (n - 1)
    return 1 - np.divide(squared, pairs, out=np.full(len(n), np.nan), where=pairs > 0)


def serendipity(
    recommended: np.ndarray,
    expected: np.ndarray,
    relevant: sparse.spmatrix,
    per: str = "list",
) -> np.ndarray:
    """Items that are relevant *and* that a primitive model would not have shown.

    Ge et al. (2010): UNEXP = the list without the primitive model's list; serendipity = the
    useful items of UNEXP / N. They leave N open to reading; "list" divides by the length of the
    list, which rewards many surprises, "unexpected" by the size of UNEXP (0 if it is empty).
    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        recommended: (n_users, k) lists.
        expected: (n_users, k') lists of the primitive model, popularity as a rule.
        relevant: (n_users, n_items) sparse, non-zero where an item is relevant (useful).
        per: "list" or "unexpected".

    Returns:
        (n_users,) shares.
    """
    if per not in ("list", "unexpected"):
        raise ValueError(f'per is {per!r}: choose "list" or "unexpected"')
    n_items = relevant.shape[1]
    lists, primitive = _lists(recommended, n_items), _lists(expected, n_items)
    if not lists.shape == primitive.shape == relevant.shape:
        raise ValueError(
            f"recommended, expected and relevant have {lists.shape[0]}, {primitive.shape[0]} and "
            f"{relevant.shape[0]} rows: expected the same users"
        )
    unexpected = lists - lists.multiply(primitive)
    useful = np.asarray(unexpected.multiply(relevant.astype(bool)).sum(axis=1)).ravel()
    length = np.diff(lists.indptr).astype(float)
    size = length if per == "list" else np.asarray(unexpected.sum(axis=1)).ravel()
    share = np.divide(useful, size, out=np.zeros(len(useful)), where=size > 0)
    return np.where(length > 0, share, np.nan)


def popularity_bias(recommended: np.ndarray, train: sparse.spmatrix) -> pd.DataFrame:
    """Is a user shown more popular items than the user's own history holds?

    Abdollahpouri et al. (2019). Popularity of an item: the share of users who have it in
    training. A group's lift is `table["recommended"].mean() / table["history"].mean() - 1`.
    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        recommended: (n_users, k) lists.
        train: (n_users, n_items) sparse, non-zero where a user has an item; the same rows.

    Returns:
        DataFrame, a row per user: history and recommended (mean popularity), lift (their ratio
        minus 1; above 0 the list is more popular than the history); nan without a history.
    """
    seen = sparse.csr_matrix(train).astype(bool).astype(float)
    popularity = np.asarray(seen.mean(axis=0)).ravel()  # (n_items,)
    length = np.asarray(seen.sum(axis=1)).ravel()
    shown = _list_mean(recommended, popularity)
    if len(shown) != len(length):
        raise ValueError(f"{len(shown)} lists and {len(length)} histories: expected the same users")
    history = np.divide(
        seen @ popularity, length, out=np.full(len(length), np.nan), where=length > 0
    )
    return pd.DataFrame({"history": history, "recommended": shown, "lift": shown / history - 1})


def genre_matrix(genres: Sequence[Sequence[str]]) -> tuple[sparse.csr_matrix, list[str]]:
    """Items by genres: each row shares 1 equally among its genres; an item without any has zeros.

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        genres: the genres of each item, such as `item_table["genres"]`.

    Returns:
        csr_matrix (n_items, n_genres) and the genres in the order of its columns.
    """
    names = sorted({name for row in genres for name in row})
    column = {name: j for j, name in enumerate(names)}
    sizes = np.array([len(row) for row in genres], dtype=np.int64)
    items = np.repeat(np.arange(len(sizes)), sizes)
    columns = np.array([column[name] for row in genres for name in row], dtype=np.int64)
    shape = (len(sizes), len(names))
    return sparse.csr_matrix((1 / sizes[items], (items, columns)), shape=shape), names


def calibration(
    recommended: np.ndarray,
    history: sparse.spmatrix,
    genres: np.ndarray | sparse.spmatrix,
    alpha: float = 0.01,
) -> np.ndarray:
    """How far a list's mix of genres is from the history's: KL(p || q), in nats; 0 is calibrated.

    Steck (2018): p is the mix of the history, q that of the list, smoothed to
    (1 - alpha) q + alpha p so that a genre missing from the list costs much, but not infinity.
    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        recommended: (n_users, k) lists.
        history: (n_users, n_items) sparse weights of the items in the history; the same rows.
        genres: (n_items, n_genres) of `genre_matrix`.
        alpha: share of p in the smoothed q.

    Returns:
        (n_users,); nan where history or list hold no genre.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}: expected a small share above 0, such as 0.01")
    genres = sparse.csr_matrix(genres)
    history, lists = sparse.csr_matrix(history), _lists(recommended, genres.shape[0])
    if history.shape != lists.shape:
        raise ValueError(f"history has shape {history.shape}, the lists need {lists.shape}")
    mixes = []
    for weights in (history, lists):
        mix = (weights @ genres).toarray().astype(float)  # (n_users, n_genres)
        total = mix.sum(axis=1, keepdims=True)
        mixes.append(np.divide(mix, total, out=np.full_like(mix, np.nan), where=total > 0))
    p, q = mixes
    q = (1 - alpha) * q + alpha * p
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log(ratio)).sum(axis=1)


class Reliability(NamedTuple):
    """Expected calibration error, and the bins behind it."""

    ece: float
    table: pd.DataFrame


def score_calibration(
    outcomes: np.ndarray, probabilities: np.ndarray, n_bins: int = 10
) -> Reliability:
    """Do things predicted at 70 % happen 70 % of the time? Expected calibration error.

    Naeini et al. (2015): equal bins of the probability; |observed - predicted|, weighted by the
    number in each bin. Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        outcomes: (n,) 0 or 1.
        probabilities: (n,) from 0 to 1.
        n_bins: bins of equal width; each includes its lower edge, the last one also 1.

    Returns:
        ece, and a table of the bins in use: predicted and observed (means) and n, by lower edge.
    """
    outcomes, probabilities = check_probabilities(outcomes, probabilities)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.minimum(np.searchsorted(edges, probabilities, side="right") - 1, n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    used = np.flatnonzero(n)
    table = pd.DataFrame(
        {
            "predicted": np.bincount(bins, probabilities, n_bins)[used] / n[used],
            "observed": np.bincount(bins, outcomes, n_bins)[used] / n[used],
            "n": n[used],
        },
        index=pd.Index(edges[used], name="from"),
    )
    gaps = (table["observed"] - table["predicted"]).abs()
    return Reliability(float((gaps * table["n"]).sum() / len(outcomes)), table)


class Gap(NamedTuple):
    """Difference of two groups' means, its interval, a permutation p-value, the group sizes."""

    diff: float
    low: float
    high: float
    p: float
    n_first: int
    n_second: int


def group_gap(
    values: np.ndarray | pd.Series,
    groups: np.ndarray | pd.Series,
    first: object,
    second: object,
    n_boot: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Gap:
    """Does a model serve one group better? Mean of `values` in `first` minus that in `second`.

    Interval: bootstrap of the users within each group. p: share of random reassignments of users
    to groups with a difference at least as large (two-sided, the observed one counted).
    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        values: one value per user, such as `evaluate(...)["ndcg"]`.
        groups: one label per user, such as `user_table["gender"]`; two Series are matched by
            index, so `groups` may hold more users.
        first, second: the labels compared; users of other groups are left out.

    Raises:
        ValueError: arrays of unequal length, a user without label, a group with fewer than 2.
    """
    if isinstance(values, pd.Series) and isinstance(groups, pd.Series):
        groups = groups.reindex(values.index)
    values, groups = np.asarray(values, dtype=float), np.asarray(groups, dtype=object)
    if values.shape != groups.shape or values.ndim != 1:
        raise ValueError(f"{values.shape} values and {groups.shape} groups: expected one per user")
    a, b = values[groups == first], values[groups == second]
    if min(len(a), len(b)) < 2:
        raise ValueError(f"groups {first!r} and {second!r} hold {len(a)} and {len(b)} users")
    if not np.isfinite(np.concatenate([a, b])).all():
        raise ValueError("values are nan or infinite: drop those users")
    diff = a.mean() - b.mean()
    draws = bootstrap_means(a[:, None], n_boot, seed)
    draws = draws - bootstrap_means(b[:, None], n_boot, seed + 1)
    pooled, rng = np.concatenate([a, b]), np.random.default_rng([seed, 2])
    small = min(len(a), len(b))
    extreme, step = 0, max(1, 2_000_000 // len(pooled))
    for start in range(0, n_boot, step):
        keys = rng.random((min(step, n_boot - start), len(pooled)), dtype=np.float32)
        chosen = np.argpartition(keys, small, axis=1)[:, :small]  # a random group of this size
        total = pooled[chosen].sum(axis=1)
        shuffled = total / small - (pooled.sum() - total) / (len(pooled) - small)
        extreme += int((np.abs(shuffled) >= abs(diff) - 1e-12).sum())
    p = (1 + extreme) / (1 + n_boot)
    return Gap(float(diff), *interval(draws[:, 0], level), p, len(a), len(b))


def _lists(recommended: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Lists as a binary matrix (n_users, n_items)."""
    recommended = np.asarray(recommended)
    if recommended.ndim != 2 or not np.issubdtype(recommended.dtype, np.integer):
        raise ValueError(
            f"recommended is {recommended.dtype} of shape {recommended.shape}: expected item "
            "indices (n_users, k), as from rank_items"
        )
    if recommended.size and not (recommended.min() >= -1 and recommended.max() < n_items):
        raise ValueError(f"recommended holds item indices outside -1..{n_items - 1}")
    row, place = np.nonzero(recommended >= 0)
    matrix = sparse.csr_matrix(
        (np.ones(len(row)), (row, recommended[row, place])), shape=(len(recommended), n_items)
    )
    if matrix.nnz < len(row):
        raise ValueError("a list holds an item twice")
    return matrix


def _list_mean(recommended: np.ndarray, item_values: np.ndarray) -> np.ndarray:
    """Mean of `item_values` (n_items,) over each list: (n_users,)."""
    lists = _lists(recommended, len(item_values))
    n = np.diff(lists.indptr)
    return np.divide(lists @ item_values, n, out=np.full(len(n), np.nan), where=n > 0)


def _per_item(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not (values >= 0).all():
        raise ValueError(f"{name} must be a flat array of counts >= 0, one per item")
    return values
