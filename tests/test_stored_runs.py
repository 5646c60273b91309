"""A script of runs: it goes on where it stopped, loses nothing, and says what is missing."""

import json
from typing import NamedTuple

import pytest

from recsys_lab import stored_runs


class Run(NamedTuple):
    name: str
    lr: float = 0.1

    @property
    def key(self) -> str:
        return f"tune/{self.name}"

    @property
    def settings(self) -> dict[str, float]:
        return {"lr": self.lr}


@pytest.fixture
def work(tmp_path):
    """What a script says of its runs, and the list of those that were really made."""
    made = []

    def perform(run, stored):
        if run.name == "broken":
            raise RuntimeError("it broke")
        made.append(run.key)
        return {"ndcg": [0.25, 0.5], "before": len(stored)}

    store = tmp_path / "runs.json"
    call = {"store": store, "wanted": lambda stored: [Run("a"), Run("b")], "perform": perform}
    return call | {"code": lambda run: "1"}, made


def test_each_run_is_made_once_and_its_key_settings_and_code_are_kept(work, capsys):
    call, made = work
    assert stored_runs.work_through(**call) == 0
    assert stored_runs.work_through(**call) == 0
    assert made == ["tune/a", "tune/b"]
    stored = stored_runs.load(call["store"], "runs.py")
    assert stored["tune/b"].items() >= {"code": "1", "settings": {"lr": 0.1}, "before": 1}.items()
    assert "1 left  tune/a  0.3750" in capsys.readouterr().out


def test_other_settings_or_other_code_are_another_run(work):
    call, made = work
    stored_runs.work_through(**call)
    stored_runs.work_through(**call | {"wanted": lambda stored: [Run("a", 0.2), Run("b")]})
    assert made == ["tune/a", "tune/b", "tune/a"]
    stored_runs.work_through(**call | {"code": lambda run: "2"}, only="tune/b")
    assert made[3:] == ["tune/b"]


def test_what_is_done_survives_a_run_that_breaks(work):
    call, made = work
    runs = [Run("a"), Run("broken"), Run("b")]
    with pytest.raises(RuntimeError, match="it broke"):
        stored_runs.work_through(**call | {"wanted": lambda stored: runs})
    assert list(stored_runs.load(call["store"], "runs.py")) == ["tune/a"]
    assert [path.name for path in call["store"].parent.iterdir()] == ["runs.json"]
    stored_runs.work_through(**call)
    assert made == ["tune/a", "tune/b"]


def test_time_over_says_what_is_left_and_drops_nothing(work, capsys):
    call, made = work
    stored_runs.save(call["store"], {"tune/old": {}})
    assert stored_runs.work_through(**call, minutes=-1) == 1
    assert made == [] and "2 runs left" in capsys.readouterr().out
    assert stored_runs.work_through(**call, only="tune/a,tune/c") == 0
    assert made == ["tune/a"] and "tune/old" in json.loads(call["store"].read_text())
    stored_runs.work_through(**call)
    assert list(json.loads(call["store"].read_text())) == ["tune/a", "tune/b"]


def test_a_missing_store_names_the_script_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"runs.json is not here. Make it: python make.py"):
        stored_runs.load(tmp_path / "runs.json", "/somewhere/make.py")
