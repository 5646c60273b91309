"""The stored runs of section 6.3: made by the present code, complete, resumable, without leaks."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab import fusion
from recsys_lab.data import load_movielens

SECTION = Path(__file__).parents[1] / "chapters" / "6_fusion"
sys.path.insert(0, str(SECTION))
import warm_cold_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    groups = {run.group for run in wanted}
    assert groups == set(runs.PERFORM) and len(wanted) == len(groups) * len(runs.DRAWS)


def test_the_grades_are_one_a_user(stored):
    n = load_movielens().n_users
    for key, run in stored.items():
        if key.startswith(("warm", "lastout")):
            assert {len(grades) for grades in run["grades"].values()} == {n}, key
        if key.startswith("users"):
            shape = (len(runs.LENGTHS), len(run["users"]))
            assert {np.shape(grades) for grades in run["grades"].values()} == {shape}, key
        if key.startswith("items"):
            assert {len(g) for g in run["cold"].values()} == {len(run["users"]["cold"])}, key


def test_fusion_without_the_second_part_is_the_first():
    rng = np.random.default_rng(0)
    data = load_movielens()
    train = data.select(rng.random(len(data)) < 0.05)
    rest = data.select(np.isin(np.arange(len(data)), rng.choice(len(data), 3000)))
    relevant = rest.matrix() - rest.matrix().multiply(train.matrix() > 0)
    first = rng.normal(size=(data.n_users, data.n_items))
    same = {"a": first, "b": first}
    halves = {h: (dict(same), relevant, train.matrix()) for h in ("validation", "test")}
    result = runs.fuse_all(halves, {"a + b": ["a", "b"]}, {})
    assert result["grades"]["a + b"] == result["grades"]["a"] and result["alphas"]["a + b"] == [0]


def test_no_row_of_the_exam_reaches_a_choice():
    """Another exam, the same choices."""
    rng = np.random.default_rng(1)
    data = load_movielens().select(np.arange(0, 100_000, 10))
    relevant = data.matrix()
    seen = relevant * 0
    tried = {name: rng.normal(size=relevant.shape) for name in "ab"}
    tried["a"] = tried["a"] + relevant.toarray()
    parts = {name: rng.normal(size=relevant.shape) for name in "ab"}
    order = rng.permutation(relevant.shape[1])
    found = []
    for exam_films in (relevant, relevant[:, order]):
        halves = {"validation": (dict(tried), relevant, seen)}
        halves["test"] = (dict(parts), exam_films.tocsr(), seen)
        found.append(runs.fuse_all(halves, {"b, a": ["b", "a"]}, {}))
    assert found[0]["alphas"] == found[1]["alphas"] and found[0]["alphas"]["b, a"][0] > 0
    assert found[0]["validation"] == found[1]["validation"]
    assert found[0]["grades"] != found[1]["grades"]


def test_new_films_have_no_training_rating_and_are_all_in_the_exam():
    draw = runs.NewFilms(load_movielens(), 1)
    assert draw.train.counts("items")[draw.cold].max() == 0
    assert draw.exams["cold"][:, ~draw.cold].nnz == 0
    assert draw.exams["all"].multiply(draw.seen > 0).nnz == 0
    weights = runs.text_weights(runs.vectors(), 10.0, draw.known)
    assert not weights[draw.cold].any() and weights[:, draw.cold].any()


def test_the_lists_hold_unseen_films_best_first(stored):
    lists = np.load(runs.LISTS)
    for draw in runs.DRAWS:
        split = runs.leave_last_out(load_movielens(), seed=draw, validation=False)
        films = lists[f"test/{draw}/films"].astype(int)
        where = fusion.candidates(split.train.matrix())
        assert np.take_along_axis(where, films, axis=1).all()
        assert (np.diff(lists[f"test/{draw}/scores"].astype(float), axis=1) <= 0).all()
