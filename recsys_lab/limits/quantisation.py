"""Weights in few bits: a scale and a lowest value for each block, the layout of GGUF's files.

Derived in chapters/7_limitations/2_smaller.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Quantised(NamedTuple):
    """Whole numbers of a few bits, and what turns them back: low + scale * code, block by block."""

    codes: np.ndarray  # (n_blocks, block) uint8; int8 if symmetric
    scale: np.ndarray  # (n_blocks, 1) float16: the step
    low: np.ndarray | None  # (n_blocks, 1) float16: the lowest value; None if symmetric
    shape: tuple[int, ...]
    bits: int

    def dequantise(self) -> np.ndarray:
        """The weights that the codes stand for: float32, in the shape they came in."""
        values = self.codes.astype(np.float32) * self.scale.astype(np.float32)
        if self.low is not None:
            values += self.low.astype(np.float32)
        return values.reshape(self.shape)

    @property
    def n_bytes(self) -> int:
        """Of the packed codes, the scales and the lowest values."""
        low = 0 if self.low is None else self.low.nbytes
        return -(-self.codes.size * self.bits // 8) + self.scale.nbytes + low


def quantise(
    weights: np.ndarray, bits: int = 4, block: int | None = 32, symmetric: bool = False
) -> Quantised:
    """Round weights to 2**bits evenly spaced levels of their block. Derived in
    chapters/7_limitations/2_smaller.

    Affine (the default): levels from the block's lowest to its highest weight; with 4 bits and
    blocks of 32 that is GGUF's Q4_1. Symmetric: levels on both sides of an exact zero, one fewer;
    with 8 bits and blocks of 32 that is GGUF's Q8_0. No weight moves by more than half a step, but
    for the rounding of scale and lowest value to float16.

    Args:
        weights: (..., n) floats; blocks run along the last axis.
        bits: 2 to 8.
        block: weights that share a scale; it divides n. None: all of them.

    Raises:
        ValueError: no weights or not finite ones, bits outside 2 to 8, a block that does not fit.
    """
    weights = np.asarray(weights, dtype=np.float32)
    if weights.size == 0 or not np.isfinite(weights).all():
        raise ValueError("weights are empty, nan or infinite: nothing to quantise.")
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}: choose 2 to 8.")
    if block is not None and (block < 1 or weights.ndim == 0 or weights.shape[-1] % block):
        raise ValueError(f"blocks of {block} do not fit into rows of shape {weights.shape}.")
    rows = weights.reshape(-1, block or weights.size)
    if symmetric:
        highest = 2 ** (bits - 1) - 1
        scale, low = np.abs(rows).max(1, keepdims=True) / np.float32(highest), None
        steps = rows * _inverse(scale)
        codes = (np.sign(steps) * np.floor(np.abs(steps) + np.float32(0.5))).astype(np.int8)
        return Quantised(codes, scale.astype(np.float16), low, weights.shape, bits)
    low, top = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    scale = (top - low) / np.float32(2**bits - 1)
    codes = np.floor((rows - low) * _inverse(scale) + np.float32(0.5))
    codes = codes.clip(0, 2**bits - 1).astype(np.uint8)
    return Quantised(codes, scale.astype(np.float16), low.astype(np.float16), weights.shape, bits)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes (n,) of 0 to 2**bits - 1, without a gap between them: (ceil(n * bits / 8),) uint8.

    Signed codes are shifted to start at 0. Derived in chapters/7_limitations/2_smaller.
    """
    codes = np.asarray(codes).ravel()
    if codes.dtype == np.int8:
        codes = codes.astype(np.int16) + 2 ** (bits - 1)
    if codes.min() < 0 or codes.max() >= 2**bits:
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}: {bits} bits are too few.")
    columns = (codes[:, None] >> np.arange(bits)) & 1  # (n, bits), the lowest bit first
    return np.packbits(columns.astype(np.uint8).ravel(), bitorder="little")


def unpack(packed: np.ndarray, bits: int, n: int) -> np.ndarray:
    """The n codes of `pack`, from 0 upwards: (n,) uint8. Derived in
    chapters/7_limitations/2_smaller."""
    if len(packed) != -(-n * bits // 8):
        raise ValueError(f"{len(packed)} bytes do not hold {n} codes of {bits} bits.")
    columns = np.unpackbits(packed, count=n * bits, bitorder="little").reshape(n, bits)
    return (columns << np.arange(bits, dtype=np.uint8)).sum(1).astype(np.uint8)


def _inverse(scale: np.ndarray) -> np.ndarray:
    """1 / scale, 0 for a block of equal weights (whose scale is 0)."""
    return np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
