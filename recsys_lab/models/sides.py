"""Ratings as two lists, one by user and one by item: products and sums without a dense table."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch


class Side(NamedTuple):
    """Ratings seen from one side: whose they are, and how to sum over an owner's own."""

    owners: torch.Tensor  # (n_owners,) the users (items) that occur, ascending
    counts: torch.Tensor  # (n_owners, 1) how many ratings each has
    order: torch.Tensor  # (n,) places of the ratings, owner by owner
    starts: torch.Tensor  # (n_owners + 1,) where in that order an owner's ratings begin
    others: torch.Tensor  # (n,) the items (users) in that order


def one_side(owners: np.ndarray, others: np.ndarray, where: torch.device) -> Side:
    """`Side` of the ratings (owners[j], others[j])."""
    order = np.argsort(owners, kind="stable")
    rows, counts = np.unique(owners, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    parts = rows, counts[:, None].astype(np.float32), order, starts, others[order]
    return Side(*(torch.from_numpy(part.copy()).to(where) for part in parts))


def weighted_sums(
    table: torch.Tensor, side: Side, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """For each owner the sum of weight * table[other] over its ratings: (n_owners, n_columns).

    ``weights`` (n,) in the order of the ratings; None weighs all by 1. No array of (n, n_columns)
    is made.
    """
    weights = None if weights is None else weights[side.order]
    return torch.nn.functional.embedding_bag(
        side.others, table, side.starts[:-1], mode="sum", per_sample_weights=weights
    )


def products(left: torch.Tensor, right: torch.Tensor, side: Side) -> torch.Tensor:
    """left[owner] . right[other] of each rating of a `Side` in order: (n,).

    ``left`` has a row an owner of the side, ``right`` a row for each possible other.
    """
    if left.is_cuda or (left.device.type == "cpu" and torch.backends.mkl.is_available()):
        shape = len(left), len(right)
        with warnings.catch_warnings():  # "CSR support is in beta state"
            warnings.simplefilter("ignore")
            zeros = torch.zeros_like(side.others, dtype=left.dtype)
            pattern = torch.sparse_csr_tensor(
                side.starts, side.others, zeros, shape, check_invariants=False
            )
            return torch.sparse.sampled_addmm(pattern, left, right.T).values()
    rows = torch.repeat_interleave(side.counts[:, 0].long())
    return (left[rows] * right[side.others]).sum(dim=1)
