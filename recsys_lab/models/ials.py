"""iALS: factors for clicks, by least squares over every cell of the table."""

from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender
from recsys_lab.models.least_squares import Observed, solve_cg, solve_cholesky


class IALS(Recommender):
    """Factors p_u, q_i with p_u . q_i near 1 where there is an event, near 0 elsewhere.

    Minimises, S being the events,

        sum over S of (p_u . q_i - 1)^2  +  alpha0 * sum over all cells of (p_u . q_i)^2
        + l2 * (sum_u (n_u + alpha0 n_items)^nu |p_u|^2 + sum_i (n_i + alpha0 n_users)^nu |q_i|^2)

    by solving for all users, then for all films, ``n_epochs`` times. The sum over all cells is
    one d x d matrix, so a sweep costs as much as the events, not as the table.

    Args:
        n_factors: d, length of a vector.
        alpha0: weight of a cell, whether it holds an event or not.
        l2, nu: ridge, and how far it grows with the number of events; nu = 0: one ridge for all.
        alpha: Hu, Koren and Volinsky's objective instead, which is that of the library
            `implicit`: an event's cell has confidence 1 + alpha, an empty one 1. Then alpha0 is 1.
        n_epochs: sweeps over users and films.
        solver: "cg" (a few steps from the last sweep's vectors) or "cholesky" (exact, slower).
        cg_steps: steps of conjugate gradients in a sweep.
        seed: of the start, normal with standard deviation 0.1 / sqrt(n_factors).

    Sources: Hu, Koren and Volinsky (2008); Rendle, Krichene, Zhang and Koren (2022).
    Derived in chapters/4_matrix_factorization/4_clicks.
    """

    def __init__(
        self,
        n_factors: int = 64,
        alpha0: float = 0.1,
        l2: float = 0.01,
        nu: float = 1.0,
        alpha: float | None = None,
        n_epochs: int = 15,
        solver: str = "cg",
        cg_steps: int = 3,
        seed: int = 0,
    ):
        if n_factors < 1 or n_epochs < 0 or cg_steps < 1:
            raise ValueError(
                f"n_factors={n_factors}, n_epochs={n_epochs}, cg_steps={cg_steps}: factors and "
                "steps start at 1, epochs at 0."
            )
        if not l2 > 0 or not alpha0 > 0 or not (alpha is None or alpha > 0):
            raise ValueError(f"l2={l2}, alpha0={alpha0}, alpha={alpha}: they must be positive.")
        if solver not in ("cg", "cholesky"):
            raise ValueError(f"solver is {solver!r}: choose 'cg' or 'cholesky'.")
        self.n_factors = n_factors
        self.l2 = l2
        self.nu = nu
        # An event's cell adds weight * (p.q)^2 - 2 target * (p.q) to the loss, and every cell
        # alpha0 * (p.q)^2. In Hu's form the two add up to (1 + alpha) * (p.q - 1)^2.
        self.alpha0 = alpha0 if alpha is None else 1.0
        self.weight = 1.0 if alpha is None else alpha
        self.target = 1.0 if alpha is None else 1.0 + alpha
        self.n_epochs = n_epochs
        self.solver = solver
        self.cg_steps = cg_steps
        self.seed = seed

    def fit(self, train: Interactions, start: tuple[np.ndarray, np.ndarray] | None = None) -> Self:
        """Learn from ``train``, from random factors or from ``start`` = (user, item factors)."""
        self.train = train
        self.device = device.pick()
        matrix = train.matrix()
        users, items = Observed(matrix, self.device), Observed(matrix.T.tocsr(), self.device)
        if start is None:
            rng = np.random.default_rng(self.seed)
            scale = 0.1 / np.sqrt(self.n_factors)
            sizes = (train.n_users, train.n_items)
            start = [rng.normal(0, scale, (size, self.n_factors)) for size in sizes]
        self.p, self.q = (
            torch.tensor(np.asarray(x), dtype=torch.float32, device=self.device) for x in start
        )
        for _ in range(self.n_epochs):
            self.p = self.half_sweep(users, self.q, self.p)
            self.q = self.half_sweep(items, self.p, self.q)
        self.user_factors, self.item_factors = self.p.cpu().numpy(), self.q.cpu().numpy()
        return self

    def half_sweep(
        self, observed: Observed, fixed: torch.Tensor, last: torch.Tensor | None
    ) -> torch.Tensor:
        """The rows' factors given those of the columns; exact if ``last`` is None."""
        gram = self.alpha0 * fixed.T @ fixed  # (d, d): the sum over all cells of a row
        ridge = self.l2 * (observed.counts + self.alpha0 * observed.shape[1]) ** self.nu
        weights = fixed.new_tensor(self.weight).expand_as(observed.columns)
        targets = fixed.new_tensor(self.target).expand_as(observed.columns)
        system = (observed, fixed, weights, targets, ridge.to(fixed.dtype), gram)
        if last is None or self.solver == "cholesky":
            return solve_cholesky(*system)
        return solve_cg(*system, last, self.cg_steps)

    def loss(self) -> float:
        """The objective at the present factors, up to a constant."""
        train, p, q = self.train, self.user_factors.astype(float), self.item_factors.astype(float)
        products = np.einsum("nd,nd->n", p[train.users], q[train.items])
        ridge_users = (train.counts("users") + self.alpha0 * train.n_items) ** self.nu
        ridge_items = (train.counts("items") + self.alpha0 * train.n_users) ** self.nu
        return float(
            (self.weight * products**2 - 2 * self.target * products).sum()
            + self.alpha0 * ((p.T @ p) * (q.T @ q)).sum()
            + self.l2 * (ridge_users @ (p**2).sum(1) + ridge_items @ (q**2).sum(1))
        )

    def fold_in(self, items: np.ndarray) -> np.ndarray:
        """The vector (n_factors,) of a new user with these items, the films' vectors fixed.

        ``item_factors @ fold_in(items)`` are the user's scores.
        """
        row = np.zeros((1, self.train.n_items))
        row[0, items] = 1.0
        return (
            self.half_sweep(Observed(csr_matrix(row), self.device), self.q, None)[0].cpu().numpy()
        )

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        return self.user_factors[users] @ self.item_factors.T  # (n_selected, n_items)
