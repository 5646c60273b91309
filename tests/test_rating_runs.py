"""The stored runs of the section on real ratings: made by the present code, complete, coherent."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.data import k_fold, load_movielens
from recsys_lab.models import Baseline

SECTION = Path(__file__).parents[1] / "chapters" / "4_matrix_factorization"
sys.path.insert(0, str(SECTION))
import rating_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def data():
    return load_movielens()


@pytest.fixture(scope="module")
def stored():
    return runs.load_runs()


def test_the_stored_runs_are_of_this_code():
    saved = json.loads(runs.STORE.read_text())
    assert saved["code"] == runs.code_hash(), (
        f"{runs.STORE.name} is older than the code: run {runs.__file__}, then make execute"
    )


def test_every_run_is_stored(stored):
    assert set(runs.keys()) == set(stored)


def test_errors_by_user_add_up_to_the_rmse(stored, data):
    for name, (outer, _) in runs.outer_splits(data).items():
        for family, run in stored[f"nested/{name}"]["families"].items():
            total = sum(run["squares"])
            assert (total / len(outer.test)) ** 0.5 == pytest.approx(run["rmse"], abs=1e-3), family
    for name in runs.PUBLISHED:
        run = stored[f"published/{name}"]
        mean = (sum(run["squares"]) / len(data)) ** 0.5
        assert mean == pytest.approx(np.mean(run["rmse"][0]), abs=1e-3)


def test_the_chosen_settings_are_the_best_that_were_tried(stored):
    for key in (key for key in stored if key.startswith("nested/")):
        for family, run in stored[key]["families"].items():
            if family == "blend":
                continue
            assert 1 <= len(run["tried"]) <= 6
            best = min(run["tried"], key=lambda entry: entry[1])
            assert best[1] == pytest.approx(run["inner"], abs=1e-4)
            assert [run["settings"], best[1]] in run["tried"]


def test_what_tunes_is_inside_what_trains(data):
    for name, (outer, inner) in runs.outer_splits(data).items():
        code = lambda part: set((part.users * data.n_items + part.items).tolist())  # noqa: E731
        assert code(inner.train) | code(inner.test) == code(outer.train), name
        assert not code(inner.test) & code(outer.test), name


def test_one_cheap_run_is_repeated(stored, data):
    fold = k_fold(data, 5, seed=0)[0]
    run = stored["nested/fold 1"]["families"]["baseline"]
    guess = runs.predicted(Baseline(**run["settings"]).fit(fold.train), fold.test)
    assert runs.rmse(guess, fold.test) == pytest.approx(run["rmse"], abs=1e-4)
    assert np.allclose(runs.user_squares(guess, fold.test), run["squares"], atol=0.02)


def test_thinned_training_data_is_a_part_of_it(data):
    thin = runs.thin(data, 0.1, seed=1)
    assert len(thin) == 10_000
    pairs = set(zip(thin.users.tolist(), thin.items.tolist(), strict=True))
    assert pairs <= set(zip(data.users.tolist(), data.items.tolist(), strict=True))


def test_a_missing_store_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "STORE", tmp_path / "rating_runs.json")
    with pytest.raises(FileNotFoundError, match=r"Make it: python rating_runs\.py"):
        runs.load_runs()
