"""Generate labs/ from solutions/ with nbgrader: the same notebook without answers and hidden tests.

The output depends on the source alone, so a difference between labs/ and what this makes is a hand
edit or a stale file; ``--check`` names the cells.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config, PyFileConfigLoader

from tools.execute import tidy, write_atomically
from tools.notebooks import ROOT, NotebookError, read

SOURCE, RELEASE = "solutions", "labs"
# Tags of the solution's page: its answers fold, and its outputs are compared.
SOLUTION_TAGS = {"hide-input", "nbval-check-output"}


def names(root: Path = ROOT) -> list[str]:
    """The labs that have a source, sorted."""
    found = sorted((root / SOURCE).glob("*/*.ipynb"))
    return [path.stem for path in found if path.stem == path.parent.name]


def source_of(lab: str, root: Path = ROOT) -> Path:
    """The source of a lab.

    Raises:
        NotebookError: there is none; the message lists those that exist.
    """
    path = root / SOURCE / lab / f"{lab}.ipynb"
    if not path.is_file():
        raise NotebookError(
            f"no lab {lab!r}: there is no {SOURCE}/{lab}/{lab}.ipynb; "
            f"known are {', '.join(names(root)) or 'none'}"
        )
    return path


def course(folder: Path, lab: str, root: Path = ROOT) -> Config:
    """A course for nbgrader in ``folder``, with the source of the lab and this project's settings.

    Its gradebook is a file in ``folder``: nothing is written in the project.
    """
    source = folder / SOURCE / lab
    source.mkdir(parents=True)
    shutil.copy(source_of(lab, root), source)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.db_url = f"sqlite:///{folder / 'gradebook.db'}"
    config.CourseDirectory.assignment_id = lab
    return config


def release_into(folder: Path, config: Config) -> None:
    """Let nbgrader make the release and the gradebook of the course in ``folder``.

    Raises:
        NotebookError: the source is not a valid lab, such as a grade_id used twice.
    """
    log = logging.Logger("nbgrader", logging.WARNING)
    lines = _Lines()
    log.addHandler(lines)
    converter = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config, log=log)
    # nbgrader starts `alembic` by name: it must find this environment's.
    # (nbgrader.utils.setenv would do, but leaves the process without any PATH.)
    before = os.environ.get("PATH")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before or os.defpath])
    try:
        converter.start()
    except NbGraderException as error:
        raise NotebookError(
            f"{config.CourseDirectory.assignment_id}: nbgrader cannot make the lab: "
            + (lines.causes[0] if lines.causes else str(error))
        ) from error
    finally:
        del os.environ["PATH"]
        if before is not None:
            os.environ["PATH"] = before


def generate(lab: str, root: Path = ROOT) -> str:
    """The text of labs/<lab>/<lab>.ipynb."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = course(folder, lab, root)
        config.GenerateAssignment.no_database = True  # a gradebook takes longer than the lab
        config.SaveCells.enabled = False
        release_into(folder, config)
        nb = read(folder / RELEASE / lab / f"{lab}.ipynb")
    own = nb.metadata.get("recsys_lab", {})
    nb.metadata = NotebookNode(
        recsys_lab={key: value for key, value in own.items() if key != "run"}
    )
    for cell in nb.cells:
        kept = [tag for tag in cell.metadata.pop("tags", []) if tag not in SOLUTION_TAGS]
        if kept:
            cell.metadata["tags"] = kept
        cell.metadata.pop("mystnb", None)  # captions of figures that only the solution has
    tidy(nb)
    nbformat.validate(nb)
    return nbformat.writes(nb) + "\n"


def differences(lab: str, root: Path = ROOT) -> list[str]:
    """How the stored lab differs from the generated one: a line a cell; none if it does not."""
    stored_path = root / RELEASE / lab / f"{lab}.ipynb"
    place = stored_path.relative_to(root).as_posix()
    remedy = f"edit {SOURCE}/{lab}/{lab}.ipynb instead, then run `make labs`"
    if not stored_path.is_file():
        return [f"{place}: missing; run `make labs`"]
    stored_text, made_text = stored_path.read_text(encoding="utf-8"), generate(lab, root)
    if stored_text == made_text:
        return []
    stored, made = read(stored_path), nbformat.reads(made_text, as_version=4)
    before, after = (list(map(_shown, nb.cells)) for nb in (stored, made))
    found = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        for offset in range(max(b - a, d - c)):
            old = stored.cells[a + offset] if a + offset < b else None
            new = made.cells[c + offset] if c + offset < d else None
            number = (a + offset if old is not None else c + offset) + 1
            found.append(f"{place}: {_name(old or new, number)}: {_change(old, new)}; {remedy}")
    return found or [f"{place}: the notebook's metadata or layout differs; {remedy}"]


def check(root: Path = ROOT) -> list[str]:
    """All differences of all labs, and labs without a source."""
    known = names(root)
    found = [line for lab in known for line in differences(lab, root)]
    for path in sorted((root / RELEASE).glob("*/*.ipynb")):
        if path.stem not in known:
            found.append(
                f"{path.relative_to(root).as_posix()}: has no source in {SOURCE}/; delete it"
            )
    return found


def _shown(cell: NotebookNode) -> str:
    """All of a cell but its id, which follows from the rest."""
    return nbformat.v4.writes_json(
        nbformat.v4.new_notebook(cells=[NotebookNode(cell, id="x")]), sort_keys=True
    )


def _name(cell: NotebookNode, number: int) -> str:
    identity = cell.metadata.get("nbgrader", {}).get("grade_id")
    return f"cell {number} ({identity})" if identity else f"cell {number}"


def _change(old: NotebookNode | None, new: NotebookNode | None) -> str:
    if old is None:
        return "is missing"
    if new is None:
        return "is not in the source"
    if old.source == new.source:
        if old.get("outputs") or old.get("execution_count"):
            return "holds outputs"
        return "its metadata differ"
    lines = zip_longest(old.source.split("\n"), new.source.split("\n"), fillvalue="")
    for line, (a, b) in enumerate(lines, start=1):
        if a != b:
            return f"line {line} is {a.strip()[:50]!r}, the source gives {b.strip()[:50]!r}"
    return "its empty lines differ"


class _Lines(logging.Handler):
    """Keeps the last line of each message: of a traceback, the error itself."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.causes.append(record.getMessage().strip().splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 for a difference, 2 where a lab cannot be made."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.labs", description="Generate labs/ from solutions/."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; name the cells that differ"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            found = check()
            for line in found:
                print(line)
            print(f"{len(names())} labs, {len(found)} differences")
            return 1 if found else 0
        for lab in names():
            path = ROOT / RELEASE / lab / f"{lab}.ipynb"
            text = generate(lab)
            path.parent.mkdir(parents=True, exist_ok=True)
            changed = not path.exists() or path.read_text(encoding="utf-8") != text
            if changed:
                write_atomically(text, path)
            print(f"{path.relative_to(ROOT).as_posix()}: {'written' if changed else 'unchanged'}")
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
