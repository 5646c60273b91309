"""Bandits: policies that learn which film to show from the answers to what they have shown.

All run many independent copies at once, a row each, so that a band over runs costs no more than a
curve. A round is ``arms = policy.choose(...)`` then ``policy.update(...)``. Arms with equal indices
are drawn by lot. Derived in chapters/6_fusion/6_learning_on_line.
"""

import numpy as np


class Bandit:
    """Arms without features: counts of how often each was shown and how often it was liked.

    Args:
        n_runs: independent copies.
        n_arms: films to choose from.
        seed: of all that the policy draws.

    Raises:
        ValueError: no run or no arm.
    """

    def __init__(self, n_runs: int, n_arms: int, seed: int = 0):
        if n_runs < 1 or n_arms < 1:
            raise ValueError(f"n_runs={n_runs}, n_arms={n_arms}: both start at 1.")
        self.rng = np.random.default_rng(seed)
        self.shown = np.zeros((n_runs, n_arms))
        self.liked = np.zeros((n_runs, n_arms))

    def index(self) -> np.ndarray:
        """What the policy maximises: (n_runs, n_arms). Here the share of likes so far."""
        unknown = np.full_like(self.shown, np.inf)  # an arm never shown comes first
        return np.divide(self.liked, self.shown, out=unknown, where=self.shown > 0)

    def choose(self) -> np.ndarray:
        """The arm that each run shows next: (n_runs,)."""
        return draw_best(self.index(), self.rng)

    def update(self, arms: np.ndarray, rewards: np.ndarray, runs: np.ndarray | None = None) -> None:
        """Learn that ``arms`` (n,) were shown and brought ``rewards`` (n,) in 0..1.

        ``runs`` (n,) says in which runs, each at most once; all runs, in order, if None.
        """
        rewards = np.asarray(rewards, dtype=float)
        if not ((rewards >= 0) & (rewards <= 1)).all():
            raise ValueError("rewards lie between 0 and 1: scale them first.")
        runs = np.arange(len(self.shown)) if runs is None else runs
        self.shown[runs, arms] += 1
        self.liked[runs, arms] += rewards


class EpsilonGreedy(Bandit):
    """Any arm with probability ``epsilon``, else the one with the best share so far.

    Epsilon 0 is greedy, 1 is chance. Source: Sutton and Barto (2018), chapter 2.
    """

    def __init__(self, n_runs: int, n_arms: int, epsilon: float = 0.1, seed: int = 0):
        super().__init__(n_runs, n_arms, seed)
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon={epsilon}: it is a probability.")
        self.epsilon = epsilon

    def choose(self) -> np.ndarray:
        n_runs, n_arms = self.shown.shape
        explore = self.rng.random(n_runs) < self.epsilon
        return np.where(explore, self.rng.integers(n_arms, size=n_runs), super().choose())


class UCB1(Bandit):
    """The arm with the highest share + sqrt(exploration * ln(rounds so far) / times shown).

    Each arm is shown once first. Source: Auer, Cesa-Bianchi and Fischer (2002), exploration 2.
    """

    def __init__(self, n_runs: int, n_arms: int, exploration: float = 2.0, seed: int = 0):
        super().__init__(n_runs, n_arms, seed)
        if exploration < 0:
            raise ValueError(f"exploration={exploration}: it is 0 or more.")
        self.exploration = exploration

    def index(self) -> np.ndarray:
        rounds = np.maximum(self.shown.sum(axis=1, keepdims=True), 1)
        share, unknown = super().index(), np.full_like(self.shown, np.inf)
        width = self.exploration * np.log(rounds)
        return share + np.sqrt(np.divide(width, self.shown, out=unknown, where=self.shown > 0))


class Thompson(Bandit):
    """The arm whose share, drawn from its Beta posterior, comes out highest.

    With rewards 0 and 1 the posterior is Beta(prior[0] + likes, prior[1] + others); ``prior`` may
    hold arrays (n_arms,). Source: Thompson (1933); Chapelle and Li (2011).
    """

    def __init__(
        self,
        n_runs: int,
        n_arms: int,
        prior: tuple[float | np.ndarray, float | np.ndarray] = (1.0, 1.0),
        seed: int = 0,
    ):
        super().__init__(n_runs, n_arms, seed)
        if not all(np.all(np.asarray(count) > 0) for count in prior):
            raise ValueError(f"prior={prior}: both counts are positive.")
        self.prior = prior

    def index(self) -> np.ndarray:
        likes, others = self.prior
        return self.rng.beta(likes + self.liked, others + self.shown - self.liked)


def draw_best(index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The place of the highest value in each row, by lot among equals: (n_rows,)."""
    best = index == index.max(axis=1, keepdims=True)
    return np.where(best, rng.random(index.shape), -1.0).argmax(axis=1)
