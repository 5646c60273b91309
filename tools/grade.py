"""Grade a class: python -m tools.grade lab_1 --submitted FOLDER.

FOLDER holds a folder for each student, with the notebook in it or in a folder of the lab's name
below, or simply one notebook for each student, named after them. Every notebook is run by nbgrader
against the hidden tests of solutions/, in a temporary course of its own and without network. What
cannot be graded (nothing handed in, a broken file, another notebook) gets no points and a note.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from recsys_lab.results import STRICT
from tools import labs
from tools.notebooks import ROOT, NotebookError, kernel_environment

STUDENT_LIMIT_S = 1800
_STUDENT = "student"  # what nbgrader is told: a name with any letters must not become a path
_IN_TASK = re.compile(r"(task_\d+)_")


@dataclass
class Grade:
    """What one student got: points by check, a message for each check lost, and remarks."""

    student: str
    points: dict[str, float] = field(default_factory=dict)  # grade_id -> points
    lost: dict[str, str] = field(default_factory=dict)  # grade_id -> what the check said
    note: str = ""
    graded: bool = False

    def by_task(self, checks: dict[str, float]) -> dict[str, float]:
        """Points of each task, in the order of the lab."""
        total = dict.fromkeys(map(task_of, checks), 0.0)
        for check in checks:
            total[task_of(check)] += self.points.get(check, 0.0)
        return total


class Course:
    """The lab as nbgrader knows it, in a temporary folder: its gradebook and its check cells."""

    def __init__(self, lab: str, folder: Path, root: Path = ROOT) -> None:
        self.lab, self.folder, self.root = lab, folder, root
        labs.release_into(folder, labs.course(folder, lab, root))
        nb = nbformat.read(labs.source_of(lab, root), as_version=4)
        own = [cell.metadata["nbgrader"] for cell in nb.cells if "nbgrader" in cell.metadata]
        self.checks = {m["grade_id"]: float(m["points"]) for m in own if m["grade"]}
        self.answers = [m["grade_id"] for m in own if m["solution"]]
        self.running: set[subprocess.Popen] = set()

    def grade(self, student: str, path: Path | None, cell_timeout: int | None = None) -> Grade:
        """Grade one notebook; ``path`` is None where nothing was handed in."""
        grade = Grade(student)
        if path is None:
            grade.note = f"nothing handed in: no {self.lab}.ipynb"
            return grade
        try:
            nb, grade.note = self._read(path)
        except NotebookError as error:
            grade.note = str(error)
            return grade
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            folder = Path(temporary)
            shutil.copy(self.folder / "gradebook.db", folder)
            shutil.copy(self.root / "nbgrader_config.py", folder)
            submitted = folder / "submitted" / _STUDENT / self.lab
            submitted.mkdir(parents=True)
            nbformat.write(nb, submitted / f"{self.lab}.ipynb")
            failure = self._autograde(folder, cell_timeout)
            if failure:
                grade.note = "; ".join(filter(None, [failure, grade.note]))
                return grade
            with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "recsys_lab") as book:
                found = book.find_submission_notebook(self.lab, self.lab, _STUDENT)
                grade.points = {g.name: float(g.auto_score or 0) for g in found.grades}
            done = folder / "autograded" / _STUDENT / self.lab / f"{self.lab}.ipynb"
            grade.lost = _messages(nbformat.read(done, as_version=4), grade.points, self.checks)
        grade.graded = True
        return grade

    def _read(self, path: Path) -> tuple[NotebookNode, str]:
        """The notebook, as far as it counts, and a note on cells that are missing."""
        text = path.read_bytes()
        if not text.strip():
            raise NotebookError("the file is empty: ask for it again")
        try:
            content = json.loads(text.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise NotebookError("no notebook: the file is not text; ask for it again") from None
        except json.JSONDecodeError as error:
            raise NotebookError(
                f"no notebook: broken JSON at line {error.lineno} ({error.msg}); ask for it again"
            ) from None
        try:
            nb = nbformat.reads(json.dumps(content), as_version=4)
            present = {
                cell.metadata["nbgrader"].get("grade_id")
                for cell in nb.cells
                if "nbgrader" in cell.metadata
            }
        except Exception as error:  # nbformat lets all kinds of errors through
            raise NotebookError(
                f"no notebook: {type(error).__name__} {error}; ask for it again"
            ) from None
        if not nb.cells:
            raise NotebookError("the notebook has no cells: ask for it again")
        if not present & {*self.checks, *self.answers}:
            raise NotebookError(f"none of its cells belongs to {self.lab}: another notebook?")
        remarks = []
        if missing := [a for a in self.answers if a not in present]:
            remarks.append(f"answer cells are missing: {', '.join(missing)}")
        if missing := [c for c in self.checks if c not in present]:
            remarks.append(f"check cells were missing and put back: {', '.join(missing)}")
        last = max(i for i, cell in enumerate(nb.cells) if "nbgrader" in cell.metadata)
        del nb.cells[last + 1 :]  # below it nothing counts, and it may take long: not run
        for cell in nb.cells:
            cell.metadata.pop("tags", None)  # skip-execution would give a check's points unearned
        return nb, "; ".join(remarks)

    def _autograde(self, folder: Path, cell_timeout: int | None) -> str:
        """Run nbgrader in the folder; what went wrong, or nothing."""
        command = [sys.executable, "-m", "tools.offline", "nbgrader", "autograde", self.lab]
        command += [f"--student={_STUDENT}", "--log-level=WARN"]
        if cell_timeout is not None:
            command.append(f"--Execute.timeout={cell_timeout}")
        environment = kernel_environment()
        environment.pop(STRICT)  # a student may record a finding twice
        environment["PATH"] = os.pathsep.join(
            [str(Path(sys.executable).parent), environment.get("PATH", "")]
        )
        environment["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, no other
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that its kernel can be stopped with it
        )
        self.running.add(process)
        try:
            log = process.communicate(timeout=STUDENT_LIMIT_S)[0]
        except subprocess.TimeoutExpired:
            self.stop(process)
            return f"took more than {STUDENT_LIMIT_S // 60} minutes and was stopped"
        finally:
            self.running.discard(process)
        if process.returncode == 0:
            return ""
        errors = [line for line in log.splitlines() if re.match(r"\w*(\.\w+)*(Error|Exit)\b", line)]
        return f"nbgrader could not grade it ({(errors or ['no reason given'])[-1][:200]})"

    def stop(self, process: subprocess.Popen) -> None:
        """End a run of nbgrader and the kernel that it started."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()


