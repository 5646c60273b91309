"""The stored runs of the section on clicks: made by the present code, complete, and coherent."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.data import Interactions, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate

SECTION = Path(__file__).parents[1] / "chapters" / "4_matrix_factorization"
sys.path.insert(0, str(SECTION))
import click_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_model_got_the_same_number_of_trials(stored):
    for name in runs.CANDIDATES:
        trials = [run for key, run in stored.items() if key.startswith(f"tune/{name}/")]
        assert len(trials) == runs.N_TRIALS


def test_final_runs_have_the_chosen_settings(stored):
    for name in runs.CANDIDATES:
        for split in runs.SPLITS:
            final = stored[f"final/{name}/{split}"]
            assert final["settings"] == runs.best_settings(stored, name)
            assert len(final["ndcg"]) == 943
            assert 0 <= min(final["ndcg"]) and max(final["ndcg"]) <= 1


def test_a_stored_run_can_be_repeated(stored):
    split = holdout_per_user(load_movielens(), 0.25, seed=1)
    for name in ("EASE", "item-kNN"):
        model = runs.fit(name, runs.best_settings(stored, name), split.train, seed=1)
        again = evaluate(model, split, metrics=["ndcg"])["ndcg"].mean()
        assert again == pytest.approx(np.mean(stored[f"final/{name}/1"]["ndcg"]), abs=0.002)


def test_a_rating_predictor_is_chosen_by_its_error(stored):
    trials = [stored[f"tune/ALS, stars/{trial}"] for trial in range(runs.N_TRIALS)]
    best = min(trials, key=lambda trial: trial["rmse"])
    assert runs.best_settings(stored, "ALS, stars") == best["settings"]


def test_settings_are_chosen_inside_the_training_part():
    data = load_movielens()
    tuning, split = holdout_per_user(data, 0.25, 0.15, seed=0), holdout_per_user(data, 0.25, seed=0)
    train, validation, test = (
        set(zip(part.users, part.items)) for part in (split.train, tuning.validation, split.test)
    )
    assert validation <= train and set(zip(tuning.test.users, tuning.test.items)) == test


def test_squared_error_by_hand(monkeypatch):
    monkeypatch.setenv("RECSYS_LAB_DEVICE", "cpu")
    data = Interactions([0, 0, 1], [0, 2, 1])
    users, positives, negatives = torch.tensor([[0, 1], [2, 1], [1, 0]])
    model = runs.SquaredError(n_factors=2, n_epochs=1, l2=0.3).fit(data)
    p, q, b = (
        table.weight.detach().numpy()
        for table in (model.network.users, model.network.items, model.network.biases)
    )
    losses = []
    for u, i, j in zip(users, positives, negatives):
        error = (p[u] @ q[i] + b[i, 0] - 1) ** 2 + (p[u] @ q[j] + b[j, 0]) ** 2
        size = sum((x**2).sum() for x in (p[u], q[i], q[j], b[i], b[j]))
        losses.append(error + 0.15 * size)
    loss = model.loss((users, positives, negatives)).item()
    assert loss == pytest.approx(np.mean(losses), abs=1e-5)
