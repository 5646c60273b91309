"""Run the book's notebooks in place, in the current environment, and store what they print.

A notebook is run when its key has changed: its code and tags, the package, the lock or the assets.
It is written back only when every cell has run; a failed run leaves the stored one as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

from tools import notebooks as nbs
from tools import rules, times
from tools.notebooks import ROOT, NotebookError

CELL_TIMEOUT_S = 600
VOLATILE = ("execution", "ExecuteTime", "collapsed", "scrolled", "jupyter", "lines_to_next_cell")


def is_stale(nb: NotebookNode, folder: Path, root: Path = ROOT) -> bool:
    """Whether the outputs come from other code, imported files, lock or assets than the present."""
    return nbs.own_metadata(nb).get("run", {}).get("key") != nbs.run_key(nb, folder, root)


def execute(
    path: Path, root: Path = ROOT, progress: Callable[[str], None] | None = None
) -> NotebookNode:
    """Run one notebook in a fresh kernel, and store it, atomically, once all its cells have run.

    Args:
        path: the notebook.
        root: the project's root; the kernel can import from there.
        progress: called with a short text before every cell.

    Raises:
        NotebookError: a cell failed, ran over ``CELL_TIMEOUT_S``, recorded a finding twice, or
            killed the kernel, or the file was edited meanwhile; the message says where. The file
            is then left as it was.
    """
    nb, source = nbs.read(path), path.read_bytes()
    name = nbs.relative(path, root)
    tidy(nb)
    key = nbs.run_key(nb, path.parent, root)
    cells = dict(nbs.code_cells(nb))
    seconds: dict[int, float] = {}  # place of the cell -> how long it ran
    started = 0.0
    current = 0
    watch: list[nbs.MemoryWatch] = []

    def before(cell: NotebookNode, cell_index: int) -> None:
        nonlocal started, current
        current, started = cell_index + 1, time.monotonic()
        cell.execution_count = len(seconds) + 1
        if not watch:
            watch.append(nbs.MemoryWatch(client.km.provisioner.pid))
        if progress:
            progress(f"cell {len(seconds) + 1} of {len(cells)}")

    def after(cell: NotebookNode, cell_index: int, execute_reply: object) -> None:
        seconds[cell_index + 1] = time.monotonic() - started
        watch[0].peak_mb()  # a look at the peak while the kernel is there

    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        kernel_manager_class=_KernelManager,
        store_widget_state=False,
        shutdown_kernel="immediate",
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no notes about its sockets
        on_cell_execute=before,
        on_cell_executed=after,
    )
    try:
        # Not client.execute(), whose own handling of Ctrl-C ends in a traceback.
        with client.setup_kernel(cwd=str(path.parent), env=nbs.kernel_environment(root)):
            for count, (number, cell) in enumerate(cells.items(), start=1):
                client.execute_cell(cell, number - 1, execution_count=count)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise NotebookError(_explain(name, nb, current, error)) from error
    finally:
        peak_mb = watch[0].stop() if watch else 0.0

    tidy(nb)
    _refuse_second_finding(name, nb)
    slowest = max(seconds, key=seconds.__getitem__, default=0)
    nb.metadata.setdefault("recsys_lab", NotebookNode())["run"] = NotebookNode(
        key=key,
        seconds=round(sum(seconds.values()), 1),
        peak_mb=round(peak_mb),
        slowest_cell=slowest,
        cell_seconds_max=round(seconds.get(slowest, 0.0), 1),
        outputs_sha256=nbs.outputs_digest(nb),
        cell_digests=" ".join(nbs.cell_digest(cell) for cell in cells.values()),
    )
    nbformat.validate(nb)
    if path.read_bytes() != source:
        raise NotebookError(f"{name}: was edited while it ran; run it again")
    write_atomically(nbformat.writes(nb) + "\n", path)
    return nb


def tidy(nb: NotebookNode) -> None:
    """Take out what changes from run to run or from machine to machine; stable cell ids."""
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata["kernelspec"] = NotebookNode(
        display_name="Python 3 (ipykernel)", language="python", name="python3"
    )
    nb.metadata["language_info"] = NotebookNode(name="python")
    nb.metadata.pop("widgets", None)
    nb.metadata.pop("jupytext", None)
    seen: dict[str, int] = {}
    for cell in nb.cells:
        # From the content, so that the same source always gets the same id.
        identity = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[identity] = seen.get(identity, 0) + 1
        cell["id"] = identity if seen[identity] == 1 else f"{identity}-{seen[identity]}"
        for volatile in VOLATILE:
            cell.metadata.pop(volatile, None)
        if cell.cell_type == "code":
            if not cell.source.strip():
                cell.execution_count, cell.outputs = None, []
            cell.outputs = _merge_streams(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [_without_folders(line) for line in output.traceback]


def write_atomically(text: str, path: Path) -> None:
    """Replace the file in one step: a reader or an interruption never meets half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


