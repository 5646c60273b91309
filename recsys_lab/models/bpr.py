"""BPR: factors that put a user's films above films that the user has not rated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recsys_lab import device
from recsys_lab.data import Interactions
from recsys_lab.evaluation import ranking_metrics
from recsys_lab.models.base import Recommender
from recsys_lab.models.negatives import NegativeSampler
from recsys_lab.training import train as run_training

Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # users, positives, negatives: (B,) each


class BPR(Recommender):
    """Scores b_i + p_u . q_i, trained on pairs of films: one rated, one drawn among the others.

    Minimises the mean of -log sigmoid(score of the rated film - score of the other one), a
    smooth stand-in for one minus the area under the ROC curve, plus l2 times half the squared
    vectors and biases that take part. An epoch pairs every event with ``n_negatives`` new draws.

    Args:
        n_factors: d, length of a vector.
        l2: ridge on the vectors of each triple.
        n_epochs, lr, batch_size: of AdamW; lr falls to zero in a straight line over n_epochs.
        n_negatives: draws an event and epoch.
        seed: of the start (standard deviation 0.1 / sqrt(d)), the order and the negatives.

    Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009). Derived in
    chapters/4_matrix_factorization/4_clicks.
    """

    def __init__(
        self,
        n_factors: int = 64,
        l2: float = 0.01,
        n_epochs: int = 60,
        lr: float = 5e-3,
        n_negatives: int = 1,
        batch_size: int = 4096,
        seed: int = 0,
    ):
        if min(n_factors, n_epochs, n_negatives, batch_size) < 1 or not (l2 >= 0 and lr > 0):
            raise ValueError(
                f"n_factors={n_factors}, n_epochs={n_epochs}, n_negatives={n_negatives}, "
                f"batch_size={batch_size} start at 1; l2={l2} must not be negative; lr={lr} "
                "must be positive."
            )
        self.n_factors = n_factors
        self.l2 = l2
        self.n_epochs = n_epochs
        self.lr = lr
        self.n_negatives = n_negatives
        self.batch_size = batch_size
        self.seed = seed

    def fit(
        self,
        train: Interactions,
        validation: Interactions | None = None,
        every: int = 5,
        patience: int | None = 3,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train; with ``validation`` keep the epoch with the best nDCG@10 on it.

        ``every``, ``patience`` and ``checkpoint`` as in `recsys_lab.training.train`; the learning
        curve is left in ``history``.
        """
        self.train = train
        self.device = device.pick()
        self.sampler = NegativeSampler(train, self.device)
        self.users = torch.tensor(train.users, device=self.device)  # (n_events,)
        self.items = torch.tensor(train.items, device=self.device)
        self.network = _Factors(train.n_users, train.n_items, self.n_factors, self.seed)
        self.network.to(self.device)
        relevant = None if validation is None else validation.matrix()
        seen = train.matrix()

        def validate() -> float:
            return ranking_metrics(
                self.score(), relevant, k=10, exclude=seen, metrics=["ndcg"]
            ).ndcg.mean()

        self.history = run_training(
            self.network,
            self.batches,
            self.loss,
            n_epochs=self.n_epochs,
            lr=self.lr,
            lr_decay=True,
            validate=None if validation is None else validate,
            every=every,
            patience=None if validation is None else patience,
            checkpoint=checkpoint,
            name="BPR",
        )
        return self

    def batches(self, epoch: int) -> Iterator[Triple]:
        """All events in random order, each with negatives drawn for its user."""
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + epoch)
        repeated = len(self.users) * self.n_negatives
        options = {"generator": generator, "device": self.device}
        order = torch.randperm(repeated, **options) % len(self.users)
        negatives = self.sampler.draw(self.users[order], generator)
        for rows, negative in zip(order.split(self.batch_size), negatives.split(self.batch_size)):
            yield self.users[rows], self.items[rows], negative

    def loss(self, batch: Triple) -> torch.Tensor:
        """Mean over the triples of softplus(-margin) plus the ridge."""
        users, positives, negatives = batch
        p = self.network.users(users)  # (B, d)
        q, other = self.network.items(positives), self.network.items(negatives)
        b, b_other = self.network.biases(positives), self.network.biases(negatives)  # (B, 1)
        margin = (p * (q - other)).sum(1, keepdim=True) + b - b_other
        size = sum((x * x).sum(1, keepdim=True) for x in (p, q, other, b, b_other))
        return (functional.softplus(-margin) + self.l2 / 2 * size).mean()

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = torch.tensor(self.user_index(users), device=self.device)
        with torch.inference_mode():
            scores = self.network.users(users) @ self.network.items.weight.T
            return (scores + self.network.biases.weight.T).cpu().numpy()  # (n_selected, n_items)


class _Factors(nn.Module):
    """The tables of user vectors, item vectors and item biases."""

    def __init__(self, n_users: int, n_items: int, n_factors: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        scale = 0.1 / n_factors**0.5
        self.users = nn.Embedding.from_pretrained(
            scale * torch.randn(n_users, n_factors, generator=generator), freeze=False
        )
        self.items = nn.Embedding.from_pretrained(
            scale * torch.randn(n_items, n_factors, generator=generator), freeze=False
        )
        self.biases = nn.Embedding.from_pretrained(torch.zeros(n_items, 1), freeze=False)
