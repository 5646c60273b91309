"""The labs: generated from their sources, and hard to fool.

Each wrong answer of ``mutants/`` loses points in the task that it breaks and in no other, and the
check names the misconception. They are graded in-process; ``test_grade.py`` proves that nbgrader
itself comes to the same points.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from mutants.in_process import InProcess, Mutant, Outcome, answers_of, cell_named

from recsys_lab.labs import CheckFailed, checking, expect_array, expect_close, showing
from tools import grade, labs
from tools.notebooks import ROOT, NotebookError

LABS = labs.names()
POINTS = 20
BOOK = {lab: importlib.import_module(f"mutants.{lab}") for lab in LABS}
MUTANTS = [(lab, mutant) for lab in LABS for mutant in BOOK[lab].MUTANTS]


def source_cells(lab: str) -> dict[str, nbformat.NotebookNode]:
    nb = nbformat.read(labs.source_of(lab), as_version=4)
    return {c.metadata.nbgrader.grade_id: c for c in nb.cells if "nbgrader" in c.metadata}


@pytest.fixture(scope="session")
def in_process() -> dict[str, InProcess]:
    return {lab: InProcess(labs.source_of(lab)) for lab in LABS}


@pytest.fixture(scope="session")
def blanks() -> dict[str, dict[str, str]]:
    """The answer cells as the student gets them."""
    return {lab: answers_of(labs.read(ROOT / "labs" / lab / f"{lab}.ipynb")) for lab in LABS}


# ---- the sources ---------------------------------------------------------------------------------


def test_there_are_labs() -> None:
    assert {"lab_1", "lab_2", "lab_3", "lab_4", "lab_5", "lab_6", "lab_7"} <= set(LABS)


@pytest.mark.parametrize("lab", LABS)
def test_points_and_names(lab: str) -> None:
    checks = {n: c for n, c in source_cells(lab).items() if c.metadata.nbgrader.grade}
    assert sum(c.metadata.nbgrader.points for c in checks.values()) == POINTS
    tasks = [grade.task_of(name) for name in checks]
    assert list(dict.fromkeys(tasks)) == [f"task_{n}" for n in range(1, len(set(tasks)) + 1)]
    for name, cell in checks.items():
        number = grade.task_of(name).removeprefix("task_")
        assert f'checking("Task {number}, ' in cell.source, f"{name}: another task's number"
        assert cell.metadata.nbgrader.locked, f"{name}: a student could change it"


@pytest.mark.parametrize("lab", LABS)
def test_announced_points(lab: str) -> None:
    """The table at the top and the line under each task's heading say what the cells give."""
    nb = nbformat.read(labs.source_of(lab), as_version=4)
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    full: dict[str, float] = {}
    for name, cell in source_cells(lab).items():
        if cell.metadata.nbgrader.grade:
            number = grade.task_of(name).removeprefix("task_")
            full[number] = full.get(number, 0) + cell.metadata.nbgrader.points
    minutes = 0
    for number, points in full.items():
        row = re.search(rf"^\| {number} \|.*\| (\d+) \| (\d+) \|$", text, re.M)
        assert row and int(row[2]) == points, f"task {number}: the table at the top"
        said = f"{points:g} points, {row[1]} minutes."
        assert re.search(rf"## Task {number}:.*\n\n{said}", text), f"task {number}: expected {said}"
        minutes += int(row[1])
    assert f"{minutes} minutes, {POINTS} points" in text and 60 <= minutes <= 90


@pytest.mark.parametrize("lab", LABS)
def test_every_task_has_hidden_tests(lab: str) -> None:
    hidden = {
        grade.task_of(name) for name, c in source_cells(lab).items() if "HIDDEN TESTS" in c.source
    }
    tasks = {grade.task_of(n) for n, c in source_cells(lab).items() if c.metadata.nbgrader.grade}
    assert hidden == tasks


# ---- generation ----------------------------------------------------------------------------------


def test_labs_are_what_the_solutions_generate() -> None:
    assert labs.check() == []


