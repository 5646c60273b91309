"""No test row reaches a fit or a choice: other films in the test part move no weight and no score.

The pipeline is that of section 6.2: models fitted on training events, everything chosen on
validation events, models fitted again on both, scores fused. The last tests show that the check
would notice a leak.
"""

import numpy as np
import pytest

from recsys_lab.data import Interactions, Split, holdout_per_user
from recsys_lab.fusion import (
    AlphaByHistory,
    Stacking,
    candidates,
    cascade,
    choose_alpha,
    linear,
    reciprocal_rank,
    scale,
)
from recsys_lab.models import EASE, Popularity

N_USERS, N_ITEMS = 80, 60


@pytest.fixture(scope="module")
def data() -> Interactions:
    """Two groups of users with tastes of their own, and popular films."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(2, N_ITEMS))[np.arange(N_USERS) % 2] + rng.normal(size=N_ITEMS)
    draw = taste + rng.gumbel(size=(N_USERS, N_ITEMS))
    length = rng.integers(8, 30, N_USERS)
    users = np.repeat(np.arange(N_USERS), length)
    items = np.concatenate([np.argsort(-row)[:n] for row, n in zip(draw, length, strict=True)])
    ids = {"user_ids": np.arange(N_USERS), "item_ids": np.arange(N_ITEMS)}
    return Interactions(users, items, **ids)


@pytest.fixture(scope="module")
def split(data) -> Split:
    return holdout_per_user(data, 0.25, 0.2, seed=0)


def with_other_test(split: Split, seed: int = 1) -> Split:
    """Each user's test films dealt out anew among the films that the user has in no other part."""
    rng = np.random.default_rng(seed)
    known = (split.train.matrix() + split.validation.matrix()).toarray() > 0
    users = split.test.users
    items = np.empty_like(users)
    for user in np.unique(users):
        rows = users == user
        items[rows] = rng.permutation(np.flatnonzero(~known[user]))[: rows.sum()]
    ids = {"user_ids": split.test.user_ids, "item_ids": split.test.item_ids}
    return Split(split.train, split.validation, Interactions(users, items, **ids), split.name)


def both(split: Split) -> Interactions:
    parts = (split.train, split.validation)
    users = np.concatenate([part.users for part in parts])
    items = np.concatenate([part.items for part in parts])
    return Interactions(users, items, user_ids=parts[0].user_ids, item_ids=parts[0].item_ids)


def scaled(train: Interactions) -> list[np.ndarray]:
    where = candidates(train.matrix())
    return [scale(m.fit(train).score(), "z", where) for m in (Popularity(), EASE(5))]


def pipeline(split: Split, relevant=None) -> dict[str, np.ndarray]:
    """All that is chosen and all that comes out; ``relevant`` is what the choices look at."""
    relevant = split.validation.matrix() if relevant is None else relevant
    first, second = before = scaled(split.train)
    seen = split.train.matrix()
    tried = choose_alpha(first, second, relevant, seen)
    rule = AlphaByHistory().fit(tried, split.train.counts("users"))
    stacked = Stacking().fit(before, relevant, candidates(seen))
    known = both(split)
    now = scaled(known)
    own = rule.alpha(known.counts("users"))
    return {
        "alpha": np.array([tried.alpha]),
        "curve": tried.curve["ndcg"].to_numpy(),
        "rule": np.array([rule.intercept, rule.slope]),
        "coefficients": stacked.coefficients,
        "fused": linear(now, [tried.alpha, 1 - tried.alpha]),
        "fused by history": linear(now, np.column_stack([own, 1 - own])),
        "stacked": stacked.score(now),
        "reciprocal rank": reciprocal_rank(now, where=candidates(known.matrix())),
        "cascade": cascade(now[1], now[0], 5, candidates(known.matrix())),
    }


def test_another_test_part_changes_nothing(split):
    other = with_other_test(split)
    assert (other.test.items != split.test.items).mean() > 0.5
    first, second = pipeline(split), pipeline(other)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.mark.parametrize("name", ["curve", "coefficients", "stacked"])
def test_choices_on_the_test_part_would_be_noticed(split, name):
    other = with_other_test(split)
    leaking = [pipeline(one, relevant=one.test.matrix())[name] for one in (split, other)]
    assert not np.array_equal(*leaking)


def test_a_fit_on_the_test_part_would_be_noticed(split):
    leaking = []
    for one in (split, with_other_test(split)):
        joined = Split(one.test, one.validation, one.test, "leak")  # the models see the test
        leaking.append(pipeline(joined)["fused"])
    assert not np.array_equal(*leaking)
