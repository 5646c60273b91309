"""Running notebooks in place: what is stored, what is stale, and what a failed run leaves alone."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks as nbs
from tools import times
from tools.execute import execute, is_stale, main, tidy
from tools.notebooks import NotebookError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a notebook of these code cells; returns its path."""
    monkeypatch.setenv("PYTHONPATH", str(nbs.ROOT))

    def write(*sources, name="page"):
        nb = new_notebook(cells=[new_markdown_cell("# Page"), *map(new_code_cell, sources)])
        path = tmp_path / "chapters" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(nb, path)
        return path

    return write


@pytest.fixture
def command(capfd):
    """Call the command; its exit status, output and errors."""

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        return (status, *capfd.readouterr())

    return command


def test_a_run_is_stored_whole(write, tmp_path):
    path = write(
        "import os, sys\nprint('a')\nprint('b')\nsum(range(4))",
        "os.environ['OMP_NUM_THREADS'], os.environ['HF_HUB_OFFLINE'], hash('a') % 7",
        "len(b'x' * 200_000_000) and os.getcwd().endswith('chapters')",
    )
    assert is_stale(nbs.read(path), path.parent, tmp_path)
    execute(path, tmp_path)
    nb = nbs.read(path)
    assert not is_stale(nb, path.parent, tmp_path)
    assert [c.execution_count for c in nb.cells[1:]] == [1, 2, 3]
    assert [o.get("text") for o in nb.cells[1].outputs] == ["a\nb\n", None]
    assert nb.cells[2].outputs[0].data["text/plain"].startswith("('1', '1', ")
    assert nb.cells[3].outputs[0].data["text/plain"] == "True"
    run = nb.metadata.recsys_lab.run
    assert run.key == nbs.run_key(nb, path.parent, tmp_path)
    assert run.outputs_sha256 == nbs.outputs_digest(nb)
    assert 200 < run.peak_mb < 1000
    assert 0 <= run.cell_seconds_max <= run.seconds < 60
    assert nb.metadata.language_info == {"name": "python"}
    assert [p.name for p in path.parent.iterdir()] == ["page.ipynb"]  # no temporary file left
    first = path.read_text()
    execute(path, tmp_path)
    before, after = json.loads(first), json.loads(path.read_text())
    for stored in (before, after):
        stored["metadata"]["recsys_lab"]["run"] = None  # times differ, nothing else does
    assert before == after


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n1 / 0", r"cell 3 \(In \[2\]\): ZeroDivisionError: division by zero"),
        ("import os; os._exit(1)", r"cell 3 \(In \[2\]\): the kernel died"),
        (
            "from recsys_lab.results import record\nrecord('t.a', 1)\nrecord('t.a', 1)",
            r"cell 3 \(In \[2\]\): ResultError: 't.a' is already recorded",
        ),
    ],
)
def test_failed_run_leaves_the_stored_one_and_names_the_cell(write, tmp_path, source, message):
    path = write("1 + 1", source)
    before = path.read_bytes()
    with pytest.raises(NotebookError, match=rf"chapters/page.ipynb: {message}"):
        execute(path, tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["page.ipynb"]


def test_edit_during_the_run_is_kept(write, tmp_path):
    path = write("1")
    with pytest.raises(NotebookError, match=r"chapters/page.ipynb: was edited while it ran"):
        execute(path, tmp_path, progress=lambda text: write("2"))
    assert nbs.read(path).cells[1].source == "2"


def test_command_goes_on_after_a_failure_and_says_so(write, command):
    bad, good = write("1 / 0", name="a_bad"), write("2", name="b_good")
    status, output, errors = command(bad.parent)
    assert status == 1
    assert "a_bad.ipynb: cell 2 (In [1]): ZeroDivisionError" in output
    assert "1 run, 0 fresh, 1 failed" in output
    assert errors == ""
    status, output, _ = command("--check", bad.parent)
    assert status == 1
    assert "a_bad.ipynb: stale; run `make execute`" in output
    assert "b_good.ipynb" not in output
    assert command("--check", good)[0] == 0
    assert "0 run, 1 fresh, 0 failed" in command(good)[1]
    assert "1 run, 0 fresh, 0 failed" in command("--all", good)[1]


def test_command_refuses_what_is_no_notebook(write, tmp_path, command):
    path = write("1")
    path.write_text("{}")
    status, _, errors = command(path)
    assert (status, "not a readable notebook" in errors) == (2, True)
    status, _, errors = command(tmp_path / "no")
    assert (status, "no such notebook" in errors) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child process")
def test_interrupt_leaves_the_stored_one_and_no_kernel(write, tmp_path):
    path = write(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))",
                 "import time; time.sleep(60)")  # fmt: skip
    before = path.read_bytes()
    run = subprocess.Popen(
        [sys.executable, "-m", "tools.execute", path],
        cwd=nbs.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < until, "the notebook has not started"
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert "interrupted, left as it was" in output
    assert "Traceback" not in output
    assert path.read_bytes() == before
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_tidy_takes_out_what_changes_from_run_to_run():
    nb = new_notebook(cells=[new_code_cell("1 / 0"), new_code_cell("1 / 0"), new_code_cell("")])
    nb.metadata.update(widgets={}, language_info={"name": "python", "version": "3.11.2"})
    first = nb.cells[0]
    first.metadata.update(execution={"iopub.status.busy": "now"}, tags=["raises-exception"])
    first.outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("display_data", data={"text/plain": "c"}),
        new_output("stream", name="stdout", text="d\n"),
        new_output("error", ename="E", evalue="", traceback=[f"File {nbs.ROOT}/recsys_lab/x.py"]),
    ]
    tidy(nb)
    assert first.metadata == {"tags": ["raises-exception"]}
    assert [o.get("text") for o in first.outputs] == ["a\nb\n", None, "d\n", None]
    assert first.outputs[-1].traceback == ["File recsys_lab/x.py"]
    assert "widgets" not in nb.metadata
    assert nb.metadata.language_info == {"name": "python"}
    ids = [cell.id for cell in nb.cells]
    assert len(set(ids)) == 3
    tidy(nb)
    assert [cell.id for cell in nb.cells] == ids


def test_page_of_times(write, tmp_path):
    path = write("1 + 1")
    assert "| [Page](../chapters/page.ipynb) | not yet run | | |" in times.page(tmp_path)
    execute(path, tmp_path)
    text = times.write(tmp_path).read_text()
    run = nbs.own_metadata(nbs.read(path))["run"]
    assert f"| {run.peak_mb:,} |" in text
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "lock.txt").write_text("numpy==1.2.3 ; x\n    # via y\n")
    assert "| numpy | `1.2.3` |" in times.page(tmp_path)
