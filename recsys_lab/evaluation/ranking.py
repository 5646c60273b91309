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
           (trec_eval's ``map_cut_k`` divides by R: multiply ours by min(R, k) / R to get it)
mrr        1 / rank of the first relevant item among *all* candidates, not cut at k
mrr_at_k   the same, but 0 if that rank is beyond k
ndcg       gains 0/1, discount 1 / log2(rank + 1), ideal list of min(R, k) hits
auc        share of (relevant, other) candidate pairs in the right order, a tie counts 1/2;
           nan if no other candidate is left. Not cut at k
=========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammaln

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
    """The k best items of each user, best first.

    Parameters
    ----------
    scores : (n_users, n_items), higher is better; ``-inf`` leaves an item out, nan is an error.
    exclude : (n_users, n_items) sparse, non-zero where an item must not be recommended.
    k : length of the lists; all items if None.
    ties : "random" breaks ties by a seeded key of each (user, item) pair, so that no item gains
        from its place in the table (in ML-100K low indices are popular items); "index" puts the
        lower index first.
    users : (n_users,) labels of the rows, which enter the random key (row numbers if None): the
        same user gets the same order whichever rows come along.

    Returns
    -------
    (n_users, k) int64 item indices; -1 where fewer than k candidates are left.

    Derived in chapters/1_recsys_basics/5_measuring.
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
    """Metrics of each user's ranking; the definitions stand at the top of this module.

    Parameters
    ----------
    scores, exclude, ties, seed, users : as in `rank_items`.
    relevant : (n_users, n_items) sparse, non-zero where an item is relevant.
    metrics : the columns wanted; leaving out "auc" saves a sort of every row.

    Returns
    -------
    DataFrame, one row per user with at least one relevant item, indexed by `users`.

    Raises
    ------
    ValueError for nan scores, shapes that differ, or an item both relevant and excluded.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    scores, exclude, users = _check(scores, exclude, users)
    k = _check_k(k)
    relevant = _as_mask(relevant, scores.shape, "relevant")
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"unknown metrics {sorted(unknown)}: choose from {METRICS}")
    if exclude is not None and (clash := exclude.multiply(relevant).tocoo()).nnz:
        raise ValueError(
            f"{clash.nnz} items are both relevant and excluded, the first one item {clash.col[0]} "
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

    Parameters
    ----------
    n_candidates, n_relevant : (n_users,) integers C and R with 1 <= R <= C.

    The number of hits is hypergeometric; no relevant item stands among the first i with
    probability C(C - R, i) / C(C, i).

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    candidates, relevant = np.asarray(n_candidates), np.asarray(n_relevant)
    k = _check_k(k)
    if not ((relevant >= 1) & (relevant <= candidates)).all():
        raise ValueError("each user needs at least one relevant item, and no more than candidates")
    pairs, back = np.unique(np.column_stack([candidates, relevant]), axis=0, return_inverse=True)
    c, r = pairs.T[:, :, None].astype(float)  # (n_pairs, 1) each
    i = np.arange(1, pairs[:, 0].max(initial=1) + 1)  # ranks
    filled = i <= c
    listed = filled & (i <= k)
    share = r / c
    discount = 1 / np.log2(np.arange(2, max(k, len(i)) + 2))
    best = np.minimum(pairs[:, 1], k)
    log_factorial = gammaln(np.arange(len(i) + 1) + 1.0)

    def none_among(first: np.ndarray) -> np.ndarray:
        """P(no relevant item among the first `first` ranks): (n_pairs, n_ranks)."""
        left = (c - r - first).astype(int)
        log = log_factorial[(c - r).astype(int)] - log_factorial[np.maximum(left, 0)]
        log = log + log_factorial[np.maximum(c - first, 0).astype(int)]
        log = log - log_factorial[c.astype(int)]
        return np.where(left >= 0, np.exp(log), 0.0)

    first_at = (none_among(i - 1) - none_among(i)) * filled
    # a hit at rank i sees itself and, on average, (i-1)(r-1)/(c-1) hits above it
    seen = share * (1 + (i - 1) * (r - 1) / np.maximum(c - 1, 1)) / i
    n_listed = listed.sum(axis=1)
    table = pd.DataFrame(
        {
            "precision": share[:, 0] * n_listed / k,
            "recall": n_listed / c[:, 0],
            "f1": 2 * share[:, 0] * n_listed / (k + r[:, 0]),
            "hit": (first_at * listed).sum(axis=1),
            "map": (seen * listed).sum(axis=1) / best,
            "mrr": (first_at / i).sum(axis=1),
            "mrr_at_k": (first_at / i * listed).sum(axis=1),
            "ndcg": share[:, 0] * (listed @ discount[: len(i)]) / np.cumsum(discount)[best - 1],
            "auc": np.where(c > r, 0.5, np.nan)[:, 0],
        }
    )
    return table.iloc[back.ravel()].reset_index(drop=True)


def _block_metrics(
    scores: np.ndarray,
    relevant: sparse.csr_matrix,
    users: np.ndarray,
    k: int,
    ties: str,
    seed: int,
    metrics: Sequence[str],
) -> dict[str, np.ndarray]:
    top = _top_k(scores, users, k, ties, seed)  # (b, k)
    hits = np.take_along_axis(relevant.toarray(), np.maximum(top, 0), axis=1) & (top >= 0)
    n_relevant = np.diff(relevant.indptr)  # (b,)
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
        result["mrr"] = _reciprocal_rank(scores, relevant, users, ties, seed)
    if "auc" in metrics:
        result["auc"] = _auc(scores, relevant)
    return result


def _top_k(scores: np.ndarray, users: np.ndarray, k: int, ties: str, seed: int) -> np.ndarray:
    """Top k of each row without sorting it: keep what may be in the list, sort only that."""
    n_users, n_items = scores.shape
    keep = scores >= _lower_bound(scores, k)[:, None]
    crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > 4 * k + 64)
    if len(crowded) and k < n_items:  # many tied items: let the keys thin them out
        s = scores[crowded]
        kth = np.partition(s, n_items - k, axis=1)[:, n_items - k, None]
        row, item = np.nonzero((s == kth) & keep[crowded])
        rank = np.where((s > kth) & keep[crowded], np.inf, -np.inf)
        key = _tie_keys(users[crowded[row]], item, ties, seed)
        rank[row, item] = -key.astype(float)  # rounded keys may tie, which keeps a few more
        keep[crowded] = rank >= _lower_bound(rank, k)[:, None]
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
    """A value that the k-th best score of each row reaches: the k-th best of group maxima."""
    n_users, n_items = scores.shape
    k = min(k, n_items)
    n_groups = min(max(8 * k, 256), n_items)
    width = n_items // n_groups  # leftover columns only make the bound looser
    groups = scores[:, : width * n_groups].reshape(n_users, width, n_groups)
    bound = np.partition(groups.max(axis=1), n_groups - k, axis=1)[:, n_groups - k]
    return np.maximum(bound, np.finfo(scores.dtype).min)  # above -inf: never an excluded item


