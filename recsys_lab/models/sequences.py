"""What the sequence models share: histories in order, windows, training, full ranking."""

from abc import abstractmethod
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
from recsys_lab.training import train as run_training


class Histories:
    """Each user's items in order of time; equal timestamps in an order drawn anew each time.

    Three quarters of ML-100K's ratings share their second with another of the same user. No
    order among them is known, so a model should not be taught one.
    """

    def __init__(self, train: Interactions):
        if len(train) < 2 or train.timestamps.min() == train.timestamps.max():
            raise ValueError(
                f"{train.name!r} holds no order: all its timestamps are equal. Load it with a "
                "timestamp column, or use a model that reads no order."
            )
        self.train = train
        self.starts = np.concatenate([[0], np.cumsum(train.counts("users"))])  # (n_users + 1,)

    def items(self, rng: np.random.Generator) -> np.ndarray:
        """(n_events,): the events of user u stand at starts[u]:starts[u + 1], oldest first."""
        data = self.train
        return data.items[np.lexsort((rng.random(len(data)), data.timestamps, data.users))]

    def windows(self, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cut every history into windows of at most ``length + 1`` events: starts, ends.

        Neighbouring windows share one event, so each event but a user's first is a target once.
        Where the cuts fall is drawn for each user, so an event is seen with short and with long
        pasts. Windows of one event, which hold no target, are left out.
        """
        n_events = np.diff(self.starts)
        phase = rng.integers(length, size=len(n_events)) * (n_events > length)
        n_windows = (n_events - 2 + phase) // length + 1  # targets are events 1 .. n_events - 1
        n_windows = np.where(n_events > 1, n_windows, 0)
        user = np.repeat(np.arange(len(n_events)), n_windows)
        number = np.arange(len(user)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        first = number * length - phase[user]  # of the window, counted from the user's first event
        last = np.minimum(first + length, n_events[user] - 1)
        first = np.maximum(first, 0)
        keep = last > first
        offset = self.starts[:-1][user]
        return (offset + first)[keep], (offset + last + 1)[keep]

    def last(self, users: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The window of each user's last ``length`` events: starts, ends."""
        ends = self.starts[1:][users]
        return np.maximum(ends - length, self.starts[:-1][users]), ends


def gather(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, pad: int) -> torch.Tensor:
    """items[starts[j]:ends[j]] as rows, filled up with ``pad`` on the right: (n_windows, n)."""
    position = starts[:, None] + np.arange((ends - starts).max(initial=1))
    inside = position < ends[:, None]
    return torch.from_numpy(np.where(inside, items[np.where(inside, position, 0)], pad))


class SequenceModel(Recommender):
    """A torch model that reads a history and scores every film as the next one.

    A subclass builds its network in ``build``; the network maps items (B, T), padded on the right
    with ``n_items``, to hidden states (B, T, d_model), holds ``items``, an `ItemEmbedding`, and
    turns hidden states into logits with ``output``. ``loss`` is the cross-entropy over the
    whole catalogue at all positions, which is affordable up to some 10,000 items.

    ``fit`` keeps the best epoch on ``validation`` if that is given, and leaves the learning curve
    in ``history`` (columns epoch, loss, validation: nDCG@10 over the full catalogue, seconds).
    Derived in chapters/3_transformer_layer/5_sequences.
    """

    def __init__(
        self,
        d_model: int = 64,
        max_length: int = 50,
        n_epochs: int = 40,
        lr: float = 3e-3,
        batch_size: int = 64,
        dropout: float = 0.3,
        weight_decay: float = 0.0,
        seed: int = 0,
    ):
        self.d_model = d_model
        self.max_length = max_length
        self.n_epochs = n_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.seed = seed

    @abstractmethod
    def build(self, n_items: int) -> nn.Module:
        """The untrained network."""

    def fit(
        self,
        train: Interactions,
        validation: Interactions | None = None,
        every: int = 2,
        patience: int | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train; ``every``, ``patience`` and ``checkpoint`` as in `recsys_lab.training.train`."""
        self.train = train
        self.histories = Histories(train)
        torch.manual_seed(self.seed)
        self.device = device.pick()
        self.network = self.build(train.n_items).to(self.device)
        # Start from popularity: a network should spend no epoch on learning the counts.
        share = (train.counts("items") + 0.5) / (len(train) + 0.5 * train.n_items)
        with torch.no_grad():
            self.network.items.bias.copy_(torch.as_tensor(np.log(share)))
        relevant = None if validation is None else validation.matrix()
        seen = train.matrix()

        def validate() -> float:
            return ranking_metrics(self.score(), relevant, k=10, exclude=seen)["ndcg"].mean()

        self.history = run_training(
            self.network,
            self.batches,
            self.loss,
            n_epochs=self.n_epochs,
            lr=self.lr,
            weight_decay=self.weight_decay,
            validate=None if validation is None else validate,
            every=every,
            patience=patience,
            checkpoint=checkpoint,
            name=type(self).__name__,
        )
        return self

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Windows of similar length together, in random order: (B, T) items with padding."""
        rng = np.random.default_rng([self.seed, epoch])
        items = self.histories.items(rng)
        starts, ends = self.histories.windows(self.max_length, rng)
        order = np.argsort(ends - starts + rng.random(len(starts)) * self.max_length / 5)
        cuts = np.arange(self.batch_size, len(order), self.batch_size)
        groups = np.split(order, cuts)
        for group in rng.permutation(len(groups)):
            rows = groups[group]
            batch = gather(items, starts[rows], ends[rows], pad=self.train.n_items)
            yield batch.to(self.device)

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each next item, padding left out."""
        hidden, targets = self.network(batch[:, :-1]), batch[:, 1:]  # (B, T, d_model), (B, T)
        real = targets != self.train.n_items
        return self.token_loss(hidden[real], targets[real])

    def token_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of hidden states (n, d_model) whose next items are ``targets`` (n,)."""
        return functional.cross_entropy(self.network.output(hidden), targets)

    def score(self, users: np.ndarray | None = None) -> np.ndarray:
        users = self.user_index(users)
        scores = np.empty((len(users), self.train.n_items), dtype=np.float32)
        items = self.histories.items(np.random.default_rng(self.seed))
        starts, ends = self.histories.last(users, self.max_length)
        order = np.argsort(ends - starts)
        training = self.network.training
        self.network.eval()
        with torch.inference_mode():
            for rows in np.array_split(order, max(1, len(order) // 128)):
                window = gather(items, starts[rows], ends[rows], pad=self.train.n_items)
                logits = self.next_logits(window.to(self.device), ends[rows] - starts[rows])
                scores[rows] = logits.float().cpu().numpy()
        self.network.train(training)
        return scores

    def next_logits(self, window: torch.Tensor, lengths: np.ndarray) -> torch.Tensor:
        """Logits of the item after each window: (B, n_items)."""
        hidden = self.network(window)  # (B, T, d_model)
        last = torch.as_tensor(np.maximum(lengths, 1) - 1, device=window.device)
        return self.network.output(hidden[torch.arange(len(window), device=window.device), last])


class ItemEmbedding(nn.Module):
    """One table of item vectors that reads items and scores them, with a bias an item.

    Row ``n_items`` is the padding, and row ``n_items + 1``, if asked for, the mask.
    """

    def __init__(self, n_items: int, d_model: int, n_extra: int = 1):
        super().__init__()
        self.n_items = n_items
        self.vectors = nn.Embedding(n_items + n_extra, d_model, padding_idx=n_items)
        nn.init.normal_(self.vectors.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(n_items))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.vectors(items)  # (B, T, d_model)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        items = self.vectors.weight[: self.n_items]
        return functional.linear(hidden, items, self.bias)  # (..., n_items)
