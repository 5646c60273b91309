"""Every script of stored runs: its store is of this code; its command line stops, and goes on."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

CHAPTERS = Path(__file__).parents[1] / "chapters"
SCRIPTS = sorted(p for p in CHAPTERS.glob("*/*_runs.py") if "stored_runs.command" in p.read_text())
WITH_MAIN = [p for p in SCRIPTS if "def main()" in p.read_text()]  # cost_runs has a test of its own
KEPT_BY_THE_STORE = ("code", "settings", "cpu_seconds")


def load(script: Path):
    """The script as a module; it stands beside its page, not in a package."""
    sys.path.insert(0, str(script.parent))
    return importlib.import_module(script.stem)


def test_there_are_scripts():
    assert len(SCRIPTS) >= 23 and len(WITH_MAIN) >= 22


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_missing_store_names_the_remedy(script, monkeypatch, tmp_path):
    runs = load(script)
    monkeypatch.setattr(runs, "STORE", tmp_path / f"{script.stem}.json")
    with pytest.raises(FileNotFoundError, match=rf"Make it: python {script.stem}\.py"):
        runs.load_runs()


@pytest.mark.parametrize("script", WITH_MAIN, ids=lambda path: path.stem)
def test_every_run_is_stored_with_its_settings_by_this_code(script):
    runs = load(script)
    stored = runs.load_runs()
    wanted = list(runs.runs(stored))
    old = [run.key for run in wanted if not runs.is_current(run, stored)]
    assert not old, f"{script.stem}.json is older than the code: run {script}: {old[:5]}"
    assert {run.key for run in wanted} == set(stored)


@pytest.mark.parametrize("script", WITH_MAIN, ids=lambda path: path.stem)
def test_the_script_goes_on_where_it_stopped(script, monkeypatch, tmp_path):
    """Its own command line, with the stored result in place of the work."""
    runs, done, store = load(script), [], tmp_path / f"{script.stem}.json"
    real = runs.load_runs()
    first, *_ = runs.runs({})

    def perform(run, known):
        done.append(run.key)
        return {k: v for k, v in real[run.key].items() if k not in KEPT_BY_THE_STORE}

    def start(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", [script.name, "--only", first.key, *options])
        return runs.main()

    monkeypatch.setattr(runs, "STORE", store)
    monkeypatch.setattr(runs, "perform", perform)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    threads = torch.get_num_threads()
    try:
        assert start("--minutes", "-1") == 1 and not done and not store.exists()
        assert start() == 0 and first.key in done
        made = len(done)
        assert start() == 0 and len(done) == made, "what is stored was made again"
    finally:
        torch.set_num_threads(threads)
    saved = json.loads(store.read_text())[first.key]
    same = {k: v for k, v in saved.items() if k not in KEPT_BY_THE_STORE}
    assert same == {k: v for k, v in real[first.key].items() if k not in KEPT_BY_THE_STORE}
    assert runs.is_current(first, {first.key: saved})
