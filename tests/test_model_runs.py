"""The stored runs of section 4.5: made by the present code, complete, and coherent."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.data import holdout_per_user, load_movielens
from recsys_lab.evaluation import ranking_metrics
from recsys_lab.models import EASE, Popularity

SECTION = Path(__file__).parents[1] / "chapters" / "4_matrix_factorization"
sys.path.insert(0, str(SECTION))
import model_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture(scope="module")
def split():
    return holdout_per_user(load_movielens(), 0.25, seed=0)


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} == {"tune", "final", "noise", "blend"}


def test_every_model_has_the_same_number_of_trials(stored):
    assert runs.N_TRIALS >= 12
    for name in runs.CANDIDATES:
        trials = [key for key in stored if key.startswith(f"tune/{name}/")]
        assert len(trials) == runs.N_TRIALS


def test_the_final_settings_are_those_of_the_best_trial(stored):
    for name in runs.CANDIDATES:
        trials = [stored[f"tune/{name}/{t}"] for t in range(runs.N_TRIALS)]
        best = max(trials, key=lambda trial: trial["ndcg"])
        expected = best["settings"] | (
            {"n_epochs": best["best_epoch"]} if "best_epoch" in best else {}
        )
        for number in runs.SPLITS:
            assert stored[f"final/{name}/{number}"]["settings"] == expected


def test_values_are_one_a_user_between_zero_and_one(stored):
    lists = [r["ndcg"] for k, r in stored.items() if k.startswith("final/")]
    lists += [r[w] for k, r in stored.items() if k.startswith("noise/") for w in ("clean", "noisy")]
    lists += [stored["blend/blend/0"][f"ndcg/{number}"] for number in runs.SPLITS]
    values = np.array(lists)
    assert values.shape[1] == 943 and values.min() >= 0 and values.max() <= 1


def test_ease_again(stored, split):
    before = stored["final/EASE/0"]
    model = runs.fit("EASE", before["settings"], split.train, seed=0)
    assert np.abs(np.array(runs.per_user(model.score(), split)) - before["ndcg"]).mean() < 0.001


def test_trials_are_drawn_once_and_for_all():
    assert runs.CANDIDATES["EASE"].settings("EASE", 0) == {}
    first = runs.CANDIDATES["Mult-VAE"].settings("Mult-VAE", 3)
    assert (
        first
        == runs.CANDIDATES["Mult-VAE"].settings("Mult-VAE", 3)
        != runs.CANDIDATES["Mult-VAE"].settings("Mult-VAE", 4)
    )


def test_noise_adds_films_of_no_part(split):
    noisy = runs.with_noise(split, 0.1, seed=0)
    clean, held = split.train.matrix(), split.test.matrix()
    added = noisy.matrix() - clean
    assert added.min() == 0 and added.multiply(held).nnz == 0
    expected = np.rint(split.train.counts("users") * 0.1)
    assert (np.asarray(added.sum(axis=1)).ravel() == expected).all()


def test_standardised_scores_keep_the_order(split):
    model = EASE(200.0).fit(split.train)
    scores = runs.standardised(model, split.train)
    unseen = split.train.matrix().toarray() == 0
    for user in (0, 500):
        mine = scores[user][unseen[user]]
        assert abs(mine.mean()) < 1e-3 and abs(mine.std() - 1) < 1e-3
    seen = split.train.matrix()
    relevant = split.test.matrix()
    plain = ranking_metrics(model.score(), relevant, k=10, exclude=seen)["ndcg"].mean()
    again = ranking_metrics(scores, relevant, k=10, exclude=seen)["ndcg"].mean()
    assert again == pytest.approx(plain, abs=1e-4)


def test_the_gan_learns_and_repeats(split, monkeypatch):
    monkeypatch.setenv("RECSYS_LAB_DEVICE", "cpu")
    few = split.train.select(split.train.users < 200)
    first = runs.GAN(n_factors=16, n_epochs=3, seed=1).fit(few).score()
    again = runs.GAN(n_factors=16, n_epochs=3, seed=1).fit(few).score()
    assert first.shape == (943, 1682) and np.isfinite(first).all() and (first == again).all()
    kept = runs.GAN(n_factors=16, n_epochs=4).fit(few, split.test, every=2)
    assert [point[0] for point in kept.curve] == [2, 4]
    popular = Popularity().fit(few).score()[0]
    start = runs.GAN(n_factors=16, n_epochs=1, lr=1e-9).fit(few).network["generator"][2].bias
    assert np.corrcoef(start.detach().numpy(), np.log(popular + 0.2))[0, 1] > 0.9
    assert torch.isfinite(start).all()


def test_no_best_trial_ended_at_its_ceiling_of_epochs(stored):
    for name, candidate in runs.CANDIDATES.items():
        if candidate.every is not None:
            tried = [stored[f"tune/{name}/{trial}"] for trial in range(runs.N_TRIALS)]
            best = max(tried, key=lambda run: run["ndcg"])
            assert best["best_epoch"] < candidate.fixed["n_epochs"], name


def test_models_of_both_sections_have_the_same_trials(stored):
    other = runs.click_runs.load_runs()
    for name in ("EASE", "iALS", "BPR"):
        for trial in range(runs.N_TRIALS):
            key = f"tune/{name}/{trial}"
            assert stored[key]["settings"] == other[key]["settings"], key
            assert stored[key]["ndcg"] == pytest.approx(other[key]["ndcg"], abs=0.002), key
