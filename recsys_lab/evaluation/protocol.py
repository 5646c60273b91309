"""From a model and a split to a table that can be read: users, chance, popularity, intervals.

Derived in chapters/1_recsys_basics/5_measuring and 6_how_evaluation_lies.

The tables of `evaluate`, `evaluate_sampled` and `chance_level` hold a row per user and remember
their protocol in `.attrs`; `compare` refuses to put different protocols side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_lab.evaluation import ranking, stats

if TYPE_CHECKING:
    from recsys_lab.data import Split


class Scorer(Protocol):
    """Anything with `score(users) -> (n_selected, n_items)`, all that ranking metrics need."""

    def score(self, users: np.ndarray) -> np.ndarray: ...


class Predictor(Protocol):
    """Anything with `predict(users, items) -> (n,)` ratings, all that rating metrics need."""

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray: ...


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

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        model: an object with `score(users)`, or the scores of all users (n_users, n_items).
        split: what the model was trained on, and what was held out.
        k, metrics, ties, seed: as in `ranking_metrics`.
        min_rating: rating from which a held-out item is relevant; every one if None.
        users: indices of the users to evaluate; all if None.
        part: "test", where training and validation items are no candidates, or "validation",
            where training items are none.
        items: indices of the items that may be recommended, such as the cold ones; all if None.
        exclude_seen: False leaves seen items in the ranking, a mistake that
            chapters/1_recsys_basics/6_how_evaluation_lies shows.

    Returns:
        DataFrame of `ranking_metrics`, indexed by user; a user without relevant items has no row.

    Raises:
        ValueError: nobody has a relevant item, or scores of a wrong shape or with nan.
    """
    relevant, seen = _relevant_and_seen(split, min_rating, users, part, items, exclude_seen)
    tables = [
        ranking.ranking_metrics(
            scores, relevant[block], k, seen[block], ties, seed, users=block, metrics=metrics
        )
        for block, scores in _score_blocks(model, relevant, items)
    ]
    table = pd.concat(tables)
    table.attrs = {"k": k, "part": part, "min_rating": min_rating, "n_negatives": None}
    return table


def evaluate_sampled(
    model: Scorer | np.ndarray,
    split: Split,
    k: int = 10,
    n_negatives: int = 100,
    how: str = "uniform",
    min_rating: float | None = None,
    users: np.ndarray | None = None,
    part: str = "test",
    metrics: Sequence[str] = ranking.METRICS,
    ties: str = "random",
    seed: int = 0,
) -> pd.DataFrame:
    """The same against a few sampled items: what many papers print, and why it misleads.

    Each relevant item is ranked among `n_negatives` items that the user has neither seen nor
    liked; a user's row is the mean over the user's relevant items. Such numbers are far above
    those of the full catalogue and may order models differently (Krichene and Rendle 2020).
    Derived in chapters/1_recsys_basics/6_how_evaluation_lies.

    Args:
        n_negatives: items drawn for each user, without replacement, the same for every model;
            fewer where not so many are left.
        how: "uniform", or "popular": in proportion to an item's count in training (an item
            without any is never drawn).
        model, split, k, min_rating, users, part, metrics, ties, seed: as in `evaluate`.

    Returns:
        DataFrame as from `evaluate`.
    """
    if how not in ("uniform", "popular"):
        raise ValueError(f'how is {how!r}: choose "uniform" or "popular"')
    relevant, seen = _relevant_and_seen(split, min_rating, users, part, None, True)
    counts = split.train.counts("items")
    weight = np.ones(len(counts)) if how == "uniform" else counts  # (n_items,)
    n_negatives = min(n_negatives, len(weight))
    tables = []
    for block, scores in _score_blocks(model, relevant, None):
        # Weighted draws without replacement: the largest log weight + Gumbel noise.
        pair_hash = ranking.hash_pairs(block[:, None], np.arange(len(weight)), (seed, 1))
        uniform = ((pair_hash >> np.uint64(11)) + 0.5) * 2.0**-53
        drawable = (weight > 0) & ((relevant + seen)[block].toarray() == 0)
        noise = np.log(np.maximum(weight, 1)) - np.log(-np.log(uniform))
        noise = np.where(drawable, noise, -np.inf)  # (b, n_items)
        drawn = np.argpartition(-noise, n_negatives - 1, axis=1)[:, :n_negatives]
        negatives = np.take_along_axis(scores, drawn, axis=1).astype(float)
        negatives[~np.take_along_axis(drawable, drawn, axis=1)] = -np.inf

        row, item = relevant[block].nonzero()  # one list for each relevant item, which stands first
        lists = np.column_stack([scores[row, item], negatives[row]])  # (n_pairs, 1 + n_negatives)
        target = np.zeros(lists.shape, dtype=bool)
        target[:, 0] = True
        keys = block[row] * len(weight) + item  # one label per list, for its tie-breaks
        table = ranking.ranking_metrics(lists, target, k, None, ties, seed, keys, metrics)
        tables.append(table.set_axis(pd.Index(block[row], name="user")).groupby(level=0).mean())
    table = pd.concat(tables)
    table.attrs = {"k": k, "part": part, "min_rating": min_rating, "n_negatives": n_negatives}
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
    """What a random ranking gets on average, exactly and user by user.

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        split, k, min_rating, users, part, items, exclude_seen, metrics: as in `evaluate`.
        n_negatives: the level of `evaluate_sampled` with so many uniform negatives instead.

    Returns:
        DataFrame as from `evaluate`, with the expectation of each metric (`expected_metrics`).
    """
    relevant, seen = _relevant_and_seen(split, min_rating, users, part, items, exclude_seen)
    n_relevant = np.diff(relevant.indptr)
    judged = np.flatnonzero(n_relevant)
    n_relevant = n_relevant[judged]
    n_candidates = _wanted(items, relevant.shape[1]).sum() - np.diff(seen.indptr)[judged]
    if n_negatives is not None:
        n_candidates = 1 + np.minimum(n_negatives, n_candidates - n_relevant)
        n_relevant = np.ones_like(n_relevant)
    table = ranking.expected_metrics(n_candidates, n_relevant, k)[list(metrics)]
    table.index = pd.Index(judged, name="user")
    table.attrs = {"k": k, "part": part, "min_rating": min_rating, "n_negatives": n_negatives}
    return table


