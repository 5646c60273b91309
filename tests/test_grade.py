"""Grading: nbgrader comes to the points of the in-process grader, and a class gets its table."""

from __future__ import annotations

import csv
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from mutants.in_process import InProcess, answers_of, cell_named

from tools import grade, labs
from tools.notebooks import ROOT

LABS = labs.names()
BOOK = {lab: importlib.import_module(f"mutants.{lab}") for lab in LABS}


def with_answers(lab: str, answers: dict[str, str], path: Path, whole: bool) -> None:
    """The lab as a student hands it in; not whole: without the cells that carry no points."""
    nb = labs.read(ROOT / "labs" / lab / f"{lab}.ipynb")
    if not whole:
        nb.cells = [cell for cell in nb.cells if "nbgrader" in cell.metadata]
    for name, source in answers.items():
        cell_named(nb, name).source = source
    path.parent.mkdir(parents=True)
    nbformat.write(nb, path)


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_nbgrader_agrees(lab: str, tmp_path: Path, capsys) -> None:
    here = InProcess(labs.source_of(lab))
    solution = {name: here.sources[name] for name in here.answers}
    blank = answers_of(labs.read(ROOT / "labs" / lab / f"{lab}.ipynb"))
    # Two wrong answers, of two tasks, in one notebook: what one loses, the other does not.
    mutants = [mutant for mutant in BOOK[lab].MUTANTS if mutant.name in BOOK[lab].CONFIRMED]
    assert len(mutants) == 2 and len({mutant.task for mutant in mutants}) == 2
    wrong = solution | {mutant.answer: here.mutate(mutant) for mutant in mutants}
    students = {"perfect": solution, "blank": blank, "two wrong": wrong}
    for student, answers in students.items():
        whole = student in ("perfect", "blank")
        with_answers(lab, answers, tmp_path / student / f"{lab}.ipynb", whole)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{lab}.ipynb").write_text('{"cells": [', encoding="utf-8")

    with grade.open_course(lab) as course:
        handed_in = grade.submissions(tmp_path, lab)
        grades = {g.student: g for g in grade.grade_class(course, handed_in)}
        table = {row[0]: row for row in grade.rows(list(grades.values()), course)}
    alone = [here.grade({mutant.answer: here.mutate(mutant)}).lost for mutant in mutants]
    assert set(grades["two wrong"].lost) == set(alone[0]) | set(alone[1])
    for student, answers in students.items():
        expected = here.grade(answers)
        assert grades[student].points == expected.points, student
        assert set(grades[student].lost) == set(expected.lost), student
        assert grades[student].graded and not grades[student].note
    assert sum(grades["perfect"].points.values()) == sum(here.checks.values())
    assert sum(grades["blank"].points.values()) == 0
    assert table["perfect"][-3:] == ["20", "20", ""]
    assert table["blank"][-3:] == ["0", "20", ""]
    assert table["broken"][-3:-1] == ["0", "20"] and "broken JSON at line 1" in table["broken"][-1]
    assert "[4/4] " in capsys.readouterr().out


# ---- grading a class, on a lab of two lines ------------------------------------------------------


def code(kind: str, name: str, source: str) -> nbformat.NotebookNode:
    own = {
        "grade": kind == "grade",
        "grade_id": name,
        "locked": kind != "solution",
        "schema_version": 3,
        "solution": kind == "solution",
        "task": False,
    }
    if kind == "grade":
        own["points"] = 1
    return nbformat.v4.new_code_cell(source, metadata={"nbgrader": own})


