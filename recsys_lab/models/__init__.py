"""The recommenders of the course, one a file."""

from importlib import import_module

from recsys_lab.models.base import RatingPredictor, Recommender
from recsys_lab.models.baseline import Baseline, ItemMean
from recsys_lab.models.content import ContentProfile, TfidfContent, item_text
from recsys_lab.models.ease import EASE
from recsys_lab.models.edlae import EDLAE
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
    "ALS",
    "BPR",
    "EASE",
    "EDLAE",
    "FM",
    "IALS",
    "NCF",
    "NMF",
    "Autoencoder",
    "BERT4Rec",
    "Baseline",
    "BayesianMF",
    "BiasedMF",
    "Caser",
    "ContentProfile",
    "GRU4Rec",
    "GenreRule",
    "Item2Vec",
    "ItemKNN",
    "ItemMean",
    "LightGCN",
    "Markov",
    "MarkovEASE",
    "MultVAE",
    "NaiveBayes",
    "NegativeSampler",
    "Popularity",
    "PureSVD",
    "Random",
    "RatingKNN",
    "RatingPredictor",
    "RecencyEASE",
    "Recommender",
    "SASRec",
    "SVDpp",
    "SequenceModel",
    "SlopeOne",
    "SwitchingHybrid",
    "TfidfContent",
    "TwoTower",
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
    "ALS": "als",
    "Autoencoder": "autoencoder",
    "BERT4Rec": "bert4rec",
    "BPR": "bpr",
    "BayesianMF": "bayesian_mf",
    "BiasedMF": "biased_mf",
    "Caser": "caser",
    "FM": "fm",
    "GRU4Rec": "gru4rec",
    "IALS": "ials",
    "Item2Vec": "item2vec",
    "LightGCN": "lightgcn",
    "Markov": "markov",
    "MarkovEASE": "markov",
    "MultVAE": "mult_vae",
    "NCF": "ncf",
    "NMF": "nmf",
    "NegativeSampler": "negatives",
    "RecencyEASE": "markov",
    "SASRec": "sasrec",
    "SVDpp": "svdpp",
    "SequenceModel": "sequences",
    "TwoTower": "two_tower",
}


def __getattr__(name: str):
    if name in TORCH_MODELS:
        return getattr(import_module(f"recsys_lab.models.{TORCH_MODELS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
