"""The stored federated runs of section 7.4: current, complete, no leaks."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.models import Baseline

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import federated_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_the_store_is_small():
    assert runs.STORE.stat().st_size < 1e6


def test_nothing_is_chosen_by_test_ratings():
    inner, outer = runs.trial(), runs.split_of(runs.DRAWS[0])
    pairs = [
        set(zip(part.users.tolist(), part.items.tolist()))
        for part in (inner.train, inner.validation, outer.test)
    ]
    assert all(not a & b for a, b in zip(pairs, (pairs[1], pairs[2], pairs[0])))


def test_the_best_setting_is_the_one_used(stored):
    for way, (_, steps, *_) in runs.WAYS.items():
        each = [stored[f"tune/{way}/{l2}"] for l2 in runs.L2[steps]]
        best = min(value for one in each for value in one["tried"].values())
        chosen = runs.chosen_for(way, stored)
        one = stored[f"tune/{way}/{chosen['l2']}"]
        assert one["tried"][str(chosen["server_lr"])] == one["best"] == best
        assert stored[f"test/{way}/0"]["settings"]["chosen"] == chosen
    assert runs.chosen_for("central", {}) is None


def test_no_server_step_was_chosen_at_the_edge_of_those_tried(stored):
    """But for the largest noise, of which the page says so."""
    found = {what: runs.chosen_for(what, stored)["server_lr"] for what in runs.WAYS}
    rates = {what: runs.SERVER_LR[what] for what in found}
    for level in runs.NOISE:
        found[level] = runs.chosen_for(f"noise {level}", stored)["server_lr"]
        rates[level] = runs.NOISE_SERVER_LR
    edge = {what for what, rate in found.items() if rate in (min(rates[what]), max(rates[what]))}
    assert edge == {1.0}
    ridge = runs.chosen_for("central", stored)
    assert ridge["l2"] not in (min(runs.CENTRAL["l2"]), max(runs.CENTRAL["l2"]))
    assert ridge["n_epochs"] < runs.CENTRAL["n_epochs"]


def test_results_are_complete_and_plausible(stored):
    for key, run in stored.items():
        if not key.startswith("test/"):
            continue
        test = runs.split_of(int(key[-1])).test
        assert len(run["errors"]) == 943 and min(run["errors"]) >= 0
        root = np.sqrt(sum(run["errors"]) / len(test))
        assert 0.9 < root < 1.2
        if run["curve"]:
            chosen, what = run["settings"]["chosen"], key.split("/")[1]
            every = runs.WAYS[what][4] if what in runs.WAYS else 5
            assert len(run["curve"]) == chosen["n_rounds"] // every
            assert abs(run["curve"][-1] - root) < 0.001


def test_errors_are_sums_of_squares_by_user():
    split = runs.split_of(1)
    model = Baseline().fit(split.train)
    squared = (model.predict(split.test.users, split.test.items) - split.test.ratings) ** 2
    found = runs.errors(model, split.test)
    assert found[7] == pytest.approx(squared[split.test.users == 7].sum(), abs=1e-3)
    assert sum(found) == pytest.approx(squared.sum(), abs=1)


def test_no_noise_and_no_clip_is_the_plain_model(monkeypatch):
    train = runs.split_of(0).train
    plain = runs.FederatedMF(
        runs.N_FACTORS, 0.14, 2, None, 1, 0.5, 300.0, "rating", False, 1, 0
    ).fit(train)
    monkeypatch.setattr(runs, "CLIP", 1e9)
    assert np.allclose(runs.noisy(0.0, 300.0, 2, 0).fit(train).table, plain.table, atol=1e-5)
    monkeypatch.setattr(runs, "CLIP", 1.0)
    clipped = runs.noisy(0.0, 300.0, 2, 0).fit(train).table
    assert not np.allclose(clipped, plain.table, atol=1e-3)
    noisy = runs.noisy(1.0, 300.0, 2, 0).fit(train).table
    spread = np.sqrt(2 * 943) * 300 / len(train)  # of two rounds' noise, on rows hardly rated
    rare = train.counts("items") == 0
    assert np.std((noisy - clipped)[rare]) == pytest.approx(spread, rel=0.1)


def test_best_round_by_hand():
    assert runs.best_of([1.0, 0.9, 0.95], 20) == (0.9, 40)


def test_one_stored_run_again(stored):
    key = "test/100, 1 step, by client/1"
    run = next(r for r in runs.runs(stored) if r.key == key)
    again = runs.perform(run, stored)
    assert np.allclose(again["curve"], stored[key]["curve"], atol=0.003)
