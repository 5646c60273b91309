"""Assertions for notebooks: they pass silently, and fail with a sentence a learner can use.

Every sentence that rests on a measurement ends in one of them. Choose the tolerance from the
spread over seeds, so that the check also holds on another processor and on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise


def assert_close(measured: float, expected: float, tolerance: float, what: str) -> None:
    """Check ``|measured - expected| <= tolerance``, all in the unit of ``measured``.

    Raises:
        AssertionError: the two differ by more; the message names both and the difference.
        ValueError: the tolerance is negative or not a number.
    """
    if not tolerance >= 0:
        raise ValueError(f"a tolerance is a number from 0 upwards, got {tolerance}")
    measured, expected = float(measured), float(expected)
    difference = abs(measured - expected)
    if not difference <= tolerance:  # written so that NaN fails too
        raise AssertionError(
            f"{what}: expected {expected:g} within {tolerance:g}, got {measured:g} "
            f"(difference {difference:.3g})"
        )


def assert_within(measured: float, low: float, high: float, what: str) -> None:
    """Check ``low <= measured <= high``.

    Raises:
        AssertionError: outside; the message says on which side and by how much.
        ValueError: ``low`` is above ``high``.
    """
    measured, low, high = float(measured), float(low), float(high)
    if not low <= high:
        raise ValueError(f"the range is upside down: low {low:g}, high {high:g}")
    if low <= measured <= high:
        return
    if math.isnan(measured):
        side = "is not a number"
    elif measured < low:
        side = f"is {low - measured:.3g} too low"
    else:
        side = f"is {measured - high:.3g} too high"
    raise AssertionError(f"{what}: expected {low:g} to {high:g}, got {measured:g}, which {side}")


def assert_order(
    values: Mapping[str, float] | Iterable[tuple[str, float]], what: str, margin: float = 0.0
) -> None:
    """Check that the values fall strictly in the order given: each beats the next by ``margin``.

    Args:
        values: name -> value, best first, as a dict or as pairs.
        what: what is ranked, for the message.
        margin: the least distance between neighbours, in the unit of the values.

    Raises:
        AssertionError: a neighbouring pair is not in order; the message names it.
        ValueError: fewer than two values.
    """
    pairs = list(values.items() if isinstance(values, Mapping) else values)
    if len(pairs) < 2:
        raise ValueError(f"an order needs at least two values, got {len(pairs)}")
    for (first, high), (second, low) in pairwise(pairs):
        if not (high > low and high - low >= margin):
            by = f" by {margin:g}" if margin else ""
            raise AssertionError(
                f"{what}: expected {first} above {second}{by}, "
                f"got {float(high):g} and {float(low):g}"
            )
