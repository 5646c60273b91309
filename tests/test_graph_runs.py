"""The stored runs of section 6.5, and the pieces that its page builds on."""

import inspect
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lab.data import Interactions, holdout_per_user, load_movielens
from recsys_lab.models import EASE

SECTION = Path(__file__).parents[1] / "chapters" / "6_fusion"
sys.path.insert(0, str(SECTION))
import graph_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture(scope="module")
def data() -> Interactions:
    return load_movielens()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} >= {"tune", "graph", "warm", "films", "users", "missing"}


def test_a_stored_run_comes_out_again(stored):
    run = next(run for run in runs.runs(stored) if run.key == "graph/three-steps none/0")
    again = runs.perform(run, stored)["ndcg"]
    assert np.abs(np.array(again) - stored[run.key]["ndcg"]).mean() < 1e-3


def test_a_stopped_script_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "STORE", tmp_path / "graph_runs.json")
    wanted = [runs.Run("tune", name, 0, {}) for name in "abc"]
    done = []

    def perform(run, stored):
        done.append(run.key)
        if len(done) == 2:
            raise KeyboardInterrupt
        return {"ndcg": 0.5}

    work = {"wanted": lambda stored: wanted, "code": lambda run: "x", "perform": perform}
    with pytest.raises(KeyboardInterrupt):
        runs.stored_runs.work_through(runs.STORE, **work)
    assert runs.stored_runs.work_through(runs.STORE, **work) == 0
    assert done == ["tune/a/0", "tune/b/0", "tune/b/0", "tune/c/0"]


def test_no_test_rating_reaches_the_graph(data):
    split = holdout_per_user(data, 0.25, seed=0)
    graph = runs.build_graph(data, split.train)
    rated = graph.triples[graph.triples[:, 1] == 0]
    pairs = set(zip(rated[:, 0], rated[:, 2] - data.n_users))
    assert pairs == set(zip(split.train.users, split.train.items))
    assert not pairs & set(zip(split.test.users, split.test.items))


def test_facts_are_those_of_the_tables(data):
    facts = runs.facts_of_films(data)
    table = data.item_table
    for row in facts[facts["relation"] == "genre"].iloc[::97].itertuples():
        assert row.value in table["genres"][row.film]
    for row in facts[facts["relation"] == "year"].iloc[::97].itertuples():
        assert int(row.value) == table["year"][row.film]
    assert runs.series_name("Die Hard 2") == runs.series_name("Die Hard: With a Vengeance")
    assert runs.series_name("Ice Storm, The") == runs.series_name("The Ice Storm")


def test_shuffled_facts_keep_their_values_and_change_their_films(data):
    order = np.random.default_rng(0).permutation(data.n_items)
    true, other = (runs.build_graph(data, None, o) for o in (None, order))
    assert true.names == other.names
    assert np.array_equal(np.sort(true.triples[:, 2]), np.sort(other.triples[:, 2]))
    assert not np.array_equal(true.triples, other.triples)


def test_page_rank_is_the_solution_of_its_equations():
    chain = sp.csr_matrix(np.diag([1.0, 1, 1], 1) + np.diag([1.0, 1, 1], -1))
    found = runs.page_rank(chain, np.array([0]), restart=0.5)[0]
    exact = [float(Fraction(n, 45)) for n in (26, 14, 4, 1)]
    np.testing.assert_allclose(found, exact, atol=1e-4)


def test_walk_vectors_approximate_the_log_counts():
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 3, size=(12, 12))
    dense = (dense + dense.T).astype(float)
    step = dense / dense.sum(axis=1, keepdims=True)
    counts = (step + step @ step) / 2 * dense.sum() / dense.sum(axis=0)
    u, s, _ = np.linalg.svd(np.log(np.maximum(counts, 1)))
    vectors = runs.walk_vectors(sp.csr_matrix(dense), d=5, window=2)
    np.testing.assert_allclose(
        np.abs(vectors[:, 0]), np.abs(u[:, 0]) * s[0] ** 0.5, rtol=1e-3, atol=1e-4
    )
    assert vectors.shape == (12, 5)


def test_transe_learns_a_chain_and_repeats_itself():
    n = 30
    chain = np.array([(i, 0, i + 1) for i in range(n - 1)])
    graph = runs.Graph(chain, [str(i) for i in range(n)], ["next"])
    nodes, steps = runs.transe(graph, d=16, n_epochs=150, batch_size=32, seed=0)
    scores = runs.minus_distances(nodes[:-1] + steps[0], nodes)
    rank = (scores > scores[np.arange(n - 1), np.arange(1, n)][:, None]).sum(axis=1)
    assert np.mean(rank < 3) > 0.6
    again = runs.transe(graph, d=16, n_epochs=150, batch_size=32, seed=0)[0]
    np.testing.assert_array_equal(nodes, again)


def test_joint_ease_without_sources_is_ease_and_with_them_is_ridge(data):
    train = holdout_per_user(data, 0.25, seed=0).train
    clicks = train.matrix().toarray().astype(np.float32)
    expected = EASE(runs.EASE_L2).fit(train).weights
    np.testing.assert_allclose(runs.joint_ease(clicks), expected, atol=1e-4)

    rng = np.random.default_rng(0)
    x, people = (rng.random((40, 6)) < 0.4).astype(np.float32), rng.normal(size=(40, 2))
    weights = runs.joint_ease(x, 3.0, user_rows=people, user_weight=1.0)  # (8, 6)
    table = np.hstack([x, people])
    others = np.delete(table, 2, axis=1)
    ridge = np.linalg.solve(others.T @ others + 3 * np.eye(7), others.T @ x[:, 2])
    np.testing.assert_allclose(np.delete(weights[:, 2], 2), ridge, atol=1e-4)


def test_new_users_and_new_films_have_left_no_trace(data):
    draw = runs.NewUsers(data, 3, seed=0)
    assert not set(draw.new) & set(draw.warm)
    assert (draw.seen.sum(axis=1) == 3).all()
    assert not draw.seen.multiply(draw.exam).nnz
    films = runs.new_films(data, 0)
    assert not films.split.train.matrix()[:, films.new].nnz


def test_no_function_that_makes_a_run_is_left_out_of_the_hash():
    known = {part.__name__ for parts in runs.PARTS.values() for part in map(inspect.unwrap, parts)}
    made_here = {
        name
        for name, part in vars(runs).items()
        if getattr(inspect.unwrap(part), "__module__", "") == runs.__name__ and callable(part)
    }
    about_the_store = {
        *("Run", "runs", "best_trial", "perform"),  # these say what is run, not how
        *("code_hash", "load_runs", "is_current", "main"),
    }
    assert made_here - known == about_the_store
