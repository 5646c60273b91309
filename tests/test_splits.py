"""Every split: complete, disjoint, seeded; and what each of them promises besides."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lab.data import (
    Interactions,
    Split,
    cold_items,
    cold_users,
    holdout_per_user,
    k_fold,
    last_fraction_per_user,
    leave_last_out,
    load_movielens,
    time_split,
)


@pytest.fixture(scope="module")
def data() -> Interactions:
    return load_movielens()


@st.composite
def histories(draw) -> Interactions:
    """Small data with many equal timestamps; the ratings number the events."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 8))
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1)),
            min_size=2,
            max_size=30,
            unique=True,
        )
    )
    times = draw(st.lists(st.integers(0, 4), min_size=len(pairs), max_size=len(pairs)))
    users, items = np.array(pairs).T
    return Interactions(users, items, np.arange(len(pairs)), times)


SPLITS = {
    "k_fold": lambda data, seed: k_fold(data, 2, seed)[0],
    "holdout": lambda data, seed: holdout_per_user(data, 0.25, 0.0, seed),
    "holdout with validation": lambda data, seed: holdout_per_user(data, 0.25, 0.25, seed),
    "leave_last_out": leave_last_out,
    "leave_last_out by item": lambda data, seed: leave_last_out(data, seed, "item_id"),
    "leave_last_out by file": lambda data, seed: leave_last_out(data, seed, "file"),
    "last_fraction": lambda data, seed: last_fraction_per_user(data, 0.3, 0.2, seed),
    "time": lambda data, seed: time_split(data, (0.6, 0.2, 0.2)),
    "time in two": lambda data, seed: time_split(data, (0.6, 0.4)),
    "cold_users": lambda data, seed: cold_users(data, 0.3, 1, seed),
    "cold_items": lambda data, seed: cold_items(data, 0.3, seed),
}
SEEDED = [name for name in SPLITS if "time" not in name and " by " not in name]


def numbers(part: Interactions | None) -> list[int]:
    """The events of a part, each by its number (kept in the ratings)."""
    return [] if part is None else part.ratings.astype(int).tolist()


@pytest.mark.parametrize("name", SPLITS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=histories(), seed=st.integers(0, 5))
def test_parts_are_disjoint_complete_and_in_order(name, data, seed):
    try:
        split = SPLITS[name](data, seed)
    except ValueError as error:  # too small for this split: then it must say so, and why
        text = str(error)
        assert "would be empty" in text or "holds no order" in text or "asks for" in text
        return
    train, validation, test = map(numbers, (split.train, split.validation, split.test))
    assert sorted(train + validation + test) == list(range(len(data)))
    assert train and test and (split.validation is None or validation)
    for part, events in zip((split.train, split.validation, split.test), (train, validation, test)):
        assert events == sorted(events)  # the order of the file
        if part is not None:
            assert (part.n_users, part.n_items) == (data.n_users, data.n_items)
            np.testing.assert_array_equal(part.users, data.users[events])
            np.testing.assert_array_equal(part.timestamps, data.timestamps[events])


@pytest.mark.parametrize("name", SPLITS)
def test_same_seed_same_split_other_seed_another(name, data):
    once, again, other = (SPLITS[name](data, seed).test for seed in (3, 3, 4))
    pairs = [set(zip(part.users, part.items, strict=True)) for part in (once, again, other)]
    assert pairs[0] == pairs[1]
    assert (pairs[0] != pairs[2]) == (name in SEEDED)


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_of_movielens_is_fast_and_shows_its_sizes(name, data):
    split = SPLITS[name](data, 0)
    assert isinstance(split, Split)
    assert f"train {len(split.train):,}" in repr(split) and len(repr(split)) < 100


# ---- folds and hold-out --------------------------------------------------------------------


def test_every_rating_is_tested_once_over_the_folds(data):
    folds = k_fold(data, 5, seed=1)
    assert [len(fold.test) for fold in folds] == [20_000] * 5
    tested = np.concatenate([fold.test.users * data.n_items + fold.test.items for fold in folds])
    assert len(np.unique(tested)) == 100_000
    assert [fold.validation for fold in folds] == [None] * 5


def test_fold_sizes_differ_by_one_at_most():
    toy = Interactions(np.arange(11) % 3, np.arange(11))
    assert sorted(len(fold.test) for fold in k_fold(toy, 4)) == [2, 3, 3, 3]


def test_holdout_takes_a_quarter_of_every_user(data):
    split = holdout_per_user(data, seed=2)
    total, tested = data.counts("users"), split.test.counts("users")
    np.testing.assert_array_equal(tested, np.rint(total / 4))
    np.testing.assert_array_equal(split.train.counts("users"), np.rint(total * 0.75))
    assert split.validation is None
    assert abs(len(split.test) - 25_000) < 100


