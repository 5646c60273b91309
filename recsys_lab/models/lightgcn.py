"""LightGCN: vectors of users and films, averaged over the graph of who rated what."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn
from torch.nn import functional

from recsys_lab.data import Interactions
from recsys_lab.models.implicit_base import ImplicitModel, SparseProduct, sparse_tensor
from recsys_lab.models.negatives import NegativeSampler


class LightGCN(ImplicitModel):
    """Each layer replaces a vector by the mean of its neighbours'; the layers are averaged.

    With A the adjacency of users and films and D its degrees, E_(l+1) = D^-1/2 A D^-1/2 E_l; only
    E_0 is learnt, by BPR: -log sigmoid(e_u . e_i - e_u . e_j) for a film i that the user rated and
    an honest negative j. Source: He et al. (2020). Derived in
    chapters/4_matrix_factorization/5_additive_trap.

    Args:
        n_factors: length of the vectors.
        n_layers: steps of propagation; 0 is BPR matrix factorisation.
        n_negatives: films drawn for each positive one.
        n_epochs, lr, l2, batch_size, seed: as in `ImplicitModel`; a batch is so many positives.
    """

    def __init__(
        self,
        n_factors: int = 64,
        n_layers: int = 2,
        n_negatives: int = 1,
        n_epochs: int = 60,
        lr: float = 0.01,
        l2: float = 0.01,
        batch_size: int = 4096,
        seed: int = 0,
    ):
        super().__init__(n_factors, n_epochs, lr, l2, batch_size, seed)
        if n_layers < 0 or n_negatives < 1:
            raise ValueError(
                f"n_layers={n_layers}, n_negatives={n_negatives}: the first starts at 0, the other "
                "at 1."
            )
        self.n_layers, self.n_negatives = n_layers, n_negatives

    def build(self, train: Interactions) -> nn.Module:
        self.negatives = NegativeSampler(train, self.device)
        self.adjacency = normalised_adjacency(train).to(self.device)
        start = torch.randn(train.n_users + train.n_items, self.n_factors) * 0.1
        return nn.ParameterDict({"vectors": start})  # E_0

    def vectors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Final vectors: (n_users, n_factors), (n_items, n_factors)."""
        layer = total = self.network["vectors"]
        for _ in range(self.n_layers):
            layer = SparseProduct.apply(self.adjacency, self.adjacency, layer)
            total = total + layer
        mean = total / (self.n_layers + 1)
        return mean.split([self.train.n_users, self.train.n_items])

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = self.generator(epoch)
        for rows in self.shuffled(len(self.users), generator):
            users = self.users[rows, None]  # (B, 1)
            drawn = self.negatives.draw(users.repeat(1, self.n_negatives), generator)
            yield users, torch.cat([self.items[rows, None], drawn], dim=1)  # (B, 1 + n_negatives)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        users, items = batch
        user_vectors, item_vectors = self.vectors()
        pick = functional.embedding
        scores = (pick(users, user_vectors) * pick(items, item_vectors)).sum(dim=-1)
        return -functional.logsigmoid(scores[:, :1] - scores[:, 1:]).mean()

    def logits(self, users: torch.Tensor) -> torch.Tensor:
        user_vectors, item_vectors = self.vectors()
        return user_vectors[users] @ item_vectors.T


def normalised_adjacency(train: Interactions) -> torch.Tensor:
    """D^-1/2 A D^-1/2 of users (first) and items, sparse CSR (n_users + n_items, the same).

    Someone without an event has an empty row: the mean of nothing is zero.
    """
    seen = train.matrix()
    adjacency = sp.block_array([[None, seen], [seen.T, None]], format="csr")
    degree = np.maximum(adjacency.sum(axis=1), 1.0)
    scale = sp.diags_array(np.asarray(degree).ravel() ** -0.5)
    return sparse_tensor(scale @ adjacency @ scale)
