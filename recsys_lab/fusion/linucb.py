"""LinUCB: a bandit whose arms have features, so that what one teaches serves the others."""

import numpy as np

from recsys_lab.fusion.bandits import draw_best


class LinUCB:
    """Arms with features x: the highest estimate + alpha * its standard error in units of noise.

    The estimate is ridge regression of the rewards so far on x, theta = A^-1 b with
    A = l2 I + sum x x^T. A^-1 is kept by Sherman and Morrison's rule, so a round costs d^2.
    Source: Li, Chu, Langford and Schapire (2010), one theta for all arms. Derived in
    chapters/6_fusion/6_learning_on_line.

    Args:
        n_runs: independent copies.
        n_features: d.
        alpha: how many standard errors of optimism; 0 is greedy.
        l2: ridge.
        seed: of the lots among equal arms.
    """

    def __init__(
        self, n_runs: int, n_features: int, alpha: float = 1.0, l2: float = 1.0, seed: int = 0
    ):
        if n_runs < 1 or n_features < 1 or alpha < 0 or not l2 > 0:
            raise ValueError(
                f"n_runs={n_runs}, n_features={n_features}, alpha={alpha}, l2={l2}: the first two "
                "start at 1, alpha is 0 or more, l2 is positive."
            )
        self.rng, self.alpha = np.random.default_rng(seed), alpha
        self.inverse = np.tile(np.eye(n_features) / l2, (n_runs, 1, 1))  # A^-1 (n_runs, d, d)
        self.b = np.zeros((n_runs, n_features))

    def index(self, features: np.ndarray) -> np.ndarray:
        """(n_runs, n_arms) for ``features`` (n_arms, d), or (n_runs, n_arms, d)."""
        theta = (self.inverse @ self.b[:, :, None])[:, :, 0]  # (n_runs, d)
        estimate = (features @ theta[:, :, None])[..., 0]  # (n_runs, n_arms)
        if self.alpha == 0:
            return estimate
        variance = ((features @ self.inverse) * features).sum(axis=-1)
        return estimate + self.alpha * np.sqrt(np.maximum(variance, 0))

    def choose(self, features: np.ndarray) -> np.ndarray:
        """The arm that each run shows next: (n_runs,)."""
        return draw_best(self.index(features), self.rng)

    def update(self, x: np.ndarray, rewards: np.ndarray) -> None:
        """Learn that the arms with features ``x`` (n_runs, d) brought ``rewards`` (n_runs,)."""
        ax = (self.inverse @ x[:, :, None])[:, :, 0]  # (n_runs, d)
        scale = 1 + (x * ax).sum(axis=1)
        self.inverse -= ax[:, :, None] * (ax / scale[:, None])[:, None, :]
        self.b += np.asarray(rewards)[:, None] * x