@pytest.mark.parametrize("lab", LABS)
def test_release_gives_nothing_away(lab: str) -> None:
    path = ROOT / "labs" / lab / f"{lab}.ipynb"
    text = path.read_text(encoding="utf-8")
    for word in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS"):
        assert word not in text
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    for cell in nb.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    shown = {line.strip() for cell in nb.cells for line in cell.source.splitlines()}
    for name, cell in source_cells(lab).items():
        answer = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", cell.source, re.S)
        hidden = re.findall(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN", cell.source, re.S)
        for line in "".join(answer + hidden).splitlines():
            # A short line, or the head of a loop, may stand elsewhere by chance.
            if len(line.strip()) > 30 and not line.strip().startswith("for "):
                assert line.strip() not in shown, f"{name}: {line.strip()}"
    for name, source in answers_of(nb).items():
        assert source.count("# Your code here") == 1, name


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a copy of lab 1, to spoil."""
    for folder in ("solutions", "labs"):
        shutil.copytree(ROOT / folder / "lab_1", tmp_path / folder / "lab_1")
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def generated() -> str:
    return labs.generate("lab_1")


def spoil(path: Path, change) -> None:
    nb = nbformat.read(path, as_version=4)
    change(nb)
    nbformat.write(nb, path)


def edit_check(nb) -> None:
    cell = cell_named(nb, "task_2_cosine")
    cell.source = cell.source.replace("2 / 3", "3 / 4")


def add_output(nb) -> None:
    cell_named(nb, "given_setup").outputs = [nbformat.v4.new_output("stream", text="hello")]


def drop_cell(nb) -> None:
    nb.cells.remove(cell_named(nb, "task_3_ties"))


def add_cell(nb) -> None:
    nb.cells.insert(3, nbformat.v4.new_markdown_cell("A hint for the class."))


def change_points(nb) -> None:
    cell_named(nb, "task_4_recall").metadata.nbgrader.points = 5


def twice(nb) -> None:
    nb.cells.append(nbformat.from_dict({**cell_named(nb, "task_1_leak"), "id": "copy"}))


def edit_prose(nb) -> None:
    nb.cells[0].source = nb.cells[0].source.replace("Lab 1", "Lab one", 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edit_check, r"\(task_2_cosine\): line \d+ is .*3 / 4.*the source gives .*2 / 3"),
        (add_output, r"cell 2 \(given_setup\): holds outputs"),
        (drop_cell, r"\(task_3_ties\): is missing"),
        (add_cell, r"cell 4: is not in the source"),
        (change_points, r"\(task_4_recall\): its metadata differ"),
        (edit_prose, r"cell 1: line 1 is '# Lab one"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hand_edit_is_named(
    project: Path, change, named: str, generated: str, monkeypatch
) -> None:
    monkeypatch.setattr(labs, "generate", lambda lab, root: generated)
    spoil(project / "labs/lab_1/lab_1.ipynb", change)
    found = labs.check(project)
    assert len(found) == 1, found
    assert re.search(named, found[0]), found[0]
    assert found[0].startswith("labs/lab_1/lab_1.ipynb: ") and "make labs" in found[0]


def test_a_missing_and_a_left_over_lab_are_named(project: Path) -> None:
    (project / "labs/lab_1").rename(project / "labs/lab_0")
    (project / "labs/lab_0/lab_1.ipynb").rename(project / "labs/lab_0/lab_0.ipynb")
    first, second = labs.check(project)
    assert first == "labs/lab_1/lab_1.ipynb: missing; run `make labs`"
    assert second.startswith("labs/lab_0/lab_0.ipynb: has no source")


def test_a_broken_source_is_named(project: Path) -> None:
    source = project / "solutions/lab_1/lab_1.ipynb"
    spoil(source, twice)
    before = dict(os.environ)
    with pytest.raises(NotebookError, match=r"lab_1: nbgrader cannot make the lab: .*task_1_leak"):
        labs.generate("lab_1", project)
    with pytest.raises(NotebookError, match=r"no lab 'lab_9'.*known are lab_1"):
        labs.generate("lab_9", project)
    labs.generate("lab_1")
    assert dict(os.environ) == before, "nbgrader takes PATH away, and later tests find no program"


# ---- grading, in-process -------------------------------------------------------------------------


@pytest.mark.parametrize("lab", LABS)
def test_solution_scores_all(lab: str, in_process) -> None:
    outcome = in_process[lab].grade()
    assert outcome.lost == {}
    assert sum(outcome.points.values()) == POINTS


@pytest.mark.parametrize("lab", LABS)
def test_right_answers_in_another_style_score_all(lab: str, in_process) -> None:
    alternatives = BOOK[lab].ALTERNATIVES
    assert set(alternatives) == set(in_process[lab].answers)
    assert in_process[lab].grade(alternatives).lost == {}


@pytest.mark.parametrize("lab", LABS)
def test_blank_scores_nothing_and_says_so_once(lab: str, in_process, blanks) -> None:
    outcome = in_process[lab].grade(blanks[lab])
    assert sum(outcome.points.values()) == 0
    for check, message in outcome.lost.items():
        number = grade.task_of(check).removeprefix("task_")
        assert message.startswith(f"CheckFailed: Task {number}"), f"{check}: {message}"
        assert re.search(r"is not written yet: write \w+ in its cell", message), check


@pytest.mark.parametrize("lab", LABS)
def test_one_blank_task_costs_only_itself(lab: str, in_process, blanks) -> None:
    """Task by task: what is left blank, alone, takes no point from any other."""
    lost_by: dict[str, set[str]] = {}
    for answer, source in blanks[lab].items():
        lost = in_process[lab].grade({answer: source}).lost_tasks()
        assert len(lost) == 1, f"{answer} left blank loses points in {sorted(lost)}"
        lost_by.setdefault(lost.pop(), set()).add(answer)
    tasks = {grade.task_of(check) for check in in_process[lab].checks}
    assert set(lost_by) == tasks


@pytest.fixture(scope="session")
def outcomes(in_process) -> dict[tuple[str, str], Outcome]:
    """Each wrong answer is graded once."""
    return {}


def outcome_of(lab: str, mutant: Mutant, in_process, outcomes) -> Outcome:
    key = (lab, mutant.name)
    if key not in outcomes:
        source = in_process[lab].mutate(mutant)
        outcomes[key] = in_process[lab].grade({mutant.answer: source})
    return outcomes[key]


@pytest.mark.parametrize(
    ("lab", "mutant"), MUTANTS, ids=[f"{lab}, {m.task}: {m.name}" for lab, m in MUTANTS]
)
def test_wrong_answer_loses_its_task_alone(lab: str, mutant: Mutant, in_process, outcomes) -> None:
    outcome = outcome_of(lab, mutant, in_process, outcomes)
    lost = sorted(outcome.lost_tasks())
    assert mutant.task in lost, f"{lab}: '{mutant.name}' keeps all points of {mutant.task}"
    assert lost == [mutant.task], f"{lab}: '{mutant.name}' of {mutant.task} loses points in {lost}"
    said = "\n".join(outcome.lost.values())
    assert re.search(mutant.says, said), (
        f"{lab}: '{mutant.name}' of {mutant.task}: no message matches {mutant.says!r}:\n{said}"
    )


@pytest.mark.parametrize("lab", LABS)
def test_checks_that_are_not_run_again_would_pass(lab: str, in_process, outcomes) -> None:
    """The quick way and the whole one agree, on one wrong answer a task."""
    last = {mutant.task: mutant for mutant in BOOK[lab].MUTANTS}
    for mutant in last.values():
        whole = in_process[lab].grade({mutant.answer: in_process[lab].mutate(mutant)}, whole=True)
        assert whole == outcome_of(lab, mutant, in_process, outcomes), mutant.name
        assert len(in_process[lab].concerned({mutant.answer: ""})) < len(whole.points)


@pytest.mark.parametrize("lab", LABS)
def test_every_check_catches_something(lab: str, in_process, outcomes) -> None:
    """At least three wrong answers a task, and no check that none of them fails."""
    names = [mutant.name for mutant in BOOK[lab].MUTANTS]
    assert len(names) == len(set(names)), "two wrong answers share a name"
    caught: set[str] = set()
    for mutant in BOOK[lab].MUTANTS:
        caught |= set(outcome_of(lab, mutant, in_process, outcomes).lost)
    assert set(in_process[lab].checks) - caught == set()
    tasks = [mutant.task for mutant in BOOK[lab].MUTANTS]
    for task in {grade.task_of(check) for check in in_process[lab].checks}:
        assert tasks.count(task) >= 3, f"{lab}: {task} has {tasks.count(task)} wrong answers"


# ---- what a check cell says ----------------------------------------------------------------------


def unwritten() -> None:
    raise NotImplementedError("not written yet")


def test_unwritten_task_is_one_sentence() -> None:
    with pytest.raises(CheckFailed) as failed, checking("Task 3, check 2 (ties)"):
        unwritten()
    assert str(failed.value) == (
        "Task 3 is not written yet: write unwritten in its cell, run that cell, then this one "
        "again."
    )
    assert failed.value._render_traceback_() == [str(failed.value)]
    assert failed.value.__cause__ is None and failed.value.__suppress_context__


def test_missing_name_is_one_sentence() -> None:
    with pytest.raises(CheckFailed, match=r"Task 3 is not written yet: there is no top_k\. Run"):
        with checking("Task 3, check 2"):
            top_k  # noqa: B018, F821


def test_a_learners_own_error_goes_through() -> None:
    def learners() -> None:
        raise ValueError("shapes do not fit")

    with pytest.raises(ValueError, match="shapes do not fit"), checking("Task 1, check 1"):
        learners()

    def misspelt() -> None:
        no_such_name  # noqa: B018, F821

    with pytest.raises(NameError, match="no_such_name"), checking("Task 1, check 1"):
        misspelt()


def test_failed_assertion_names_check_and_line() -> None:
    with pytest.raises(CheckFailed, match=r"Task 1, check 1: not passed \(line \d+ .*\). wrong"):
        with checking("Task 1, check 1"):
            raise AssertionError("wrong")


def test_passing_and_noise_stay_off_the_error_stream(capsys) -> None:
    with checking("Task 1, check 1"):
        print("a warning", file=sys.stderr)
    shown = capsys.readouterr()
    assert shown.out == "a warning\nTask 1, check 1: passed\n" and shown.err == ""


def test_showing_goes_on(capsys) -> None:
    with showing():
        unwritten()
    assert "Nothing to show yet: write unwritten in its cell" in capsys.readouterr().out
    with showing():
        pass
    assert capsys.readouterr().out == ""


def test_expect_array_and_expect_close() -> None:
    import scipy.sparse as sp

    assert expect_array(sp.eye(2).tocsr(), (2, 2), "f").tolist() == [[1, 0], [0, 1]]
    assert expect_array([1, 2], (2,), "f", integers=True).sum() == 3
    for value, said in {
        (None,): "f returned None: does it end in `return`",
        ("ab",): "not an array of numbers",
        ((1, 2, 3),): r"shape \(3,\), expected \(2,\). Users first",
        (((1, 2), (3,)),): "rows differ in length",
    }.items():
        with pytest.raises(CheckFailed, match=said):
            expect_array(*value, (2,), "f", "Users first.")
    with pytest.raises(CheckFailed, match="whole numbers"):
        expect_array([1.0, 2.0], (2,), "f", integers=True)
    expect_close([1, np.nan], [1 + 1e-9, np.nan], "f")
    with pytest.raises(CheckFailed, match=r"recall of user at \[1\] is 0.25, expected 0.5. Hm"):
        expect_close([1, 0.25], [1, 0.5], "recall of user", hint="Hm.")
    with pytest.raises(CheckFailed, match="is that precision"):
        expect_close([1, 0.25], [1, 0.5], "recall", {"is that precision?": [1, 0.25]})
    with pytest.raises(CheckFailed, match=r"f is nan, expected 1"):
        expect_close(np.nan, 1, "f")
