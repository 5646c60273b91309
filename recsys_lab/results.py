"""Record a finding once, in the cell that measured it, and read it anywhere.

``record`` does three things at once: it shows one readable line, it lets the page print the
number with ``{glue:text}`` (so nobody types it), and it leaves the finding as JSON in the cell's
output, where ``python -m recsys_lab.results`` collects the findings of the whole book.
"""

from __future__ import annotations

import argparse
import json
import math
import numbers
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MIME = "application/vnd.recsys-lab.result+json"
GLUE_PREFIX = "application/papermill.record/"  # hides a glued output from the page and from Jupyter
STRICT = "RECSYS_LAB_STRICT"  # set for the kernels of `make execute` and `make test`

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
_RESERVED = (".low", ".high", ".n")
_CLAIM = re.compile(r"C\d{2}")
_recorded: dict[str, str] = {}  # name -> the execution request that recorded it, in this kernel


class ResultError(ValueError):
    """A finding that cannot be recorded or collected; the message says what to mend."""


@dataclass(frozen=True)
class Result:
    """One finding: a number, its interval, and how many units (mostly users) it rests on."""

    name: str
    value: float | int
    low: float | None = None
    high: float | None = None
    n: int | None = None
    claim: str | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        text = f"{self.name} = {_show(self.value)}"
        if self.low is not None:
            text += f", interval {_show(self.low)} to {_show(self.high)}"
        if self.n is not None:
            text += f", n = {self.n:,}"
        return text if self.claim is None else f"{text}, claim {self.claim}"


def record(
    name: str,
    value: float,
    interval: Sequence[float] | None = None,
    n: int | None = None,
    claim: str | None = None,
    tolerance: float | None = None,
) -> Result | None:
    """Record a finding: print it, glue it for the prose, and store it in the cell's output.

    Args:
        name: dotted lower-case name, unique in the whole book, such as ``c1.rmse.knn``.
        value: one finite number; an int stays an int.
        interval: (low, high) around the value, mostly 95 % over users.
        n: how many units the value rests on, mostly users.
        claim: id of the claim that the finding tests, such as ``C05``.
        tolerance: how far a fresh run may lie from the stored one, in units of the value. Without
            it: 2 % of the value or a quarter of the interval's width, whichever is larger.

    In a page, ``{glue:text}`c1.rmse.knn:.3f``` prints the value; ``c1.rmse.knn.low``, ``.high`` and
    ``.n`` print the rest.

    Returns:
        The ``Result``; in a notebook ``None``, since the finding has been shown already.

    Raises:
        ResultError: bad name, number, interval, n, claim or tolerance, or a name used twice.
    """
    result = _validated(name, value, interval, n, claim, tolerance)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    _refuse_second(name, shell)
    if shell is None:
        return result

    from IPython.display import display

    glued = {"": result.value, ".low": result.low, ".high": result.high, ".n": result.n}
    for suffix, number in glued.items():
        if number is not None:
            # What myst_nb.glue(name, value, display=False) publishes, without importing Sphinx.
            data: dict[str, Any] = {f"{GLUE_PREFIX}text/plain": repr(number)}
            if not suffix:
                data[MIME] = asdict(result)  # here, since the site shows nothing of this output
            scrapbook = {"name": name + suffix, "mime_prefix": GLUE_PREFIX}
            display(data, raw=True, metadata={"scrapbook": scrapbook})
    display({"text/plain": str(result)}, raw=True, metadata={"recsys_lab": {"finding": name}})
    return None


