"""Two models that know what a viewer saw last, and no network: transitions and recency."""

from typing import Self

import numpy as np
from scipy import sparse

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender
from recsys_lab.models.ease import EASE
from recsys_lab.models.hybrid import WeightedHybrid
from recsys_lab.models.sequences import Histories


class Markov(Recommender):
    """What followed this film in other histories?

    ``transitions[i, j]`` is the share of i's followers that were j, where a film ``lag`` places
    later counts ``decay ** (lag - 1)``, and ``damping`` imaginary followers, spread as the
    catalogue is watched, keep rare films from being sure of themselves. A user's score sums the
    rows of the last ``n_last`` films, the last one counting most. With ``n_last=1`` and
    ``n_lags=1`` it is the plain first-order chain. Derived in
    chapters/3_transformer_layer/5_sequences.
    """

    def __init__(
        self,
        n_last: int = 10,
        n_lags: int = 10,
        decay: float = 0.8,
        damping: float = 20.0,
        seed: int = 0,
    ):
        self.n_last = n_last
        self.n_lags = n_lags
        self.decay = decay
        self.damping = damping
        self.seed = seed

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.recent = recency_weights(train, self.decay, self.seed, self.n_last)
        histories = Histories(train)
        items = histories.items(np.random.default_rng(self.seed))
        users = np.repeat(np.arange(train.n_users), np.diff(histories.starts))
        shape = (train.n_items, train.n_items)
        counts = sparse.csr_matrix(shape)
        for lag in range(1, self.n_lags + 1):
            same = users[lag:] == users[:-lag]
            pairs = (items[:-lag][same], items[lag:][same])
            weight = np.full(same.sum(), self.decay ** (lag - 1))
            counts = counts + sparse.csr_matrix((weight, pairs), shape=shape)
        popularity = train.counts("items") / len(train)
        followed = counts.toarray() + self.damping * popularity
        total = followed.sum(axis=1, keepdims=True)
        self.transitions = np.divide(
            followed, total, out=np.zeros(shape), where=total > 0
        )  # (n_items, n_items), rows add up to 1
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        return self.recent[self.user_index(users)] @ self.transitions  # (n_selected, n_items)


class RecencyEASE(EASE):
    """EASE that asks its item weights about the recent past: an event ``n`` places before the
    last counts ``decay ** n``. Derived in chapters/3_transformer_layer/5_sequences.
    """

    def __init__(self, l2: float = 400.0, decay: float = 0.9, seed: int = 0):
        super().__init__(l2)
        self.decay = decay
        self.seed = seed

    def fit(self, train: Interactions) -> Self:
        super().fit(train)
        self.recent = recency_weights(train, self.decay, self.seed).astype(np.float32)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        return self.recent[self.user_index(users)] @ self.weights  # (n_selected, n_items)


class MarkovEASE(WeightedHybrid):
    """`Markov` and `RecencyEASE`, each standardised within the user: the bar for the networks.

    Derived in chapters/3_transformer_layer/5_sequences.
    """

    def __init__(
        self,
        weight: float = 0.5,
        l2: float = 400.0,
        ease_decay: float = 0.9,
        seed: int = 0,
        **markov,
    ):
        models = [Markov(seed=seed, **markov), RecencyEASE(l2, ease_decay, seed)]
        super().__init__(models, [weight, 1 - weight])


def recency_weights(
    train: Interactions, decay: float, seed: int, n_last: int | None = None
) -> sparse.csr_matrix:
    """(n_users, n_items): decay ** n for the event ``n`` places before the user's last.

    Equal timestamps are ordered by ``seed``. Only the last ``n_last`` events, if that is given.
    """
    histories = Histories(train)
    items = histories.items(np.random.default_rng(seed))
    n_events = np.diff(histories.starts)
    users = np.repeat(np.arange(train.n_users), n_events)
    from_end = histories.starts[1:][users] - 1 - np.arange(len(items))
    keep = from_end < (n_last or len(items))
    weight = float(decay) ** from_end[keep]
    shape = (train.n_users, train.n_items)
    return sparse.csr_matrix((weight, (users[keep], items[keep])), shape=shape)
