"""One environment's half of a comparison: fits what it is told to, with a stopwatch in hand.

    python -m benchmarks.worker MODULE FOLDER

Started by `bench_factor_models.py` in the environment of one contender, with the number of threads
in the environment's variables. MODULE (`benchmarks.ours`, `benchmarks.peers`,
`benchmarks.peers_recbole`) names the contenders; FOLDER is where it may write. It reads a task a
line from standard input and answers with a line of JSON:

    {"do": "load", "data": "ml-100k.npz"}       read a data set; nothing of it is timed
    {"do": "fit", "contender": ..., "settings": {...}, "scores": "file.npy"}
    {"do": "memory", "data": ..., "contender": ..., "settings": {...}}

Reading the data, importing libraries, building the input that a library wants, and writing scores
are never timed. Only numpy is needed here, so it runs in any environment.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import platform
import resource
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def load(path: str) -> SimpleNamespace:
    """A data set as `data_sets.save` wrote it: arrays, and two counts."""
    with np.load(path) as file:
        data = SimpleNamespace(**{name: file[name] for name in file.files})
    data.n_users, data.n_items = (int(n) for n in data.shape)
    return data


def memory() -> tuple[float, float]:
    """Memory that this process holds now, and the most that it held, in MB (a million bytes)."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        if "VmHWM" in lines:
            return tuple(int(lines[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
    # Elsewhere the peak is all there is: what was held before a fit counts as its base.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return peak, peak


def forget_peak() -> None:
    """Let the peak start anew at what is held now; where that is impossible, it stays."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what the warm-up freed goes back to the system
    except (AttributeError, OSError, TypeError):
        pass
    try:
        CLEAR.write_text("5")
    except OSError:
        pass


def timed(function, *arguments):
    """What ``function`` returns; wall seconds, and seconds of processor of all threads."""
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    value = function(*arguments)
    return value, [time.perf_counter() - wall, time.process_time() - processor]


def answer(task: dict, contenders, data: SimpleNamespace | None) -> tuple[dict, SimpleNamespace]:
    """Do one task; its answer and the data that the next one finds."""
    if task["do"] == "load":
        data = load(task["data"])
        return {"n": len(data.users)}, data
    contender, settings = task["contender"], dict(task["settings"])
    if task["do"] == "memory":  # of the whole job: data, the library's form of it, and the fit
        forget_peak()
        imports_mb, _ = memory()
        job = load(task["data"])
        fit, _ = contenders.prepare(job, contender, settings)
        del job.users, job.items, job.ratings  # the library has them in its own form now
        forget_peak()
        ready_mb, _ = memory()
        model = fit()
        _, peak_mb = memory()
        del model
        return {"imports_mb": imports_mb, "ready_mb": ready_mb, "peak_mb": peak_mb}, data
    fit, score = contenders.prepare(data, contender, settings)
    model, fit_s = timed(fit)
    scores, score_s = timed(score, model)
    if task.get("scores"):
        np.save(task["scores"], np.asarray(scores, dtype=np.float32))
    return {"fit_s": fit_s, "score_s": score_s}, data


def main() -> None:
    module, folder = sys.argv[1:3]
    del sys.argv[1:]  # RecBole reads the command line when it is imported
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to the log
    os.environ["RECSYS_LAB_DEVICE"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TQDM_DISABLE"] = "1"
    os.chdir(folder)  # RecBole writes logs where it runs

    def tell(line: dict) -> None:
        print(json.dumps(line), file=channel, flush=True)

    contenders = importlib.import_module(module)
    tell({"versions": {"python": platform.python_version()} | contenders.versions()})
    data = None
    for line in sys.stdin:
        try:
            reply, data = answer(json.loads(line), contenders, data)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        tell(reply)


if __name__ == "__main__":
    main()
