"""What running and checking a stored notebook share: finding, reading, labels, keys, kernels."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbformat import NotebookNode

from recsys_lab.results import GLUE_PREFIX, MIME, STRICT
from tools import depends

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("chapters", "solutions")
BUDGET_S = 90.0  # a section or a lab; a section with a language model asks for up to MAX_BUDGET_S
MAX_BUDGET_S = 240.0
MAX_MEMORY_MB = 4096


class NotebookError(ValueError):
    """A notebook that cannot be found, read or run; the message names it and the remedy."""


def find(paths: Iterable[str | Path] = (), root: Path = ROOT) -> list[Path]:
    """The notebooks at or below the paths, sorted; without paths, all of chapters and solutions.

    Raises:
        NotebookError: a path that does not exist or holds no notebook.
    """
    given = [Path(p) for p in paths]
    folders = given or [root / f for f in FOLDERS if (root / f).is_dir()]
    found: list[Path] = []
    for path in folders:
        here = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        here = [p for p in here if p.is_file() and ".ipynb_checkpoints" not in p.parts]
        if not here and given:
            raise NotebookError(f"{path}: no such notebook or folder of notebooks")
        found += here
    return list(dict.fromkeys(p.resolve() for p in found))


def read(path: Path) -> NotebookNode:
    """The notebook in the current format.

    Raises:
        NotebookError: the file is not a notebook.
    """
    try:
        return nbformat.read(str(path), as_version=4)
    except Exception as error:  # nbformat lets JSON, key and validation errors through as they are
        raise NotebookError(
            f"{path}: not a readable notebook ({error}); restore it from git"
        ) from error


def relative(path: Path, root: Path = ROOT) -> str:
    """The path as people and metadata write it: from the project's root, with forward slashes."""
    path = Path(path).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def label(cell: NotebookNode, number: int) -> str:
    """How messages name a cell: its place among all cells, from 1, and Jupyter's own number."""
    count = cell.get("execution_count")
    return f"cell {number} (In [{count}])" if count else f"cell {number}"


def code_cells(nb: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """The code cells that run (not empty), with their place among all cells, from 1."""
    for number, cell in enumerate(nb.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            yield number, cell


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return list(cell.metadata.get("tags", []))


def own_metadata(node: NotebookNode) -> dict[str, Any]:
    """The part of a notebook's or a cell's metadata that belongs to this book."""
    return node.metadata.get("recsys_lab", {})


def budget(nb: NotebookNode) -> float:
    """Seconds that the whole notebook may take on two cores."""
    return float(own_metadata(nb).get("budget_s", BUDGET_S))


def cell_budget(nb: NotebookNode, cell: NotebookNode) -> float:
    """Seconds that one cell may take: its own ``budget_s``, or two thirds of the notebook's."""
    return float(own_metadata(cell).get("budget_s", budget(nb) * 2 / 3))


# ---- what a notebook holds -----------------------------------------------------------------


def glue_name(output: NotebookNode) -> str | None:
    """The name under which an output is glued, if it is."""
    return output.get("metadata", {}).get("scrapbook", {}).get("name")


def findings(outputs: Sequence[NotebookNode]) -> list[dict[str, Any]]:
    """The findings that ``record`` left in these outputs, in order."""
    return [o.data[MIME] for o in outputs if MIME in o.get("data", {})]


def glued(outputs: Sequence[NotebookNode]) -> dict[str, str]:
    """Glued name -> its plain text, for all glued outputs that have one."""
    found = {}
    for output in outputs:
        name = glue_name(output)
        data = output.get("data", {})
        text = data.get(f"{GLUE_PREFIX}text/plain", data.get("text/plain"))
        if name is not None:
            found[name] = "" if text is None else text
    return found


def texts(output: NotebookNode) -> Iterator[str]:
    """The texts that an output shows: streams, plain text, HTML, error messages, tracebacks."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield output.evalue
        yield re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output.traceback))
    else:
        for mime, content in output.data.items():
            if "image/" not in mime or mime.endswith("svg+xml"):
                yield content if isinstance(content, str) else json.dumps(content)


# ---- keys and digests ----------------------------------------------------------------------


def run_key(nb: NotebookNode, folder: Path, root: Path = ROOT) -> str:
    """What the outputs depend on: code, tags, the files that the code reads, lock and assets.

    Prose is left out, since it changes no output. ``folder`` is that of the notebook.
    """
    digest = hashlib.sha256()
    for _, cell in code_cells(nb):
        digest.update(json.dumps([cell.source, sorted(tags(cell))]).encode())
    code = "\n".join(cell.source for _, cell in code_cells(nb))
    files = depends.depends_on(code, folder, root)
    files += [root.resolve() / "requirements" / name for name in ("lock.txt", "assets.txt")]
    for file in files:
        text = depends.text_of(file) if file.exists() else ""
        digest.update(json.dumps([os.path.relpath(file, root.resolve()), text]).encode())
    return digest.hexdigest()


def outputs_digest(nb: NotebookNode) -> str:
    """Digest of all stored outputs: shows a hand-edited one, also where no test compares it."""
    outputs = [cell.get("outputs", []) for cell in nb.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()


def cell_digest(cell: NotebookNode) -> str:
    """Short digest of one cell's outputs: says which cell was edited, where the whole differs."""
    return hashlib.sha256(json.dumps(cell.outputs, sort_keys=True).encode()).hexdigest()[:8]


# ---- kernels -------------------------------------------------------------------------------


class CurrentEnvironment(KernelSpecManager):
    """Finds one kernel only: that of the Python now running, whatever else is installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The specification of the current Python's kernel."""
        from ipykernel.kernelspec import RESOURCES, get_kernel_dict

        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


def kernel_environment(root: Path = ROOT) -> dict[str, str]:
    """Environment of a kernel that runs the book: one thread, no network, nothing on stderr."""
    environment = dict(os.environ)
    # Set by a test runner or a shell, it would keep the figures out of the notebook.
    environment.pop("MPLBACKEND", None)
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA"):
        environment[f"{library}_NUM_THREADS"] = "1"
    environment.update(
        VECLIB_MAXIMUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
        PYTHONHASHSEED="0",
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        TQDM_DISABLE="1",
    )
    environment[STRICT] = "1"
    path = [str(root), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(p for p in path if p)
    return environment


class MemoryWatch:
    """Peak memory, in MB, of a process and its children, sampled in the background."""

    def __init__(self, pid: int, every_s: float = 0.2) -> None:
        self._pid, self._every_s, self._peak = pid, every_s, 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        try:
            process = psutil.Process(self._pid)
            family = [process, *process.children(recursive=True)]
            total = sum(p.memory_info().rss for p in family) / 2**20
            status = Path(f"/proc/{self._pid}/status")
            if status.exists():  # Linux keeps the peak itself: no spike falls between samples
                line = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
                total = max(total, int(line[1]) / 2**10 if line else 0.0)
        except (psutil.Error, OSError):  # it has ended
            self._stopped.set()
            return
        self._peak = max(self._peak, total)

    def _watch(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._sample()

    def peak_mb(self) -> float:
        """The peak so far."""
        self._sample()
        return self._peak

    def stop(self) -> float:
        """Stop watching; returns the peak."""
        self._sample()
        self._stopped.set()
        self._thread.join()
        return self._peak
