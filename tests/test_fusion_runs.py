"""The stored runs of section 6.2: made by the present code, complete, and coherent."""

import sys
from pathlib import Path

import numpy as np
import pytest

SECTION = Path(__file__).parents[1] / "chapters" / "6_fusion"
sys.path.insert(0, str(SECTION))
import fusion_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_twenty_scores_a_user(stored):
    for part in ("validation", "test"):
        for number in runs.SPLITS:
            scores = runs.gathered(stored, part, number)
            assert scores.shape == (runs.N_USERS, runs.N_RETRIEVED)
            assert np.isfinite(scores).all() and (scores < 0).all()  # log-probabilities


def test_nobody_is_asked_about_in_two_splits():
    users = np.concatenate([runs.users_of(number) for number in runs.SPLITS])
    assert len(np.unique(users)) == len(users) == 3 * runs.N_USERS


def test_retrieved_films_are_unseen_and_the_test_part_is_the_same():
    before, after = (runs.split_of(part, 0) for part in ("validation", "test"))
    for split, part in [(before, "validation"), (after, "test")]:
        seen = split.train.matrix().toarray()[runs.users_of(0)]
        assert not np.take_along_axis(seen, runs.retrieved(part, 0), axis=1).any()
    pairs = [set(zip(s.test.users.tolist(), s.test.items.tolist())) for s in (before, after)]
    assert pairs[0] == pairs[1]
    known = set(zip(before.validation.users.tolist(), before.validation.items.tolist()))
    assert not known & pairs[0]
