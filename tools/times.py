"""Write appendix/execution_times.md: how long each notebook takes, and with which versions.

The numbers come from the last run that `python -m tools.execute` stored in each notebook.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nbformat import NotebookNode

from tools import notebooks as nbs
from tools.notebooks import ROOT

PAGE = Path("appendix") / "execution_times.md"
PACKAGES = """numpy pandas scipy scikit-learn torch transformers peft gguf matplotlib
jupyter-book nbval nbgrader""".split()


def page(root: Path = ROOT) -> str:
    """The page's Markdown, from the stored notebooks and the lock."""
    rows, seconds, peak_mb = [], 0, 0
    for path in nbs.find(root=root):
        nb = nbs.read(path)
        run = nbs.own_metadata(nb).get("run")
        link = f"[{_title(nb, path)}](../{nbs.relative(path, root)})"
        if run is None:
            rows.append(f"| {link} | not yet run | | |")
            continue
        whole = math.ceil(run.seconds)
        rows.append(f"| {link} | {whole} | {math.ceil(run.cell_seconds_max)} | {run.peak_mb:,} |")
        seconds, peak_mb = seconds + whole, max(peak_mb, run.peak_mb)
    versions = [f"| {name} | `{number}` |" for name, number in _versions(root).items()]
    lines = [
        "# Execution times and versions",
        "",
        "<!-- Written by python -m tools.times; do not edit. -->",
        "",
        "How long each page takes to run from top to bottom in a fresh kernel, with one thread, on",
        "the machine that produced the outputs printed in this book. Seconds are rounded up.",
        "",
        "| Page | Seconds | Slowest cell | Peak memory, MB |",
        "|---|--:|--:|--:|",
        *rows,
        f"| **All** | **{seconds:,}** | | **{peak_mb:,}** |",
        "",
        "The outputs were produced with these versions; the full list is",
        "`requirements/lock.txt`.",
        "",
        "| Package | Version |",
        "|---|---|",
        *versions,
    ]
    return "\n".join(lines) + "\n"


def write(root: Path = ROOT) -> Path:
    """Write the page; returns its path."""
    path = root / PAGE
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(root), encoding="utf-8")
    return path


def _title(nb: NotebookNode, path: Path) -> str:
    for cell in nb.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.M)):
            return found[1].strip()
    return path.stem


def _versions(root: Path) -> dict[str, str]:
    """Versions of the main packages: from the lock, or, while there is none, those installed."""
    lock = root / "requirements" / "lock.txt"
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    found = {}
    for name in PACKAGES:
        pinned = re.search(rf"^{re.escape(name)}==([^\s;\\]+)", text, re.M | re.I)
        try:
            found[name] = pinned[1] if pinned else version(name)
        except PackageNotFoundError:
            continue
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; with --check, 1 if the stored page differs from what the notebooks say."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.times", description="Write appendix/execution_times.md."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    options = parser.parse_args(arguments)
    path = ROOT / PAGE
    if not options.check:
        write()
        print(f"wrote {nbs.relative(path)}")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == page():
        return 0
    print(f"{nbs.relative(path)}: out of date; run `python -m tools.times`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
