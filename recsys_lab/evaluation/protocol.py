"""From a model and a split to a table that can be read: users, chance, popularity, intervals.

Derived in chapters/1_recsys_basics/5_measuring and 6_how_evaluation_lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_lab.evaluation import ranking, stats

if TYPE_CHECKING:
    from recsys_lab.data import Split


class Scorer(Protocol):
    """Anything with `score(users)`, the one method that evaluation needs."""

    def score(self, users: np.ndarray) -> np.ndarray: ...


def evaluate(
    model: Scorer | np.ndarray,
    split: Split,
    k: int = 10,
    min_rating: float | None = None,
    users: np.ndarray | None = None,
    part: str = "test",
    items: np.ndarray | None = None,
    exclude_seen: bool = True,
    metrics: Sequence[str] = ranking.METRICS,
    ties: str = "random",
    seed: int = 0,
) -> pd.DataFrame:
    """Ranking metrics of each user over the full catalogue.

    Parameters
    ----------
    model : an object with `score(users) -> (len(users), n_items)`, or the scores of all users.
    k, metrics, ties, seed : as in `ranking_metrics`.
    min_rating : rating from which a held-out item counts as relevant; every one if None.
    users : user indices to evaluate; all if None.
    part : "test" (training and validation items are no candidates) or "validation" (training
        items are no candidates).
    items : item indices that may be recommended, such as the cold ones; all if None.
    exclude_seen : False leaves the seen items in the ranking, a mistake shown in
        chapters/1_recsys_basics/6_how_evaluation_lies.

    Returns
    -------
    DataFrame as from `ranking_metrics`, indexed by user; users without a relevant item have no row.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    relevant, seen = _relevant_and_seen(split, min_rating, users, part, items, exclude_seen)
    judged = np.flatnonzero(np.diff(relevant.indptr))
    if len(judged) == 0:
        raise ValueError(
            f"no user of {part} has a relevant item: check min_rating={min_rating}, users and items"
        )
    tables = []
    for start in range(0, len(judged), ranking.BLOCK):
        block = judged[start : start + ranking.BLOCK]
        tables.append(
            ranking.ranking_metrics(
                _scores(model, block, relevant.shape, items),
                relevant[block],
                k,
                seen[block] if exclude_seen else None,
                ties,
                seed,
                users=block,
                metrics=metrics,
            )
        )
    table = pd.concat(tables)
    table.attrs = {"k": k}
    return table


