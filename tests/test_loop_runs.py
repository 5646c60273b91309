"""The stored runs of section 7.7: made by the present code, complete, resumable, and fair."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab import models
from recsys_lab.data import Interactions

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import loop_runs as runs  # noqa: E402  it stands beside its page, not in a package

CHOSEN = {"ease": 100.0, "text": 3.0, "alpha": 0.25}


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture
def small(monkeypatch):
    """Thirty people, three rounds."""
    monkeypatch.setattr(runs, "N_USERS", 30)
    monkeypatch.setattr(runs, "N_ROUNDS", 3)


def test_every_kind_of_run_is_stored(stored):
    assert sum(key.startswith("loop/") for key in stored) == 30


def test_each_policy_has_each_measure_of_each_round(stored):
    for key, run in stored.items():
        if key.startswith("loop/"):
            shapes = {np.shape(run[name]) for name in run if isinstance(run[name], list)}
            assert shapes == {(len(runs.MEASURES), runs.N_ROUNDS)}, key
            utility = {name: np.mean(run[name][0]) for name in run if isinstance(run[name], list)}
            assert max(utility, key=utility.get) == "ideal", key


def test_what_was_chosen_is_best_on_the_tuning_seeds_which_give_no_result(stored):
    assert not set(runs.TUNING) & set(runs.SEEDS)
    for name in runs.WORLDS:
        tuned = stored[f"tune/{name}"]
        for part, tried in tuned["tried"].items():
            assert float(max(tried, key=tried.get)) == tuned["chosen"][part]
            assert stored[f"loop/{name}/0"]["settings"][part] == tuned["chosen"][part]


def test_ease_in_the_space_of_users_is_ease():
    rng = np.random.default_rng(0)
    clicks = (rng.random((20, 35)) < 0.2).astype(np.float32)
    data = Interactions(*np.nonzero(clicks), user_ids=np.arange(20), item_ids=np.arange(35))
    assert np.allclose(runs.ease(clicks, 7.0), models.EASE(7.0).fit(data).score(), atol=1e-5)


def test_nothing_is_shown_twice_and_a_click_is_where_the_world_has_one(small, monkeypatch):
    state = runs.start("clicks", 3)[0]
    assert (state.start.sum(axis=1) <= runs.N_START).all() and state.start.sum(axis=1).max() == 10
    real = runs.catalogue()[0].matrix().toarray()
    who = np.random.default_rng([77, 3]).choice(943, 30, replace=False)
    assert (state.start <= real[who]).all(), "the start is made of the people's own films"
    seen = []
    original = runs.top

    def watch(name, scores, shown, rng):
        lists = original(name, scores, shown, rng)
        assert not np.take_along_axis(shown, lists, 1).any()
        assert all(len(set(row)) == runs.K for row in lists.tolist())
        seen.append(lists)
        return lists

    monkeypatch.setattr(runs, "top", watch)
    for name in runs.policies(CHOSEN, state, np.random.default_rng(0)):
        seen.clear()
        measured = runs.run_loop("clicks", 3, name, CHOSEN)
        assert measured.shape == (3, len(runs.MEASURES)) and np.isfinite(measured).all()
        assert measured[0, 0] == pytest.approx(np.take_along_axis(state.truth, seen[0], 1).mean())
        assert len(seen) == 3


def test_policies_that_never_learn_do_not_look_at_the_clicks(small):
    state, would = runs.start("clicks", 0)
    known = runs.policies(CHOSEN, state, np.random.default_rng(0))
    later = state._replace(clicks=np.maximum(state.clicks, would).astype(np.float32))
    frozen = {"EASE, never updated", "MiniLM, never updated", "ideal"}
    for name in set(known) - {"random"}:
        same = np.allclose(known[name](state), known[name](later), atol=1e-3)
        assert same == (name in frozen), name


def test_worlds_are_probabilities_and_differ():
    chances = [runs.world(name) for name in ("clicks", "stars")]
    for chance in chances:
        assert chance.shape == (943, 939) and 0 < chance.min() < chance.max() < 1
    assert np.corrcoef(chances[0].ravel(), chances[1].ravel())[0, 1] < 0.9


def test_other_people_keep_the_users_own_ratings():
    train, people = runs.zero_shot_runs.split_of(0).train, runs.lists().users
    again = runs.other_people(train, people, 0)
    assert (again.matrix()[: len(people)] != train.matrix()[people]).nnz == 0
    assert (again.matrix() != runs.other_people(train, people, 1).matrix()).nnz > 0


def test_wishes_are_genres_that_some_films_have_and_others_not():
    for wish in runs.wishes():
        assert wish.mood != wish.other
        assert 2 <= runs.has(wish.mood, wish.items).sum() <= 10
    assert len({wish.user for wish in runs.wishes()}) == 2 * runs.N_MOOD
    asked = runs.zero_shot_runs.lists_of("tuning").users
    assert not {wish.user for wish in runs.wishes()} & set(asked.tolist())


def test_a_shorter_history_lacks_one_film():
    for user in runs.lists().users[:5]:
        whole = runs.zero_shot_runs.history_of("tuning", int(user))
        versions = {runs.shorter(int(user), drop) for drop in range(runs.N_DROPPED)}
        assert len(versions) == runs.N_DROPPED
        assert all(len(v) == len(whole) - 1 and set(v) < set(whole) for v in versions)
