"""Negatives: never one of the user's own, each of the others as likely."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys_lab.data import Interactions
from recsys_lab.models import NegativeSampler


def some(pairs: list[tuple[int, int]]) -> Interactions:
    users, items = np.array(pairs).T
    return Interactions(users=users, items=items)


# User 0 has rated all films but 1 and 4, user 1 only film 4, user 2 all but film 0.
DATA = some([(0, 0), (0, 2), (0, 3), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4)])


def test_no_draw_is_a_positive_and_all_others_occur() -> None:
    sampler = NegativeSampler(DATA)
    users = torch.tensor([0, 1, 2]).repeat(4000, 1)  # (4000, 3)
    drawn = sampler.draw(users, torch.Generator().manual_seed(0))
    assert drawn.shape == users.shape
    seen = DATA.matrix().toarray() > 0
    assert not seen[users.numpy(), drawn.numpy()].any()
    for user in range(3):
        counts = np.bincount(drawn[:, user].numpy(), minlength=5)[~seen[user]]
        expected = 4000 / len(counts)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_positives_are_the_pairs_of_training() -> None:
    users, items = (
        grid.ravel() for grid in torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    )
    found = NegativeSampler(DATA).is_positive(users, items)
    assert np.array_equal(found.numpy().reshape(3, 5), DATA.matrix().toarray() > 0)


def test_the_same_seed_draws_the_same() -> None:
    sampler, users = NegativeSampler(DATA), torch.zeros(50, dtype=torch.long)
    first, again, other = (
        sampler.draw(users, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_user_without_negatives_is_an_error() -> None:
    with pytest.raises(ValueError, match="rated all 2 items"):
        NegativeSampler(some([(0, 0), (0, 1), (1, 0)]))