def _tie_keys(users: np.ndarray, items: np.ndarray, ties: str, seed: int) -> np.ndarray:
    """Order among equal scores: a hash of (seed, user, item), smaller first, or the index."""
    if ties == "index":
        return items
    if ties != "random":
        raise ValueError(f'ties is {ties!r}: choose "random" or "index"')
    base = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return _mix(_mix(base + users.astype(np.uint64)) + items.astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele et al. 2014): neighbouring integers come out unrelated."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _reciprocal_rank(
    scores: np.ndarray, relevant: sparse.csr_matrix, users: np.ndarray, ties: str, seed: int
) -> np.ndarray:
    """1 / rank of the first relevant item, found by counting what stands above it."""
    row = np.repeat(np.arange(len(scores)), np.diff(relevant.indptr))
    first = np.maximum.reduceat(scores[row, relevant.indices], relevant.indptr[:-1])  # (b,)
    rank = 1 + np.count_nonzero(scores > first[:, None], axis=1)
    tied, item = np.nonzero((scores == first[:, None]) & (first > -np.inf)[:, None])
    key = _tie_keys(users[tied], item, ties, seed)
    is_relevant = relevant.toarray()[tied, item]
    best = np.full(len(scores), np.iinfo(key.dtype).max, dtype=key.dtype)
    np.minimum.at(best, tied[is_relevant], key[is_relevant])
    rank += np.bincount(tied[key < best[tied]], minlength=len(scores))
    return np.where(first > -np.inf, 1 / rank, 0.0)


def _auc(scores: np.ndarray, relevant: sparse.csr_matrix) -> np.ndarray:
    """Mann-Whitney: at each relevant item, count the candidates below it and half the ties."""
    n_users, n_items = scores.shape
    n_relevant = np.diff(relevant.indptr)
    row = np.repeat(np.arange(n_users), n_relevant)
    value = scores[row, relevant.indices]
    row, value = row[value > -np.inf], value[value > -np.inf]

    # Complex numbers sort by real part, then by imaginary part: (row, score) in one flat array.
    flat = np.empty((n_users, n_items), dtype=np.complex128)
    flat.real, flat.imag = np.arange(n_users)[:, None], np.sort(scores, axis=1)
    wanted = np.empty(len(row), dtype=np.complex128)
    wanted.real, wanted.imag = row, value
    low, high = (np.searchsorted(flat.ravel(), wanted, side) for side in ("left", "right"))

    n_candidates = np.count_nonzero(scores > -np.inf, axis=1)
    below = low - (row + 1) * n_items + n_candidates[row]
    wins = np.bincount(row, weights=below + (high - low - 1) / 2, minlength=n_users)
    reached = np.bincount(row, minlength=n_users)
    wins -= reached * (reached - 1) / 2  # pairs of two relevant items do not count
    pairs = n_relevant * (n_candidates - reached)
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
                f"scores hold nan, first at row {part[user]}, item {item}: "
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
        raise ValueError(f"users have shape {users.shape}: expected one label per row of scores")
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
