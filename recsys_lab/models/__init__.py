"""The recommenders of the course, one a file."""

from importlib import import_module

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
    "BERT4Rec",
    "Baseline",
    "Caser",
    "ContentProfile",
    "GRU4Rec",
    "GenreRule",
    "Item2Vec",
    "ItemKNN",
    "ItemMean",
    "Markov",
    "MarkovEASE",
    "NaiveBayes",
    "Popularity",
    "PureSVD",
    "Random",
    "RatingKNN",
    "RatingPredictor",
    "RecencyEASE",
    "Recommender",
    "SASRec",
    "SequenceModel",
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


# torch takes two seconds to import: only those who ask for a torch model wait for it.
TORCH_MODELS = {
    "BERT4Rec": "bert4rec",
    "Caser": "caser",
    "GRU4Rec": "gru4rec",
    "Item2Vec": "item2vec",
    "Markov": "markov",
    "MarkovEASE": "markov",
    "RecencyEASE": "markov",
    "SASRec": "sasrec",
    "SequenceModel": "sequences",
}


def __getattr__(name: str):
    if name in TORCH_MODELS:
        return getattr(import_module(f"recsys_lab.models.{TORCH_MODELS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
