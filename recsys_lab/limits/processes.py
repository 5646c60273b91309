"""Several processes that work on one thing: who has which rows, how they meet, how they add up.

Derived in chapters/7_limitations/3_wider.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def shard(rows: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Every ``world``-th row, from ``rank`` on: the shards share no row and leave none out."""
    return rows[rank::world]


def join(patience: float = 60) -> None:
    """Meet the other processes that torchrun has started; without torchrun nothing happens.

    torchrun's store outlives a restart and still holds the addresses of the dead (seen with torch
    2.13), so every start writes under a name of its own.

    Args:
        patience: seconds to wait for the others, here and in every exchange.

    Raises:
        ImportError: this build of torch cannot do it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if not dist.is_available():
        raise ImportError(
            "This torch was built without torch.distributed: install an ordinary build, or run "
            "one process, without torchrun."
        )
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store, rank, world = next(dist.rendezvous("env://"))
    store, limit = dist.PrefixStore(f"start {start}", store), timedelta(seconds=patience)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=limit)


def me() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are: (0, 1) for one alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def ring_all_reduce(vector: torch.Tensor) -> torch.Tensor:
    """The sum of all processes' vectors, in place, in every process (Patarasuk and Yuan 2009).

    The vector is cut into as many parts as there are processes. For n - 1 hops parts are handed on
    and added up, for n - 1 more the sums are handed on: each process sends 2 (n - 1) / n of the
    vector, whatever n is.
    """
    rank, world = me()
    parts = vector.tensor_split(world)  # views
    for hop in range(2 * (world - 1)):
        sent, taken = parts[(rank - hop) % world], parts[(rank - hop - 1) % world]
        arrived = torch.empty_like(taken)
        sending = dist.isend(sent, (rank + 1) % world)
        dist.irecv(arrived, (rank - 1) % world).wait()
        sending.wait()
        taken.copy_(taken + arrived if hop < world - 1 else arrived)
    return vector


def gathered(numbers: Sequence[float]) -> list[list[float]]:
    """What each process says, in the order of their numbers, as float64."""
    mine = torch.tensor(numbers, dtype=torch.float64)
    everyone = [torch.empty_like(mine) for _ in range(me()[1])]
    if len(everyone) == 1:
        return [mine.tolist()]
    dist.all_gather(everyone, mine)
    return [one.tolist() for one in everyone]


def launch(
    n: int, module: str, *options: str, restarts: int = 0, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a module in ``n`` processes of one thread each, by torchrun on a free port, and wait.

    Args:
        restarts: how often all are started again after one has died.
        timeout: in seconds.

    Raises:
        subprocess.TimeoutExpired: it took longer; the processes are stopped first.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += [f"--nproc-per-node={n}", f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    torchrun += ["--local-addr=localhost", "--shutdown-timeout=5", "-m", module]
    process = subprocess.Popen(
        [*torchrun, *options],
        env=os.environ | dict.fromkeys(THREADS, "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.communicate(timeout=timeout)
    except BaseException:
        process.terminate()  # torchrun hands it on to its processes
        process.communicate(timeout=30)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, *said)
