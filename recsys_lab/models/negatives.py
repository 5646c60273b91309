"""Honest negatives: films drawn for a user among those that the user has not rated."""

import numpy as np
import torch

from recsys_lab.data import Interactions


class NegativeSampler:
    """Uniform draws of items, never one of the user's own.

    An item that turns out to be a positive is drawn again, until none is left. (A sampler that
    skips this teaches the model that some of the films a user likes are bad.)
    Source: Rendle et al. (2009). Derived in chapters/4_matrix_factorization/4_clicks.

    Args:
        train: the interactions whose pairs are positive.
        device: where the drawn items shall live.

    Raises:
        ValueError: a user has rated the whole catalogue, so that no negative exists.
    """

    def __init__(self, train: Interactions, device: torch.device | str = "cpu"):
        counts = train.counts("users")
        if (counts >= train.n_items).any():
            user = train.user_ids[int(np.argmax(counts))]
            raise ValueError(
                f"user {user} has rated all {train.n_items} items: there is no negative to draw. "
                "Leave the user out of training."
            )
        self.n_items = train.n_items
        pairs = train.users.astype(np.int64) * train.n_items + train.items
        self.pairs = torch.as_tensor(np.sort(pairs), device=device)  # (n_events,), ascending

    def is_positive(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Whether the pairs stand in training: a boolean tensor of their shape."""
        wanted = users * self.n_items + items
        found = torch.searchsorted(self.pairs, wanted).clamp_max(len(self.pairs) - 1)
        return self.pairs[found] == wanted

    def draw(self, users: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One negative item for each entry of ``users`` (any shape), on their device."""
        options = {"generator": generator, "device": users.device}
        items = torch.randint(self.n_items, users.shape, **options)
        wrong = self.is_positive(users, items)
        while wrong.any():
            items[wrong] = torch.randint(self.n_items, (int(wrong.sum()),), **options)
            wrong = self.is_positive(users, items)
        return items
