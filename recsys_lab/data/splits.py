"""Ways to hold ratings back. Each answers another question; the choice moves every metric.

All take a seed where chance decides, work on whole arrays, and leave the order of events alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys_lab.data.interactions import Interactions

Ties = Literal["random", "item_id", "file"]


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Parts of one data set that share its users and items. Used from
    chapters/1_recsys_basics/5_measuring on.

    `validation` is None where a split has none. An event is in one part at most.
    """

    train: Interactions
    validation: Interactions | None
    test: Interactions
    name: str

    def __repr__(self) -> str:
        validation = "none" if self.validation is None else f"{len(self.validation):,}"
        return (
            f"Split({self.name!r}, train {len(self.train):,}, validation {validation}, "
            f"test {len(self.test):,})"
        )


def k_fold(data: Interactions, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Random folds over all ratings: each rating is tested once.

    The protocol of published rating-prediction tables. It lets a model see a user's future; see
    chapters/1_recsys_basics/6_how_evaluation_lies. Derived in chapters/1_recsys_basics/5_measuring.

    Raises:
        ValueError: fewer than 2 folds, or more folds than ratings.
    """
    if not 2 <= n_folds <= len(data):
        raise ValueError(f"n_folds is {n_folds}; it must lie in 2..{len(data)} (the ratings)")
    fold = np.random.default_rng(seed).permutation(len(data)) % n_folds  # (n,)
    return [_split(data, np.where(fold == f, 2, 0), f"fold {f + 1}") for f in range(n_folds)]


def holdout_per_user(
    data: Interactions,
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    seed: int = 0,
) -> Split:
    """A random share of each user's ratings: the stratified 75/25 split of published top-N tables.

    A user with m ratings gives round(m * fraction) to a part (halves go to the even number) and
    keeps at least one for training. Derived in chapters/1_recsys_basics/5_measuring.

    Raises:
        ValueError: fractions that are negative or leave nothing to train on.
    """
    _check_fractions(test_fraction, validation_fraction)
    chance = np.random.default_rng(seed).permutation(len(data))
    return _tail(data, (chance,), test_fraction, validation_fraction, "random per user")


def last_fraction_per_user(
    data: Interactions,
    fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    ties: Ties = "random",
) -> Split:
    """The last share of each user's ratings in time; validation is what came just before.

    Counts are rounded as in `holdout_per_user`. Ties among equal timestamps are broken as in
    `leave_last_out`. Used in chapters/1_recsys_basics/6_how_evaluation_lies.

    Raises:
        ValueError: bad fractions, unknown ties, or data without timestamps.
    """
    _check_fractions(fraction, validation_fraction)
    keys = _time_keys(data, seed, ties)
    return _tail(data, keys, fraction, validation_fraction, "last per user")


def leave_last_out(
    data: Interactions, seed: int = 0, ties: Ties = "random", validation: bool = True
) -> Split:
    """Each user's last event is tested, the one before it validates, the others train.

    In ML-100K the last two events of 44 % of users carry one and the same timestamp, so which is
    "last" is a choice. Derived in chapters/1_recsys_basics/6_how_evaluation_lies.

    Args:
        data: events with timestamps.
        seed: of the random order among equal timestamps; unused by the other two.
        ties: "random" orders events of one second by chance; "item_id" by item, so that the highest
            id is last (high ids are unpopular in ML-100K, so the test gets harder); "file" by their
            place in the file.
        validation: False leaves the event before the last in the training part. The test is the
            same, so what was tuned with a validation part can be fitted once more without it.

    A user with one event keeps it for training; with two, none is left to validate.

    Raises:
        ValueError: unknown ties, data without timestamps, or no user with two events.
    """
    from_end = _from_end(data, _time_keys(data, seed, ties))  # (n,) 0 is the user's last event
    total = data.counts("users")[data.users]
    part = np.where((from_end == 0) & (total >= 2), 2, 0)
    if validation:
        part[(from_end == 1) & (total >= 3)] = 1
    return _split(data, part, "leave last out", validation=validation)


def time_split(data: Interactions, fractions: tuple[float, ...] = (0.8, 0.1, 0.1)) -> Split:
    """Cut the whole data at one or two moments: train before, test after, as a service would.

    Events of one second stay together, so the shares may differ from `fractions` by a few events.
    Many test users are new then; count them. Used in
    chapters/1_recsys_basics/6_how_evaluation_lies.

    Args:
        data: events with timestamps.
        fractions: shares of (train, validation, test) or of (train, test), which add up to 1.

    Raises:
        ValueError: bad fractions, data without timestamps, or a part that would be empty.
    """
    if len(fractions) not in (2, 3) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions is {fractions}; give 2 or 3 positive shares that add up to 1")
    _check_timestamps(data)
    starts = np.round(np.cumsum(fractions[:-1]) * len(data)).astype(int)
    cuts = np.sort(data.timestamps)[np.minimum(starts, len(data) - 1)]  # first second of each part
    part = np.searchsorted(cuts, data.timestamps, side="right")
    part = np.where(part == len(fractions) - 1, 2, part)
    return _split(data, part, "global time", validation=len(fractions) == 3)


def cold_users(
    data: Interactions, user_fraction: float = 0.2, n_keep: int = 5, seed: int = 0
) -> Split:
    """Make some users thin: they keep `n_keep` random ratings for training, the rest is the test.

    ML-100K has no user with fewer than 20 ratings, so thin histories are made on purpose. With one
    seed, the same users are thinned whatever n_keep is (as long as all have more ratings than
    that), and a smaller n_keep keeps a part of what a larger one keeps. Used in
    chapters/1_recsys_basics/7_cold_start.

    Args:
        data: events.
        user_fraction: share of all users to thin, 0..1; at least one.
        n_keep: ratings that a thinned user keeps, 0 or more.
        seed: of the choice of users and of what they keep.

    Raises:
        ValueError: a bad share, a negative n_keep, or too few users with more than n_keep ratings.
    """
    if n_keep < 0:
        raise ValueError(f"n_keep is {n_keep}; it must be 0 or more")
    rng = np.random.default_rng(seed)
    counts = data.counts("users")
    thin = _draw(rng, counts > n_keep, user_fraction, f"users with more than {n_keep} ratings")
    position = _from_end(data, (rng.permutation(len(data)),))
    part = np.where(thin[data.users] & (position >= n_keep), 2, 0)
    return _split(data, part, f"cold users ({n_keep} kept)")


def cold_items(data: Interactions, item_fraction: float = 0.2, seed: int = 0) -> Split:
    """Take some items out of training altogether: their ratings are the test.

    Used in chapters/1_recsys_basics/7_cold_start.

    Args:
        data: events.
        item_fraction: share of all items to take out, 0..1; at least one. They have ratings.
        seed: of the choice of items.

    Raises:
        ValueError: a bad share, or no item left to train on.
    """
    rng = np.random.default_rng(seed)
    cold = _draw(rng, data.counts("items") > 0, item_fraction, "rated items")
    return _split(data, np.where(cold[data.items], 2, 0), "cold items")


def _split(data: Interactions, part: np.ndarray, name: str, validation: bool = False) -> Split:
    """part: (n,) 0 train, 1 validation, 2 test."""
    for value, what in ((0, "training"), (1, "validation"), (2, "test")):
        if (value != 1 or validation) and not (part == value).any():
            raise ValueError(
                f"{name}: the {what} part of {data.name!r} ({len(data)} events) would be empty; "
                "choose other shares, or data with longer histories"
            )
    return Split(
        train=data.select(part == 0),
        validation=data.select(part == 1) if validation else None,
        test=data.select(part == 2),
        name=name,
    )


def _from_end(data: Interactions, keys: tuple[np.ndarray, ...]) -> np.ndarray:
    """Place of each event in its user's history, counted from the end. keys: the last decides."""
    order = np.lexsort((*keys, data.users))  # user by user, in the order of the keys
    ends = np.cumsum(data.counts("users"))  # (n_users,)
    place = np.empty(len(data), dtype=np.int64)
    place[order] = ends[data.users[order]] - 1 - np.arange(len(data))
    return place


def _tail(
    data: Interactions,
    keys: tuple[np.ndarray, ...],
    test_fraction: float,
    validation_fraction: float,
    name: str,
) -> Split:
    counts = data.counts("users")
    n_test = np.minimum(np.rint(counts * test_fraction), np.maximum(counts - 1, 0))
    n_held = np.minimum(n_test + np.rint(counts * validation_fraction), np.maximum(counts - 1, 0))
    from_end = _from_end(data, keys)
    part = np.where(from_end < n_test[data.users], 2, np.where(from_end < n_held[data.users], 1, 0))
    return _split(data, part, name, validation=validation_fraction > 0)


def _time_keys(data: Interactions, seed: int, ties: Ties) -> tuple[np.ndarray, np.ndarray]:
    if ties not in ("random", "item_id", "file"):
        raise ValueError(f"ties is {ties!r}; it must be 'random', 'item_id' or 'file'")
    _check_timestamps(data)
    if ties == "random":
        return np.random.default_rng(seed).permutation(len(data)), data.timestamps
    return (data.items if ties == "item_id" else np.arange(len(data))), data.timestamps


def _check_timestamps(data: Interactions) -> None:
    if len(data) < 2 or data.timestamps.min() == data.timestamps.max():
        raise ValueError(
            f"{data.name!r} holds no order: all its timestamps are equal; load it with a timestamp "
            "column, or use holdout_per_user"
        )


def _check_fractions(test: float, validation: float) -> None:
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise ValueError(
            f"the test share is {test} and the validation share {validation}; the first must lie "
            "between 0 and 1, and both together must leave something to train on"
        )


def _draw(rng: np.random.Generator, allowed: np.ndarray, share: float, what: str) -> np.ndarray:
    """A random mask of round(share * allowed.size) entries, all of them allowed."""
    n = max(1, round(share * len(allowed)))
    if not 0 < share < 1 or n > allowed.sum():
        raise ValueError(
            f"a share of {share} asks for {n} of {allowed.sum()} {what}; choose another, between "
            "0 and 1"
        )
    # One draw over all, allowed or not, so that the choice depends on the seed alone.
    order = rng.permutation(len(allowed))
    mask = np.zeros(len(allowed), dtype=bool)
    mask[order[allowed[order]][:n]] = True
    return mask
