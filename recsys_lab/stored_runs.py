"""Runs that take longer than a page may: done once by a script beside the page, kept in one file.

A store is JSON, a run a line, by key. It is replaced as a whole after each run, so a script can be
stopped at any time and started again, and two of them may work on other runs of one store.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Run(Protocol):
    """One run: what it is called in the store, and with which settings it is made."""

    @property
    def key(self) -> str: ...

    @property
    def settings(self) -> dict[str, Any]: ...


def load(store: Path, script: str) -> dict[str, Any]:
    """The stored runs, by key ("tune/EASE/0").

    Raises:
        FileNotFoundError: nothing is stored yet; the message says how to make it.
    """
    if not store.exists():
        raise FileNotFoundError(f"{store.name} is not here. Make it: python {Path(script).name}")
    return json.loads(store.read_text())


def save(store: Path, stored: dict[str, Any]) -> None:
    """Write all runs, a line each: complete or not at all."""
    lines = [f"{json.dumps(key)}: {json.dumps(stored[key])}" for key in sorted(stored)]
    unfinished = store.with_suffix(".part")
    unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(unfinished, store)


def is_current(run: Run, stored: dict[str, Any], code: str) -> bool:
    """Whether the run is stored, with these settings, by the code of this hash."""
    saved = stored.get(run.key, {})
    return saved.get("settings") == run.settings and saved.get("code") == code


def work_through(
    store: Path,
    wanted: Callable[[dict[str, Any]], Iterable[Run]],
    code: Callable[[Run], str],
    perform: Callable[[Run, dict[str, Any]], dict[str, Any]],
    only: str = "",
    minutes: float = np.inf,
) -> int:
    """Do what is not stored yet, in the order of ``wanted``; 0 if nothing is left, else 1.

    Args:
        wanted: the runs, given what is stored: a later one may rest on the best of earlier ones.
        code: hash of the code that a run depends on; it is done again when that changes.
        perform: does a run, given what is stored, and returns what is stored of it.
        only: runs whose key begins with one of these, with commas between; all if empty.
        minutes: no run starts later.
    """

    def read() -> dict[str, Any]:
        return json.loads(store.read_text()) if store.exists() else {}

    def left(stored: dict[str, Any]) -> list[Run]:
        chosen = [run for run in wanted(stored) if run.key.startswith(tuple(only.split(",")))]
        return [run for run in chosen if not is_current(run, stored, code(run))]

    stored, end = read(), time.monotonic() + 60 * minutes
    while todo := left(stored):
        if time.monotonic() > end:
            print(f"{len(todo)} runs left, of those known so far: start this again")
            return 1
        run, start = todo[0], time.process_time()
        result = perform(run, stored)
        kept = {"code": code(run), "settings": run.settings}
        kept["cpu_seconds"] = round(time.process_time() - start, 1)
        stored = read() | {run.key: kept | result}
        save(store, stored)
        quality = f"  {np.mean(result['ndcg']):.4f}" if "ndcg" in result else ""
        seconds = stored[run.key]["cpu_seconds"]
        print(f"{len(todo) - 1:4} left  {run.key}{quality}  {seconds} s", flush=True)
    known = {run.key for run in wanted(stored)}
    if not only and stored.keys() - known:  # of models that are no more
        stored = {key: stored[key] for key in stored if key in known}
        save(store, stored)
    print(f"{len(stored)} runs in {store.name}")
    return 0


def command(description: str, example: str, **work: Any) -> int:
    """The command line of a script of runs, one thread and no progress bars: see `work_through`."""
    import torch

    parser = argparse.ArgumentParser(description=description.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=600, help="start no run after so many")
    parser.add_argument("--only", default="", help=f"runs whose key begins so, such as {example}")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    return work_through(**work, only=options.only, minutes=options.minutes)
