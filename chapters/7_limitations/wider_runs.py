"""Slow runs of section 3, Wider, its first half: training in one process and in several, a process
that is killed, batches that grow with the processes, processor time of a step.

    .venv/bin/python chapters/7_limitations/wider_runs.py [--minutes 4] [--only time]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about six minutes of two cores.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recsys_lab import stored_runs
from recsys_lab.data import Split, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate
from recsys_lab.limits import parallel, processes
from recsys_lab.models.autoencoder import Autoencoder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "wider_runs.json"
SEEDS = (0, 1, 2)
STEPS, KILL_AT = 96, 50  # twelve epochs, as in section 4.5; where the last process dies
WAYS = {  # processes, how they add up
    "one": (1, "ddp"),
    "two DDP": (2, "ddp"),
    "two ring": (2, "ring"),
    "two mean of means": (2, "mean"),
    "four DDP": (4, "ddp"),
}
GROWN = [(factor, scaled) for factor in (2, 4) for scaled in (False, True)]  # batch, rate too?
BATCHES = (96, 192, 384, 768)  # of 768 users, so that all batches of a run are alike
CLOCKS = {"one": 1, "two": 2}
WIDTHS = (32, 128, 512)
MODULE, CLOCK_STEPS, WARM_UP = "recsys_lab.limits.parallel", 25, 3


class Run(NamedTuple):
    group: str
    name: str
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


@cache
def split_of(seed: int) -> Split:
    return holdout_per_user(load_movielens(), 0.25, seed=seed)


def started(out: Path, n: int, *options: Any, restarts: int = 0) -> dict[str, Any]:
    """The result of a run in ``n`` processes; its last words if it fails."""
    told = [str(option) for option in options]
    done = processes.launch(n, MODULE, "--out", str(out), *told, restarts=restarts)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads((out / "result.json").read_text())


def weights(out: Path, seed: int) -> torch.nn.Module:
    """The trained network, from its checkpoint."""
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    width = state["settings"]["width"]
    model = parallel.ClickLoss(Autoencoder(n_factors=width, dropout=0).build(split_of(seed).train))
    model.load_state_dict(state["model"])
    return model.network


def alone(out: Path, seed: int) -> np.ndarray:
    """nDCG@10 of every user, by one process that knows nothing of shards."""
    network, split = weights(out, seed).double().eval(), split_of(seed)
    rows = torch.from_numpy(split.train.matrix().toarray().astype(float))
    with torch.inference_mode():
        scores = network(torch.nn.functional.normalize(rows)).numpy()
    return evaluate(scores, split, metrics=["ndcg"])["ndcg"].to_numpy()


def curve(run: Run) -> dict[str, Any]:
    """The loss of each step, and the grades: of the shards, and of one process."""
    n, sync, seed, way = (run.settings[k] for k in ("n", "sync", "seed", "way"))
    with tempfile.TemporaryDirectory() as folder:
        out, options = Path(folder), ("--sync", sync, "--seed", seed)
        if way == "killed":
            result = started(out, n, *options, "--kill-at", KILL_AT, restarts=1)
        elif way == "two then four":
            started(out, 2, *options, "--steps", KILL_AT)
            result = started(out, 4, *options)
        else:
            result = started(out, n, *options)
        ndcg = alone(out, seed)
    kept = {"losses": np.round(result["losses"], 8).tolist(), "resumed": result["resumed"]}
    kept |= {"shards": result["shards"], "alone": [float(ndcg.sum()), len(ndcg)]}
    graded = way in ("two DDP", "two mean of means")
    return kept | ({"per_user": np.round(ndcg, 4).tolist()} if graded else {})


def grown(run: Run) -> dict[str, Any]:
    """As many epochs, larger batches: what becomes of a batch "per process"."""
    how = parallel.Settings(
        batch=run.settings["batch"], lr=run.settings["lr"], seed=run.settings["seed"]
    )
    with tempfile.TemporaryDirectory() as folder:
        result = parallel.train(how, Path(folder), steps=STEPS * 128 // how.batch)
        ndcg = alone(Path(folder), how.seed)
    return {
        "loss": round(float(np.mean(result["losses"][-2:])), 6),
        "per_user": np.round(ndcg, 4).tolist(),
    }


def clock(run: Run) -> dict[str, Any]:
    """Processor milliseconds of a step, of the process that needs more, for every size of batch."""
    with tempfile.TemporaryDirectory() as folder:
        out, paths = Path(folder) / "clock.json", [str(HERE), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        done = processes.launch(run.settings["n"], Path(__file__).stem, "--clock", str(out))
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads(out.read_text()) | {"load": round(os.getloadavg()[0], 1)}


def be_clocked(out: Path) -> None:
    """What each process of `clock` does: steps like those of `parallel.train`, beside a clock."""
    processes.join()
    torch.set_num_threads(1)
    (rank, world), found = processes.me(), {}
    for width, batch in [(128, batch) for batch in BATCHES] + [(w, 96) for w in WIDTHS]:
        how = parallel.Settings(batch=batch, users=768, width=width)
        batches = parallel.Batches(split_of(0), how)
        net = Autoencoder(n_factors=width, dropout=0).build(split_of(0).train)
        model = parallel.ClickLoss(net)
        optimizer = torch.optim.AdamW(model.parameters(), lr=how.lr, weight_decay=how.l2)
        marks = []
        for step in range(WARM_UP + CLOCK_STEPS):
            users = batches.users(step)
            marks.append([time.process_time()])
            optimizer.zero_grad()
            rows = batches.draw(processes.shard(users, rank, world), step)
            (model(*rows) / batches.n_clicks[users].sum()).backward()
            marks[-1].append(time.process_time())
            if world > 1:
                parallel.exchange(model)
            marks[-1].append(time.process_time())
            optimizer.step()
            marks[-1].append(time.process_time())
        parts = 1000 * np.median(np.diff(marks[WARM_UP:], axis=1), axis=0)  # work, talk, move
        found[f"{width} {batch}"] = np.max(processes.gathered(parts), axis=0).round(3).tolist()
    if rank == 0:
        out.write_text(json.dumps(found))


PERFORM = {"curve": curve, "grown": grown, "time": clock}


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    for seed in SEEDS:
        for way, (n, sync) in WAYS.items():
            if seed == 0 or n < 4:
                how = {"n": n, "sync": sync, "seed": seed, "way": way}
                yield Run("curve", f"{way}/{seed}", how)
    for way, n in (("killed", 2), ("two then four", 4)):
        yield Run("curve", f"{way}/0", {"n": n, "sync": "ddp", "seed": 0, "way": way})
    plain = parallel.Settings()
    for factor, scaled in [(1, False), *GROWN]:
        for seed in SEEDS:
            rate = plain.lr * (factor if scaled else 1)
            how = {"batch": plain.batch * factor, "lr": round(rate, 6), "seed": seed}
            yield Run("grown", f"{factor}{' scaled' if scaled else ''}/{seed}", how)
    for name, n in CLOCKS.items():
        yield Run("time", name, {"n": n, "batches": list(BATCHES), "widths": list(WIDTHS)})


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return PERFORM[run.group](run)


# ---- the store -------------------------------------------------------------------------------
FILES = "limits/parallel limits/processes limits/checkpoints models/autoencoder data/splits"
PARTS = {
    "curve": (curve, started, weights, alone),
    "grown": (grown, weights, alone),
    "time": (clock, be_clocked),
}
CONSTANTS = {"curve": (STEPS, KILL_AT), "grown": (STEPS,), "time": (CLOCK_STEPS, WARM_UP)}


def code_hash(run: Run) -> str:
    """Of the code that the run depends on."""
    digest = hashlib.sha256(repr(CONSTANTS[run.group]).encode())
    for file in FILES.split():
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in PARTS[run.group]:
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("curve/one/0"); an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "curve", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clock"]:
        raise SystemExit(be_clocked(Path(sys.argv[2])))
    raise SystemExit(main())
