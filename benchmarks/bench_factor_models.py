"""Our factor models beside the public libraries that a user would pick instead.

    python -m benchmarks.bench_factor_models [--quick | --large] [--only NAME ...]

One pair after the other: a worker in the book's environment and one in the peer's hold the same
split, with the same number of threads, and fit in turn: ours, theirs, ours, theirs, ... Only one of
them works at a time. Both have fitted a tiny set before, so nothing is timed cold. The scores of
both are judged by `recsys_lab.evaluation`. Peak memory is that of processes of their own, one for
each contender, which do just this one job.

Then the same fits over growing sizes, to which exponents are fitted. A bound that does not hold is
printed, and the exit status is 1. About fifteen minutes on two cores; `--large` adds ten for
ML-20M's shape. A complete run is stored in benchmarks/results/factor_models.json; what is done is
kept as it goes, and an interrupted run goes on from there. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data_sets, growth, report
from benchmarks.environments import ROOT, BenchError, python_of
from benchmarks.pairs import PEERS, RECBOLE, Pair, large_pairs, pairs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "factor_models.json"
UNFINISHED = ROOT / ".cache" / "factor_models.json"
OURS = "benchmarks.ours"
ENVIRONMENTS = {PEERS: ".venv-bench", RECBOLE: ".venv-bench-recbole"}
CODE = ["bench_factor_models", "data_sets", "growth", "ours", "pairs", "peers", "peers_recbole"]
CODE = [f"{name}.py" for name in (*CODE, "report", "synthetic", "worker")]
MODELS = "baseline biased_mf svdpp nmf rating_knn slope_one bayesian_mf fm svd knn ease ials"
MODELS = f"{MODELS} least_squares bpr negatives ncf mult_vae autoencoder lightgcn implicit_base"
MODELS = ["training.py", *(f"models/{name}.py" for name in MODELS.split())]  # what is timed
EPOCHS = {"n_epochs": 1, "epochs": 1, "iterations": 1, "burn_in": 0}
EPOCHS |= {"n_iter": 2, "n_kept_samples": 1}  # enough to reach the peak of memory
PAUSE_S = 0.1  # between two fits, for threads that still spin


class Worker:
    """A process in one environment that fits what it is asked to."""

    def __init__(self, module: str, python: Path, folder: Path, threads: int) -> None:
        self.module = module
        self.log = Path(folder) / f"{module}.log"
        limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
        with open(self.log, "a") as errors:
            self.process = subprocess.Popen(
                [str(python), "-m", "benchmarks.worker", module, str(folder)],
                cwd=ROOT,
                env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUTF8="1", **limits),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.versions = self._read()["versions"]

    def ask(self, **task: Any) -> dict[str, Any]:
        """The answer to one task.

        Raises:
            BenchError: the worker says that it failed, or is gone; with its last lines.
        """
        try:
            print(json.dumps(task), file=self.process.stdin, flush=True)
        except OSError:
            pass  # gone: reading says so
        return self._read(task.get("contender", ""))

    def _read(self, contender: str = "") -> dict[str, Any]:
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": "its process ended"}
        if "error" in reply:
            last = "\n    ".join(self.log.read_text().splitlines()[-6:])
            raise BenchError(
                f"{self.module} {contender} failed: {reply['error']}. Last lines:\n    {last}\n"
                "Mend that, and start again: what is done is kept."
            )
        return reply

    def close(self) -> None:
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


class Bench:
    """Workers, data on disk, and the two ways to ask: times in turn, memory alone."""

    def __init__(self, pythons: dict[str, Path], folder: Path, threads: int) -> None:
        self.pythons, self.folder, self.threads = pythons, Path(folder), threads
        self.workers: dict[str, Worker] = {}
        self.parts: dict[str, list[data_sets.Part]] = {}
        self.versions: dict[str, dict[str, str]] = {}

    def worker(self, module: str) -> Worker:
        if module not in self.workers:
            self.workers[module] = Worker(module, self.pythons[module], self.folder, self.threads)
            self.versions[module] = self.workers[module].versions
        return self.workers[module]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers = {}

    def file(self, key: str, part: int = 0) -> str:
        """The file of one split of a set, which is made the first time."""
        path = self.folder / f"{key}-{part}.npz"
        if not path.exists():
            self.set(key)[part].save(path)
        return str(path)

    def set(self, key: str) -> list[data_sets.Part]:
        if key not in self.parts:
            big = [name for name in self.parts if name.startswith(("1m", "20m"))]
            for name in big:  # one large set in memory at a time
                del self.parts[name]
            self.parts[key] = data_sets.SETS[key][1]()
        return self.parts[key]

    def warm_up(self, pair: Pair) -> None:
        """Both fit and score a tiny set: code is loaded, threads are started."""
        kind = pair.data.split("-")[1]
        for module, contender, settings in self.sides(pair):
            worker = self.worker(module)
            worker.ask(do="load", data=self.file(f"tiny-{kind}"))
            short = {name: EPOCHS.get(name, value) for name, value in settings.items()}
            worker.ask(do="fit", contender=contender, settings=short)

    @staticmethod
    def sides(pair: Pair) -> list[tuple[str, str, dict]]:
        return [
            (OURS, pair.ours, pair.ours_settings),
            (pair.module, pair.contender, pair.theirs_settings),
        ]

    def times(self, pair: Pair, data: list[str], scores: bool = True) -> list[list[dict]]:
        """[ours, theirs] for each file of ``data``, the two in turn; a file of scores each."""
        self.warm_up(pair)
        rounds = []
        for number, path in enumerate(data):
            both = []
            for module, _, _ in self.sides(pair):
                self.worker(module).ask(do="load", data=path)
            for side, (module, contender, settings) in enumerate(self.sides(pair)):
                time.sleep(PAUSE_S)
                task = {"do": "fit", "contender": contender, "settings": settings}
                if scores:
                    task["scores"] = str(self.folder / f"scores-{number}-{side}.npy")
                both.append(self.worker(module).ask(**task) | {"scores": task.get("scores")})
            rounds.append(both)
        return rounds

    def memory(self, pair: Pair) -> list[dict[str, float]]:
        """[ours, theirs]: megabytes held after the imports, with the data, and at the peak."""
        found = []
        for module, contender, settings in self.sides(pair):
            worker = Worker(module, self.pythons[module], self.folder, self.threads)
            try:
                short = {name: EPOCHS.get(name, value) for name, value in settings.items()}
                tiny = self.file(f"tiny-{pair.data.split('-')[1]}")
                worker.ask(do="load", data=tiny)
                worker.ask(do="fit", contender=contender, settings=short)
                task = {"data": self.file(pair.data), "contender": contender, "settings": short}
                found.append(worker.ask(do="memory", **task))
            finally:
                worker.close()
        return found

    def row(self, pair: Pair, repeats: int) -> dict[str, Any]:
        """Everything that is measured of one pair."""
        parts = self.set(pair.data)
        chosen = [number % len(parts) for number in range(repeats)]
        load = os.getloadavg()[0]
        rounds = self.times(pair, [self.file(pair.data, number) for number in chosen])
        quality = [[], []]
        for number, both in zip(chosen, rounds):
            for side, reply in enumerate(both):
                scores = np.load(reply["scores"])
                quality[side].append((number, parts[number].quality(scores)))
                Path(reply["scores"]).unlink()
        train = parts[0].split.train
        return {
            "name": pair.name,
            "data": data_sets.SETS[pair.data][0],
            "pair": pair.as_dict(),
            "metric": "nDCG@10" if parts[0].kind == "clicks" else "RMSE",
            "n_users": train.n_users,
            "n_items": train.n_items,
            "n_train": len(train),
            "fit_s": [[both[side]["fit_s"][0] for both in rounds] for side in (0, 1)],
            "fit_cpu_s": [[both[side]["fit_s"][1] for both in rounds] for side in (0, 1)],
            "score_s": [[both[side]["score_s"][0] for both in rounds] for side in (0, 1)],
            "quality": report.quality(*quality, parts[0].kind),
            "memory": self.memory(pair),
            "load": load,
            "at": datetime.datetime.now().isoformat(timespec="seconds"),
        }

    def growth(self, sweep: growth.Sweep, repeats: int) -> dict[str, Any]:
        """Seconds of both over the sizes of a sweep: lists [ours, theirs] of lists by size."""
        seconds = [[], []]
        for number, size in enumerate(sweep.sizes):
            path = self.folder / f"growth-{number}.npz"
            sweep.data(size).save(path)
            rounds = self.times(sweep.pair(size), [str(path)] * repeats, scores=False)
            path.unlink()
            for side in (0, 1):
                seconds[side].append([both[side]["fit_s"][0] for both in rounds])
        return {
            "name": sweep.name,
            "what": sweep.what,
            "sizes": list(sweep.sizes),
            "seconds": seconds,
            "theirs": sweep.pair(sweep.sizes[0]).theirs,
            "exponents": [growth.exponent(sweep.sizes, side) for side in seconds],
        }


# ---- running -------------------------------------------------------------------------------
def code_key(options: argparse.Namespace) -> str:
    """What a kept part of a run must share with this one: the code, and the size of the run."""
    size = f"{options.threads} {options.quick} {options.repeats} {models_key()}"
    digest = hashlib.sha256(size.encode())
    for file in [HERE / name for name in CODE] + sorted(HERE.glob("requirements*.txt")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def models_key() -> str:
    """Hash of the code that the stored seconds are about, comments and docstrings left out."""
    digest = hashlib.sha256()
    for name in MODELS:
        tree = ast.parse((ROOT / "recsys_lab" / name).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                if ast.get_docstring(node, clean=False) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


def keep(state: dict[str, Any]) -> None:
    """Write what is done, complete or not at all."""
    UNFINISHED.parent.mkdir(exist_ok=True)
    report.store(state, UNFINISHED)


def kept(options: argparse.Namespace) -> dict[str, Any]:
    """What an interrupted run of the same kind left behind, else nothing."""
    empty = {"key": code_key(options), "load": []}
    empty |= {"rows": {}, "growth": {}, "floors": {}, "versions": {}, "seconds": 0.0}
    try:
        state = json.loads(UNFINISHED.read_text())
    except (OSError, ValueError):
        return empty
    return state if state.get("key") == empty["key"] and not options.fresh else empty


def step(state: dict, kind: str, name: str, work: Callable[[], dict], say: Callable) -> None:
    """Do one part of the run, unless it is there; keep it, and say what was found."""
    if name not in state[kind]:
        start = time.perf_counter()
        # Through JSON and back, so that a resumed run holds what an unbroken one does.
        state[kind][name] = json.loads(json.dumps(report.as_json(work())))
        state["seconds"] = state["seconds"] + time.perf_counter() - start
        keep(state)
    print(say(state[kind][name]), flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_factor_models",
        description=__doc__.split("\n\n")[0],
        epilog="See benchmarks/README.md.",
    )
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--quick", action="store_true", help="a trial: ML-100K, one fit each")
    parser.add_argument("--large", action="store_true", help="ML-20M's shape too (10 min, 8 GB)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="a trial with these models only")
    parser.add_argument("--repeats", type=int, help="a trial: so many fits of everybody")
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    parser.add_argument("--output", type=Path, help=f"default: {RESULT.name} in benchmarks/results")
    parser.add_argument(
        "--no-install", action="store_true", help="fail if the peers' environments are not there"
    )
    options = parser.parse_args(arguments)
    for name in ("threads", "repeats"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} is {value}; it starts at 1")
    known = {pair.name for pair in pairs()}
    if unknown := sorted(set(options.only or []) - known):
        parser.error(f"no model {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return options


def chosen(options: argparse.Namespace) -> tuple[list[Pair], list[growth.Sweep]]:
    """The pairs and sweeps of this run."""
    rows, sweeps = pairs(), growth.sweeps()
    if options.quick:
        rows, sweeps = [pair for pair in rows if pair.data.startswith("100k")], []
    if options.large:
        rows += large_pairs()
    if options.only:
        rows, sweeps = [pair for pair in rows if pair.name in options.only], []
    return rows, sweeps


def compare(options: argparse.Namespace) -> int:
    """Run, print, store; 0 if every bound held, else 1."""
    rows, sweeps = chosen(options)
    needed = {pair.module for pair in rows} | ({PEERS, RECBOLE} if sweeps else set())
    pythons = {OURS: Path(sys.executable)}
    for module in sorted(needed):
        pythons[module] = python_of(ENVIRONMENTS[module], make=not options.no_install)
    complete = not (options.quick or options.only or options.repeats)
    state = kept(options)
    state["load"].append(os.getloadavg()[0])
    if state["rows"]:
        print(f"going on with an interrupted run: {len(state['rows'])} pairs are done", flush=True)
    print(f"{options.threads} threads, load {state['load'][-1]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(pythons, Path(folder), options.threads)
        try:
            for pair in rows:
                repeats = 1 if options.quick else options.repeats or pair.repeats
                step(state, "rows", pair.key, partial(bench.row, pair, repeats), report.line)
                if pair.data not in state["floors"]:
                    state["floors"][pair.data] = data_sets.floors(bench.set(pair.data)[0])
            for sweep in sweeps:
                repeats = options.repeats or sweep.repeats
                work = partial(bench.growth, sweep, repeats)
                step(state, "growth", sweep.name, work, growth.line)
        finally:
            state["versions"] |= bench.versions
            keep(state)
            bench.close()
    state["load"].append(os.getloadavg()[0])
    result = {
        "date": datetime.date.today().isoformat(),
        "threads": options.threads,
        "seconds": state["seconds"],
        "machine": {"processor": report.processor(), "cores": os.cpu_count(), "load": state["load"]}
        | {"system": platform.system()},
        "versions": state["versions"],
        "models_key": models_key(),
        "floors": state["floors"],
        "rows": [state["rows"][pair.key] for pair in rows],
        "growth": [state["growth"][sweep.name] for sweep in sweeps],
    }
    print("\n" + report.table(result["rows"]).to_string())
    broken = report.broken_bounds(result["rows"])
    if options.output or complete:
        report.store(result, options.output or RESULT)
        UNFINISHED.unlink(missing_ok=True)
        print(f"\nWritten to {options.output or RESULT}.")
    else:
        print("\nA trial run: nothing was stored.")
    for sentence in broken:
        print(f"bound not held: {sentence}", file=sys.stderr)
    return 1 if broken and complete else 0  # a trial proves nothing


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return compare(options)
    except BenchError as error:
        print(f"bench_factor_models: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nbench_factor_models: interrupted; start again to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # take the workers down with us
    sys.exit(main())
