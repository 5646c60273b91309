"""Run the benchmarks: `make bench`, or `python -m benchmarks.run [names]`.

Each `bench_*.py` is a script that prints a table and fails when its bound does not hold. Those in
`PEERS` import libraries that the book's environment does not have: they run in an environment of
their own, which `environments.py` makes the first time. The others run in the environment that
runs this, and may start a peer in another one by themselves, as `bench_sasrec.py` does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import ROOT, BenchError, python_of

HERE = Path(__file__).resolve().parent
PEERS = {"knn_baseline": ".venv-bench"}


def available() -> dict[str, Path]:
    """Name of each benchmark -> its script."""
    return {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}


def run(script: Path, python: Path) -> bool:
    """Run one benchmark, one thread unless it says otherwise; whether its bound held."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUTF8="1")
    for library in ("OMP", "OPENBLAS", "MKL"):
        environment[f"{library}_NUM_THREADS"] = "1"
    return subprocess.run([str(python), str(script)], cwd=ROOT, env=environment).returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 if every bound held, 1 if one did not, 2 for wrong use or no environment."""
    benchmarks = available()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Compare recsys_lab with public libraries, side by side on the same data.",
        epilog=f"There are: {', '.join(benchmarks)}. See benchmarks/README.md.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which to run (default: all)")
    names = parser.parse_args(arguments).names or list(benchmarks)
    if unknown := [name for name in names if name not in benchmarks]:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(benchmarks)}")
        return 2
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        try:
            python = python_of(PEERS[name]) if name in PEERS else Path(sys.executable)
        except BenchError as error:
            print(error, file=sys.stderr)
            return 2
        if not run(benchmarks[name], python):
            failed.append(name)
    print(f"\n{len(names) - len(failed)} of {len(names)} benchmarks held their bounds", flush=True)
    if failed:
        print(f"not held: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
