"""Membership inference: halves of the same people, AUC by hand and by another library."""

from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys_lab.data import Interactions
from recsys_lab.limits.membership import auc, calibrated, half_split, membership_auc


@pytest.fixture(scope="module")
def data() -> Interactions:
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(30) for i in rng.choice(80, rng.integers(3, 40), replace=False)]
    users, items = map(np.array, zip(*rows))
    mix = rng.permutation(len(users))
    return Interactions(users[mix], items[mix], item_ids=np.arange(80))


def pairs(data: Interactions) -> set[tuple[int, int]]:
    return set(zip(data.users.tolist(), data.items.tolist()))


def test_halves_share_out_every_pair_once(data):
    first, second = half_split(data, seed=1)
    assert pairs(first) | pairs(second) == pairs(data) and not pairs(first) & pairs(second)
    assert np.array_equal(first.counts("users"), (data.counts("users") + 1) // 2)
    assert pairs(half_split(data, 1)[0]) == pairs(first) != pairs(half_split(data, 2)[0])
    assert first.n_items == data.n_items and second.n_users == data.n_users


def test_halves_are_random_not_the_order_of_the_file(data):
    """Over many seeds each pair is in the first half about half of the time."""
    index = data.users * data.n_items + data.items
    inside = np.zeros(len(data))
    for seed in range(200):
        first = half_split(data, seed)[0]
        inside += np.isin(index, first.users * data.n_items + first.items)
    long = data.counts("users")[data.users] >= 10
    assert np.abs(inside[long] / 200 - 0.5).max() < 0.2


def test_auc_by_hand():
    assert auc([2, 3], [1, 2]) == 3.5 / 4  # one tie
    assert auc([1], [2]) == 0 and auc([2], [1]) == 1 and auc([1, 1], [1]) == 0.5


def test_auc_agrees_with_sklearn_user_by_user(data):
    members, others = half_split(data)
    scores = np.round(np.random.default_rng(3).normal(size=(30, 80)), 1)  # with ties
    found = membership_auc(scores, members, others)
    for user in range(30):
        mine, rest = (part.items[part.users == user] for part in (members, others))
        truth = np.repeat([1, 0], [len(mine), len(rest)])
        expected = roc_auc_score(truth, scores[user, np.append(mine, rest)])
        assert found[user] == pytest.approx(expected, abs=1e-12)


def test_popularity_alone_is_a_coin_and_a_memory_is_certain(data):
    """The design cancels what both halves share: that is what it is for."""
    popular = np.tile(data.counts("items").astype(float), (30, 1))
    found = [membership_auc(popular, *half_split(data, seed)) for seed in range(40)]
    assert abs(np.mean(found) - 0.5) < 0.02
    members, others = half_split(data)
    assert (membership_auc(members.matrix().toarray(), members, others) == 1).all()


def test_users_on_one_side_only_are_left_out(data):
    first, second = half_split(data)
    found = membership_auc(np.zeros((30, 80)), first, second.select(second.users != 4))
    assert np.isnan(found[4]) and np.isfinite(np.delete(found, 4)).all()


def test_reference_models_take_away_what_everybody_likes(data):
    """Scores = liking, which drowns the small trace of the fit; the references know the liking."""
    rng = np.random.default_rng(5)
    liking = rng.normal(0, 10, (30, 80))

    def model(train: Interactions) -> np.ndarray:
        return liking + 0.5 * train.matrix().toarray() + rng.normal(0, 0.1, (30, 80))

    members, others = half_split(data)
    plain = membership_auc(model(members), members, others)
    drawn = [half_split(data, seed)[0] for seed in range(1, 9)]
    better = calibrated(model(members), [model(train) for train in drawn], drawn)
    for pair in (members, others):
        known = np.isfinite(better[pair.users, pair.items])
        assert known.mean() > 0.95
    sharp = membership_auc(np.nan_to_num(better), members, others)
    assert plain.mean() < 0.6 < 0.95 < sharp.mean()


def test_calibration_by_hand():
    """User 0, film 0: one of two references knew the pair, so the other alone counts."""
    knew = Interactions([0], [0], user_ids=[0], item_ids=[0, 1])
    blank = Interactions([0], [1], user_ids=[0], item_ids=[0, 1])
    found = calibrated(
        np.array([[5.0, 1.0]]), [np.array([[9, 2]]), np.array([[3, 7]])], [knew, blank]
    )
    assert found.tolist() == [[2.0, -1.0]]
    assert np.isnan(calibrated(np.array([[5.0, 1.0]]), [np.array([[9, 2]])], [knew])[0, 0])


def test_what_is_refused(data):
    members, others = half_split(data)
    scores = np.zeros((30, 80))
    refused = {
        "expected": partial(membership_auc, scores[:, :5], members, others),
        "overlap": partial(membership_auc, scores, members, data),
        "nan or infinite": partial(membership_auc, scores - np.inf, members, others),
        "both sides": partial(auc, [], [1.0]),
        "0 references": partial(calibrated, scores, [], []),
        "not": partial(calibrated, scores, [scores[:5]], [members]),
    }
    for message, call in refused.items():
        with pytest.raises(ValueError, match=message):
            call()