def evaluate_ratings(model: Predictor, split: Split, part: str = "test") -> pd.DataFrame:
    """Errors of predicted ratings, a row per held-out rating.

    `table["squared_error"].mean() ** 0.5` is the RMSE. For intervals draw whole users:
    `compare(..., "squared_error", clusters="user", transform=np.sqrt)`.
    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        model: an object with `predict(users, items)`.
        split: what the model was trained on, and what was held out.
        part: "test" or "validation".

    Returns:
        DataFrame: user, item, rating, predicted, squared_error, absolute_error.
    """
    held_out = _part(split, part)
    predicted = np.asarray(model.predict(held_out.users, held_out.items), dtype=float)
    if predicted.shape != held_out.ratings.shape or not np.isfinite(predicted).all():
        raise ValueError(f"predict gave shape {predicted.shape}: expected a rating for each pair")
    error = held_out.ratings - predicted
    return pd.DataFrame(
        {
            "user": held_out.users,
            "item": held_out.items,
            "rating": held_out.ratings,
            "predicted": predicted,
            "squared_error": error**2,
            "absolute_error": np.abs(error),
        }
    )


def chance_ratings(split: Split, part: str = "test") -> pd.DataFrame:
    """Errors to expect, exactly, from guessing a training rating drawn at random.

    Derived in chapters/1_recsys_basics/5_measuring. Returns a DataFrame as `evaluate_ratings`,
    without predicted.
    """
    held_out = _part(split, part)
    guesses, counts = np.unique(split.train.ratings, return_counts=True)
    error = held_out.ratings[:, None] - guesses  # (n, n_grades)
    share = counts / counts.sum()
    return pd.DataFrame(
        {
            "user": held_out.users,
            "item": held_out.items,
            "rating": held_out.ratings,
            "squared_error": error**2 @ share,
            "absolute_error": np.abs(error) @ share,
        }
    )


