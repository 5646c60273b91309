"""Federated matrix factorisation: ratings and user vectors stay on the devices, film rows travel.

The model is mu + b_u + b_i + p_u . q_i. The server holds the table (n_items, 1 + d) of film rows
(b_i, q_i). A device that takes part in a round gets the table, fits its own (b_u, p_u) to it by
ridge regression, moves the rows of its own films, and sends back how far they moved. All devices
of a round are computed at once: a device holds one copy of a row for each of its ratings, so the
copies of all devices are one flat array. Derived in chapters/7_limitations/4_private.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from scipy.sparse import coo_array

from recsys_lab.data import Interactions
from recsys_lab.models.base import RatingPredictor

BY = {"rating": 0.0, "client": -1.0, "rating twice": 1.0}  # power of n_k that weighs an update


class Clients(NamedTuple):
    """The ratings of some devices, one after the other: everything here is private to a device.

    ``users`` and ``items`` (n,), ``targets`` (n,) ratings less the mean, ``starts`` (n_clients,)
    where each device begins, ``counts`` how many ratings it holds, ``ids`` which user it is.
    """

    users: np.ndarray
    items: np.ndarray
    targets: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    ids: np.ndarray

    def of(self, ids: np.ndarray) -> Clients:
        """These devices alone, in the order of the whole."""
        chosen = np.isin(self.ids, ids)
        if not chosen.any():
            raise ValueError("no device with a rating among these: a round needs at least one.")
        rows, counts = np.repeat(chosen, self.counts), self.counts[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        parts = (self.users[rows], self.items[rows], self.targets[rows])
        return Clients(*parts, starts, counts, self.ids[chosen])


def clients_of(train: Interactions) -> Clients:
    """A device for each user who has a rating, heavy or light."""
    order = np.lexsort((train.items, train.users))
    ids, starts, counts = np.unique(train.users[order], return_index=True, return_counts=True)
    targets = (train.ratings[order] - train.ratings.mean()).astype(np.float32)
    return Clients(train.users[order], train.items[order], targets, starts, counts, ids)


def fit_users(rows: np.ndarray, clients: Clients, l2: float) -> np.ndarray:
    """Each device's (b_u, p_u), (n_clients, 1 + d): ridge l2 n_u on its films' rows (n, 1 + d)."""
    features = rows.copy()
    features[:, 0] = 1.0  # meets the own bias
    width = features.shape[1]
    outer = (features[:, :, None] * features[:, None, :]).reshape(len(rows), -1)
    gram = np.add.reduceat(outer, clients.starts).reshape(-1, width, width)
    left = features * (clients.targets - rows[:, 0])[:, None]
    right = np.add.reduceat(left, clients.starts)
    ridge = (l2 * clients.counts)[:, None, None] * np.eye(width)
    return np.linalg.solve(gram + ridge, right[:, :, None])[:, :, 0].astype(rows.dtype)


def local_updates(
    table: np.ndarray, clients: Clients, lr: float, l2: float, n_steps: int = 1
) -> np.ndarray:
    """How far each device moves its copies of the rows: (n, 1 + d), one row for each rating.

    A local step fits the own vector, then goes ``lr`` down the gradient of the device's own
    sum of (error^2 + l2 |row|^2) / 2. Rows of films that it has not rated do not move.
    """
    if n_steps < 1 or lr <= 0 or l2 <= 0:
        raise ValueError(f"{n_steps=}, {lr=}, {l2=}: at least one step, a positive rate and ridge.")
    start = table[clients.items]
    rows, device = start.copy(), np.repeat(np.arange(len(clients.ids)), clients.counts)
    for _ in range(n_steps):
        own = fit_users(rows, clients, l2)[device]  # (n, 1 + d)
        error = clients.targets - own[:, 0] - rows[:, 0] - (own[:, 1:] * rows[:, 1:]).sum(1)
        own[:, 0] = 1.0  # the gradient of b_i is the error itself
        rows += lr * (error[:, None] * own - l2 * rows)
    return rows - start


def aggregate(
    updates: np.ndarray, clients: Clients, n_items: int, by: str = "rating", per_film: bool = False
) -> np.ndarray:
    """The weighted mean of the devices' updates: (n_items, 1 + d).

    An update is a *sum* over the device's ratings, so weight 1 lets each rating count once ("by
    rating": n_k times the device's mean), 1 / n_k each device once ("by client"), and n_k counts
    heavy devices twice. ``per_film`` divides a row by the weights of those who rated that film;
    otherwise all rows are divided by the ratings behind the round (or the devices).

    Raises:
        ValueError: an unknown ``by``.
    """
    if by not in BY:
        raise ValueError(f"by={by!r}: choose one of {', '.join(map(repr, BY))}.")
    weight = np.repeat(clients.counts ** BY[by], clients.counts)  # (n,)
    weighted = coo_array((weight, (clients.items, np.arange(len(weight)))), (n_items, len(weight)))
    total = weighted.tocsr() @ updates
    if per_film:
        share = np.bincount(clients.items, weight, n_items)[:, None]
        return np.divide(total, share, out=total, where=share > 0)
    return total / weight.sum()


class FederatedMF(RatingPredictor):
    """Rounds of federated averaging; ``history`` holds the RMSE on ``watch``.

    Args:
        n_factors, l2: as in ALS with nu = 1, whose objective this is.
        n_rounds, n_clients: rounds, and devices drawn for each; None takes all.
        n_steps, lr: local steps, and their rate.
        server_lr: what the mean update is multiplied with; large, for a film's row moves only by
            those who rated it, and the mean divides by all.
        by, per_film: see `aggregate`.
        every: rounds between two looks at the ``watch`` given to ``fit``.
        seed: of the first table and of who takes part.

    Sources: McMahan et al. (2017); Ammad-ud-din et al. (2019); Singhal et al. (2021).
    Derived in chapters/7_limitations/4_private.
    """

    def __init__(
        self,
        n_factors: int = 8,
        l2: float = 0.14,
        n_rounds: int = 50,
        n_clients: int | None = None,
        n_steps: int = 1,
        lr: float = 0.5,
        server_lr: float = 300.0,
        by: str = "rating",
        per_film: bool = False,
        every: int = 1,
        seed: int = 0,
    ):
        self.n_factors, self.l2, self.seed = n_factors, l2, seed
        self.n_rounds, self.n_clients, self.n_steps = n_rounds, n_clients, n_steps
        self.lr, self.server_lr, self.every = lr, server_lr, every
        self.by, self.per_film = by, per_film

    def start(self, train: Interactions) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        factors = rng.normal(0, 0.1, (train.n_items, self.n_factors))
        return np.column_stack([np.zeros(train.n_items), factors]).astype(np.float32)

    def fit(self, train: Interactions, watch: Interactions | None = None) -> Self:
        self.train, self.mean = train, float(train.ratings.mean())
        self.clients, self.table = clients_of(train), self.start(train)
        self.history: list[float] = []
        rng = np.random.default_rng([self.seed, 1])
        for turn in range(1, self.n_rounds + 1):
            part = self.clients
            if self.n_clients is not None:
                part = part.of(rng.choice(part.ids, self.n_clients, replace=False))
            self.table = self.table + self.server_lr * self.mean_update(part)
            if watch is not None and turn % self.every == 0:
                error = self.predict(watch.users, watch.items) - watch.ratings
                self.history.append(float(np.sqrt(np.mean(error**2))))
        return self

    def mean_update(self, part: Clients) -> np.ndarray:
        """What the server learns of one round: (n_items, 1 + d)."""
        updates = local_updates(self.table, part, self.lr, self.l2, self.n_steps)
        return aggregate(updates, part, len(self.table), self.by, self.per_film)

    def user_rows(self) -> np.ndarray:
        """(n_users, 1 + d): what the devices fit to the last table; zeros without ratings."""
        rows = np.zeros((self.train.n_users, self.table.shape[1]))
        rows[self.clients.ids] = fit_users(self.table[self.clients.items], self.clients, self.l2)
        return rows

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        own, rows = self.user_rows()[self.user_index(users)], self.table[items]
        dot = (own[:, 1:] * rows[:, 1:]).sum(1)
        return np.clip(self.mean + own[:, 0] + rows[:, 0] + dot, 1.0, 5.0)