class _KernelManager(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _current_environment(self) -> nbs.CurrentEnvironment:
        return nbs.CurrentEnvironment()


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def _without_folders(line: str) -> str:
    """A shown traceback names files from the project's root or from site-packages."""
    for folder in (ROOT, *(sysconfig.get_paths()[k] for k in ("purelib", "platlib", "stdlib"))):
        line = line.replace(f"{folder}{os.sep}", "")
    return line


def _refuse_second_finding(name: str, nb: NotebookNode) -> None:
    first: dict[str, str] = {}
    for number, cell in nbs.code_cells(nb):
        here = nbs.label(cell, number)
        for finding in nbs.findings(cell.outputs):
            if finding["name"] in first:
                raise NotebookError(
                    f"{name}: {here}: {finding['name']!r} is recorded already in "
                    f"{first[finding['name']]}; give each finding its own name"
                )
            first[finding["name"]] = here


def _explain(name: str, nb: NotebookNode, number: int, error: Exception) -> str:
    where = f"{name}: {nbs.label(nb.cells[number - 1], number)}" if number else name
    if isinstance(error, CellTimeoutError):
        return f"{where}: ran for more than {CELL_TIMEOUT_S} s and was stopped"
    if isinstance(error, DeadKernelError):
        return f"{where}: the kernel died; out of memory?"
    lines = re.sub(r"\x1b\[[\d;]*m", "", error.traceback).strip().splitlines()
    shown = "\n".join(f"    {line}" for line in lines[-25:])
    return f"{where}: {error.ename}: {error.evalue}\n{shown}"


class _Progress:
    """One line a notebook; on a terminal it counts the cells while they run."""

    def __init__(self, name: str) -> None:
        self._name, self._started = name, time.monotonic()
        self._live = sys.stdout.isatty()

    def __call__(self, text: str) -> None:
        if self._live:
            elapsed = time.monotonic() - self._started
            print(f"\r\x1b[K{self._name}  {text}  {elapsed:.0f} s", end="", flush=True)

    def done(self, text: str) -> None:
        start = "\r\x1b[K" if self._live else ""
        print(f"{start}{self._name}  {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 for stale or failed notebooks, 2 for wrong use, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.execute",
        description="Run notebooks in place: those whose code, imports, lock or assets changed.",
    )
    parser.add_argument("paths", nargs="*", help="notebooks or folders (default: all)")
    parser.add_argument("--all", action="store_true", help="run the fresh ones too")
    parser.add_argument("--check", action="store_true", help="run nothing; list the stale ones")
    options = parser.parse_args(arguments)
    try:
        paths = nbs.find(options.paths)
        chosen = [p for p in paths if options.all or is_stale(nbs.read(p), p.parent)]
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 2
    if options.check:
        for path in chosen:
            print(f"{nbs.relative(path)}: stale; run `make execute`")
        print(f"{len(chosen)} of {len(paths)} notebooks are stale")
        return 1 if chosen else 0

    failed = []
    for number, path in enumerate(chosen, start=1):
        progress = _Progress(f"[{number}/{len(chosen)}] {nbs.relative(path)}")
        progress("starting")
        try:
            run = nbs.own_metadata(execute(path, progress=progress))["run"]
            problems = rules.check(rules.load(path))
        except NotebookError as error:
            progress.done("FAILED, left as it was")
            print(error, flush=True)
            failed.append(path)
        except KeyboardInterrupt:
            progress.done("interrupted, left as it was")
            return 130
        else:
            progress.done(f"{run.seconds:.1f} s, {run.peak_mb} MB")
            for problem in problems:  # not a failure: the tests are the gate
                print(f"  to mend: {problem}", flush=True)
    if any(path.is_relative_to(ROOT) for path in chosen):
        times.write()
    print(
        f"{len(chosen) - len(failed)} run, {len(paths) - len(chosen)} fresh, {len(failed)} failed",
        flush=True,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
