"""SASRec of RecBole against ours: how long until the validation quality is the same?

    python -m benchmarks.bench_sasrec [--threads 2] [--epochs 3]

RecBole trains with its default settings for three epochs; the best validation nDCG@10 of the three
is the target, and its seconds are those until it is reached. Ours trains until it reaches the
target. Both have one split, one CPU, one version of torch and the same number of threads; both
are judged by `recsys_lab.evaluation` over the full catalogue without the training items, from
their scores. (RecBole's own number is lower: it leaves the films a user has seen in the ranking.)
RecBole with smaller batches, which learns faster in seconds, runs too, until it reaches the target.

Fails when ours, its evaluations counted, is less than ten times as fast as RecBole's training
alone. RecBole runs in an environment of its own, made the first time; the whole takes about a
quarter of an hour on two cores, and writes benchmarks/results/sasrec_recbole.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before torch and tqdm are loaded
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "RECSYS_LAB_DEVICE": "cpu"}
    if not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd
import torch

from benchmarks.environments import BenchError, python_of
from recsys_lab.data import Split, leave_last_out, load_movielens
from recsys_lab.evaluation import evaluate
from recsys_lab.models import SASRec

MIN_RATIO = 10.0
ENVIRONMENT = ".venv-bench-recbole"
HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "sasrec_recbole.json"
RUNS = {  # name -> RecBole's settings that differ from its defaults, batches between two checks
    "RecBole": ({}, None),
    "RecBole, batches of 256": ({"train_batch_size": 256}, 38),  # a tenth of an epoch
}


def ndcg(scores: np.ndarray, split: Split) -> float:
    """Mean nDCG@10 of the validation events over the full catalogue, training items left out."""
    table = evaluate(scores, split, k=10, part="validation", metrics=("ndcg",))
    return float(table["ndcg"].mean())


# ---- theirs --------------------------------------------------------------------------------
def write_atomic(split: Split, folder: Path) -> None:
    """The split as RecBole's file: an event's time is its place in its user's history.

    The validation event is the last but one and the test event the last, whatever their seconds
    say, so that RecBole's own leave-one-out finds the parts of `split`. Events of one second are
    put in a random order, as RecBole has no other way to treat them.
    """
    parts = [split.train, split.validation, split.test]
    users, items, times = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("users", "items", "timestamps")
    )
    part = np.repeat([0, 1, 2], [len(part) for part in parts])
    chance = np.random.default_rng(0).random(len(users))
    order = np.lexsort((chance, times, part, users))
    events = pd.DataFrame({"user_id:token": users[order], "item_id:token": items[order]})
    events["timestamp:float"] = events.groupby("user_id:token").cumcount()
    (folder / "movielens").mkdir()
    events.to_csv(folder / "movielens" / "movielens.inter", sep="\t", index=False)


def run_recbole(command: list[str], task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The worker's lines, first what it prepared, then its checks. It goes on when asked for more.

    Raises:
        BenchError: the worker ended otherwise than well; with the last lines that it wrote.
    """
    log = Path(task["folder"]) / "worker.log"
    threads = {f"{name}_NUM_THREADS": str(task["threads"]) for name in ("OMP", "MKL", "OPENBLAS")}
    with (
        open(log, "w") as errors,
        subprocess.Popen(
            [*command, json.dumps(task)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | threads,
        ) as worker,
    ):
        try:
            while line := worker.stdout.readline():
                seen = json.loads(line)
                yield seen
                if "scores" in seen:
                    os.write(worker.stdin.fileno(), b"go on\n")
        except GeneratorExit:  # seen enough; end of input tells the worker so
            worker.stdin.close()
            worker.wait()
            raise
        except BrokenPipeError:  # it died while its line was read: its last words follow
            pass
        except BaseException:
            worker.kill()
            raise
    if worker.returncode:
        last = [line for line in log.read_text().splitlines() if line.strip()][-5:]
        raise BenchError("RecBole stopped. Its last lines:\n    " + "\n    ".join(last))


def theirs(
    split: Split,
    python: Path,
    name: str,
    epochs: int,
    threads: int,
    target: float | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One run of RecBole: a row for each check, and what it said of itself.

    It ends after ``epochs``, or at the check that reaches ``target``.
    """
    settings, every = RUNS[name]
    rows, about = [], {}
    with tempfile.TemporaryDirectory() as folder:
        write_atomic(split, Path(folder))
        task = {
            "folder": folder,
            "epochs": epochs,
            "threads": threads,
            "n_users": split.train.n_users,
            "n_items": split.train.n_items,
            "settings": settings,
            "check_every": every,
        }
        command = [str(python), str(HERE / "recbole_worker.py")]
        with closing(run_recbole(command, task)) as lines:  # the worker ends before its folder
            for line in lines:
                if "scores" not in line:
                    about = line
                    check_parts(about.pop("validated"), about["n_examples"], split)
                    continue
                score = ndcg(np.load(line["scores"]), split)
                Path(line["scores"]).unlink()
                rows.append(row(line["epoch"], line["train"], line["evaluate"], score))
                rows[-1]["own_ndcg"] = line["own_ndcg"]
                show(name, rows[-1])
                if target is not None and score >= target:
                    break
    return pd.DataFrame(rows), about


def check_parts(validated: list[list[int]], n_examples: int, split: Split) -> None:
    """RecBole held back the same events, and trains on a prefix for each but a user's first."""
    events = sorted(zip(split.validation.users.tolist(), split.validation.items.tolist()))
    if sorted(zip(*validated)) != events:
        raise BenchError("RecBole validates on other events than ours: the two do not compare.")
    n_users = len(np.unique(split.train.users))
    if n_examples != len(split.train) - n_users:
        raise BenchError(
            f"RecBole trains on {n_examples} examples, expected are {len(split.train) - n_users}."
        )


# ---- ours ----------------------------------------------------------------------------------
class Watched(SASRec):
    """Our model, with a look at the clocks before and after the batches of each epoch."""

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        start = clocks()
        yield from super().batches(epoch)
        self.looks.append((start, clocks()))  # the last step is done when the next batch is due


def clocks() -> np.ndarray:
    """Wall seconds, and processor seconds of all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def ours(split: Split, threads: int, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Our SASRec with its default settings, validated after each epoch: a row for each."""
    torch.set_num_threads(threads)
    model = Watched(seed=seed)
    model.looks = []
    start = clocks()
    model.fit(split.train, validation=split.validation, every=1)
    ends = [begun for begun, _ in model.looks[1:]] + [clocks()]
    rows, train, evaluation = [], np.zeros(2), np.zeros(2)
    for (begun, trained), end, epoch in zip(model.looks, ends, model.history.itertuples()):
        train, evaluation = train + trained - begun, evaluation + end - trained
        rows.append(row(epoch.epoch, train, evaluation, epoch.validation))
    if abs(ndcg(model.score(), split) - model.history["validation"].max()) > 1e-6:
        raise BenchError("our model's history differs from the evaluation of its scores.")
    return pd.DataFrame(rows), {"preparation": (model.looks[0][0] - start).tolist()}


# ---- both ----------------------------------------------------------------------------------
def row(epoch: float, train: Any, evaluation: Any, score: float) -> dict[str, float]:
    """One check: seconds since the start, wall and processor, and the validation nDCG@10."""
    return {
        "epoch": epoch,
        "train_s": train[0],
        "train_cpu_s": train[1],
        "total_s": train[0] + evaluation[0],
        "total_cpu_s": train[1] + evaluation[1],
        "ndcg": score,
    }


def reached(checks: pd.DataFrame, target: float) -> dict[str, float] | None:
    """The first check at which the target is reached; None if it never is."""
    there = checks[checks["ndcg"] >= target]
    return None if there.empty else there.iloc[0].to_dict()


def show(name: str, check: dict[str, float]) -> None:
    print(
        f"  {name}: epoch {check['epoch']:.1f}, {check['train_s']:.1f} s of training, "
        f"nDCG@10 {check['ndcg']:.4f}",
        flush=True,
    )


def summary(curves: dict[str, pd.DataFrame], target: float) -> pd.DataFrame:
    """A row for each contender: its seconds until the target, nan if it never got there."""
    rows = {}
    for name, checks in curves.items():
        first = reached(checks, target) or {}
        rows[name] = {
            "epochs": first.get("epoch", np.nan),
            "training s": first.get("train_s", np.nan),
            "with evaluation s": first.get("total_s", np.nan),
            "training CPU s": first.get("train_cpu_s", np.nan),
            "with evaluation CPU s": first.get("total_cpu_s", np.nan),
            "nDCG@10 there": first.get("ndcg", np.nan),
            "best nDCG@10": checks["ndcg"].max(),
        }
    table = pd.DataFrame(rows).T
    # Ours with its evaluations against their training alone: what is least in our favour.
    table["ours / theirs"] = table.loc["ours", "with evaluation s"] / table["training s"]
    table["ours / theirs, CPU"] = (
        table.loc["ours", "with evaluation CPU s"] / table["training CPU s"]
    )
    table.loc["ours", ["ours / theirs", "ours / theirs, CPU"]] = np.nan
    return table


def processor() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def as_json(value: Any) -> Any:
    """Tables as lists of rows, nan as null: what any reader of JSON takes."""
    if isinstance(value, pd.DataFrame):
        return [as_json(line) for line in value.to_dict("records")]
    if isinstance(value, dict):
        return {key: as_json(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_json(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value


def store(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(as_json(result), indent=1) + "\n")
    unfinished.replace(path)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_sasrec",
        description=__doc__.split("\n\n")[0],
        epilog="See benchmarks/README.md.",
    )
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--epochs", type=int, default=3, help="of RecBole (default: 3)")
    parser.add_argument("--users", type=int, help="a trial run: the first so many users only")
    parser.add_argument("--seed", type=int, default=0, help="of our model (default: 0)")
    parser.add_argument("--output", type=Path, help=f"default: {RESULT.name} in benchmarks/results")
    parser.add_argument(
        "--no-install", action="store_true", help="fail if RecBole's environment is not there"
    )
    options = parser.parse_args(arguments)
    for name in ("threads", "epochs", "users"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} is {value}; it starts at 1")
    return options


def compare(options: argparse.Namespace) -> int:
    """Run all contenders, print the table, store the result; 0 if the bound held."""
    python = python_of(ENVIRONMENT, make=not options.no_install)
    data = load_movielens()
    if options.users:
        data = data.select(data.users < options.users)
    split = leave_last_out(data, seed=0)
    load = [os.getloadavg()[0]]
    print(
        f"{split}, {options.threads} threads, load {load[0]:.1f} on {os.cpu_count()} cores",
        flush=True,
    )
    curves, about = {}, {}
    default, fast = RUNS
    limits = options.epochs, options.threads
    curves[default], about[default] = theirs(split, python, default, *limits)
    target = float(curves[default]["ndcg"].max())
    print(f"  target: nDCG@10 {target:.4f}", flush=True)
    curves["ours"], about["ours"] = ours(split, options.threads, options.seed)
    for check in curves["ours"].iloc[4::5].to_dict("records"):
        show("ours", check)
    curves[fast], about[fast] = theirs(split, python, fast, *limits, target=target)
    load.append(os.getloadavg()[0])

    table = summary(curves, target)
    print(f"\nUntil nDCG@10 {target:.4f} on the {len(split.validation):,} validation events:\n")
    print(table.T.round(4).to_string(na_rep=""))
    ratio, ratio_fast = table.loc[[default, fast], "ours / theirs"]
    print(
        f"\nOurs, evaluations counted, takes {ratio:.4f} of the seconds of RecBole's training "
        f"alone: {1 / ratio:.0f} times as fast. Of {fast}: {ratio_fast:.4f}."
        "\nRecBole's own nDCG@10, seen films left in the ranking: "
        f"{curves[default]['own_ndcg'].round(4).tolist()}. Load at the end: {load[1]:.1f}."
    )
    result = {
        "date": datetime.date.today().isoformat(),
        "data": f"{data.name}, leave last out (seed 0), full ranking of the validation events",
        "n_users": len(split.validation),
        "target_ndcg10": target,
        "ratio": ratio,
        "ratio_cpu": table.loc[default, "ours / theirs, CPU"],
        "ratio_small_batches": ratio_fast,
        "until_target": table.to_dict("index"),
        "threads": options.threads,
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load": load},
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {"numpy": np.__version__},
        "about": about,
        "curves": curves,
    }
    complete = not options.users and options.epochs == 3
    if path := options.output or (RESULT if complete else None):
        store(result, path)
        print(f"Written to {path}.")
    else:
        print("A trial run: nothing was stored.")
    if not options.users:  # a trial proves nothing
        assert ratio <= 1 / MIN_RATIO, (
            f"ours is {1 / ratio:.1f} times as fast, at least {MIN_RATIO:.0f} times is due"
        )
    return 0


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return compare(options)
    except BenchError as error:
        print(f"bench_sasrec: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nbench_sasrec: interrupted; nothing was stored.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # take RecBole down with us
    sys.exit(main())
