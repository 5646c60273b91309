"""Re-identification: group sizes by hand and by counting, and a linkage attack."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from recsys_lab.data import Interactions, load_movielens
from recsys_lab.limits.reidentification import group_sizes, match


def test_group_sizes_by_hand():
    table = pd.DataFrame({"age": [20, 20, 30, 20], "zip": ["1", "1", "1", pd.NA]})
    assert group_sizes(table, ["age", "zip"]).tolist() == [2, 2, 1, 1]
    assert group_sizes(table, ["zip"]).tolist() == [3, 3, 3, 1]  # unknown is a value
    assert group_sizes(table, []).tolist() == [4] * 4
    with pytest.raises(ValueError, match="no column 'name'"):
        group_sizes(table, ["name"])


def test_group_sizes_agree_with_a_counter_on_movielens():
    table = load_movielens().user_table
    columns = ["age", "gender", "occupation", "zip_code"]
    rows = list(map(tuple, table[columns].astype(str).to_numpy()))
    counts = Counter(rows)
    assert group_sizes(table, columns).tolist() == [counts[row] for row in rows]
    # coarser columns never make a group smaller
    assert (group_sizes(table, columns[:2]) >= group_sizes(table, columns)).all()


@pytest.fixture(scope="module")
def release() -> Interactions:
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(50) for i in rng.choice(80, 20, replace=False)]
    users, items = map(np.array, zip(*rows))
    days = rng.integers(0, 100, len(users))
    return Interactions(users, items, rng.integers(1, 6, len(users)), days * 86_400)


def known(release, user, n):
    rows = np.flatnonzero(release.users == user)[:n]
    return release.items[rows], release.ratings[rows], release.timestamps[rows] / 86_400


def test_enough_knowledge_finds_the_person(release):
    for user in range(0, 50, 7):
        films, stars, days = known(release, user, 8)
        found = match(release, films, stars, days)
        assert found.user == user and found.margin > 1.5
        wrong = stars.copy()
        wrong[0] = 6 - wrong[0] if wrong[0] != 3 else 5
        assert match(release, films, wrong, days).user == user  # one mistake is forgiven
    films, stars, days = known(release, 3, 1)
    assert match(release, films, stars).margin < match(release, *known(release, 3, 8)).margin


def test_scores_by_hand():
    """Film 0 has two ratings, film 1 one (counted as two): a hit is worth 1 / log 2."""
    small = Interactions([0, 0, 1], [0, 1, 0], [5, 3, 1], [0, 0, 10 * 86_400])
    hit = 1 / np.log(2)
    found = match(small, [0, 1], [4, 3])
    assert found.user == 0 and found.score == pytest.approx(2 * hit)
    assert found.margin == pytest.approx(2 * hit / np.std([2 * hit, 0]))
    assert match(small, [0], [1]).user == 1
    assert match(small, [0], [3], star_error=2).margin == 0  # both fit
    assert match(small, [0], [3], [0], star_error=2).user == 0  # the day tells them apart
    assert match(small, [0], [3], [10], star_error=2).user == 1


def test_the_margin_is_over_the_second_best():
    """Rows 0, 1, 2 fit two, one and none of the two known ratings; each film was rated twice."""
    small = Interactions([0, 0, 1, 2], [0, 1, 0, 1], [4, 4, 4, 1])
    hits = np.array([2, 1, 0]) / np.log(2)
    found = match(small, [0, 1], [4, 4])
    assert found.user == 0 and found.margin == pytest.approx((hits[0] - hits[1]) / hits.std())


def test_rare_films_say_more():
    users = [*range(30), 0, 1]
    films = [0] * 30 + [1, 2]
    data = Interactions(users, films, [4] * 32)
    assert match(data, [0, 1], [4, 4]).score > match(data, [0, 1], [4, 1]).score
    rare, common = match(data, [1], [4]).score, match(data, [0], [4]).score
    assert rare == pytest.approx(1 / np.log(2)) and common == pytest.approx(1 / np.log(30))


def test_what_is_refused(release):
    for films, stars, days, message in (
        ([], [], None, "known rating"),
        ([1, 2], [3], None, "known rating"),
        ([1], [3], [1, 2], "known rating"),
        ([1, 1], [3, 3], None, "twice"),
    ):
        with pytest.raises(ValueError, match=message):
            match(release, films, stars, days)
