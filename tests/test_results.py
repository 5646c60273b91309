"""Findings: recorded once, glued for the prose, collected from the notebooks."""

import json
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from recsys_lab import checks, results
from recsys_lab.results import GLUE_PREFIX, MIME, Result, ResultError, record


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(results, "_recorded", {})
    monkeypatch.delenv(results.STRICT, raising=False)


@pytest.fixture
def shell(monkeypatch):
    """A stand-in for a notebook's kernel: collects what is displayed."""
    import IPython
    import IPython.display

    class Shell:
        def __init__(self):
            self.shown, self.request = [], "1"

        def get_parent(self):
            return {"header": {"msg_id": self.request}}

    kernel = Shell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    monkeypatch.setattr(
        IPython.display,
        "display",
        lambda data, raw, metadata: kernel.shown.append((data, metadata)),
    )
    return kernel


# ---- record --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (-0.25, -0.25),
        (np.int64(100_000), 100_000),
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
        (torch.tensor(2), 2),
        (Fraction(1, 4), 0.25),
    ],
)
def test_value_becomes_a_plain_number(value, expected):
    result = record("c1.some.value", value)
    assert result.value == expected
    assert type(result.value) is type(expected)


def test_all_parts():
    result = record("c1.rmse.knn", 0.93, (0.92, 0.94), n=np.int64(943), claim="C05")
    assert result == Result("c1.rmse.knn", 0.93, 0.92, 0.94, 943, "C05")
    assert str(result) == "c1.rmse.knn = 0.93, interval 0.92 to 0.94, n = 943, claim C05"
    json.dumps(vars(result))


@pytest.mark.parametrize(
    "name",
    ["rmse", "C1.rmse", "c1.RMSE", "c1..rmse", "c1.rmse ", "c1.a-b", "1c.rmse", "", None, "é.b"],
)
def test_bad_name(name):
    with pytest.raises(ResultError, match="not a name for a finding"):
        record(name, 1)


@pytest.mark.parametrize("name", ["c1.rmse.low", "c1.rmse.high", "c1.n"])
def test_name_that_record_adds_itself(name):
    with pytest.raises(ResultError, match="which record adds itself"):
        record(name, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan"), -np.inf])
def test_value_not_finite(value):
    with pytest.raises(ResultError, match=r"c1\.a: value must be finite"):
        record("c1.a", value)


@pytest.mark.parametrize(
    "value", ["0.9", None, True, np.bool_(True), 1j, [1.0], np.array([1.0, 2.0])]
)
def test_value_no_number(value):
    with pytest.raises(ResultError, match=r"c1\.a: value must be (a|one) number"):
        record("c1.a", value)


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ((0.94, 0.92), "ends are swapped"),
        ((0.1, 0.2), "far outside its interval"),
        ((0.9,), "an interval is"),
        ((0.9, float("nan")), "interval must be finite"),
        (("a", "b"), "interval must be a number"),
    ],
)
def test_bad_interval(interval, message):
    with pytest.raises(ResultError, match=message):
        record("c1.a", 0.93, interval)


def test_interval_may_miss_the_value_a_little():
    assert record("c1.a", 0.95, [0.92, 0.94]).high == 0.94  # a percentile bootstrap can
    assert record("c1.b", 0.5, (0.5, 0.5)).low == 0.5


@pytest.mark.parametrize("n", [0, -3, 2.5, True, "9"])
def test_bad_n(n):
    with pytest.raises(ResultError, match=r"c1\.a: n "):
        record("c1.a", 1, n=n)


@pytest.mark.parametrize("claim", ["C5", "c05", "C005", 5, ["C05"]])
def test_bad_claim(claim):
    with pytest.raises(ResultError, match="not the id of a claim"):
        record("c1.a", 1, claim=claim)


def test_bad_tolerance():
    with pytest.raises(ResultError, match="not negative"):
        record("c1.a", 1, tolerance=-1)


# ---- in a notebook -------------------------------------------------------------------------


def test_outputs_are_those_of_glue(shell, monkeypatch):
    myst_utils = pytest.importorskip("myst_nb.ext.glue")
    record("c1.rmse.knn", 0.93, (0.92, 0.94), n=943)
    ours = list(shell.shown)
    expected = []
    monkeypatch.setattr(
        myst_utils, "ipy_display", lambda data, raw, metadata: expected.append((data, metadata))
    )
    monkeypatch.setattr(
        myst_utils.IPython.core.formatters,
        "format_display_data",
        lambda value: ({"text/plain": repr(value)}, {}),
    )
    numbers = {"": 0.93, ".low": 0.92, ".high": 0.94, ".n": 943}
    for suffix, number in numbers.items():
        myst_utils.glue(f"c1.rmse.knn{suffix}", number, display=False)
    finding = ours[0][0].pop(MIME)
    assert ours[:4] == expected
    assert finding == {
        "name": "c1.rmse.knn",
        "value": 0.93,
        "low": 0.92,
        "high": 0.94,
        "n": 943,
        "claim": None,
        "tolerance": None,
    }
    text, metadata = ours[4]
    assert text == {"text/plain": "c1.rmse.knn = 0.93, interval 0.92 to 0.94, n = 943"}
    assert metadata == {"recsys_lab": {"finding": "c1.rmse.knn"}}
    assert len(ours) == 5


