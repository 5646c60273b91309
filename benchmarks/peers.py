"""implicit, Surprise, scikit-learn and myFM, as `worker.py` fits them: in .venv-bench.

Each gets the input that its manual asks for, built before the watch starts. Each has its manual's
advice on threads: implicit wants a BLAS of one thread under its own threads, scikit-learn's SVD one
of as many as it may have. Surprise and myFM compute on one thread whatever is said.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
from scipy import sparse

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
LIBRARIES = {
    "implicit": "implicit",
    "surprise": "scikit-surprise",
    "sklearn": "scikit-learn",
    "myfm": "myfm",
    "numpy": "numpy",
    "scipy": "scipy",
}


def versions() -> dict[str, str]:
    return {name: version(package) for name, package in LIBRARIES.items()}


def prepare(data: SimpleNamespace, name: str, settings: dict) -> tuple[Callable, Callable]:
    """``fit() -> model`` and ``score(model) -> scores`` of ``library.Class``, neither called."""
    library, name = name.split(".")
    return globals()[f"prepare_{library}"](data, name, settings)


def user_items(data: SimpleNamespace) -> sparse.csr_matrix:
    """Who rated what: float32 (n_users, n_items)."""
    ones = np.ones(len(data.users), dtype=np.float32)
    return sparse.csr_matrix((ones, (data.users, data.items)), (data.n_users, data.n_items))


# ---- implicit ------------------------------------------------------------------------------
def prepare_implicit(data: SimpleNamespace, name: str, settings: dict):
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import CosineRecommender
    from threadpoolctl import threadpool_limits

    make = {
        "ALS": AlternatingLeastSquares,
        "BPR": BayesianPersonalizedRanking,
        "Cosine": CosineRecommender,
    }[name]
    matrix = user_items(data)

    def fit():
        with threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*OpenBLAS.*")  # its advice is followed
            model = make(num_threads=THREADS, **settings)
            model.fit(matrix, show_progress=False)
        return model

    def score(model) -> np.ndarray:
        if name == "Cosine":
            return (matrix[data.wanted_users] @ model.similarity).toarray()
        return model.user_factors[data.wanted_users] @ model.item_factors.T

    return fit, score


# ---- Surprise ------------------------------------------------------------------------------
def prepare_surprise(data: SimpleNamespace, name: str, settings: dict):
    import surprise

    columns = data.users.tolist(), data.items.tolist(), data.ratings.tolist()
    triples = [(user, item, rating, None) for user, item, rating in zip(*columns)]
    reader = surprise.Reader(rating_scale=(1, 5))
    train = surprise.dataset.DatasetAutoFolds(reader=reader, df=_empty()).construct_trainset(
        triples
    )
    pairs = zip(data.test_users.tolist(), data.test_items.tolist())
    test = [(user, item, 0.0) for user, item in pairs]
    if name in ("BaselineOnly", "KNNBaseline"):
        settings |= {"verbose": False}

    def fit():
        return getattr(surprise, name)(**settings).fit(train)

    def score(model) -> np.ndarray:
        return np.array([prediction.est for prediction in model.test(test)])

    return fit, score


def _empty():
    import pandas as pd

    return pd.DataFrame({"user": [], "item": [], "rating": []})


# ---- scikit-learn --------------------------------------------------------------------------
def prepare_sklearn(data: SimpleNamespace, name: str, settings: dict):
    from sklearn.decomposition import TruncatedSVD

    matrix = user_items(data)

    def fit():
        return TruncatedSVD(**settings).fit(matrix)

    def score(model) -> np.ndarray:
        return model.transform(matrix[data.wanted_users]) @ model.components_

    return fit, score


# ---- myFM ----------------------------------------------------------------------------------
def prepare_myfm(data: SimpleNamespace, name: str, settings: dict):
    import myfm

    def one_hot(users: np.ndarray, items: np.ndarray) -> sparse.csr_matrix:
        columns = np.column_stack([users, data.n_users + items]).ravel()  # two ones a row
        shape = (len(users), data.n_users + data.n_items)
        ends = np.arange(0, len(columns) + 1, 2)
        return sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape)

    train = one_hot(data.users, data.items)
    test = one_hot(data.test_users, data.test_items)
    rank, n_iter = settings.pop("rank"), settings.pop("n_iter")
    kept = settings.pop("n_kept_samples")
    groups, ratings = [data.n_users, data.n_items], data.ratings

    def fit():
        model = myfm.MyFMRegressor(rank=rank, **settings)
        return model.fit(train, ratings, n_iter=n_iter, n_kept_samples=kept, group_shapes=groups)

    def score(model) -> np.ndarray:
        return np.clip(model.predict(test), 1, 5)

    return fit, score
