"""What the endpoint serves: a model as a function of users and k; and a server for a page.

Derived in chapters/7_limitations/3_wider.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from recsys_lab.data import load_movielens

IALS_SETTINGS = {"n_factors": 64, "alpha0": 0.43, "l2": 0.014}  # section 4.5
EASE_L2 = 400.0  # section 3.5
N_HISTORY = 8  # films that MiniLM reads


class Ranker:
    """A model that answers: (users, k) -> the k best unseen items of each.

    Args:
        name: "popularity", "EASE", "iALS", or "MiniLM", which reads the titles of each user's last
            films at the moment of the request.
        pause: seconds that each call sleeps besides, as if the model stood on another machine.
    """

    def __init__(self, name: str = "EASE", pause: float = 0.0):
        if name not in MODELS or not pause >= 0:
            raise ValueError(
                f"{name!r} with pause {pause}: choose {', '.join(MODELS)} and 0 or more"
            )
        self.data, self.pause = load_movielens(), pause
        seen = self.data.matrix()
        self.seen = [seen[user].indices for user in range(self.data.n_users)]
        self.score = MODELS[name](self)

    def __call__(self, users: Sequence[int], k: int) -> list[list[int]]:
        time.sleep(self.pause)
        lists = []
        for user, scores in zip(users, self.score(np.asarray(users))):
            scores = np.array(scores)  # the model may want to keep its own
            scores[self.seen[user]] = -np.inf
            head = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
            head = head[np.argsort(-scores[head], kind="stable")]
            lists.append(head[scores[head] > -np.inf].tolist())
        return lists


def _popularity(ranker: Ranker) -> Callable:
    counts = ranker.data.counts("items").astype(np.float32)
    return lambda users: np.broadcast_to(counts, (len(users), len(counts)))


def _ease(ranker: Ranker) -> Callable:
    from recsys_lab.models import EASE

    weights = EASE(EASE_L2).fit(ranker.data).weights
    return lambda users: [weights[ranker.seen[user]].sum(0) for user in users]


def _ials(ranker: Ranker) -> Callable:
    from recsys_lab.models import IALS

    return IALS(**IALS_SETTINGS).fit(ranker.data).score


def _minilm(ranker: Ranker) -> Callable:
    from recsys_lab.language import Encoder
    from recsys_lab.language.texts import item_texts, liked_items

    encoder, titles = Encoder(), item_texts(ranker.data, ("title",))
    films = encoder.encode(titles)  # (n_items, 384), made ahead of time

    def score(users: np.ndarray) -> np.ndarray:
        last = [liked_items(ranker.data, int(user), N_HISTORY) for user in users]
        rows = encoder.compute([titles[item] for items in last for item in items])
        cuts = np.cumsum([len(items) for items in last])[:-1]
        return np.array([part.sum(0) for part in np.split(rows, cuts)]) @ films.T

    return score


MODELS = {"popularity": _popularity, "EASE": _ease, "iALS": _ials, "MiniLM": _minilm}


_here: Ranker | None = None  # of a worker process


def load_worker(name: str, pause: float, parent: int) -> None:
    """Make the model of a worker process, which ends with the server, however that ends."""
    global _here

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server says when to stop
    one_thread()
    _here = Ranker(name, pause)


def answer_worker(users: Sequence[int], k: int) -> list[list[int]]:
    """Answer in a worker process."""
    assert _here is not None
    return _here(users, k)


def one_thread() -> None:
    """One thread for torch: requests are what runs side by side."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def serving(*options: str, patience: float = 120) -> Iterator[str]:
    """The address of a server in a process of its own, which is stopped at the end.

    Args:
        options: of `python -m recsys_lab.limits.server`, such as "--model", "iALS".
        patience: seconds to wait for its start.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    command = [sys.executable, "-m", "recsys_lab.limits.server", "--port", "0", *options]
    alone = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    said = tempfile.TemporaryFile("w+")  # a pipe that nobody reads fills up, and then all stands
    pipes = {"stdout": subprocess.PIPE, "stderr": said, "text": True}
    process = subprocess.Popen(command, env=os.environ | alone, **pipes)
    stop = threading.Timer(patience, process.kill)
    stop.start()
    try:
        line = process.stdout.readline()
        stop.cancel()
        if not line.startswith("{"):
            process.kill()
            process.wait()
            said.seek(0)
            raise RuntimeError(f"the server did not start: {said.read()[-500:]}")
        yield json.loads(line)["url"]
    finally:
        stop.cancel()
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        said.close()