def test_without_interval_only_the_value_is_glued(shell):
    assert record("c1.a", 3) is None  # nothing for Jupyter to show a second time
    assert [m.get("scrapbook", {}).get("name") for _, m in shell.shown] == ["c1.a", None]
    assert shell.shown[0][0][f"{GLUE_PREFIX}text/plain"] == "3"


def test_twice_in_one_cell(shell):
    record("c1.a", 1)
    with pytest.raises(ResultError, match="already recorded"):
        record("c1.a", 2)


def test_a_reader_may_run_a_cell_again(shell):
    record("c1.a", 1)
    shell.request = "2"
    record("c1.a", 2)


def test_twice_in_a_run_of_the_book(shell, monkeypatch):
    monkeypatch.setenv(results.STRICT, "1")
    record("c1.a", 1)
    shell.request = "2"
    with pytest.raises(ResultError, match="already recorded"):
        record("c1.a", 2)


# ---- collect -------------------------------------------------------------------------------


def notebook(path, *names):
    """A stored notebook with one finding a cell."""
    cells = [
        {
            "cell_type": "code",
            "outputs": [{"output_type": "display_data", "data": {MIME: vars(Result(name, 0.5))}}],
        }
        for name in names
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    markdown = {"cell_type": "markdown", "source": "# Title"}
    path.write_text(json.dumps({"cells": [markdown, *cells]}), encoding="utf-8")


def command(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(results.Path(results.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "recsys_lab.results", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_prints_one_json_object(tmp_path):
    notebook(tmp_path / "chapters/1/1_data.ipynb", "c1.a", "c1.b")
    notebook(tmp_path / "solutions/lab_1/lab_1.ipynb", "lab1.a")
    notebook(tmp_path / "chapters/1/.ipynb_checkpoints/1_data-checkpoint.ipynb", "c1.a")
    run = command(cwd=tmp_path)
    assert run.stderr == ""
    found = json.loads(run.stdout)
    assert list(found) == ["c1.a", "c1.b", "lab1.a"]
    assert found["c1.b"] == {
        "value": 0.5,
        "low": None,
        "high": None,
        "n": None,
        "claim": None,
        "notebook": "chapters/1/1_data.ipynb",
    }
    assert list(json.loads(command("solutions", cwd=tmp_path).stdout)) == ["lab1.a"]


def test_duplicate_names_both_notebooks(tmp_path):
    notebook(tmp_path / "chapters/1/1_data.ipynb", "c1.a")
    notebook(tmp_path / "chapters/1/2_more.ipynb", "c1.b", "c1.a")
    run = command(cwd=tmp_path)
    assert run.returncode == 1
    assert run.stdout == ""
    assert "'c1.a' is recorded twice" in run.stderr
    assert "chapters/1/1_data.ipynb cell 2" in run.stderr
    assert "chapters/1/2_more.ipynb cell 3" in run.stderr


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json"])
def test_broken_notebook(tmp_path, content):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/x.ipynb").write_text(content)
    run = command(cwd=tmp_path)
    assert run.returncode == 1
    assert "chapters/x.ipynb: not a Jupyter notebook" in run.stderr
    assert "Traceback" not in run.stderr


def test_missing_folder(tmp_path):
    run = command("nowhere", cwd=tmp_path)
    assert run.returncode == 1
    assert "nowhere: no such folder" in run.stderr
    assert command(cwd=tmp_path).returncode == 1
    assert "usage: python -m recsys_lab.results" in command("--help", cwd=tmp_path).stdout


# ---- checks --------------------------------------------------------------------------------


def test_close():
    checks.assert_close(0.935, 0.93, 0.01, "RMSE")
    with pytest.raises(AssertionError, match=r"RMSE: expected 0.93 within 0.01, got 0.95"):
        checks.assert_close(0.95, 0.93, 0.01, "RMSE")
    with pytest.raises(AssertionError, match="got nan"):
        checks.assert_close(float("nan"), 0.93, 0.01, "RMSE")
    with pytest.raises(ValueError, match="tolerance"):
        checks.assert_close(1, 1, -1, "RMSE")


def test_within():
    checks.assert_within(0.5, 0.5, 0.5, "share")
    for measured, side in ((0.1, "0.1 too low"), (0.5, "0.2 too high"), (np.nan, "not a number")):
        with pytest.raises(AssertionError, match=f"share: expected 0.2 to 0.3.*{side}"):
            checks.assert_within(measured, 0.2, 0.3, "share")
    with pytest.raises(ValueError, match="upside down"):
        checks.assert_within(0.5, 1, 0, "share")


def test_order():
    checks.assert_order({"EASE": 0.48, "popularity": 0.25, "chance": 0.01}, "nDCG@10")
    checks.assert_order([("EASE", 0.48), ("popularity", 0.25)], "nDCG@10", margin=0.2)
    with pytest.raises(AssertionError, match=r"nDCG@10: expected popularity above EASE"):
        checks.assert_order({"popularity": 0.25, "EASE": 0.48}, "nDCG@10")
    with pytest.raises(AssertionError, match=r"by 0.3, got 0.48 and 0.25"):
        checks.assert_order({"EASE": 0.48, "popularity": 0.25}, "nDCG@10", margin=0.3)
    for values in ({"a": 1.0, "b": 1.0}, {"a": float("nan"), "b": 1.0}):
        with pytest.raises(AssertionError, match="expected a above b"):
            checks.assert_order(values, "tie")
    with pytest.raises(ValueError, match="at least two"):
        checks.assert_order({"a": 1.0}, "one")