def test_holdout_with_validation(data):
    split = holdout_per_user(data, 0.2, 0.1, seed=2)
    np.testing.assert_array_equal(
        split.validation.counts("users"), np.rint(data.counts("users") * 0.1)
    )
    # adding a validation part leaves the test part as it was
    np.testing.assert_array_equal(split.test.items, holdout_per_user(data, 0.2, seed=2).test.items)


def test_holdout_draws_every_rating_with_the_same_chance():
    toy = Interactions(np.repeat([0, 1], 4), np.tile(np.arange(4), 2))
    drawn = sum(holdout_per_user(toy, seed=s).test.matrix().toarray() for s in range(800))
    # 800 draws with chance 1/4: 200 ± 12 (one standard deviation), so ± 60 is five of them
    np.testing.assert_allclose(drawn, 200, atol=60)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    data=histories(),
    test=st.floats(0.01, 0.98),
    validation=st.floats(0, 0.9),
    seed=st.integers(0, 3),
)
def test_every_user_keeps_a_rating_to_train_on(data, test, validation, seed):
    if test + validation >= 1:
        return
    for split in (holdout_per_user, last_fraction_per_user):
        try:
            train = split(data, test, validation, seed).train
        except ValueError:
            continue
        assert set(train.users) == set(data.users)


# ---- time ----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    data=histories(), seed=st.integers(0, 3), ties=st.sampled_from(["random", "item_id", "file"])
)
def test_nothing_trained_on_is_later_than_what_is_tested(data, seed, ties):
    for make in (leave_last_out, lambda d, s, t: last_fraction_per_user(d, 0.4, 0.2, s, t)):
        try:
            split = make(data, seed, ties)
        except ValueError:
            continue
        parts = [part for part in (split.train, split.validation, split.test) if part is not None]
        for earlier, later in pairwise(parts):
            for user in set(earlier.users) & set(later.users):
                last = earlier.timestamps[earlier.users == user].max()
                assert last <= later.timestamps[later.users == user].min()


def test_leave_last_out_tests_one_and_validates_one_per_user(data):
    split = leave_last_out(data)
    assert split.test.counts("users").tolist() == [1] * 943
    assert split.validation.counts("users").tolist() == [1] * 943
    latest = np.zeros(943, dtype=np.int64)
    np.maximum.at(latest, data.users, data.timestamps)
    np.testing.assert_array_equal(split.test.timestamps, latest[split.test.users])


def test_short_histories_train_first_then_test_then_validate():
    toy = Interactions([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2], timestamps=[1, 1, 2, 3, 2, 1])
    split = leave_last_out(toy)
    assert split.train.counts("users").tolist() == [1, 1, 1]
    assert split.validation.counts("users").tolist() == [0, 0, 1]
    assert split.test.counts("users").tolist() == [0, 1, 1]
    assert split.test.items.tolist() == [1, 0]


def test_for_44_percent_of_users_the_last_two_events_share_a_timestamp(data):
    order = np.lexsort((data.timestamps, data.users))
    ends = np.cumsum(data.counts("users")) - 1
    times = data.timestamps[order]
    tied = times[ends] == times[ends - 1]  # (n_users,)
    assert tied.sum() == 415
    assert round(tied.mean(), 2) == 0.44


def last_items(split: Split) -> np.ndarray:
    return split.test.items[np.argsort(split.test.users)]  # (n_users,)


def test_seeds_move_the_last_item_of_the_tied_users_only(data):
    picks = np.array([last_items(leave_last_out(data, seed)) for seed in range(12)])
    moved = (picks != picks[0]).any(axis=0)  # (n_users,)
    assert 0.40 < moved.mean() <= 415 / 943
    between_two = (picks[0] != picks[1]).mean()
    assert 0.2 < between_two < 0.44


def test_ties_by_item_or_file_do_not_depend_on_the_seed(data):
    for ties in ("item_id", "file"):
        picks = [last_items(leave_last_out(data, seed, ties)) for seed in (0, 1)]
        np.testing.assert_array_equal(*picks)
    # among a user's latest events, the highest item; and the one furthest down the file
    latest = [np.flatnonzero(data.users == u) for u in range(20)]
    latest = [rows[data.timestamps[rows] == data.timestamps[rows].max()] for rows in latest]
    by_item = last_items(leave_last_out(data, ties="item_id"))
    by_file = last_items(leave_last_out(data, ties="file"))
    assert [data.items[rows].max() for rows in latest] == by_item[:20].tolist()
    assert [data.items[rows[-1]] for rows in latest] == by_file[:20].tolist()


def test_ties_by_item_make_the_test_items_less_popular(data):
    popularity = data.counts("items")
    by_item = popularity[last_items(leave_last_out(data, ties="item_id"))].mean()
    by_chance = [popularity[last_items(leave_last_out(data, seed))].mean() for seed in range(5)]
    assert by_item < min(by_chance) - 20


def test_last_fraction_is_the_last_fifth(data):
    split = last_fraction_per_user(data)
    np.testing.assert_array_equal(split.test.counts("users"), np.rint(data.counts("users") * 0.2))
    assert split.validation is None


