"""The stored runs of section 7.6: made by the present code, complete, resumable, without leaks."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab import evaluation
from recsys_lab.data import load_movielens

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import fair_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} == set(runs.PERFORM)
    assert len(wanted) == 3 * len(runs.DRAWS) + len(runs.BASES) * len(runs.TARGETS)


def test_packed_arrays_come_back():
    values = np.random.default_rng(0).random((3, 4))
    assert np.allclose(runs.unpack(runs.pack(values)), values, atol=1e-3)
    films = np.arange(12).reshape(3, 4)
    assert np.array_equal(runs.unpack(runs.pack(films, "i2")), films)


def test_the_lists_hold_unseen_films_once(stored):
    for draw in runs.DRAWS:
        seen = runs.exam(draw, "test").seen.toarray() > 0
        for name, packed in stored[f"lists/{draw}"]["lists"].items():
            films = runs.unpack(packed)
            assert films.shape == (len(seen), runs.K), name
            assert not np.take_along_axis(seen, films, axis=1).any(), name
            assert (np.diff(np.sort(films, axis=1), axis=1) > 0).all(), name


def test_ndcg_of_a_list_is_the_packages():
    of = runs.exam(0, "test")
    scores = np.random.default_rng(0).random(of.seen.shape)
    expected = evaluation.ranking_metrics(scores, of.relevant, exclude=of.seen, metrics=["ndcg"])
    assert np.allclose(runs.ndcg_of(runs.rank(scores, of), of.relevant), expected["ndcg"])


def test_without_strength_every_rule_keeps_the_models_order(stored):
    for base in runs.BASES:
        tables = [runs.unpack(stored[f"rerank/{base}/{rule}"]["table"])[0] for rule in runs.TARGETS]
        assert all(np.allclose(table, tables[0], atol=2e-3) for table in tables)
        lists = [runs.unpack(stored[f"lists/{d}"]["lists"][base]) for d in runs.DRAWS]
        exams = [runs.exam(d, "test") for d in runs.DRAWS]
        ndcg = np.mean([runs.ndcg_of(x, of.relevant) for x, of in zip(lists, exams)], axis=0)
        assert np.allclose(tables[0][0], ndcg, atol=2e-3)


def test_no_list_shows_a_film_more_often_than_the_cap_allows():
    scores = np.random.default_rng(0).random((50, 40)) + np.arange(40)
    shown = np.bincount(runs.capped(scores, 20, seed=0).ravel(), minlength=40)
    assert shown.max() == 20 and shown.sum() == 50 * runs.K
    free = runs.capped(scores, 50, seed=0)
    assert np.array_equal(free, np.argsort(-scores, axis=1)[:, : runs.K])


def test_a_swapped_list_comes_from_the_next_best():
    scores = np.random.default_rng(0).random((30, 60))
    order = np.argsort(-scores, axis=1)
    films = runs.swap_in(scores, 1.0, seed=0, candidates=40)
    for row, best in zip(films, order):
        assert set(row) <= set(best[10:40]) and len(set(row)) == runs.K
    half = runs.swap_in(scores, 0.5, seed=0, candidates=40)
    assert 0.3 < (half == order[:, : runs.K]).mean() < 0.7


def test_unpopular_films_come_first_when_only_that_counts():
    scores, counts = np.random.default_rng(0).random((5, 30)), np.arange(30)
    assert (runs.less_popular(scores, counts, 1.0, 30) == np.arange(runs.K)).all()


def test_weights_of_one_change_nothing_and_equal_ease_of_the_package():
    from recsys_lab.models import EASE

    data = load_movielens().select(np.arange(0, 100_000, 10))
    rows = data.matrix().toarray().astype(np.float32)
    expected = EASE(100.0).fit(data).weights
    assert np.allclose(runs.ease(rows, 100.0), expected, atol=1e-4)
    doubled = runs.ease(rows, 100.0, np.full(len(rows), 2.0, dtype=np.float32))
    assert np.allclose(doubled, runs.ease(np.vstack([rows, rows]), 100.0), atol=1e-4)


def test_everybody_was_a_pupil(stored):
    for draw in runs.DRAWS:
        taught = runs.unpack(stored[f"teachers/{draw}"]["grades"])
        assert taught.shape == (3, load_movielens().n_users)
        assert np.isfinite(taught).all() and (taught <= 1).all()


def test_five_films_are_asked_of_everybody():
    of = runs.exam(1, "test")
    five = runs.at_random(of.relevant, runs.N_EXAM, np.random.default_rng(0))
    assert (five.getnnz(axis=1) == 5).all() and (five - five.multiply(of.relevant)).nnz == 0


def test_the_choice_does_not_look_at_the_test(monkeypatch, stored):
    """Another test, the same strengths."""
    true = runs.exam

    def other(draw, part):
        of = true(draw, part)
        return of if part == "validation" else of._replace(relevant=of.relevant[::-1].tocsr())

    run = next(r for r in runs.runs({}) if r.key == "rerank/EASE/less popular")
    monkeypatch.setattr(runs, "DRAWS", (0,))
    monkeypatch.setattr(runs, "STRENGTHS", [0.0, 0.2, 0.3, 0.4])
    monkeypatch.setattr(runs, "exam", other)
    monkeypatch.setattr(runs.warm_cold_runs, "vectors", lambda: np.eye(load_movielens().n_items, 3))
    found = runs.sweep(run, {})
    assert found["chosen"] == stored[run.key]["chosen"][:1]
    assert found["ndcg"] != stored[run.key]["ndcg"]