def collect(folders: Iterable[str | Path] = ("chapters", "solutions")) -> dict[str, dict[str, Any]]:
    """Every stored finding below the folders: name -> value, low, high, n, claim, notebook.

    Raises:
        ResultError: a folder or notebook that cannot be read, or one name recorded twice.
    """
    findings: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for path in _notebooks(folders):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (ValueError, KeyError, TypeError) as error:
            raise ResultError(
                f"{path}: not a Jupyter notebook ({error!r}); restore it from git"
            ) from error
        for number, cell in enumerate(cells, start=1):
            for output in cell.get("outputs", []):
                finding = output.get("data", {}).get(MIME)
                if finding is None:
                    continue
                name, place = finding["name"], f"{path.as_posix()} cell {number}"
                if name in findings:
                    raise ResultError(
                        f"{name!r} is recorded twice: in {places[name]} and in {place}; "
                        f"rename one of them"
                    )
                places[name] = place
                findings[name] = {
                    key: finding[key] for key in ("value", "low", "high", "n", "claim")
                }
                findings[name]["notebook"] = path.as_posix()
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all stored findings as one JSON object; 1 and a message when they cannot be had."""
    parser = argparse.ArgumentParser(
        prog="python -m recsys_lab.results",
        description="Print the findings stored in the notebooks as one JSON object.",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        help="folders or notebooks to read (default: chapters and solutions)",
    )
    options = parser.parse_args(arguments)
    folders = options.folders or [f for f in ("chapters", "solutions") if Path(f).is_dir()]
    if not folders:
        print(
            "no folder chapters or solutions here: run this in the root, or name one",
            file=sys.stderr,
        )
        return 1
    try:
        findings = collect(folders)
    except (ResultError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(findings, indent=1, sort_keys=True, ensure_ascii=False))
    return 0


def _validated(name: str, value: Any, interval: Any, n: Any, claim: Any, tolerance: Any) -> Result:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ResultError(
            f"{name!r} is not a name for a finding; use lower case parts joined by dots, "
            f"such as 'c1.rmse.knn'"
        )
    if name.endswith(_RESERVED):
        raise ResultError(
            f"{name!r} ends in {name[name.rindex('.') :]!r}, which record adds itself"
        )
    number = _number(name, "value", value)
    low = high = None
    if interval is not None:
        ends = list(interval)
        if len(ends) != 2:
            raise ResultError(f"{name}: an interval is (low, high), got {len(ends)} numbers")
        low, high = (float(_number(name, "interval", end)) for end in ends)
        if low > high:
            raise ResultError(f"{name}: the interval's ends are swapped: {low} > {high}")
        slack = (high - low) + 1e-9 * max(1.0, abs(number))
        if not low - slack <= number <= high + slack:
            raise ResultError(
                f"{name}: {number} lies far outside its interval {low} to {high}; "
                f"is it the interval of another number?"
            )
    if n is not None:
        n = _number(name, "n", n)
        if n != int(n) or n < 1:
            raise ResultError(f"{name}: n counts units, so it is a whole number from 1, got {n}")
        n = int(n)
    if claim is not None and not (isinstance(claim, str) and _CLAIM.fullmatch(claim)):
        raise ResultError(f"{name}: {claim!r} is not the id of a claim, such as 'C05'")
    if tolerance is not None:
        tolerance = float(_number(name, "tolerance", tolerance))
        if tolerance < 0:
            raise ResultError(f"{name}: a tolerance is not negative, got {tolerance}")
    return Result(name, number, low, high, n, claim, tolerance)


def _number(name: str, what: str, value: Any) -> float | int:
    """A plain Python number out of numpy, torch or Fraction; no bool, no NaN."""
    if not isinstance(value, numbers.Real) and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError) as error:
            raise ResultError(f"{name}: {what} must be one number, got an array") from error
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ResultError(f"{name}: {what} must be a number, got {type(value).__name__}")
    if isinstance(value, numbers.Integral):
        return int(value)
    if not math.isfinite(value):
        raise ResultError(f"{name}: {what} must be finite, got {value}")
    return float(value)


def _refuse_second(name: str, shell: Any) -> None:
    """One name, one finding. Readers may re-run a cell; the book's own runs never do."""
    strict = bool(os.environ.get(STRICT))
    request = ""
    if shell is not None and hasattr(shell, "get_parent"):
        request = str(shell.get_parent().get("header", {}).get("msg_id", ""))
    if name in _recorded and (strict or (request and _recorded[name] == request)):
        raise ResultError(
            f"{name!r} is already recorded in this run; give each finding its own name"
        )
    if strict or shell is not None:
        _recorded[name] = request


def _show(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.4g}"


def _notebooks(folders: Iterable[str | Path]) -> list[Path]:
    found: list[Path] = []
    for folder in map(Path, folders):
        if folder.is_file():
            found.append(folder)
        elif folder.is_dir():
            paths = sorted(folder.rglob("*.ipynb"))
            found += [p for p in paths if ".ipynb_checkpoints" not in p.parts]
        else:
            raise ResultError(f"{folder}: no such folder or notebook")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.exit(main())
