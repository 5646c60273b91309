"""ALS: biased matrix factorisation of ratings by alternating least squares."""

from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.evaluation import rmse
from recsys_lab.models.base import RatingPredictor
from recsys_lab.models.least_squares import Observed, solve_cholesky


class ALS(RatingPredictor):
    """Predicts mu + b_u + b_i + p_u . q_i; every half-sweep is solved exactly.

    Minimises the squared error over the ratings, plus l2 * n^nu * (|vector|^2 + bias^2) for each
    user and film with n ratings. With the films' side fixed, (p_u, b_u) is one ridge regression
    on the rows (q_i, 1) of the user's films, and the same the other way round. With nu = 0 and
    ``biases=False`` this is the maximum a posteriori of probabilistic matrix factorisation, l2
    being the variance of the noise over that of the factors; with nu = 1 the weighting of Zhou
    et al.

    Args:
        n_factors: d; 0 leaves the biases alone.
        l2, nu: ridge, and how far it grows with the number of ratings.
        n_epochs: sweeps over users and films.
        biases: False predicts mu + p_u . q_i.
        seed: of the start, normal with standard deviation 0.1.

    Sources: Zhou et al. (2008); Salakhutdinov and Mnih (2007); Koren, Bell and Volinsky (2009).
    Derived in chapters/4_matrix_factorization/4_clicks.
    """

    def __init__(
        self,
        n_factors: int = 20,
        l2: float = 0.1,
        nu: float = 1.0,
        n_epochs: int = 15,
        biases: bool = True,
        seed: int = 0,
    ):
        if n_factors < 0 or n_epochs < 1 or not l2 > 0:
            raise ValueError(
                f"n_factors={n_factors}, n_epochs={n_epochs}, l2={l2}: factors start at 0, "
                "epochs at 1, and the ridge must be positive."
            )
        if not biases and not n_factors:
            raise ValueError("without biases and factors nothing is left to learn.")
        self.n_factors = n_factors
        self.l2 = l2
        self.nu = nu
        self.n_epochs = n_epochs
        self.biases = biases
        self.seed = seed

    def fit(
        self, train: Interactions, validation: Interactions | None = None, patience: int = 2
    ) -> Self:
        """Learn from ``train``; with ``validation`` keep the sweep with the smallest RMSE on it.

        ``history`` holds that RMSE by sweep; training ends after ``patience`` sweeps without
        a new smallest one.
        """
        self.train = train
        self.device = device.pick()
        self.mean = float(train.ratings.mean())
        matrix = train.matrix("ratings").astype(np.float32)
        matrix.data -= self.mean
        users, items = Observed(matrix, self.device), Observed(matrix.T.tocsr(), self.device)
        rng = np.random.default_rng(self.seed)
        # Columns: the factors, the own bias, and a 1 that meets the other side's bias.
        self.user_factors = self._start(rng, train.n_users)
        self.item_factors = self._start(rng, train.n_items)
        self.history, best = [], None
        for _ in range(self.n_epochs):
            self.user_factors = self.half_sweep(users, self.item_factors)
            self.item_factors = self.half_sweep(items, self.user_factors)
            if validation is None:
                continue
            self.history.append(
                rmse(validation.ratings, self.predict(validation.users, validation.items))
            )
            if self.history[-1] == min(self.history):
                best = self.user_factors, self.item_factors
            elif len(self.history) - 1 - int(np.argmin(self.history)) >= patience:
                break
        if best is not None:
            self.user_factors, self.item_factors = best
        return self

    def _start(self, rng: np.random.Generator, n: int) -> torch.Tensor:
        factors = np.column_stack([rng.normal(0, 0.1, (n, self.n_factors)), np.zeros(n)])
        return torch.tensor(factors, dtype=torch.float32, device=self.device)

    def half_sweep(self, observed: Observed, fixed: torch.Tensor) -> torch.Tensor:
        """The rows' factors and biases (n_rows, d + 1), given those of the columns."""
        features = fixed.clone()
        features[:, -1] = float(self.biases)  # a 1 for the own bias
        targets = observed.values - fixed[observed.columns, -1]  # less the other side's bias
        ridge = self.l2 * observed.counts.clamp_min(1) ** self.nu
        ones = torch.ones_like(targets)
        return solve_cholesky(observed, features, ones, targets, ridge.to(features.dtype))

    def fold_in(self, items: np.ndarray, ratings: np.ndarray) -> np.ndarray:
        """Predicted ratings (n_items,) for a new user who gave ``ratings`` to ``items``."""
        row = csr_matrix(
            (np.asarray(ratings) - self.mean, (np.zeros_like(items), items)),
            shape=(1, self.train.n_items),
        )
        user = self.half_sweep(Observed(row, self.device), self.item_factors)
        return self._predict(user, self.item_factors)[0]

    def _predict(self, users: torch.Tensor, items: torch.Tensor) -> np.ndarray:
        product = users[:, :-1] @ items[:, :-1].T
        return (self.mean + users[:, -1:] + items[:, -1] + product).cpu().numpy()

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        p = self.user_factors[torch.tensor(users)]  # (n, d + 1); a copy, for arrays are read-only
        q = self.item_factors[torch.tensor(items)]
        product = (p[:, :-1] * q[:, :-1]).sum(1)
        return (self.mean + p[:, -1] + q[:, -1] + product).cpu().numpy()

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = torch.tensor(self.user_index(users))
        return self._predict(self.user_factors[users], self.item_factors)
