"""Weights set to zero: which ones, and what it takes to store the rest.

Derived in chapters/7_limitations/2_smaller.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def keep_masks(
    matrices: Mapping[str, np.ndarray],
    share: float,
    how: str = "magnitude",
    together: bool = True,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Which weights stay when the smallest are set to zero: a bool array for each matrix.

    Derived in chapters/7_limitations/2_smaller.

    Args:
        matrices: name -> weights of any shape.
        share: of the weights that go, in [0, 1); of each matrix, or of all of them together.
        how: "magnitude" (the smallest absolute values go) or "random" (the control).
        together: one threshold for all matrices; else each loses the same share.

    Raises:
        ValueError: no matrix, a share outside [0, 1), an unknown `how`.
    """
    if not matrices or not 0 <= share < 1:
        raise ValueError(f"{len(matrices)} matrices, share {share}: give one or more, and [0, 1).")
    if how not in ("magnitude", "random"):
        raise ValueError(f'how is {how!r}: choose "magnitude" or "random".')
    rng = np.random.default_rng(seed)
    size = {n: rng.random(m.shape) if how == "random" else np.abs(m) for n, m in matrices.items()}
    if together:
        flat = np.concatenate([part.ravel() for part in size.values()])
        kept = _largest(flat, share)
        ends = np.cumsum([part.size for part in size.values()])[:-1]
        parts = np.split(kept, ends)
        return {n: part.reshape(size[n].shape) for n, part in zip(size, parts, strict=True)}
    return {n: _largest(part.ravel(), share).reshape(part.shape) for n, part in size.items()}


def stored_bytes(matrix: np.ndarray, layout: str) -> int:
    """Bytes of a float32 matrix on disk. Derived in chapters/7_limitations/2_smaller.

    Args:
        matrix: (n_rows, n_columns), with zeros.
        layout: "dense" (4 a weight, zeros too), "csr" (4 a weight that stays, 4 for its column, 4 a
            row) or "bitmap" (4 a weight that stays, one bit for every place).

    Raises:
        ValueError: not a matrix, or an unknown layout.
    """
    if matrix.ndim != 2 or layout not in ("dense", "csr", "bitmap"):
        raise ValueError(f"{layout!r} of an array with {matrix.ndim} axes: see the docstring.")
    kept = int(np.count_nonzero(matrix))
    if layout == "dense":
        return 4 * matrix.size
    return 8 * kept + 4 * (len(matrix) + 1) if layout == "csr" else 4 * kept + -(-matrix.size // 8)


def _largest(values: np.ndarray, share: float) -> np.ndarray:
    """True for all but the given share of smallest values; ties fall by place: (n,) bool."""
    gone = round(share * len(values))
    kept = np.ones(len(values), dtype=bool)
    if gone:
        kept[np.argpartition(values, gone - 1)[:gone]] = False
    return kept
