"""A hand-written rule, as before machine learning: popular films of your favourite genres."""

from typing import Self

import numpy as np

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class GenreRule(Recommender):
    """Films that share a genre with the user's favourites come first, popular ones before others.

    A user's favourites are the ``n_favourites`` genres they have rated most often. Nothing
    is learnt but counts. Derived in chapters/1_recsys_basics/2_sixty_years.
    """

    def __init__(self, n_favourites: int = 3):
        self.n_favourites = n_favourites

    def fit(self, train: Interactions) -> Self:
        self.train = train
        self.genres = train.item_table["genres"].explode().dropna().unique()
        has_genre = np.array(
            [[genre in of_item for genre in self.genres] for of_item in train.item_table["genres"]]
        )  # (n_items, n_genres)
        genre_counts = train.matrix() @ has_genre.astype(float)  # (n_users, n_genres)
        rank = (-genre_counts).argsort(axis=1, kind="stable").argsort(axis=1)
        self.favourite = (rank < self.n_favourites) & (genre_counts > 0)  # (n_users, n_genres)
        self.has_genre = has_genre
        self.counts = train.counts("items").astype(float)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        in_favourites = (self.favourite[users].astype(float) @ self.has_genre.T) > 0
        # Popularity breaks ties inside each of the two groups.
        return in_favourites + self.counts / (self.counts.max() + 1)  # (n_selected, n_items)
