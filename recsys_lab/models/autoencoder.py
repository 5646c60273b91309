"""A denoising autoencoder of histories with a multinomial likelihood."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

from recsys_lab.data import Interactions
from recsys_lab.models.implicit_base import ImplicitModel, log_popularity


class Autoencoder(ImplicitModel):
    """Mult-DAE: hide a part of a user's history, and say from the rest what it holds.

    h = tanh(W x + b) for the history x scaled to length one, logits = V h + c; the loss is
    the cross-entropy of softmax(logits) with the whole history. Without ``dropout`` the model may
    learn to copy. Source: Liang et al. (2018). Derived in
    chapters/4_matrix_factorization/5_additive_trap.

    Args:
        n_factors: width of the hidden layer.
        dropout: share of the history that is hidden in training.
        n_epochs, lr, l2, batch_size, seed: as in `ImplicitModel`; a batch is so many users.
    """

    def __init__(
        self,
        n_factors: int = 128,
        dropout: float = 0.5,
        n_epochs: int = 60,
        lr: float = 1e-3,
        l2: float = 0.1,
        batch_size: int = 64,
        seed: int = 0,
    ):
        super().__init__(n_factors, n_epochs, lr, l2, batch_size, seed)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: choose a share from 0 to below 1.")
        self.dropout = dropout

    def build(self, train: Interactions) -> nn.Module:
        decoder = nn.Linear(self.n_factors, train.n_items)
        with torch.no_grad():
            decoder.bias.copy_(log_popularity(train))
        return nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(train.n_items, self.n_factors),
            nn.Tanh(),
            decoder,
        )

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        users = self.users.unique()  # those with a history
        for picked in self.shuffled(len(users), self.generator(epoch)):
            yield self.rows(users[picked])  # (batch_size, n_items)

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return multinomial_loss(self.network(functional.normalize(batch)), batch)

    def logits(self, users: torch.Tensor) -> torch.Tensor:
        return self.network(functional.normalize(self.rows(users)))


def multinomial_loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """-sum_i x_i log softmax(logits)_i, the mean over users. Both are (n_users, n_items)."""
    return -(functional.log_softmax(logits, dim=1) * rows).sum(dim=1).mean()
