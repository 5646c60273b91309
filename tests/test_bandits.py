"""Bandits: their rules by hand, their state against batch formulas, and that they learn."""

import numpy as np
import pytest

from recsys_lab.fusion.bandits import UCB1, Bandit, EpsilonGreedy, Thompson, draw_best
from recsys_lab.fusion.linucb import LinUCB


def play(policy, p, n_rounds, seed=0):
    """The arms shown: (n_rounds, n_runs)."""
    rng, arms = np.random.default_rng(seed), []
    for _ in range(n_rounds):
        chosen = policy.choose()
        policy.update(chosen, rng.random(len(chosen)) < p[chosen])
        arms.append(chosen)
    return np.array(arms)


def test_equal_arms_are_drawn_by_lot():
    index = np.tile([1.0, 2.0, 2.0, np.inf, np.inf], (4000, 1))
    chosen = draw_best(index, np.random.default_rng(0))
    assert set(chosen) == {3, 4} and abs((chosen == 3).mean() - 0.5) < 0.03


@pytest.mark.parametrize("policy", [Bandit, UCB1])
def test_each_arm_is_shown_once_first(policy):
    arms = play(policy(5, 4), np.zeros(4), 4)
    assert (np.sort(arms, axis=0) == np.arange(4)[:, None]).all()


def test_ucb1_by_hand():
    policy = UCB1(1, 2)
    policy.shown[:], policy.liked[:] = [[4, 1]], [[3, 0]]
    # 3/4 + sqrt(2 ln 5 / 4) against 0 + sqrt(2 ln 5)
    by_hand = [0.75 + np.sqrt(np.log(5) / 2), np.sqrt(2 * np.log(5))]
    np.testing.assert_allclose(policy.index()[0], by_hand)
    assert policy.choose()[0] == 1


def test_thompson_shows_an_arm_as_often_as_it_may_be_the_best():
    policy = Thompson(20_000, 2)
    policy.shown[:], policy.liked[:] = [4, 1], [3, 0]
    assert abs(policy.choose().mean() - 1 / 7) < 0.01  # Beta(1, 2) above Beta(4, 2)


def test_epsilon_is_the_share_of_lots():
    policy = EpsilonGreedy(20_000, 4, epsilon=0.4)
    policy.shown[:], policy.liked[:] = 10, [9, 1, 1, 1]
    assert abs((policy.choose() == 0).mean() - (0.6 + 0.4 / 4)) < 0.015


@pytest.mark.parametrize("policy", [EpsilonGreedy, UCB1, Thompson])
def test_they_find_the_best_arm(policy):
    p = np.array([0.2, 0.8, 0.4])
    late = play(policy(50, 3), p, 1000)[500:]
    assert (late == 1).mean() > 0.85


def test_a_round_may_teach_some_runs_only():
    policy = Bandit(3, 2)
    policy.update(np.array([1, 0]), np.array([1, 0]), runs=np.array([2, 0]))
    assert policy.shown.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert policy.liked.tolist() == [[0, 0], [0, 0], [0, 1]]


def test_linucb_keeps_ridge_regression():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2, 5)), rng.random((30, 2))
    policy = LinUCB(2, 5, alpha=0.7, l2=3.0)
    for features, reward in zip(x, y):
        policy.update(features, reward)
    films = rng.normal(size=(6, 5))
    for run in range(2):
        a = 3 * np.eye(5) + x[:, run].T @ x[:, run]
        theta = np.linalg.solve(a, x[:, run].T @ y[:, run])
        width = np.sqrt(np.einsum("kd,dk->k", films, np.linalg.solve(a, films.T)))
        np.testing.assert_allclose(policy.index(films)[run], films @ theta + 0.7 * width)
    both = np.stack([films, films])  # features of each run's own
    np.testing.assert_allclose(policy.index(both), policy.index(films))
    policy.alpha = 0
    np.testing.assert_allclose(policy.index(films)[1], films @ theta)


def test_linucb_learns_what_arms_share():
    rng = np.random.default_rng(2)
    theta, films = rng.normal(size=4), rng.normal(size=(100, 4))
    p = 1 / (1 + np.exp(-films @ theta))
    policy, late = LinUCB(20, 4, alpha=0.5), []
    for step in range(300):
        arms = policy.choose(films)
        policy.update(films[arms], rng.random(20) < p[arms])
        late += [p[arms].mean()] if step >= 250 else []
    assert np.mean(late) > np.quantile(p, 0.9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bandit(0, 3),
        lambda: EpsilonGreedy(2, 3, epsilon=1.5),
        lambda: UCB1(2, 3, exploration=-1),
        lambda: Thompson(2, 3, prior=(0, 1)),
        lambda: LinUCB(2, 3, l2=0),
        lambda: Thompson(2, 3).update(np.array([0, 1]), np.array([3, 5])),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError):
        make()