def test_time_split_cuts_at_two_moments(data):
    split = time_split(data)
    assert split.train.timestamps.max() < split.validation.timestamps.min()
    assert split.validation.timestamps.max() < split.test.timestamps.min()
    sizes = [len(part) for part in (split.train, split.validation, split.test)]
    np.testing.assert_allclose(sizes, [80_000, 10_000, 10_000], atol=20)
    new = np.setdiff1d(split.test.users, split.train.users)
    assert 0 < len(new) < len(np.unique(split.test.users))
    assert time_split(data, (0.9, 0.1)).validation is None


# ---- cold users and items ------------------------------------------------------------------


@pytest.mark.parametrize("n_keep", [0, 1, 2, 5, 10, 19])
def test_thinned_users_keep_exactly_n(data, n_keep):
    split = cold_users(data, 0.2, n_keep, seed=1)
    thin = np.unique(split.test.users)
    assert len(thin) == round(0.2 * 943)
    counts = split.train.counts("users")
    assert (counts[thin] == n_keep).all()
    warm = np.setdiff1d(np.arange(943), thin)
    np.testing.assert_array_equal(counts[warm], data.counts("users")[warm])


def test_a_thinner_history_is_part_of_a_thicker_one_of_the_same_users(data):
    kept = {}
    for n_keep in (2, 5):
        split = cold_users(data, 0.2, n_keep, seed=1)
        thin = np.isin(split.train.users, split.test.users)
        kept[n_keep] = set(zip(split.train.users[thin], split.train.items[thin], strict=True))
    assert len(kept[2]) < len(kept[5]) and kept[2] < kept[5]


def test_users_with_too_few_ratings_are_not_thinned():
    toy = Interactions(np.repeat([0, 1, 2, 3], [1, 2, 6, 6]), np.r_[0, :2, :6, :6])
    for seed in range(10):
        split = cold_users(toy, 0.5, 3, seed)
        assert set(split.test.users) == {2, 3}
    with pytest.raises(ValueError, match="asks for 3 of 2 users with more than 3 ratings"):
        cold_users(toy, 0.75, 3)


def test_cold_items_have_no_training_rating(data):
    split = cold_items(data, 0.2, seed=1)
    cold = np.unique(split.test.items)
    assert len(cold) == round(0.2 * 1682)
    assert split.train.counts("items")[cold].sum() == 0
    np.testing.assert_array_equal(split.test.counts("items")[cold], data.counts("items")[cold])


# ---- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: k_fold(d, 1), "n_folds is 1"),
        (lambda d: k_fold(d, 10**6), "n_folds is 1000000"),
        (lambda d: holdout_per_user(d, 0), "test share is 0"),
        (lambda d: holdout_per_user(d, 1.0), "test share is 1.0"),
        (lambda d: holdout_per_user(d, 0.5, 0.5), "leave something to train on"),
        (lambda d: holdout_per_user(d, 0.2, -0.1), "validation share -0.1"),
        (lambda d: last_fraction_per_user(d, 2), "test share is 2"),
        (lambda d: leave_last_out(d, ties="first"), "'random', 'item_id' or 'file'"),
        (lambda d: last_fraction_per_user(d, ties="id"), "'random', 'item_id' or 'file'"),
        (lambda d: time_split(d, (0.5, 0.4)), "add up to 1"),
        (lambda d: time_split(d, (1.2, -0.2)), "positive shares"),
        (lambda d: time_split(d, (0.25,) * 4), "2 or 3"),
        (lambda d: cold_users(d, 0.2, -1), "n_keep is -1"),
        (lambda d: cold_users(d, 0), "share of 0"),
        (lambda d: cold_users(d, 0.2, 10_000), "asks for 189 of 0 users"),
        (lambda d: cold_items(d, 1.5), "share of 1.5"),
    ],
)
def test_bad_arguments_say_what_is_wrong(call, message, data):
    with pytest.raises(ValueError, match=message):
        call(data)


@pytest.mark.parametrize("split", [leave_last_out, last_fraction_per_user, time_split])
def test_data_without_timestamps_has_no_last_event(split):
    with pytest.raises(ValueError, match=r"holds no order.*holdout_per_user"):
        split(Interactions([0, 0, 0], [0, 1, 2]))


def test_one_moment_cannot_be_cut():
    toy = Interactions([0] * 10, np.arange(10), timestamps=[1] * 9 + [2])
    with pytest.raises(ValueError, match="would be empty"):
        time_split(toy)


@pytest.mark.parametrize("seed", [0, 3])
def test_leave_last_out_without_validation_keeps_the_test(data, seed):
    tuning = leave_last_out(data, seed=seed)
    refit = leave_last_out(data, seed=seed, validation=False)
    assert refit.validation is None
    assert np.array_equal(refit.test.items, tuning.test.items)
    assert len(refit.train) == len(tuning.train) + len(tuning.validation)