MINI = [
    code("given", "given_setup", "from recsys_lab.labs import checking"),
    code(
        "solution",
        "answer_double",
        "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
    ),
    code(
        "grade",
        "task_1_double",
        'with checking("Task 1, check 1 (double)"):\n    assert double(1) == 2, "two, please"\n'
        "    ### BEGIN HIDDEN TESTS\n    assert double(4) == 8\n    ### END HIDDEN TESTS",
    ),
    code(
        "solution",
        "answer_square",
        "def square(x):\n    ### BEGIN SOLUTION\n    return x**2\n    ### END SOLUTION",
    ),
    code(
        "grade",
        "task_2_square",
        'with checking("Task 2, check 1 (square)"):\n    assert square(3) == 9, "nine, please"',
    ),
    code(
        "grade",
        "task_2_sign",
        'with checking("Task 2, check 2 (sign)"):\n    assert square(-3) == 9, "the sign"',
    ),
]
HOG = """
import sys, warnings

def double(x):
    warnings.warn("deprecated")
    print("still running", file=sys.stderr)
    return 2 * x
"""
SKIP = "skip-execution"  # nbclient runs no cell with this tag
REACHES_OUT = """
def double(x):
    import urllib.request
    return urllib.request.urlopen("http://192.0.2.1/", timeout=5)

def square(x):
    import subprocess, sys
    subprocess.run([sys.executable, "-c",
        "import socket; socket.create_connection(('192.0.2.1', 80), 5)"], check=True)
    return x**2
"""