def chance_level(
    split: Split,
    k: int = 10,
    min_rating: float | None = None,
    users: np.ndarray | None = None,
    part: str = "test",
    items: np.ndarray | None = None,
    exclude_seen: bool = True,
    metrics: Sequence[str] = ranking.METRICS,
    n_negatives: int | None = None,
) -> pd.DataFrame:
    """What a random ranking gets on average, exactly, user by user; arguments as in `evaluate`.

    With `n_negatives` it is the level of `evaluate_sampled` instead.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    relevant, seen = _relevant_and_seen(split, min_rating, users, part, items, exclude_seen)
    n_relevant = np.diff(relevant.indptr)
    judged = np.flatnonzero(n_relevant)
    n_candidates = np.full(len(judged), relevant.shape[1] if items is None else len(set(items)))
    if exclude_seen:
        n_candidates = n_candidates - np.diff(_only(seen, items).indptr)[judged]
    n_relevant = n_relevant[judged]
    if n_negatives is not None:
        n_candidates = 1 + np.minimum(n_negatives, n_candidates - n_relevant)
        n_relevant = np.ones_like(n_relevant)
    table = ranking.expected_metrics(n_candidates, n_relevant, k)[list(metrics)]
    table.index = pd.Index(judged, name="user")
    table.attrs["k"] = k
    return table


def compare(
    results: Mapping[str, pd.DataFrame],
    metric: str = "ndcg",
    reference: str = "popularity",
    chance: pd.DataFrame | None = None,
    n_boot: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    popularity: str = "popularity",
) -> pd.DataFrame:
    """One row a model: mean and interval, and the paired difference to `reference`.

    Parameters
    ----------
    results : name -> table of `evaluate`, all over the same users. Must hold the rows `popularity`
        and `reference`; may hold "chance", else give `chance`.
    chance : table of `chance_level` over the same users (or more).
    popularity : the name of the row that recommends the same items to everyone.

    Returns
    -------
    DataFrame indexed by model, chance and popularity first: mean, low, high, diff, diff_low,
    diff_high (all of `metric`; percentile intervals from one bootstrap of users shared by all
    rows) and n, the number of users.

    Raises
    ------
    ValueError without chance or popularity, or when the users (or the k) differ.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    tables = dict(results)
    if chance is not None:
        tables["chance"] = chance
    missing = [name for name in ("chance", popularity) if name not in tables]
    if missing:
        raise ValueError(
            "a table without chance and popularity cannot be read: pass "
            + " and ".join(
                "chance=chance_level(split, ...)" if name == "chance" else f"results[{name!r}]"
                for name in missing
            )
        )
    if reference not in tables:
        raise ValueError(f"no results for the reference {reference!r}: there are {list(tables)}")
    names = ["chance", popularity] + [n for n in tables if n not in ("chance", popularity)]
    users = tables[reference].index
    for name in names:
        if metric not in tables[name]:
            raise ValueError(f"{name} has no column {metric!r}: it has {list(tables[name])}")
        if name == "chance":
            covered = users.isin(tables[name].index).all()
        else:
            covered = len(users) == len(tables[name]) and users.isin(tables[name].index).all()
        if not covered:
            raise ValueError(
                f"{name} and {reference} were evaluated on different users "
                f"({len(tables[name])} and {len(users)}): evaluate both on the same split and part"
            )
        if len({tables[n].attrs["k"] for n in (name, reference) if "k" in tables[n].attrs}) > 1:
            raise ValueError(f"{name} and {reference} were evaluated at different k")
    values = np.column_stack([tables[n][metric].reindex(users).to_numpy(float) for n in names])
    values = values[np.isfinite(values).all(axis=1)]  # auc is undefined for a few users
    means = stats.bootstrap_means(values, n_boot, seed)  # (n_boot, n_models)
    base = names.index(reference)
    rows = []
    for j in range(len(names)):
        rows.append(
            (
                values[:, j].mean(),
                *stats.interval(means[:, j], level),
                (values[:, j] - values[:, base]).mean(),
                *stats.interval(means[:, j] - means[:, base], level),
                len(values),
            )
        )
    columns = ["mean", "low", "high", "diff", "diff_low", "diff_high", "n"]
    table = pd.DataFrame(rows, index=pd.Index(names, name="model"), columns=columns)
    table.attrs = {"metric": metric, "reference": reference, "level": level}
    return table


def _relevant_and_seen(
    split: Split,
    min_rating: float | None,
    users: np.ndarray | None,
    part: str,
    items: np.ndarray | None,
    exclude_seen: bool,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """(n_users, n_items) masks: relevant items of the users wanted, items already seen."""
    if part not in ("test", "validation"):
        raise ValueError(f'part is {part!r}: choose "test" or "validation"')
    held_out = getattr(split, part)
    if held_out is None:
        raise ValueError(f"the split has no {part} part: ask for one when splitting")
    relevant = held_out.matrix(min_rating=min_rating)
    seen = split.train.matrix()
    if part == "test" and split.validation is not None:
        seen = seen + split.validation.matrix()
    relevant = _only(relevant, items)
    if users is not None:
        wanted = np.zeros(relevant.shape[0])
        wanted[users] = 1
        relevant = sparse.csr_matrix(sparse.diags(wanted) @ relevant)
        relevant.eliminate_zeros()
    return relevant, sparse.csr_matrix(seen)


def _only(matrix: sparse.csr_matrix, items: np.ndarray | None) -> sparse.csr_matrix:
    """`matrix` with the columns outside `items` emptied."""
    if items is None:
        return matrix
    wanted = np.zeros(matrix.shape[1])
    wanted[items] = 1
    kept = sparse.csr_matrix(matrix @ sparse.diags(wanted))
    kept.eliminate_zeros()
    return kept


def _scores(
    model: Scorer | np.ndarray, users: np.ndarray, shape: tuple[int, int], items: np.ndarray | None
) -> np.ndarray:
    """Scores of `users`, -inf outside `items`."""
    if hasattr(model, "score"):
        scores = np.asarray(model.score(users))
        expected = (len(users), shape[1])
    else:
        scores, expected = np.asarray(model), shape
    if scores.shape != expected:
        raise ValueError(f"scores have shape {scores.shape}: expected {expected}")
    if not hasattr(model, "score"):
        scores = scores[users]
    if items is not None:
        kept = np.full(scores.shape, -np.inf, dtype=np.result_type(scores, np.float32))
        kept[:, items] = scores[:, items]
        return kept
    return scores
