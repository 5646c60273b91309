"""The environments of the peers: public libraries that the book's own environment does not have.

Each is made from one requirements file the first time it is needed, and made anew when that file,
the lock, the data or Python changes. An interrupted installation goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = {  # folder -> what is installed in it
    ".venv-bench": "benchmarks/requirements.txt",
    ".venv-bench-recbole": "benchmarks/requirements-recbole.txt",
}
WHEEL = "recbole"  # of requirements/assets.txt: it holds MovieLens, and is a peer itself
EVERY_S = 15  # seconds between two lines of progress


class BenchError(Exception):
    """What is wrong and what to do about it; printed without a traceback."""


def key(folder: str) -> str:
    """Identity of an environment: what it is made from, for which Python and in which place."""
    digest = hashlib.sha256(f"{platform.python_version()} {ROOT} {folder}".encode())
    for name in (REQUIREMENTS[folder], "requirements/lock.txt", "requirements/assets.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def python_of(folder: str, make: bool = True) -> Path:
    """The Python of an environment, which is made first if it is missing or out of date.

    Raises:
        BenchError: it is not there and ``make`` is False, or it could not be made.
    """
    venv, wanted = ROOT / folder, key(folder)
    python, ready, begun = venv / "bin" / "python", venv / ".ready", venv / ".begun"
    if ready.exists() and ready.read_text() == wanted and python.exists():
        return python
    if not make:
        raise BenchError(
            f"{folder} is {'out of date' if ready.exists() else 'not there'}. "
            "Leave out --no-install, and it is made from "
            f"{REQUIREMENTS[folder]}; a package index is needed."
        )
    resumed = begun.exists() and begun.read_text() == wanted and python.exists()
    print(f"{'going on with' if resumed else 'making'} {folder} (once; some minutes)", flush=True)
    if not resumed:
        shutil.rmtree(venv, ignore_errors=True)
        _step("an empty environment", [sys.executable, "-m", "venv", str(venv)])
        (venv / ".gitignore").write_text("*\n")
        begun.write_text(wanted)
    ready.unlink(missing_ok=True)
    assets = (ROOT / "requirements" / "assets.txt").read_text().splitlines()
    wheel = venv / "data.txt"
    wheel.write_text("\n".join(line for line in assets if line.startswith(f"{WHEEL}==")) + "\n")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    only = "--no-deps --require-hashes --only-binary :all: -r".split()
    _step("the data", [*pip, *only, str(wheel)])
    _step(REQUIREMENTS[folder], [*pip, "-r", str(ROOT / REQUIREMENTS[folder])])
    ready.write_text(wanted)  # last: half an environment has no stamp
    return python


def _step(what: str, command: list[str]) -> None:
    """Run one command, with a line of progress now and then."""
    print(f"  {what} ...", flush=True)
    start = shown = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() - shown >= EVERY_S:
                    shown = time.monotonic()
                    print(f"    {shown - start:.0f} s ...", flush=True)
            except BaseException:  # interrupted: the next run goes on from here
                process.terminate()
                raise
    if process.returncode:
        last = "\n    ".join([line for line in output.splitlines() if line.strip()][-5:])
        raise BenchError(
            f"the environment of the benchmarks could not be made: {what} failed. "
            f"Last lines:\n    {last}\n"
            "A package index is needed, and a C compiler where a library has no wheel for this "
            "Python. Mend that, and start again: what is installed already is kept."
        )