@pytest.fixture(scope="module")
def classroom(tmp_path_factory) -> tuple[Path, int, str, dict[str, dict[str, str]], Path]:
    """A class with every kind of hand-in, graded by the command line."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "nbgrader_config.py", root)
    source = root / "solutions/mini/mini.ipynb"
    source.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=MINI), source)
    blank = nbformat.reads(labs.generate("mini", root), as_version=4)
    assert "# Your code here" in cell_named(blank, "answer_double").source
    folder = root / "submitted"

    def hand_in(path: str, double: str = "", square: str = "", drop=(), tag="", end="") -> None:
        nb = nbformat.from_dict(json.loads(json.dumps(blank)))
        if double:
            cell_named(nb, "answer_double").source = double
        if square:
            cell_named(nb, "answer_square").source = square
        for name in drop:
            nb.cells.remove(cell_named(nb, name))
        if tag:
            for cell in nb.cells:
                cell.metadata["tags"] = [tag]
        if end:
            nb.cells.append(nbformat.v4.new_code_cell(end))
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, folder / path)

    right = "def double(x):\n    return x + x", "def square(x):\n    return x * x"
    # Each is graded by a process of nbgrader, so one notebook may show two things.
    hand_in("ada/mini/mini.ipynb", HOG, right[1])
    hand_in("blank/mini.ipynb")
    hand_in("flat file, ends the kernel.ipynb", *right, end="import os\nos._exit(1)")
    hand_in("李雷/mini (1).ipynb", *right, drop=("answer_double", "task_2_sign"))
    half = "def double(x):\n    return 2", "def square(x):\n    return x * abs(x)"
    hand_in("half, fits the visible/mini.ipynb", *half)
    hand_in("endless/mini.ipynb", right[0], "def square(x):\n    while True:\n        pass")
    hand_in("reaches out/mini.ipynb", REACHES_OUT, "pass")
    hand_in("skips the checks/mini.ipynb", right[0], "def square(x):\n    return 0", tag=SKIP)
    broken = {
        "broken": b'{"cells": [\n  {"cell_type": "code"',
        "empty": b"",
        "binary": b"\x89PNG\r\n\xff\xfe",
        "no cells": b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        "json only": b"[1, 2, 3]",
        "another": nbformat.writes(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
        ).encode(),
    }
    for student, content in broken.items():
        (folder / student).mkdir()
        (folder / student / "mini.ipynb").write_bytes(content)
    (folder / "nothing").mkdir()
    (folder / ".hidden").mkdir()

    printed = StringIO()
    feedback = root / "feedback"
    with redirect_stdout(printed):
        status = grade.main(
            f"mini --jobs 2 --cell-timeout 4 --submitted {folder} --feedback {feedback}".split(),
            root,
        )
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        table = {row["student"]: row for row in csv.DictReader(file)}
    return root, status, printed.getvalue(), table, feedback


@pytest.mark.slow
def test_class_gets_its_points(classroom) -> None:
    _, status, printed, table, _ = classroom
    full = ("1", "2", "3", "3", "")
    none = ("0", "0", "0", "3", "")
    columns = ("task_1", "task_2", "points", "of", "note")
    got = {student: tuple(row[c] for c in columns) for student, row in table.items()}
    assert got["ada"] == full  # a folder in a folder; a noisy answer
    assert got["blank"] == none
    assert got["half, fits the visible"] == ("0", "1", "1", "3", "")  # the hidden test is run
    assert got["endless"] == ("1", "0", "1", "3", "")
    assert got["skips the checks"] == ("1", "0", "1", "3", "")  # a tag skips no check
    assert got["flat file, ends the kernel"] == full  # nothing below the last check is run
    assert got["李雷"][:4] == ("0", "2", "2", "3")
    assert got["李雷"][4].split("; ") == [
        "answer cells are missing: answer_double",
        "check cells were missing and put back: task_2_sign",
    ]
    assert status == 1  # some need a look
    assert list(table) == sorted(table) and len(table) == 15
    assert printed.count("\n[") + printed.startswith("[") == 15
    assert "15 students, 8 graded, 7 need a look" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "note"),
    [
        ("broken", "no notebook: broken JSON at line 2"),
        ("empty", "the file is empty"),
        ("binary", "no notebook: the file is not text"),
        ("no cells", "the notebook has no cells"),
        ("json only", "no notebook: "),
        ("another", "none of its cells belongs to mini: another notebook?"),
        ("nothing", "nothing handed in: no mini.ipynb"),
    ],
)
def test_what_cannot_be_graded_is_said(classroom, student: str, note: str) -> None:
    row = classroom[3][student]
    assert row["note"].startswith(note) and "\n" not in row["note"]
    assert (row["points"], row["of"]) == ("0", "3")


@pytest.mark.slow
def test_feedback_says_why(classroom) -> None:
    feedback = classroom[4]
    half = (feedback / "half, fits the visible.txt").read_text(encoding="utf-8")
    assert half.startswith("mini: 1 of 3 points") and "task_2: 1 of 2" in half
    assert "task_2_sign: Task 2, check 2 (sign): not passed (line 2 of this cell). the sign" in half
    blank = (feedback / "blank.txt").read_text(encoding="utf-8")
    assert "Task 1 is not written yet: write double in its cell" in blank
    assert "stopped: the cell ran too long" in (feedback / "endless.txt").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_grading_has_no_network(classroom) -> None:
    reached = (classroom[4] / "reaches out.txt").read_text(encoding="utf-8")
    assert "task_1: 0 of 1" in reached and "task_2: 0 of 2" in reached
    assert "no network here" in reached  # said by the guard, in the kernel itself
    assert "CalledProcessError" in reached  # and a process of its own gets no further


@pytest.mark.slow
def test_grading_leaves_the_project_alone(classroom) -> None:
    root = classroom[0]
    assert sorted(p.name for p in root.iterdir()) == [
        "feedback",
        "nbgrader_config.py",
        "solutions",
        "submitted",
    ]


def test_wrong_use_of_grade(tmp_path: Path, capsys) -> None:
    assert grade.main(["lab_1", "--submitted", str(tmp_path / "no such")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert grade.main(["lab_1", "--submitted", str(tmp_path)]) == 2
    assert "nobody has handed anything in" in capsys.readouterr().err
    (tmp_path / "ada").mkdir()
    assert grade.main(["lab_9", "--submitted", str(tmp_path)]) == 2
    assert "no lab 'lab_9'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        grade.main(["--help"])
    assert ended.value.code == 0 and "FOLDER" in capsys.readouterr().out


def test_offline_refuses_addresses(tmp_path: Path) -> None:
    """The guard in Python's sockets, also where the system gives no network of its own."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    threading.Thread(target=server.accept, daemon=True).start()
    (tmp_path / "reach.py").write_text(
        "import socket, sys\n"
        "with open(sys.argv[1], 'w') as out:\n"
        "    for address in (('192.0.2.1', 80), ('example.org', 80)):\n"
        "        try:\n"
        "            socket.create_connection(address, 5)\n"
        "            print('reached', file=out)\n"
        "        except OSError as error:\n"
        "            print(error, file=out)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tools.offline", "reach", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": path},
    )
    server.close()
    assert done.returncode == 0
    lines = (tmp_path / "out").read_text().splitlines()
    assert len(lines) == 2 and all("no network here" in line for line in lines)
