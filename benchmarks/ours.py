"""Our models, as `worker.py` fits them: in the book's environment."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

import recsys_lab
from recsys_lab import models
from recsys_lab.data import Interactions


def versions() -> dict[str, str]:
    import scipy
    import torch

    found = {"recsys_lab": recsys_lab.__version__, "numpy": np.__version__}
    return found | {"scipy": scipy.__version__, "torch": torch.__version__}


def prepare(data: SimpleNamespace, name: str, settings: dict) -> tuple[Callable, Callable]:
    """``fit() -> model`` and ``score(model) -> scores`` of the model ``name``, neither called yet.

    ``fit`` starts from `Interactions`: its matrices are built while the watch runs.
    """
    make = getattr(models, name)
    train = Interactions(
        users=data.users,
        items=data.items,
        ratings=data.ratings,
        user_ids=np.arange(data.n_users),
        item_ids=np.arange(data.n_items),
    )

    def fit():
        return make(**settings).fit(train)

    def score(model) -> np.ndarray:
        if len(data.wanted_users):  # rank the whole catalogue for these users
            return model.score(data.wanted_users)
        return model.predict(data.test_users, data.test_items)

    return fit, score
