"""The stored runs of section 7.4: current, complete, and attacks that can fail."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.data import load_movielens

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import private_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} == set(runs.PERFORM) == set(runs.PARTS) == set(runs.FILES)


def test_settings_are_the_best_of_those_tried_on_validation(stored):
    for epsilon in runs.EPSILONS:
        for draw in runs.DRAWS:
            run = stored[f"tune/{epsilon}/{draw}"]
            best = int(np.argmax(run["tried"]))
            if math.isinf(float(epsilon)):
                lr, steps = runs.FREE[best]
                assert (run["chosen"]["lr"], run["chosen"]["steps"]) == (lr, steps)
            else:
                lr, share = divmod(best, len(runs.SHARES))
                assert run["chosen"]["lr"] == runs.RATES[lr]
                assert run["chosen"]["share"] == runs.SHARES[share]
                assert run["chosen"]["pop_cap"] == runs.CAPS[int(np.argmax(run["caps_tried"]))]


def test_parts_share_their_test_ratings_and_no_test_rating_is_tuned_on():
    for draw in runs.DRAWS:
        inner, split = runs.split_of(draw, True), runs.split_of(draw)

        def pairs(part):
            return set(zip(part.users.tolist(), part.items.tolist()))

        assert pairs(inner.test) == pairs(split.test)
        assert pairs(inner.train) | pairs(inner.validation) == pairs(split.train)


def test_noise_keeps_what_the_counts_leave_by_another_accountant():
    from opacus.accountants import PRVAccountant

    n = load_movielens().n_users
    sigma = runs.noise_for(2.0, n, runs.RATE, runs.STEPS)
    accountant = PRVAccountant()
    accountant.history = [(sigma, runs.RATE, runs.STEPS)]
    assert 1.5 < accountant.get_epsilon(runs.delta_of(n)) <= 2.0
    assert runs.delta_of(n) < 1 / n


def test_the_attack_on_people_finds_a_planted_trace_and_nothing_where_there_is_none():
    rng = np.random.default_rng(0)
    inside = rng.random((8, 300)) < 0.5
    usual = rng.normal(7, 1, 300)  # some people are easier to predict than others
    noise = rng.normal(0, 0.1, inside.shape)
    trace = runs.people_attack(usual + noise - 0.3 * inside, inside)
    assert trace["plain"][0] < 0.7 < 0.95 < trace["calibrated"][0] and trace["caught"] > 0.5
    none = runs.people_attack(usual + noise, inside)
    assert none["plain"][1] < 0.5 < none["plain"][2]
    assert abs(none["calibrated"][0] - 0.5) < 0.03 and none["caught"] < 0.03


def test_secrets_are_shared_out_evenly_and_ordinary_texts_hold_none():
    for seed in runs.SEEDS:
        planted = runs.secrets(seed)
        repeats = [secret.repeats for secret in planted]
        assert all(repeats.count(n) == runs.N_SECRETS for n in (0, *runs.REPEATS))
        assert len({secret.number for secret in planted}) > 20
        assert all(len(secret.number) == 5 and secret.number[0] == " " for secret in planted)
        texts = runs.ordinary(seed)
        assert len(texts) == runs.N_PLAIN and not any("card number" in text for text in texts)
        names = {" ".join(secret.text.split()[:2]) for secret in planted}
        assert len(names) == len(planted)
        assert not any(name in text for name in names for text in texts)


def test_ranks_lie_among_the_candidates_and_aucs_among_shares(stored):
    for kind, seed in runs.TUNED:
        run = stored[f"tuned/{kind}/{seed}"]
        assert len(run["ranks"]) == len(run["repeats"]) == 4 * runs.N_SECRETS
        assert min(run["ranks"]) >= 1 and max(run["ranks"]) <= runs.N_NUMBERS
    for epsilon in runs.EPSILONS[1:]:
        pairs = stored[f"member/{epsilon}/0"]["pairs"]
        assert all(len(v) == 943 and 0 <= min(v) <= max(v) <= 1 for v in pairs.values())


def test_a_repeated_secret_is_repeated_by_the_models_that_were_taught_it_alone(stored):
    often = max(runs.REPEATS)

    def ranks(kind, seed, n):
        run = stored[f"tuned/{kind}/{seed}"]
        assert run["repeats"] == [secret.repeats for secret in runs.secrets(seed)]
        return np.array([r for r, k in zip(run["ranks"], run["repeats"]) if k == n])

    for kind, seed in runs.TUNED:
        if kind == "planted":
            assert ranks(kind, seed, often).max() <= 5 < ranks(kind, seed, 0).max()
        else:  # nobody's secret was taught, so the level is a name only
            assert min(ranks(kind, seed, n).min() for n in (0, *runs.REPEATS)) > 5
            assert ranks(kind, seed, often).mean() > 20
