"""Ranked lists and the metrics that grade them, for all users in one vectorised pass.

Derived in chapters/1_recsys_basics/5_measuring.

An item is a *candidate* of a user unless it is excluded (training items, as a rule) or scored
``-inf``. A relevant item scored ``-inf`` stays relevant: it is a miss, below every candidate.
With R relevant items and a list of k, h of them relevant, a user's metrics are

=========  =====================================================================================
precision  h / k (also when fewer than k candidates are left, as in trec_eval)
recall     h / R
f1         harmonic mean of the two, 2h / (k + R)
hit        1 if h > 0, else 0
map        average precision at k: sum over hits of precision at their rank, / min(R, k)
           (trec_eval and ranx divide by R: multiply ours by min(R, k) / R to get theirs)
mrr        1 / rank of the first relevant item among *all* candidates, not cut at k
mrr_at_k   the same, but 0 if that rank is beyond k
ndcg       gains 0/1, discount 1 / log2(rank + 1), ideal list of min(R, k) hits
auc        share of (relevant, other) candidate pairs in the right order, a tie counts 1/2;
           nan if no other candidate is left. Not cut at k
=========  =====================================================================================

Fewer than k candidates: the list ends early (-1 in `rank_items`), the formulas stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

METRICS = ("precision", "recall", "f1", "hit", "map", "mrr", "mrr_at_k", "ndcg", "auc")
BLOCK = 512  # users handled at once: bounds memory, and a block's scores stay in the cache


def rank_items(
    scores: np.ndarray,
    exclude: sparse.spmatrix | None = None,
    k: int | None = None,
    ties: str = "random",
    seed: int = 0,
    users: np.ndarray | None = None,
) -> np.ndarray:
    """The k best items of each user, best first. Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        scores: (n_users, n_items), higher is better; ``-inf`` leaves an item out.
        exclude: (n_users, n_items) sparse, non-zero where an item must not be recommended.
        k: length of the lists; all items if None.
        ties: "random" orders equal scores by a seeded key of each (user, item) pair, so that no
            item gains from its place in the table (in ML-100K a low index means a popular item);
            "index" puts the lower index first.
        seed: of the random keys.
        users: (n_users,) user index of each row, which enters the random key; the row number if
            None. With it a user's list does not depend on which other rows come along.

    Returns:
        (n_users, k) int64 item indices; -1 where fewer than k candidates are left.

    Raises:
        ValueError: nan scores, shapes that do not fit, k below 1, unknown `ties`.
    """
    scores, exclude, users = _check(scores, exclude, users)
    k = _check_k(scores.shape[1] if k is None else k)
    ranked = np.empty((len(scores), k), dtype=np.int64)
    for rows, block in _blocks(scores, np.arange(len(scores)), exclude):
        ranked[rows] = _top_k(block, users[rows], k, ties, seed)
    return ranked


def ranking_metrics(
    scores: np.ndarray,
    relevant: sparse.spmatrix,
    k: int = 10,
    exclude: sparse.spmatrix | None = None,
    ties: str = "random",
    seed: int = 0,
    users: np.ndarray | None = None,
    metrics: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """Metrics of each user's ranking, defined at the top of this module.

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        scores, exclude, ties, seed, users: as in `rank_items`.
        relevant: (n_users, n_items) sparse, non-zero where an item is relevant.
        k: length of the lists that are graded.
        metrics: the columns wanted; leaving out "auc" saves a sort of every row.

    Returns:
        DataFrame with one row per user with at least one relevant item, indexed by `users`.

    Raises:
        ValueError: as `rank_items`, or an item both relevant and excluded, or unknown metrics.
    """
    scores, exclude, users = _check(scores, exclude, users)
    k = _check_k(k)
    relevant = _as_mask(relevant, scores.shape, "relevant")
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"unknown metrics {sorted(unknown)}: choose from {METRICS}")
    if exclude is not None and (clash := exclude.multiply(relevant).tocoo()).nnz:
        raise ValueError(
            f"{clash.nnz} items are both relevant and excluded, the first is item {clash.col[0]} "
            f"of user {users[clash.row[0]]}: test and training overlap, split the data again"
        )
    judged = np.flatnonzero(np.diff(relevant.indptr))
    table = np.empty((len(judged), len(metrics)))
    done = 0
    for rows, block in _blocks(scores, judged, exclude):
        columns = _block_metrics(block, relevant[rows], users[rows], k, ties, seed, metrics)
        table[done : done + len(rows)] = np.column_stack([columns[name] for name in metrics])
        done += len(rows)
    result = pd.DataFrame(table, index=pd.Index(users[judged], name="user"), columns=list(metrics))
    result.attrs["k"] = k
    return result


def expected_metrics(n_candidates: np.ndarray, n_relevant: np.ndarray, k: int = 10) -> pd.DataFrame:
    """The mean of each metric over all orders of the candidates: the level of chance, exactly.

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        n_candidates: (n_users,) candidates of each user, C.
        n_relevant: (n_users,) relevant ones among them, R, with 1 <= R <= C.
        k: length of the lists that are graded.

    Returns:
        DataFrame (n_users rows) with the columns of `ranking_metrics`.

    Raises:
        ValueError: a user without relevant items, or with more than candidates.
    """
    counts = np.column_stack([n_candidates, n_relevant]).astype(np.int64)
    k = _check_k(k)
    if not ((counts[:, 1] >= 1) & (counts[:, 1] <= counts[:, 0])).all():
        raise ValueError("each user needs 1 or more relevant items, at most as many as candidates")
    counts, user = np.unique(counts, axis=0, return_inverse=True)  # equal users share the work
    blocks = [counts[start : start + BLOCK] for start in range(0, len(counts), BLOCK)]
    tables = [_expected_block(*block.T[:, :, None], k) for block in blocks]
    return pd.concat(tables).iloc[user.ravel()].reset_index(drop=True)


def _expected_block(candidates: np.ndarray, relevant: np.ndarray, k: int) -> pd.DataFrame:
    above = np.arange(candidates.max())  # items above a rank: 0 at the top; (n_ranks,)
    left = np.where(above < candidates, candidates - above, np.inf)  # (b, n_ranks)
    listed = (above < candidates) & (above < k)
    share = relevant / candidates  # (b, 1)
    # Draw without replacement: the chance that ranks up to this one hold no relevant item ...
    none_yet = np.cumprod(np.maximum(candidates - relevant - above, 0) / left, axis=1)
    none_above = np.column_stack([np.ones(len(share)), none_yet[:, :-1]])
    first_here = none_above * relevant / left  # ... and that the first one stands exactly here
    # A hit sees itself and, on average, (R-1) / (C-1) of the items above it as hits.
    precision_here = (1 + above * (relevant - 1) / np.maximum(candidates - 1, 1)) / (above + 1)
    discount = 1 / np.log2(np.arange(max(k, len(above))) + 2)
    best = np.minimum(relevant, k)
    n_listed = listed.sum(axis=1, keepdims=True)
    columns = {
        "precision": share * n_listed / k,
        "recall": n_listed / candidates,
        "f1": 2 * share * n_listed / (k + relevant),
        "hit": (first_here * listed).sum(axis=1, keepdims=True),
        "map": share * (precision_here * listed).sum(axis=1, keepdims=True) / best,
        "mrr": (first_here / (above + 1)).sum(axis=1, keepdims=True),
        "mrr_at_k": (first_here / (above + 1) * listed).sum(axis=1, keepdims=True),
        "ndcg": share * (listed @ discount[: len(above), None]) / np.cumsum(discount)[best - 1],
        "auc": np.where(candidates > relevant, 0.5, np.nan),
    }
    return pd.DataFrame({name: column[:, 0] for name, column in columns.items()})


def _block_metrics(
    scores: np.ndarray,
    relevant: sparse.csr_matrix,
    users: np.ndarray,
    k: int,
    ties: str,
    seed: int,
    metrics: Sequence[str],
) -> dict[str, np.ndarray]:
    is_relevant = relevant.toarray()  # (b, n_items)
    top = _top_k(scores, users, k, ties, seed)  # (b, k)
    hits = np.take_along_axis(is_relevant, np.maximum(top, 0), axis=1) & (top >= 0)
    n_relevant = is_relevant.sum(axis=1)  # (b,)
    n_hits = hits.sum(axis=1)
    ranks = np.arange(1, k + 1)
    discount = 1 / np.log2(ranks + 1)
    best = np.minimum(n_relevant, k)  # hits of an ideal list
    result = {
        "precision": n_hits / k,
        "recall": n_hits / n_relevant,
        "f1": 2 * n_hits / (k + n_relevant),
        "hit": (n_hits > 0).astype(float),
        "map": (hits * np.cumsum(hits, axis=1) / ranks).sum(axis=1) / best,
        "mrr_at_k": (hits / ranks).max(axis=1),
        "ndcg": hits @ discount / np.cumsum(discount)[best - 1],
    }
    if "mrr" in metrics:
        result["mrr"] = _reciprocal_rank(scores, is_relevant, users, ties, seed)
    if "auc" in metrics:
        result["auc"] = _auc(scores, relevant)
    return result


def _top_k(scores: np.ndarray, users: np.ndarray, k: int, ties: str, seed: int) -> np.ndarray:
    """Top k of each row without sorting it: keep what may be in the list, sort only that."""
    n_users, n_items = scores.shape
    keep = scores >= _lower_bound(scores, k)[:, None]
    crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > 4 * k + 64)
    if len(crowded) and k < n_items:  # many equal scores: let their keys thin them out
        s = scores[crowded]
        kth = np.partition(s, n_items - k, axis=1)[:, n_items - k, None]
        row, item = np.nonzero((s == kth) & keep[crowded])
        priority = np.where((s > kth) & keep[crowded], np.inf, -np.inf)
        # Keys as floats are rounded; two that become equal only keep one item more.
        priority[row, item] = -_tie_keys(users[crowded[row]], item, ties, seed).astype(float)
        keep[crowded] = priority >= _lower_bound(priority, k)[:, None]
    kept = np.flatnonzero(keep)
    row, item = np.divmod(kept, n_items)
    key = _tie_keys(users[row], item, ties, seed)
    order = np.lexsort((key, -scores.ravel()[kept], row))
    row, item = row[order], item[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(n_users))[row]
    top = np.full((n_users, k), -1, dtype=np.int64)
    top[row[rank < k], rank[rank < k]] = item[rank < k]
    return top


def _lower_bound(scores: np.ndarray, k: int) -> np.ndarray:
    """A value that the k best candidates of each row reach: the k-th best of group maxima."""
    n_users, n_items = scores.shape
    k = min(k, n_items)
    n_groups = min(max(8 * k, 256), n_items)
    width = n_items // n_groups  # columns left over only make the bound looser
    groups = scores[:, : width * n_groups].reshape(n_users, width, n_groups)
    bound = np.partition(groups.max(axis=1), n_groups - k, axis=1)[:, n_groups - k]
    return np.maximum(bound, np.finfo(scores.dtype).min)  # above -inf: candidates only


def _tie_keys(users: np.ndarray, items: np.ndarray, ties: str, seed: int) -> np.ndarray:
    """Order among equal scores, smallest first: the index, or a hash of (seed, user, item)."""
    if ties == "index":
        return items
    if ties != "random":
        raise ValueError(f'ties is {ties!r}: choose "random" or "index"')
    return hash_pairs(users, items, seed)


def hash_pairs(users: np.ndarray, items: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """A uniform random uint64 for each (user, item), the same whichever pairs are asked for.

    SplitMix64 (Steele, Lea and Flood 2014), once for the user and once for the item.
    """
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    for index in (users, items):
        state = state + np.asarray(index).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def _reciprocal_rank(
    scores: np.ndarray, is_relevant: np.ndarray, users: np.ndarray, ties: str, seed: int
) -> np.ndarray:
    """1 / rank of the first relevant item, found by counting what stands above it."""
    row, item = np.nonzero(is_relevant)
    starts = np.searchsorted(row, np.arange(len(scores)))
    first = np.maximum.reduceat(scores[row, item], starts)  # (b,) best relevant score
    rank = 1 + np.count_nonzero(scores > first[:, None], axis=1)
    row, item = np.nonzero((scores == first[:, None]) & (first > -np.inf)[:, None])
    key = _tie_keys(users[row], item, ties, seed)
    wins = is_relevant[row, item]
    first_key = np.full(len(scores), np.iinfo(key.dtype).max, dtype=key.dtype)
    np.minimum.at(first_key, row[wins], key[wins])
    rank += np.bincount(row[key < first_key[row]], minlength=len(scores))
    return np.where(first > -np.inf, 1 / rank, 0.0)


def _auc(scores: np.ndarray, relevant: sparse.csr_matrix) -> np.ndarray:
    """Mann-Whitney: for each relevant item, the candidates below it and half of its ties."""
    n_users, n_items = scores.shape
    n_relevant = np.diff(relevant.indptr)
    row = np.repeat(np.arange(n_users), n_relevant)
    value = scores[row, relevant.indices]
    row, value = row[value > -np.inf], value[value > -np.inf]

    # Complex numbers sort by real part, then imaginary part: all rows, sorted, in one flat array.
    flat = np.empty((n_users, n_items), dtype=np.complex128)
    flat.real, flat.imag = np.arange(n_users)[:, None], np.sort(scores, axis=1)
    wanted = np.empty(len(row), dtype=np.complex128)
    wanted.real, wanted.imag = row, value
    low, high = (np.searchsorted(flat.ravel(), wanted, side) for side in ("left", "right"))

    n_candidates = np.count_nonzero(scores > -np.inf, axis=1)
    below = low - (row + 1) * n_items + n_candidates[row]
    wins = np.bincount(row, weights=below + (high - low - 1) / 2, minlength=n_users)
    ranked = np.bincount(row, minlength=n_users)  # relevant items that are candidates
    wins = wins - ranked * (ranked - 1) / 2  # pairs of two relevant items do not count
    pairs = n_relevant * (n_candidates - ranked)
    return np.divide(wins, pairs, out=np.full(n_users, np.nan), where=pairs > 0)


def _blocks(
    scores: np.ndarray, rows: np.ndarray, exclude: sparse.csr_matrix | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows with a copy of their scores, excluded items at -inf."""
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        block = scores[part]
        if np.isnan(block).any():
            user, item = np.argwhere(np.isnan(block))[0]
            raise ValueError(
                f"scores hold nan, first in row {part[user]} at item {item}: "
                "give -inf to items that must not be recommended"
            )
        if exclude is not None:
            block[exclude[part].nonzero()] = -np.inf
        yield part, block


def _check(
    scores: np.ndarray, exclude: sparse.spmatrix | None, users: np.ndarray | None
) -> tuple[np.ndarray, sparse.csr_matrix | None, np.ndarray]:
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores have shape {scores.shape}: expected (n_users, n_items)")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    if exclude is not None:
        exclude = _as_mask(exclude, scores.shape, "exclude")
    users = np.arange(len(scores)) if users is None else np.asarray(users)
    if users.shape != (len(scores),):
        raise ValueError(f"users have shape {users.shape}: expected one user per row of scores")
    return scores, exclude, users


def _check_k(k: int) -> int:
    if int(k) != k or k < 1:
        raise ValueError(f"k is {k}: expected a whole number, 1 or more")
    return int(k)


def _as_mask(matrix: sparse.spmatrix, shape: tuple[int, int], name: str) -> sparse.csr_matrix:
    """A boolean csr copy without stored zeros or duplicates."""
    if matrix.shape != shape:
        raise ValueError(f"{name} has shape {matrix.shape}, scores have {shape}: align the rows")
    mask = sparse.csr_matrix(matrix).astype(bool, copy=True)
    mask.sum_duplicates()
    mask.eliminate_zeros()
    return mask
