"""Two towers: one network for users, one for films; their outputs meet in a dot product."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from recsys_lab.data import Interactions
from recsys_lab.evaluation import genre_matrix
from recsys_lab.models.implicit_base import (
    ImplicitModel,
    SparseProduct,
    log_popularity,
    sparse_tensor,
)


class TwoTower(ImplicitModel):
    """A user vector from id, history and demographics; a film vector from id, genres and year.

    Neither tower sees the other's input, so all film vectors can be computed beforehand and
    searched. ``loss`` "full": the cross-entropy of a film against the whole catalogue; "in-batch":
    against the batch's other films, minus the log of how often each turns up there (logQ).
    The film in question is taken out of its user's history. Sources: Covington et al. (2016), Yi et
    al. (2019). Derived in chapters/4_matrix_factorization/5_additive_trap.

    Args:
        n_factors: length of the vectors.
        loss_kind: "full" or "in-batch".
        features: False leaves out demographics, genres and year.
        dropout: on the inputs of both towers' hidden layers.
        n_epochs, lr, l2, batch_size, seed: as in `ImplicitModel`; a batch is so many positives.
    """

    def __init__(
        self,
        n_factors: int = 64,
        loss_kind: str = "in-batch",
        features: bool = True,
        dropout: float = 0.3,
        n_epochs: int = 20,
        lr: float = 3e-3,
        l2: float = 0.1,
        batch_size: int = 1024,
        seed: int = 0,
    ):
        super().__init__(n_factors, n_epochs, lr, l2, batch_size, seed)
        if loss_kind not in ("full", "in-batch") or not 0 <= dropout < 1:
            raise ValueError(
                f"loss_kind={loss_kind!r}, dropout={dropout}: choose 'full' or 'in-batch', and a "
                "dropout from 0 to below 1."
            )
        self.loss_kind, self.features, self.dropout = loss_kind, features, dropout

    def build(self, train: Interactions) -> nn.Module:
        about_users, about_items = user_features(train), item_features(train)
        if not self.features:
            about_users, about_items = about_users[:, :0], about_items[:, :0]
        self.lengths = torch.as_tensor(np.diff(self.matrix.indptr), device=self.device)
        self.seen = sparse_tensor(self.matrix).to(self.device)
        self.seen_by = sparse_tensor(self.matrix.T).to(self.device)
        self.log_q = log_popularity(train).to(self.device)
        network = nn.ModuleDict()
        network["user"] = _Tower(about_users, self.n_factors, self.dropout)
        network["item"] = _Tower(about_items, self.n_factors, self.dropout)
        network.bias = nn.Parameter(log_popularity(train))
        network.history = nn.Parameter(torch.randn(train.n_items, self.n_factors) * 0.1)
        return network

    def user_vectors(self, users: torch.Tensor, without: torch.Tensor | None = None):
        """(n_selected, n_factors); ``without`` (n_selected,) is left out of each one's history."""
        films = self.network.history
        total = functional.embedding(users, SparseProduct.apply(self.seen, self.seen_by, films))
        n = self.lengths[users]
        if without is not None:
            total, n = total - functional.embedding(without, films), n - 1
        return self.network["user"](users, total / n.clamp_min(1)[:, None] ** 0.5)

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in self.shuffled(len(self.users), self.generator(epoch)):
            yield self.users[rows], self.items[rows]

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        users, items = batch
        user_vectors = self.user_vectors(users, without=items)
        if self.loss_kind == "full":
            logits = user_vectors @ self.network["item"]().T + self.network.bias
            return functional.cross_entropy(logits, items)
        logits = user_vectors @ self.network["item"](items).T + self.network.bias[items]  # (B, B)
        distinct, place = users.unique(return_inverse=True)
        known = self.rows(distinct)[:, items][place]  # (B, B)
        known.fill_diagonal_(0.0)  # other films that the user rated are no negatives
        return in_batch_loss(logits, self.log_q[items], known)

    def logits(self, users: torch.Tensor) -> torch.Tensor:
        return self.user_vectors(users) @ self.network["item"]().T + self.network.bias


def in_batch_loss(
    logits: torch.Tensor, log_q: torch.Tensor, hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of the diagonal against the row, corrected for how the columns were drawn.

    A popular film is a column more often than a rare one, so without ``- log_q`` it is pushed down
    for its popularity. Source: Yi et al. (2019).

    Args:
        logits: (B, B), row j's true film in column j.
        log_q: (B,) log probability with which each column's film is drawn.
        hidden: (B, B) ones where a column is no negative of a row, else zeros.
    """
    corrected = logits - log_q
    if hidden is not None:
        corrected = corrected - 1e9 * hidden
    return functional.cross_entropy(corrected, torch.arange(len(logits), device=logits.device))


class _Tower(nn.Module):
    """id + features + what else is known, then a hidden layer around which they pass too."""

    def __init__(self, features: np.ndarray, n_factors: int, dropout: float):
        super().__init__()
        self.ids = nn.Parameter(torch.randn(len(features), n_factors) * 0.1)
        self.register_buffer("features", torch.as_tensor(features, dtype=torch.float32))
        self.of_features = nn.Parameter(torch.randn(features.shape[1], n_factors) * 0.1)
        self.hidden = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(n_factors, n_factors), nn.ReLU(),
            nn.Linear(n_factors, n_factors),
        )  # fmt: skip

    def forward(self, which: torch.Tensor | None = None, more: torch.Tensor | float = 0.0):
        vectors = self.ids + self.features @ self.of_features
        if which is not None:
            vectors = functional.embedding(which, vectors)
        vectors = vectors + more
        return vectors + self.hidden(vectors)


def user_features(data: Interactions) -> np.ndarray:
    """Age as a z-score, gender and occupation as zeros and ones; zeros where unknown."""
    table = data.user_table
    age = pd.to_numeric(table["age"]).astype(float)
    kinds = pd.get_dummies(table[["gender", "occupation"]].astype(object), dtype=float)
    return np.column_stack([_z_score(age), kinds])  # (n_users, n_features)


def item_features(data: Interactions) -> np.ndarray:
    """Genres, which share 1, and the year as a z-score; zeros where unknown."""
    genres = genre_matrix(data.item_table["genres"])[0].toarray()
    year = pd.to_numeric(data.item_table["year"]).astype(float)
    return np.column_stack([_z_score(year), genres])  # (n_items, n_features)


def _z_score(x: pd.Series) -> np.ndarray:
    return ((x - x.mean()) / max(x.std(ddof=0), 1e-9)).fillna(0.0).to_numpy()
