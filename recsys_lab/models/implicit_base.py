"""What the torch models of clicks share: training, validation, scores of the whole catalogue."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.evaluation import ranking_metrics
from recsys_lab.models.base import Recommender
from recsys_lab.training import train as run_training


class ImplicitModel(Recommender):
    """A torch model of who rated what; a subclass gives build, batches, loss and logits.

    ``fit`` keeps the best epoch on ``validation`` if that is given, and leaves the learning curve
    in ``history`` (columns epoch, loss, validation: nDCG@10 over the full catalogue, seconds).
    ``l2`` is AdamW's weight decay. Derived in chapters/4_matrix_factorization/5_additive_trap.
    """

    def __init__(
        self, n_factors: int, n_epochs: int, lr: float, l2: float, batch_size: int, seed: int
    ):
        if min(n_factors, n_epochs, batch_size) < 1 or lr <= 0 or l2 < 0:
            raise ValueError(
                f"n_factors={n_factors}, n_epochs={n_epochs}, batch_size={batch_size}, lr={lr}, "
                f"l2={l2}: the first three start at 1, lr is positive, l2 is not negative."
            )
        self.n_factors, self.n_epochs, self.batch_size = n_factors, n_epochs, batch_size
        self.lr, self.l2, self.seed = lr, l2, seed

    @abstractmethod
    def build(self, train: Interactions) -> nn.Module:
        """The untrained network."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[tuple]:
        """The batches of an epoch, the same whenever that epoch is run."""

    @abstractmethod
    def loss(self, batch: tuple) -> torch.Tensor:
        """The mean loss of a batch."""

    @abstractmethod
    def logits(self, users: torch.Tensor) -> torch.Tensor:
        """Scores of the whole catalogue: (n_selected, n_items)."""

    def fit(
        self,
        train: Interactions,
        validation: Interactions | None = None,
        every: int = 1,
        patience: int | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train; ``every``, ``patience`` and ``checkpoint`` as in `recsys_lab.training.train`."""
        self.train, self.device = train, device.pick()
        self.matrix = train.matrix().astype(np.float32)  # (n_users, n_items)
        self.users, self.items = (
            torch.as_tensor(index.copy(), device=self.device)
            for index in (train.users, train.items)
        )
        torch.manual_seed(self.seed)
        self.network = self.build(train).to(self.device)
        relevant = None if validation is None else validation.matrix()

        def validate() -> float:
            scores = self.score()
            return ranking_metrics(scores, relevant, k=10, exclude=self.matrix)["ndcg"].mean()

        self.history = run_training(
            self.network,
            self.batches,
            self.loss,
            n_epochs=self.n_epochs,
            lr=self.lr,
            weight_decay=self.l2,
            validate=None if validation is None else validate,
            every=every,
            patience=patience,
            checkpoint=checkpoint,
            name=type(self).__name__,
        )
        return self

    def generator(self, epoch: int) -> torch.Generator:
        """The source of an epoch's random draws, on the model's device."""
        return torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + epoch)

    def shuffled(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """0 .. n - 1 in random order, in pieces of ``batch_size``."""
        order = torch.randperm(n, generator=generator, device=self.device)
        return order.split(self.batch_size)

    def rows(self, users: torch.Tensor) -> torch.Tensor:
        """The histories as rows of ones: (n_selected, n_items)."""
        return torch.from_numpy(self.matrix[users.cpu().numpy()].toarray()).to(self.device)

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = torch.as_tensor(self.user_index(users), device=self.device)
        self.network.eval()
        with torch.inference_mode():
            blocks = [self.logits(block).float().cpu().numpy() for block in users.split(256)]
        return np.concatenate(blocks)


def log_popularity(train: Interactions) -> torch.Tensor:
    """Log of each item's share of the events, half an event added: (n_items,).

    A bias that starts here saves the epochs that a network spends on learning the counts.
    """
    counts = torch.as_tensor(train.counts("items").copy(), dtype=torch.float32) + 0.5
    return (counts / counts.sum()).log()


class SparseProduct(torch.autograd.Function):
    """A constant sparse matrix times vectors; its transpose carries the gradient back.

    torch's own gradient of a CSR product builds the transpose anew at each step.
    """

    @staticmethod
    def forward(context, matrix: torch.Tensor, transpose: torch.Tensor, vectors: torch.Tensor):
        context.transpose = transpose
        return matrix @ vectors

    @staticmethod
    def backward(context, gradient: torch.Tensor):
        return None, None, context.transpose @ gradient.contiguous()


def sparse_tensor(matrix: sp.sparray | sp.spmatrix) -> torch.Tensor:
    """A SciPy matrix as a torch CSR tensor of float32."""
    csr = sp.csr_array(matrix).astype(np.float32)
    parts = (csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse")  # torch says that its CSR tensors are young
        return torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=csr.shape)
