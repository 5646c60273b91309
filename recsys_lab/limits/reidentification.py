"""Finding people again in data without names: rare combinations, and a few known ratings.

Derived in chapters/7_limitations/4_private.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_lab.data import Interactions


def group_sizes(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """How many rows share each row's values in ``columns``, itself included: (n_rows,).

    A row is k-anonymous in these columns if its size is at least k; 1 is unique. An unknown value
    is a value like any other. Source: Sweeney (2002).

    Raises:
        ValueError: a column that the table has not.
    """
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"no column {missing[0]!r}: the table has {', '.join(map(str, table))}")
    if not columns:
        return np.full(len(table), len(table))
    keys = table[list(columns)].astype(object).where(table[list(columns)].notna(), "unknown")
    groups = keys.groupby(list(columns), sort=False)[columns[0]]
    return groups.transform("size").to_numpy().astype(int)


class Match(NamedTuple):
    """The best row for what an attacker knows, and how far it stands out."""

    user: int
    score: float
    margin: float  # best less second best, in standard deviations of all scores


def match(
    release: Interactions,
    items: np.ndarray,
    stars: np.ndarray,
    days: np.ndarray | None = None,
    star_error: float = 1.0,
    day_error: float = 3.0,
) -> Match:
    """Who in ``release`` fits a few known ratings best? Some of them may be wrong.

    A known film counts 1 / log(number of its ratings) if the row holds it, with stars and day
    within their errors: a rare film says more, a wrong one costs only its own share.
    Source: Narayanan and Shmatikov (2008), the scoreboard with an eccentricity.

    Args:
        release: the published ratings, names removed; at most one rating a pair.
        items, stars: (n,) what the attacker knows.
        days: (n,) when, in days since 1970, or None if that is not known.

    Raises:
        ValueError: nothing known, arrays of unequal length, or one film named twice.
    """
    items, stars = np.asarray(items), np.asarray(stars)
    known = days if days is None else np.asarray(days)
    if (
        not len(items)
        or len(items) != len(stars)
        or (known is not None and len(known) != len(items))
    ):
        raise ValueError(f"{len(items)} films, {len(stars)} stars: one of each a known rating")
    if len(set(items.tolist())) < len(items):
        raise ValueError("a film is named twice: say each known rating once")
    counts = release.counts("items")
    place = np.full(release.n_items, -1)
    place[items] = np.arange(len(items))
    rows = np.flatnonzero(place[release.items] >= 0)
    which = place[release.items[rows]]
    fits = np.abs(release.ratings[rows] - stars[which]) <= star_error
    if known is not None:
        fits &= np.abs(release.timestamps[rows] / 86_400 - known[which]) <= day_error
    weights = 1 / np.log(np.maximum(counts[items], 2))
    scores = np.bincount(release.users[rows], weights[which] * fits, release.n_users)
    best = int(scores.argmax())
    rest = np.delete(scores, best)
    spread = scores.std()
    margin = (scores[best] - rest.max(initial=0.0)) / spread if spread > 0 else 0.0
    return Match(best, float(scores[best]), float(margin))
