"""What the check cells of a lab share: one sentence for the learner instead of a traceback.

A check cell is a block ``with checking("Task 2, check 1"):``. Inside it, ``assert`` states one
mechanism, ``expect_array`` and ``expect_close`` compare arrays and name the likely mistake. A cell
``with showing():`` shows the learner's work on real data. A task left blank says so in one line.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from types import TracebackType

import numpy as np


class CheckFailed(AssertionError):
    """A check that did not pass. Jupyter shows the sentence alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class checking:
    """Runs the block; prints that it passed, or fails with one sentence.

    Args:
        what: what the block checks; it starts with the task, as in "Task 2, check 1".

    Raises:
        CheckFailed: an assertion of the block failed, or the task is not written yet. Errors from
            inside the learner's code go through as they are, since their place matters.

    Warnings and progress bars go to the ordinary output: on stderr they would cost the points.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.unwritten = f"{what.split(',')[0]} is not written yet"

    def __enter__(self) -> None:
        self._redirect = contextlib.redirect_stderr(sys.stdout)
        self._redirect.__enter__()

    def __exit__(
        self, kind: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._redirect.__exit__(None, None, None)
        if error is None:
            return self.passed()
        message = _sentence(self.what, self.unwritten, error, traceback)
        return False if message is None else self.failed(message)

    def passed(self) -> bool:
        print(f"{self.what}: passed")
        return False

    def failed(self, message: str) -> bool:
        raise CheckFailed(message) from None


class showing(checking):
    """Runs a block that shows a learner's work on real data and carries no points.

    While a function that it needs is not written yet it prints so, and the notebook goes on.
    """

    def __init__(self) -> None:
        self.what, self.unwritten = "this cell", "Nothing to show yet"

    def passed(self) -> bool:
        return False

    def failed(self, message: str) -> bool:
        print(message)
        return True


def expect_array(
    value: object, shape: tuple[int, ...], what: str, hint: str = "", integers: bool = False
) -> np.ndarray:
    """``value`` as an array of this shape; sparse matrices and lists are welcome.

    Args:
        value: what the learner's function returned.
        shape: the shape wanted.
        what: the function's name, for the message.
        hint: what a wrong shape mostly means.
        integers: whether the entries are positions, so whole numbers.

    Raises:
        CheckFailed: nothing was returned, no numbers, another shape, or no whole numbers.
    """
    if value is None:
        raise CheckFailed(f"{what} returned None: does it end in `return`?")
    try:
        array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    except ValueError:  # rows of unequal length
        raise CheckFailed(f"{what} returned no array: its rows differ in length") from None
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise CheckFailed(f"{what} returned {type(value).__name__}, not an array of numbers")
    if array.shape != shape:
        raise CheckFailed(f"{what} returned shape {array.shape}, expected {shape}. {hint}".strip())
    if integers and not np.issubdtype(array.dtype, np.integer):
        raise CheckFailed(f"{what} returned {array.dtype} numbers, expected whole numbers (int)")
    return array


def expect_close(
    value: object,
    expected: object,
    what: str,
    mistakes: Mapping[str, object] | None = None,
    hint: str = "",
    tolerance: float = 1e-6,
) -> None:
    """Check that two arrays agree; nan agrees with nan.

    Args:
        value: the learner's numbers.
        expected: the right ones, from an independent source.
        what: what they are, for the message.
        mistakes: question to the learner -> the numbers that this mistake gives. If ``value``
            equals one of them, the question is the message.
        hint: said when no known mistake fits.
        tolerance: absolute and relative.

    Raises:
        CheckFailed: they differ; the message names a mistake, or the first entry that differs.
    """
    value, expected = np.asarray(value, dtype=float), np.asarray(expected, dtype=float)
    value, expected = np.broadcast_arrays(value, expected)
    agree = np.isclose(value, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if agree.all():
        return
    for question, wrong in (mistakes or {}).items():
        if np.allclose(value, wrong, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise CheckFailed(question)
    place = tuple(int(axis) for axis in np.argwhere(~agree)[0])
    at = f" at {list(place)}" if place else ""
    got, wanted = f"{value[place]:.6g}", f"{expected[place]:.6g}"
    raise CheckFailed(f"{what}{at} is {got}, expected {wanted}. {hint}".strip())


def _sentence(
    what: str, unwritten: str, error: BaseException, traceback: TracebackType | None
) -> str | None:
    """What to tell the learner; None if the error says it best itself."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code.co_name, traceback.tb_lineno))
        traceback = traceback.tb_next
    in_this_cell = len(frames) == 1
    if isinstance(error, NotImplementedError):
        function = "it" if in_this_cell else frames[-1][0]
        return f"{unwritten}: write {function} in its cell, run that cell, then this one again."
    if isinstance(error, NameError) and in_this_cell:
        return (
            f"{unwritten}: there is no {error.name}. Run the set-up cell at the top and the cell "
            f"that makes {error.name}, then this one again."
        )
    if isinstance(error, CheckFailed) or (isinstance(error, AssertionError) and in_this_cell):
        return f"{what}: not passed (line {frames[0][1]} of this cell). {error}"
    return None
