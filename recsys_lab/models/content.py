"""Content: recommend films whose words are like those of the films the user liked."""

from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender

FIELDS = ("title", "genres", "decade")


def item_text(item_table: pd.DataFrame, fields: tuple[str, ...] = FIELDS) -> list[str]:
    """One line of words for each item, made of ``fields``: n_items strings.

    A genre and a decade are one word each (``genre_scifi``, ``decade_1990``), so that they
    cannot be mistaken for a word of a title. Missing values give no word.
    """
    if unknown := set(fields) - set(FIELDS):
        raise ValueError(f"unknown fields {sorted(unknown)}: choose among {FIELDS}.")
    lines = []
    for item in item_table.itertuples():
        words = [str(item.title)] if "title" in fields else []
        if "genres" in fields:
            words += ["genre_" + "".join(filter(str.isalnum, genre)) for genre in item.genres]
        if "decade" in fields and not pd.isna(item.year):
            words.append(f"decade_{item.year // 10 * 10}")
        lines.append(" ".join(words).lower())
    return lines


class ContentProfile(Recommender):
    """A user is the mean of the feature rows of their films; films are scored by cosine.

    Ratings weigh in as their distance from the user's own mean, plus one, so that liked
    films count for more and disliked ones for less. ``features``: (n_items, n_features),
    dense or sparse, from words, an encoder or a graph. Derived in
    chapters/1_recsys_basics/4_content_and_hybrids.
    """

    def __init__(self, features: np.ndarray | sparse.csr_matrix, use_ratings: bool = True):
        self.features = features
        self.use_ratings = use_ratings

    def fit(self, train: Interactions) -> Self:
        if self.features.shape[0] != train.n_items:
            raise ValueError(
                f"features have {self.features.shape[0]} rows for {train.n_items} items: "
                "give one row an item, in index order."
            )
        self.train = train
        weights = train.matrix().astype(float).tocoo()  # (n_users, n_items)
        if self.use_ratings:
            n_rated = np.bincount(train.users, minlength=train.n_users)
            total = np.bincount(train.users, train.ratings, train.n_users)
            mean = total / np.maximum(n_rated, 1)
            weights = sparse.coo_matrix(
                (train.ratings - mean[train.users] + 1, (train.users, train.items)),
                shape=(train.n_users, train.n_items),
            )
        features = sparse.csr_matrix(self.features)
        lengths = np.sqrt(features.multiply(features).sum(axis=1)).A1
        self.unit = sparse.diags(1 / np.maximum(lengths, 1e-12)) @ features
        self.profiles = (weights.tocsr() @ self.unit).toarray()  # (n_users, n_features)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        profiles = self.profiles[users]
        lengths = np.linalg.norm(profiles, axis=1, keepdims=True)
        return (self.unit @ (profiles / np.maximum(lengths, 1e-12)).T).T  # (n_selected, n_items)


class TfidfContent(ContentProfile):
    """A content profile over the TF-IDF of titles, genres and decades.

    Derived in chapters/1_recsys_basics/4_content_and_hybrids.
    """

    def __init__(self, fields: tuple[str, ...] = FIELDS, use_ratings: bool = True):
        self.fields = fields
        self.use_ratings = use_ratings

    def fit(self, train: Interactions) -> Self:
        self.vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
        self.features = self.vectorizer.fit_transform(item_text(train.item_table, self.fields))
        return super().fit(train)
