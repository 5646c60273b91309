"""Compare what a cell has just done with what is stored of it: time, memory, error, numbers.

Every function returns the problems it finds, as sentences without the cell's name.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Sequence
from typing import Any

from nbformat import NotebookNode

from tools import notebooks as nbs

# A finding without a tolerance of its own may move by this share of its size, or of its interval's
# width, whichever is more. Another processor or a GPU moves a deterministic run far less; a changed
# model, split or metric mostly moves it more.
RELATIVE, OF_INTERVAL = 0.02, 0.25


def over_budget(
    nb: NotebookNode, cell: NotebookNode, seconds: float, spent: float, factor: float = 1.0
) -> list[str]:
    """Problems of a cell that took ``seconds`` when its notebook had ``spent``, it included.

    ``factor`` allows for a slower machine.
    """
    problems = []
    budget = nbs.cell_budget(nb, cell)
    if seconds > budget * factor:
        problems.append(f"took {seconds:.1f} s; the cell's budget is {budget:g} s times {factor:g}")
    budget = nbs.budget(nb)
    if spent > budget * factor >= spent - seconds:  # said once, by the cell that crosses the line
        problems.append(
            f"the notebook has taken {spent:.1f} s; its budget is {budget:g} s times {factor:g}"
        )
    return problems


def over_memory(peak_mb: float) -> list[str]:
    """Problems of a kernel that has used so much memory."""
    most = nbs.MAX_MEMORY_MB
    return [f"the kernel used {peak_mb:,.0f} MB, at most {most:,}"] if peak_mb > most else []


def error_differs(cell: NotebookNode, fresh: Sequence[NotebookNode]) -> list[str]:
    """A cell tagged raises-exception raises what it raised when it was stored."""
    if "raises-exception" not in nbs.tags(cell):
        return []
    stored, now = (
        [o.ename for o in outs if o.output_type == "error"] for outs in (cell.outputs, fresh)
    )
    if stored == now:
        return []
    said = [" and ".join(names) or "nothing" for names in (stored, now)]
    return [f"tagged raises-exception: stored {said[0]}, now raised {said[1]}"]


def numbers_differ(stored: Sequence[NotebookNode], fresh: Sequence[NotebookNode]) -> list[str]:
    """Findings and glued values of a fresh run that are not, within tolerance, the stored ones."""
    before, now = ({f["name"]: f for f in nbs.findings(outs)} for outs in (stored, fresh))
    problems = _set_differs("finding", before, now)
    for name in before.keys() & now.keys():
        problems += _finding_differs(before[name], now[name])
    before, now = (nbs.glued(without_findings(outs)) for outs in (stored, fresh))
    problems += _set_differs("glued value", before, now)
    for name in before.keys() & now.keys():
        problems += _glued_differs(name, before[name], now[name])
    return sorted(problems)


def tolerance(finding: dict[str, Any]) -> float:
    """How far a fresh value may lie from the stored finding, in the value's unit."""
    if finding.get("tolerance") is not None:
        return float(finding["tolerance"])
    width = 0.0 if finding["low"] is None else finding["high"] - finding["low"]
    return max(RELATIVE * abs(finding["value"]), OF_INTERVAL * width)


def without_findings(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The outputs less those that ``record`` made: they are compared by their tolerance."""
    names = {finding["name"] for finding in nbs.findings(outputs)}
    names |= {f"{name}.{part}" for name in names for part in ("low", "high", "n")}
    return [
        output
        for output in outputs
        if nbs.glue_name(output) not in names
        and "finding" not in output.get("metadata", {}).get("recsys_lab", {})
    ]


def _set_differs(what: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    gone = [f"{what} {name!r} is stored, but is no longer made" for name in before.keys() - now]
    new = [f"{what} {name!r} is not stored; run `make execute`" for name in now.keys() - before]
    return gone + new


def _finding_differs(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    name, allowed, problems = before["name"], tolerance(before), []
    # The tolerance is not compared: the stored one decides, and may depend on what was measured.
    for part in ("claim", "n"):
        if before.get(part) != now.get(part):
            problems.append(f"finding {name!r}: {part} stored {before[part]}, now {now[part]}")
    for part in ("value", "low", "high"):
        old, new = before[part], now[part]
        if (old is None) != (new is None):
            problems.append(f"finding {name!r}: {part} stored {old}, now {new}")
        elif old is not None and abs(new - old) > max(
            allowed, RELATIVE * abs(old) * (part != "value")
        ):
            problems.append(
                f"finding {name!r}: {part} stored {old:.6g}, now {new:.6g}; "
                f"they differ by {abs(new - old):.2g}, allowed is {allowed:.2g}"
            )
    return problems


def _glued_differs(name: str, before: str, now: str) -> list[str]:
    try:
        old, new = literal_eval(before), literal_eval(now)
    except (ValueError, SyntaxError):
        old, new = before, now
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))
    same = abs(new - old) <= RELATIVE * abs(old) if numbers else old == new
    return [] if same else [f"glued value {name!r}: stored {before[:80]}, now {now[:80]}"]
