"""Hybrids: two recommenders weighted against each other, or switched between."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


def standardize(scores: np.ndarray) -> np.ndarray:
    """Each row of ``scores`` (n_users, n_items) to mean 0 and standard deviation 1.

    A constant row becomes zeros: a model that has nothing to say of a user adds nothing.
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = scores.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred, dtype=float), where=spread > 1e-9)


class WeightedHybrid(Recommender):
    """The weighted sum of the models' scores, each standardised within the user.

    Derived in chapters/1_recsys_basics/4_content_and_hybrids.
    """

    def __init__(self, models: Sequence[Recommender], weights: Sequence[float]):
        if len(models) != len(weights):
            raise ValueError(f"{len(models)} models and {len(weights)} weights: give one each.")
        self.models = list(models)
        self.weights = list(weights)

    def fit(self, train: Interactions) -> Self:
        self.train = train
        for model in self.models:
            model.fit(train)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        parts = zip(self.weights, self.models, strict=True)
        return sum(weight * standardize(model.score(users)) for weight, model in parts)


class SwitchingHybrid(Recommender):
    """One model for users with a thin history, another for the rest.

    A user with fewer than ``threshold`` training ratings gets ``cold``, others ``warm``.
    Derived in chapters/1_recsys_basics/4_content_and_hybrids.
    """

    def __init__(self, cold: Recommender, warm: Recommender, threshold: int = 10):
        self.cold = cold
        self.warm = warm
        self.threshold = threshold

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.cold.fit(train)
        self.warm.fit(train)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        is_cold = self.train.counts("users")[users] < self.threshold
        return np.where(is_cold[:, None], self.cold.score(users), self.warm.score(users))