def compare(
    results: Mapping[str, pd.DataFrame],
    metric: str = "ndcg",
    reference: str = "popularity",
    chance: pd.DataFrame | None = None,
    n_boot: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    popularity: str = "popularity",
    clusters: str | None = None,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
) -> pd.DataFrame:
    """One row a model: mean with its interval, paired difference to `reference` with its own.

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        results: name -> table of `evaluate`, all over the same users; with the rows `popularity`
            and `reference`, and "chance" unless `chance` is given.
        metric: the column compared.
        reference: the row that the others are compared to.
        chance: table of `chance_level`, for the same users or more.
        n_boot, seed, level: as in `bootstrap_mean`; one bootstrap serves all rows.
        popularity: name of the row that knows how popular items are and nothing of the user; for
            ratings, the item means.
        clusters: column by which rows are drawn together, such as "user" in a table of ratings.
        transform: applied to every mean, such as np.sqrt for RMSE.

    Returns:
        DataFrame indexed by model, chance and popularity first: mean, low, high, diff, diff_low,
        diff_high and n, the number of users (rows). `format_table` shows it to readers.

    Raises:
        ValueError: no chance, no popularity, no reference; users or protocol that differ.
    """
    tables = dict(results) if chance is None else {**results, "chance": chance}
    remedies = {
        "chance": "chance=chance_level(split, ...)",
        popularity: f"a table named {popularity!r} in results",
    }
    if missing := [remedy for name, remedy in remedies.items() if name not in tables]:
        raise ValueError(
            f"a table without chance and popularity cannot be read: pass {' and '.join(missing)}"
        )
    if reference not in tables:
        raise ValueError(f"no results for the reference {reference!r}: there are {list(tables)}")
    names = [*remedies, *(name for name in tables if name not in remedies)]
    frame = tables[reference if reference != "chance" else popularity]
    for name in names:
        _check_comparable(name, tables[name], frame, metric)
    values = np.column_stack([tables[name][metric].reindex(frame.index) for name in names])
    known = np.isfinite(values).all(axis=1)  # auc is undefined for a user without other items
    values = values[known]
    draws = stats.bootstrap_means(
        values, n_boot, seed, None if clusters is None else frame[clusters].to_numpy()[known]
    )  # (n_boot, n_models)
    mean = values.mean(axis=0)
    if transform is not None:
        mean, draws = transform(mean), transform(draws)
    base = names.index(reference)
    low, high = np.transpose([stats.interval(draw, level) for draw in draws.T])
    diff_low, diff_high = np.transpose(
        [stats.interval(draw, level) for draw in (draws - draws[:, [base]]).T]
    )
    table = pd.DataFrame(
        {
            "mean": mean,
            "low": low,
            "high": high,
            "diff": mean - mean[base],
            "diff_low": diff_low,
            "diff_high": diff_high,
            "n": len(values),
        },
        index=pd.Index(names, name="model"),
    )
    table.attrs = {"metric": metric, "reference": reference, "level": level} | (
        {"k": frame.attrs["k"]} if "k" in frame.attrs else {}
    )
    return table


