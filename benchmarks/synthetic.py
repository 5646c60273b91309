"""Made-up interactions of any size: power laws for users and items, tastes behind both.

MovieLens-1M and -20M may not be copied into a project, and a benchmark must not need a download.
Their *shapes* may: so many users, items and ratings, a long tail on both sides, and a structure of
low rank that a model can learn. Who rates what:

1. The activity of users and the popularity of items fall as (rank + shift)^-exponent.
2. There are `n_tastes` tastes. Each has its own view of the catalogue: popularity times a
   log-normal factor. Each user mixes a few tastes.
3. An event draws one of its user's tastes, then an item from it. A pair that occurs twice is drawn
   again, so every user has exactly as many different items as planned.
4. Stars rise with how much more the user's tastes like the item than everybody does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys_lab.data import Interactions


class Shape(NamedTuple):
    """What a set has the size of."""

    n_users: int
    n_items: int
    n_ratings: int


SHAPES = {  # of GroupLens' files
    "ml-100k": Shape(943, 1_682, 100_000),
    "ml-1m": Shape(6_040, 3_706, 1_000_209),
    "ml-20m": Shape(138_493, 26_744, 20_000_263),
}
MIN_ACTIVITY = 20  # ratings of the least active user in MovieLens
MAX_SHARE = 0.6  # of the catalogue that one user may have rated
EXPONENT = 1.5  # of both laws; their shift is a twentieth of the number of users or items
ROUNDS = 3  # of drawing again, before the rest is drawn user by user
BLOCK = 4_000_000  # numbers held in memory at once


def power_law(n: int, exponent: float = EXPONENT) -> np.ndarray:
    """Shares (n,) that fall as (rank + n / 20)^-exponent and add up to 1."""
    weights = (np.arange(n) + n / 20) ** -exponent
    return weights / weights.sum()


def activities(shape: Shape) -> np.ndarray:
    """Ratings of each user (n_users,), largest first; they add up to ``shape.n_ratings``.

    Raises:
        ValueError: more ratings, or fewer, than so many users and items can have.
    """
    most = max(1, int(MAX_SHARE * shape.n_items))
    least = min(MIN_ACTIVITY, most)
    if not least * shape.n_users <= shape.n_ratings <= most * shape.n_users:
        raise ValueError(
            f"{shape.n_users:,} users on {shape.n_items:,} items have {least * shape.n_users:,} to "
            f"{most * shape.n_users:,} ratings, not {shape.n_ratings:,}"
        )
    share = power_law(shape.n_users)
    low, high = 0.0, float(shape.n_ratings) * shape.n_users
    for _ in range(100):  # the scale at which the clipped counts have the right sum
        scale = (low + high) / 2
        total = np.clip(scale * share, least, most).sum()
        low, high = (scale, high) if total < shape.n_ratings else (low, scale)
    exact = np.clip(low * share, least, most)
    counts = np.floor(exact).astype(np.int64)
    missing = shape.n_ratings - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1  # the largest remainders
    return counts


def synthetic(
    shape: Shape | str, seed: int = 0, n_tastes: int = 16, strength: float = 2.0
) -> Interactions:
    """A made-up set of ``shape``, or of the shape that ``SHAPES`` has under that name.

    Args:
        shape: how many users, items and ratings.
        seed: of all that is drawn.
        n_tastes: rank of the structure behind the pairs.
        strength: standard deviation of the logarithm of a taste's factor; at 0 there are no tastes.

    Raises:
        ValueError: a shape that cannot be, see ``activities``.
    """
    name = shape if isinstance(shape, str) else "x".join(str(size) for size in shape)
    shape = SHAPES[shape] if isinstance(shape, str) else shape
    rng = np.random.default_rng(seed)
    popularity = rng.permutation(power_law(shape.n_items))  # an item's number says nothing
    lift = strength * rng.standard_normal((n_tastes, shape.n_items))
    views = popularity * np.exp(lift)  # (n_tastes, n_items)
    views /= views.sum(1, keepdims=True)
    tastes = rng.dirichlet(np.full(n_tastes, 0.15), shape.n_users)  # (n_users, n_tastes)
    counts = rng.permutation(activities(shape))
    pairs = _draw_pairs(rng, counts, tastes, views)
    users, items = np.divmod(pairs, shape.n_items)
    ratings = _stars(rng, users, items, tastes, views)
    return Interactions(
        users=users,
        items=items,
        ratings=ratings,
        user_ids=np.arange(shape.n_users),
        item_ids=np.arange(shape.n_items),
        name=f"synthetic {name}",
    )


def _draw_pairs(
    rng: np.random.Generator, counts: np.ndarray, tastes: np.ndarray, views: np.ndarray
) -> np.ndarray:
    """Different pairs, user * n_items + item, ascending: ``counts[u]`` of each user."""
    n_tastes, n_items = views.shape
    # Both tables of probabilities lie end to end on one line: row r covers r to r + 1.
    taste_ends = (np.cumsum(tastes, axis=1) + np.arange(len(tastes))[:, None]).ravel()
    item_ends = (np.cumsum(views, axis=1) + np.arange(n_tastes)[:, None]).ravel()
    blocks = []
    starts = np.searchsorted(np.cumsum(counts), np.arange(0, counts.sum(), BLOCK))
    for first, end in zip(starts, [*starts[1:], len(counts)]):
        pairs = np.empty(0, dtype=np.int64)
        missing = counts[first:end]
        for _ in range(ROUNDS):
            users = np.repeat(np.arange(first, end), missing)
            where = np.searchsorted(taste_ends, users + rng.random(len(users)))
            taste = np.minimum(where - users * n_tastes, n_tastes - 1)
            where = np.searchsorted(item_ends, taste + rng.random(len(users)))
            items = np.minimum(where - taste * n_items, n_items - 1)
            pairs = np.union1d(pairs, users * n_items + items)
            had = np.bincount(pairs // n_items - first, minlength=end - first)
            missing = counts[first:end] - had
        rest = _draw_rest(rng, pairs, first + np.flatnonzero(missing), missing, tastes, views)
        blocks.append(np.union1d(pairs, rest))
    return np.concatenate(blocks)


def _draw_rest(
    rng: np.random.Generator,
    pairs: np.ndarray,
    users: np.ndarray,
    missing: np.ndarray,
    tastes: np.ndarray,
    views: np.ndarray,
) -> np.ndarray:
    """What ``users`` still miss, without drawing twice: the largest log-probability plus Gumbel.

    Active users would be drawn again and again for their last items. ``missing`` holds a count
    above 0 for each of ``users``, and zeros in between.
    """
    n_items = views.shape[1]
    missing = missing[missing > 0]
    rest = []
    step = max(1, BLOCK // n_items)
    for start in range(0, len(users), step):
        some = users[start : start + step]
        chance = tastes[some].astype(np.float32) @ views.astype(np.float32)  # (b, n_items)
        exponential = rng.standard_exponential(chance.shape, dtype=np.float32)
        noise = np.log(np.maximum(chance, 1e-30)) - np.log(np.maximum(exponential, 1e-30))
        begin, end = np.searchsorted(pairs, [some[0] * n_items, (some[-1] + 1) * n_items])
        u, i = np.divmod(pairs[begin:end], n_items)
        row = np.minimum(np.searchsorted(some, u), len(some) - 1)
        known = some[row] == u  # users in between miss nothing
        noise[row[known], i[known]] = -np.inf
        for user, left, values in zip(some, missing[start : start + step], noise):
            rest.append(user * n_items + np.argpartition(-values, left - 1)[:left])
    return np.concatenate([np.empty(0, dtype=np.int64), *rest])


def _stars(
    rng: np.random.Generator,
    users: np.ndarray,
    items: np.ndarray,
    tastes: np.ndarray,
    views: np.ndarray,
) -> np.ndarray:
    """One to five stars (n,): a mean, offsets, how well tastes and item meet, and noise."""
    meets = np.log(views / views.mean(0))  # (n_tastes, n_items), logarithm of the lift
    meets = (meets - meets.mean()) / max(meets.std(), 1e-12)
    user_offset, item_offset = (0.4 * rng.standard_normal(n) for n in (len(tastes), views.shape[1]))
    stars = np.empty(len(users))
    for start in range(0, len(users), BLOCK // 4):
        u, i = users[start : start + BLOCK // 4], items[start : start + BLOCK // 4]
        stars[start : start + len(u)] = 3.5 + user_offset[u] + item_offset[i]
        for taste in range(len(meets)):  # a row at a time: nothing of size (n, n_tastes)
            stars[start : start + len(u)] += 0.8 * tastes[u, taste] * meets[taste, i]
    return np.clip(np.rint(stars + 0.8 * rng.standard_normal(len(stars))), 1, 5)
