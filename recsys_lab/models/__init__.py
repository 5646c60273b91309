"""The recommenders of the course, one a file."""

from recsys_lab.models.base import RatingPredictor, Recommender
from recsys_lab.models.baseline import Baseline, ItemMean
from recsys_lab.models.content import ContentProfile, TfidfContent, item_text
from recsys_lab.models.ease import EASE
from recsys_lab.models.hybrid import SwitchingHybrid, WeightedHybrid, standardize
from recsys_lab.models.knn import ItemKNN, UserKNN, cosine_similarity, keep_neighbours
from recsys_lab.models.naive_bayes import NaiveBayes
from recsys_lab.models.popularity import Popularity, Random
from recsys_lab.models.rating_knn import RatingKNN, msd_similarity
from recsys_lab.models.rules import GenreRule
from recsys_lab.models.slope_one import SlopeOne
from recsys_lab.models.svd import PureSVD
from recsys_lab.models.tuning import tune

__all__ = [
    "EASE",
    "Baseline",
    "ContentProfile",
    "GenreRule",
    "Item2Vec",
    "ItemKNN",
    "ItemMean",
    "NaiveBayes",
    "Popularity",
    "PureSVD",
    "Random",
    "RatingKNN",
    "RatingPredictor",
    "Recommender",
    "SlopeOne",
    "SwitchingHybrid",
    "TfidfContent",
    "UserKNN",
    "WeightedHybrid",
    "cosine_similarity",
    "item_text",
    "keep_neighbours",
    "msd_similarity",
    "standardize",
    "tune",
]


def __getattr__(name: str):
    # torch takes two seconds to import: only those who ask for a torch model wait for it.
    if name == "Item2Vec":
        from recsys_lab.models.item2vec import Item2Vec

        return Item2Vec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