class FormattedTable(NamedTuple):
    """A table for readers: `html` in a notebook, `text` elsewhere."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def format_table(
    table: pd.DataFrame, digits: int = 3, caption: str | None = None, label: str | None = None
) -> FormattedTable:
    """The table of `compare` with each mean beside its interval, the same on every run.

    Used from chapters/1_recsys_basics/5_measuring on.

    Args:
        table: from `compare`; rows may be left out or reordered.
        digits: decimals.
        caption: says what is measured; made from the table if None.
        label: name of the metric in the head, such as "RMSE"; made from the table if None.
    """
    metric, k = table.attrs.get("metric", "metric"), table.attrs.get("k")
    if k is not None and metric not in ("mrr", "auc"):
        metric = f"{metric.removesuffix('_at_k')}@{k}"
    metric = label or metric
    reference = table.attrs.get("reference", "reference")
    if caption is None:
        level = f"{100 * table.attrs.get('level', 0.95):g} %"
        caption = f"{metric}: mean, paired difference to {reference}, {level} bootstrap intervals"
    head = ["model", metric, f"difference to {reference}", "n"]
    rows = []
    for name, row in table.iterrows():
        mean, low, high = (_fixed(row[c], digits) for c in ("mean", "low", "high"))
        diff, *ends = (_fixed(row[c], digits, "+") for c in ("diff", "diff_low", "diff_high"))
        shown = "reference" if name == reference else f"{diff} [{ends[0]}, {ends[1]}]"
        rows.append([str(name), f"{mean} [{low}, {high}]", shown, f"{int(row['n']):,}"])
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in [head, *rows]
    )
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>\n"
        for name, *rest in rows
    )
    html = (
        f"<table>\n<caption>{escape(caption)}</caption>\n"
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    )
    return FormattedTable(html, f"{caption}\n{text}")


def _fixed(value: float, digits: int, sign: str = "") -> str:
    """Fixed decimals; a value that rounds to zero has no minus."""
    return f"{round(float(value), digits) + 0.0:{sign}.{digits}f}"


def _check_comparable(name: str, table: pd.DataFrame, frame: pd.DataFrame, metric: str) -> None:
    """`table` holds `metric` for the users of `frame` (chance: at least), by the same protocol."""
    if metric not in table:
        raise ValueError(f"{name!r} has no column {metric!r}: it has {list(table.columns)}")
    if not table.index.is_unique:
        raise ValueError(f"{name!r} has several rows for one user: average them first")
    extra = name != "chance" and len(table) != len(frame)
    if extra or not frame.index.isin(table.index).all():
        raise ValueError(
            f"{name!r} was evaluated on {len(table)} users, others on {len(frame)} or on different "
            "ones: evaluate all on the same split, part and min_rating"
        )
    for column in {"user", "item"} & set(table) & set(frame):  # a table of ratings
        if not table[column].reindex(frame.index).equals(frame[column]):
            raise ValueError(f"{name!r} holds other ratings, or the same in another order")
    for key in table.attrs.keys() & frame.attrs.keys():
        if table.attrs[key] != frame.attrs[key]:
            raise ValueError(
                f"{name!r} was evaluated with {key}={table.attrs[key]}, others with "
                f"{key}={frame.attrs[key]}: such numbers do not compare"
            )


def _part(split: Split, part: str) -> object:
    if part not in ("test", "validation"):
        raise ValueError(f'part is {part!r}: choose "test" or "validation"')
    if getattr(split, part) is None:
        raise ValueError(f"the split has no {part} part: make one that has")
    return getattr(split, part)


def _relevant_and_seen(
    split: Split,
    min_rating: float | None,
    users: np.ndarray | None,
    part: str,
    items: np.ndarray | None,
    exclude_seen: bool,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """(n_users, n_items): relevant items of the users wanted, and seen items; within `items`."""
    relevant = _part(split, part).matrix(min_rating=min_rating)
    seen = split.train.matrix() * float(exclude_seen)
    if part == "test" and split.validation is not None and exclude_seen:
        seen = seen + split.validation.matrix()
    row, column = _wanted(users, relevant.shape[0]), _wanted(items, relevant.shape[1])
    relevant = sparse.csr_matrix(sparse.diags(row * 1.0) @ relevant @ sparse.diags(column * 1.0))
    seen = sparse.csr_matrix(seen @ sparse.diags(column * 1.0))
    relevant.eliminate_zeros()
    seen.eliminate_zeros()
    if relevant.nnz == 0:
        raise ValueError(
            f"nobody has a relevant item in {part}: check min_rating={min_rating}, users and items"
        )
    return relevant, seen


def _wanted(index: np.ndarray | None, n: int) -> np.ndarray:
    """Indices, a mask or None (all) as a mask (n,)."""
    mask = np.full(n, index is None)
    if index is not None:
        mask[np.asarray(index)] = True
    return mask


def _score_blocks(
    model: Scorer | np.ndarray, relevant: sparse.csr_matrix, items: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of users with relevant items, and their scores, -inf outside `items`."""
    judged = np.flatnonzero(np.diff(relevant.indptr))
    for start in range(0, len(judged), ranking.BLOCK):
        block = judged[start : start + ranking.BLOCK]
        if hasattr(model, "score"):
            scores, n_rows = np.asarray(model.score(block)), len(block)
        else:
            scores, n_rows = np.asarray(model), relevant.shape[0]
        if scores.shape != (n_rows, relevant.shape[1]):
            raise ValueError(
                f"scores have shape {scores.shape}: expected {(n_rows, relevant.shape[1])}"
            )
        if not hasattr(model, "score"):
            scores = scores[block]
        if items is not None:
            scores = np.where(_wanted(items, scores.shape[1]), scores, -np.inf)
        yield block, scores
