"""item2vec: word2vec, with films for words and viewing histories for sentences."""

from typing import Self

import numpy as np
import torch
from torch.nn import functional

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender


class Item2Vec(Recommender):
    """Skip-gram with negative sampling over pairs of films that share a rater.

    The whole history is the window: order and distance play no part. ``vectors`` (n_items,
    n_factors) are the unit vectors to compare films by.

    The loss is smallest where centre_j . context_i = log P(i | j) - log q(i) + constant, with
    q the distribution of the negatives. So the mean of log P(i | j) over a history, which is
    what ``score`` returns, is the mean dot product plus log q(i). Sources: Barkan and
    Koenigstein (2016), Levy and Goldberg (2014). Derived in chapters/1_recsys_basics/1_data.
    """

    def __init__(
        self,
        n_factors: int = 32,
        n_epochs: int = 30,
        n_negatives: int = 5,
        lr: float = 0.01,
        batch_size: int = 4096,
        power: float = 0.75,
        seed: int = 0,
    ):
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.n_negatives = n_negatives
        self.lr = lr
        self.batch_size = batch_size
        self.power = power  # negatives are drawn in proportion to count ** power
        self.seed = seed

    def fit(self, train: Interactions) -> Self:
        self.train = train
        rng = np.random.default_rng(self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        shape = (train.n_items, self.n_factors)
        centre = (torch.randn(shape, generator=generator) * 0.1).requires_grad_()
        context = (torch.randn(shape, generator=generator) * 0.1).requires_grad_()
        optimizer = torch.optim.Adam([centre, context], lr=self.lr)

        history = train.matrix().tocsr()  # a user's films lie between two entries of indptr
        users = np.repeat(np.arange(train.n_users), np.diff(history.indptr))
        weights = np.maximum(train.counts("items"), 0.5) ** self.power
        drawn_with = weights / weights.sum()  # (n_items,)
        cumulative = np.cumsum(drawn_with)
        self.losses = []  # mean loss of a pair, by epoch
        for _ in range(self.n_epochs):
            # One context film a film and epoch, uniformly from the same history.
            within = rng.random(len(users)) * np.diff(history.indptr)[users]
            partners = history.indices[history.indptr[users] + within.astype(int)]
            keep = np.flatnonzero(partners != history.indices)
            rng.shuffle(keep)
            total = 0.0
            for start in range(0, len(keep), self.batch_size):
                rows = keep[start : start + self.batch_size]
                drawn = rng.random((len(rows), self.n_negatives))
                negatives = np.searchsorted(cumulative, drawn).clip(max=train.n_items - 1)
                targets = np.column_stack([partners[rows], negatives])  # (B, 1 + n_negatives)
                films = torch.as_tensor(history.indices[rows], dtype=torch.long)
                vectors = functional.embedding(films, centre)  # (B, n_factors)
                others = functional.embedding(torch.as_tensor(targets), context)
                logits = (others @ vectors[:, :, None])[:, :, 0]  # (B, 1 + n_negatives)
                labels = torch.zeros_like(logits)
                labels[:, 0] = 1
                loss = functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
                optimizer.zero_grad()
                (loss / len(rows)).backward()
                optimizer.step()
                total += loss.item()
            self.losses.append(total / max(len(keep), 1))
        self.centre, self.context = centre.detach().numpy(), context.detach().numpy()
        self.log_drawn = np.log(drawn_with)
        self.vectors = functional.normalize(centre.detach()).numpy()  # (n_items, n_factors)
        return self

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        history = self.train.matrix()[users]
        n_seen = np.diff(history.indptr)[:, None]
        affinity = (history @ self.centre) @ self.context.T / np.maximum(n_seen, 1)
        return affinity + self.log_drawn  # (n_selected, n_items)