@contextmanager
def open_course(lab: str, root: Path = ROOT) -> Iterator[Course]:
    """A course in a temporary folder, which goes away with what it holds."""
    with tempfile.TemporaryDirectory(prefix="grade-") as temporary:
        course = Course(lab, Path(temporary), root)
        try:
            yield course
        finally:
            for process in list(course.running):
                course.stop(process)


def task_of(check: str) -> str:
    """The task of a check: task_2 of task_2_cosine."""
    match = _IN_TASK.match(check)
    if match is None:
        raise NotebookError(
            f"the check {check!r} belongs to no task: call it task_<number>_<what it checks>"
        )
    return match[1]


def submissions(folder: Path, lab: str) -> dict[str, Path | None]:
    """Student -> the notebook handed in, or None; sorted by name.

    Raises:
        NotebookError: there is no such folder, or nobody in it.
    """
    if not folder.is_dir():
        raise NotebookError(f"{folder}: no such folder; give the one with the students' work")
    found: dict[str, Path | None] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            found[path.name] = _notebook_in(path, lab)
        elif path.suffix == ".ipynb":
            found.setdefault(path.stem, path)
    if not found:
        raise NotebookError(f"{folder}: nobody has handed anything in")
    return found


def grade_class(
    course: Course,
    handed_in: dict[str, Path | None],
    jobs: int = 1,
    cell_timeout: int | None = None,
) -> list[Grade]:
    """Grade all, some side by side, and print a line for each one done; in the order given."""
    grades: dict[str, Grade] = {}
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = {
                pool.submit(course.grade, student, path, cell_timeout): student
                for student, path in handed_in.items()
            }
            for future in as_completed(waiting):
                grade = future.result()
                grades[grade.student] = grade
                result = f"{_total(grade, course):g} of {sum(course.checks.values()):g} points"
                note = f" ({grade.note})" if grade.note else ""
                print(
                    f"[{len(grades)}/{len(handed_in)}] {grade.student}: {result}{note}, "
                    f"{time.monotonic() - started:.0f} s",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(course.running):
                course.stop(process)
            raise
    return [grades[student] for student in handed_in]


def rows(grades: Sequence[Grade], course: Course) -> list[list[str]]:
    """The table: a head, and a row a student with points by task, in all, at most, and the note."""
    tasks = list(dict.fromkeys(map(task_of, course.checks)))
    table = [["student", *tasks, "points", "of", "note"]]
    most = sum(course.checks.values())
    for grade in grades:
        by_task = grade.by_task(course.checks)
        numbers = [*(by_task[task] for task in tasks), _total(grade, course), most]
        table.append([grade.student, *(f"{number:g}" for number in numbers), grade.note])
    return table


def write_feedback(grades: Sequence[Grade], course: Course, folder: Path) -> None:
    """A text file a student: the points of each task, and what each lost check said."""
    folder.mkdir(parents=True, exist_ok=True)
    for grade in grades:
        most = sum(course.checks.values())
        lines = [f"{course.lab}: {_total(grade, course):g} of {most:g} points", ""]
        if grade.note:
            lines += [grade.note, ""]
        full = Grade("", dict(course.checks)).by_task(course.checks)
        for task, points in grade.by_task(course.checks).items():
            lines.append(f"{task}: {points:g} of {full[task]:g}")
            lines += [
                f"    {check}: {said}"
                for check, said in grade.lost.items()
                if task_of(check) == task
            ]
        text = "\n".join(lines) + "\n"
        (folder / f"{grade.student}.txt").write_text(text, encoding="utf-8")


def _total(grade: Grade, course: Course) -> float:
    return sum(grade.points.get(check, 0.0) for check in course.checks)


def _notebook_in(folder: Path, lab: str) -> Path | None:
    """The student's notebook: the lab's own name first, else the only notebook there is."""
    for path in (folder / lab / f"{lab}.ipynb", folder / f"{lab}.ipynb"):
        if path.is_file():
            return path
    found = sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    named = [p for p in found if p.name.startswith(lab)]
    return next((paths[0] for paths in (named, found) if len(paths) == 1), None)


def _messages(
    nb: NotebookNode, points: dict[str, float], checks: dict[str, float]
) -> dict[str, str]:
    """Check -> what its cell said, for every check that is not worth all its points."""
    said = {}
    for cell in nb.cells:
        check = cell.metadata.get("nbgrader", {}).get("grade_id")
        if check not in checks or points.get(check, 0.0) >= checks[check]:
            continue
        errors = [o for o in cell.outputs if o.output_type == "error"]
        text = f"{errors[0].ename}: {errors[0].evalue}" if errors else "it wrote to stderr"
        if errors and errors[0].ename in ("KeyboardInterrupt", "CellTimeoutError"):
            text = "stopped: the cell ran too long, in an endless loop?"
        said[check] = text.removeprefix("CheckFailed: ").strip().split("\n")[0]
    return said


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Command line: 0 all graded, 1 some need a look, 2 wrong use, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.grade",
        description=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lab", help="such as lab_1")
    parser.add_argument("--submitted", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="the table as CSV (default: FOLDER/grades.csv)")
    parser.add_argument("--feedback", type=Path, help="write a text for each student there")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks side by side (default: 2)")
    parser.add_argument("--cell-timeout", type=int, help="seconds a cell may take (default: 120)")
    options = parser.parse_args(arguments)
    out = options.out or options.submitted / "grades.csv"
    try:
        handed_in = submissions(options.submitted, options.lab)
        with open_course(options.lab, root) as course:
            grades = grade_class(course, handed_in, max(1, options.jobs), options.cell_timeout)
            table = rows(grades, course)
            if options.feedback:
                write_feedback(grades, course, options.feedback)
        with out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(table)
    except (NotebookError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing written", file=sys.stderr)
        return 130
    widths = [max(map(len, column)) for column in zip(*table)]
    print()
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    left = sum(not grade.graded for grade in grades)
    print(f"\n{len(grades)} students, {len(grades) - left} graded, {left} need a look: {out}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
