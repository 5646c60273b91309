"""Differential privacy by the user: noisy counts, and gradients clipped user by user (DP-SGD).

One example is one person's whole history. Derived in chapters/7_limitations/4_private.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch.func import functional_call

from recsys_lab.data import Interactions
from recsys_lab.models.base import Recommender

Tensors = dict[str, torch.Tensor]


def capped(data: Interactions, cap: int, rng: np.random.Generator) -> Interactions:
    """At most ``cap`` ratings of each user, drawn at random: nobody adds more to any count."""
    if cap < 1:
        raise ValueError(f"cap is {cap}: a user must be allowed one rating at least.")
    order = np.lexsort((rng.random(len(data)), data.users))
    first = np.cumsum(data.counts("users")) - data.counts("users")
    place = np.empty(len(data), dtype=np.int64)
    place[order] = np.arange(len(data)) - first[data.users[order]]
    return data.select(place < cap)


def noisy_counts(
    data: Interactions, epsilon: float, cap: int, rng: np.random.Generator
) -> np.ndarray:
    """Ratings of each film, epsilon-private by the user: (n_items,).

    With or without one person the counts differ by ``cap`` in all (L1), so Laplace noise of scale
    cap / epsilon hides the person. Epsilon infinite adds none. Source: Dwork et al. (2006).

    Raises:
        ValueError: epsilon not above 0, or a cap below 1.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}: it must be above 0; infinity means no noise.")
    counts = capped(data, cap, rng).counts("items").astype(float)
    return counts + (rng.laplace(0, cap / epsilon, len(counts)) if np.isfinite(epsilon) else 0.0)


def clipped_linear(
    errors: torch.Tensor, inputs: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over users of one linear layer's gradients, each cut to length ``clip``, and the lengths.

    A user's gradient is the outer product of errors (n_users, n_out) and inputs (n_users, n_in),
    so its length is the product of theirs, and no gradient per user need be stored: (n_out, n_in)
    and (n_users,). Sources: Abadi et al. (2016); Goodfellow (2015).
    """
    lengths = errors.norm(dim=1) * inputs.norm(dim=1)
    factors = (clip / lengths.clamp(min=1e-12)).clamp(max=1.0)
    return (errors * factors[:, None]).T @ inputs, lengths


class PrivateText(Recommender):
    """Which films follow from what a history's titles say: softmax regression, taught by DP-SGD.

    logits = V h + b. h (n_vectors,) is the sum of the public text vectors of a user's films over
    the root of their number; b starts at the log of `noisy_counts`; V and b are learnt. The text
    is public, so it costs no privacy; who watched what is not. Who asks brings an own history.

    Args:
        vectors: (n_items, n_vectors) of the films' texts, known to everybody.
        epsilon_counts, cap: of the counts that b starts from.
        noise: standard deviation of the noise in units of ``clip``, as an accountant gives it.
        clip: length that a user's gradient is cut to; infinity cuts nothing (noise must be 0).
        rate: chance of each user to be in a step's batch, drawn anew (Poisson sampling).
        steps, lr, seed: of the descent.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        epsilon_counts: float = math.inf,
        cap: int = 10,
        noise: float = 0.0,
        clip: float = 0.1,
        rate: float = 0.25,
        steps: int = 40,
        lr: float = 10.0,
        seed: int = 0,
    ):
        if noise < 0 or clip <= 0 or (noise and not math.isfinite(clip)) or not 0 < rate <= 1:
            raise ValueError(
                f"noise={noise}, clip={clip}, rate={rate}: noise needs a finite clip; a clip is "
                "above 0, a rate above 0 and at most 1."
            )
        self.vectors = torch.as_tensor(vectors, dtype=torch.float32)
        self.epsilon_counts, self.cap, self.noise, self.clip = epsilon_counts, cap, noise, clip
        self.rate, self.steps, self.lr, self.seed = rate, steps, lr, seed

    def fit(self, train: Interactions) -> Self:
        self.train = train
        rng, generator = np.random.default_rng(self.seed), torch.Generator().manual_seed(self.seed)
        counts = noisy_counts(train, self.epsilon_counts, self.cap, rng)
        self.layer = torch.nn.Linear(self.vectors.shape[1], train.n_items)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.bias.copy_(torch.tensor(np.log1p(np.maximum(counts, 1.0))))
        there = np.flatnonzero(train.counts("users"))  # who is in the training data
        rows = torch.tensor(train.matrix()[there].toarray(), dtype=torch.float32)
        inputs = self.encode(rows)
        inputs = torch.cat([inputs, torch.ones(len(rows), 1)], dim=1)  # the last one is b's
        both = torch.cat([self.layer.weight, self.layer.bias[:, None]], dim=1).detach()
        target = rows / rows.sum(1, keepdim=True)
        for _ in range(self.steps):
            drawn = torch.rand(len(rows), generator=generator) < self.rate
            errors = (inputs[drawn] @ both.T).softmax(-1) - target[drawn]
            total, _ = clipped_linear(errors, inputs[drawn], self.clip)
            if self.noise:
                total += self.noise * self.clip * torch.randn(both.shape, generator=generator)
            both = both - self.lr * total / (self.rate * len(rows))
        parameters = {"weight": both[:, :-1], "bias": both[:, -1]}
        self.layer.load_state_dict(parameters)
        return self

    def loss(self, parameters: Tensors, h: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """Of one user: minus the mean log-probability of the films in the history."""
        logits = functional_call(self.layer, parameters, (h,))
        return -(logits.log_softmax(-1) * row).sum(-1) / row.sum(-1).clamp(min=1.0)

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        """Histories (n, n_items) -> what the layer reads (n, n_vectors)."""
        return rows @ self.vectors / rows.sum(1, keepdim=True).clamp(min=1.0).sqrt()

    @torch.no_grad()
    def score(self, users: np.ndarray | None = None, data: Interactions | None = None):
        """Logits (n_selected, n_items); ``data`` brings histories of people not trained on."""
        users = self.user_index(users)
        rows = (self.train if data is None else data).matrix()[users].toarray()
        return self.layer(self.encode(torch.tensor(rows, dtype=torch.float32))).numpy()
