"""The interface that every model of the course shares: fit, score, recommend."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.evaluation import rank_items


class Recommender(ABC):
    """Something that scores every item of the catalogue for a user.

    ``fit`` stores what it was trained on in ``train``, so that ``recommend`` can leave
    out the items that a user has already rated.
    """

    train: Interactions

    @abstractmethod
    def fit(self, train: Interactions) -> Self:
        """Learn from ``train`` and return the model itself."""

    @abstractmethod
    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        """Scores of all items for ``users`` (indices; all users if None).

        Returns an array (n_selected, n_items). Only the order within a row matters,
        unless the model also predicts ratings.
        """

    def recommend(
        self, users: np.ndarray | None = None, k: int = 10, exclude_seen: bool = True
    ) -> np.ndarray:
        """The ``k`` best items of each user, best first: (n_selected, k) item indices."""
        users = self.user_index(users)
        seen = self.train.matrix()[users] if exclude_seen else None
        return rank_items(self.score(users), exclude=seen, k=k, users=users)

    def user_index(self, users: np.ndarray | None) -> np.ndarray:
        """``users`` as an index array, or all users; refuses a model that is not fitted."""
        if not hasattr(self, "train"):
            raise RuntimeError(f"{type(self).__name__} is not fitted: call fit(train) first.")
        return np.arange(self.train.n_users) if users is None else np.atleast_1d(users)


class RatingPredictor(Recommender):
    """A recommender whose scores are ratings, on the scale of the training data."""

    @abstractmethod
    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predicted ratings of the pairs (users[j], items[j]): (n,), in stars."""

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        n_items = self.train.n_items
        pairs = self.predict(np.repeat(users, n_items), np.tile(np.arange(n_items), len(users)))
        return pairs.reshape(len(users), n_items)
