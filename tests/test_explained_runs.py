"""The stored runs of section 7.5: made by the present code, complete, resumable, without leaks."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.data import leave_last_out, load_movielens
from recsys_lab.limits import deletion

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import explained_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} == set(runs.PERFORM) == set(runs.PARTS) == set(runs.FILES)


def test_one_number_a_user_and_attribution(stored):
    for run in runs.runs(stored):
        found, n = stored[run.key], run.settings.get("n_users")
        if run.group == "attribute":
            shape = (n, len(runs.ATTRIBUTIONS))
            assert np.shape(found["tau"]) == np.shape(found["tau_size"]) == shape
            assert np.shape(found["drop"]) == (*shape, len(runs.COUNTS))
            assert np.shape(found["rank"]) == (*shape, 2)
        if run.group == "shapley":
            assert np.shape(found["tau"]) == (n, len(found["names"]))
            assert max(found["efficiency"]) == 0
        if run.group == "smallest":
            assert {len(found["exact"][name]) for name in found["exact"]} == {n, 150}


def test_the_largest_drop_of_one_film_is_leave_one_out(stored):
    """No attribution can beat the exact effect when one film is deleted."""
    own = runs.ATTRIBUTIONS.index("leave one out")
    for key, run in stored.items():
        if key.startswith("attribute"):
            drop = np.array(run["drop"])[:, :, 0]
            assert (drop.max(axis=1) <= drop[:, own] + 2e-3).all(), key
            assert np.allclose(np.array(run["tau"])[:, own], 1, atol=2e-3), key


def test_greedy_sets_are_never_smaller_than_the_exact_ones(stored):
    for seed in runs.SEEDS:
        run = stored[f"smallest/models/{seed}"]
        for name, greedy in run["greedy"].items():
            exact = np.array(run["exact"][name][: len(greedy)])
            both = (exact > 0) & (np.array(greedy) > 0)
            assert (np.array(greedy)[both] >= exact[both]).all(), name


def test_histories_hold_no_film_of_the_exam():
    split = leave_last_out(load_movielens(), seed=1, validation=False)
    held = dict(zip(split.test.users, split.test.items, strict=True))
    for user, history in enumerate(runs.histories(split.train, 1)):
        assert held[user] not in history and 1 < len(history) <= runs.LENGTH
        assert len(set(history)) == len(history)


def test_a_stored_network_is_trained_and_its_twin_is_not(stored):
    net, twin = (runs.network("two layers", 0, trained) for trained in (True, False))
    moved = (net.items.vectors.weight - twin.items.vectors.weight).abs().mean()
    assert moved > 0.05 and not net.training
    share = runs.log_share(leave_last_out(load_movielens(), seed=0, validation=False).train)
    assert np.allclose(twin.items.bias.detach().numpy(), share, atol=1e-5)


def test_pairs_are_balanced_and_tuning_shares_no_director_with_the_test():
    by = runs.films_of()
    assert len({film for films in by.values() for film in films}) == sum(map(len, by.values()))
    who = {film: name for name, films in by.items() for film in films}
    year = load_movielens().item_table["year"].astype(float).to_numpy()
    for relation in runs.RELATIONS:
        pairs, directors = runs.film_pairs(relation), {}
        for half, rows in pairs.items():
            assert len(rows) == runs.N_PAIRS[half] and rows[:, 2].mean() == 0.5
            assert (rows[::2, 0] == rows[1::2, 0]).all()  # each true pair has a false one
            first, second = ([who[film] for film in rows[:, c]] for c in (0, 1))
            directors[half] = set(first) | set(second)
            same = np.array([a == b for a, b in zip(first, second, strict=True)])
            decade = year[rows[:, 0]] // 10 == year[rows[:, 1]] // 10
            true = same if relation == "director" else decade
            assert (true == rows[:, 2]).all()
        assert not directors["tuning"] & directors["test"]
        assert not directors["test"] & {"Victor Fleming", "Kevin Costner"}  # of the examples


def test_a_game_without_films_is_popularity():
    score = deletion.additive(np.eye(5))
    value = runs.subsets(score, np.array([0, 1, 2]), 1, empty=-7.0)
    sets = np.array([[False] * 3, [True, True, False], [True, False, True]])
    assert value(sets).tolist() == [-7.0, 1.0, 0.0]
