"""Data-parallel training: several processes, each with a part of every batch, and one model.

    torchrun --standalone --nproc-per-node 2 -m recsys_lab.limits.parallel --out runs/two
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \\
        --max-restarts 3 -m recsys_lab.limits.parallel --out /a/folder/that/all/see

What a step does follows from the seed, the step and the users in it, not from the number of
processes. So the loss curve is the same for one process and for many, and a run that was killed
goes on from its checkpoint, in another number of processes if need be. On CPUs, by gloo.
Derived in chapters/7_limitations/3_wider.
"""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from recsys_lab.data import Split, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate
from recsys_lab.limits.checkpoints import resume, save
from recsys_lab.limits.processes import gathered, join, me, ring_all_reduce, shard
from recsys_lab.models.autoencoder import Autoencoder

SYNCS = ("ddp", "ring", "mean")  # torch's; ours; and the mistake, a mean of the shards' means


@dataclass(frozen=True)
class Settings:
    """What decides the weights: section 4.5's autoencoder as it was tuned there.

    Args:
        width: of the hidden layer.
        batch: users in a step, of all processes together.
        users: train on the first so many only; 0 for all.
        seed: of split, first weights, order and dropout.
    """

    width: int = 128
    batch: int = 128
    lr: float = 0.0049
    l2: float = 1.7
    dropout: float = 0.5
    users: int = 0
    seed: int = 0
    sync: str = "ddp"


class ClickLoss(nn.Module):
    """The network and its loss in one ``forward``, which is what DDP watches."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, rows: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Cross-entropy in nats, the sum over all clicks of ``rows`` (n_users, n_items)."""
        logits = self.network(functional.normalize(rows) * kept)
        return -(functional.log_softmax(logits, dim=1) * rows).sum()


class Batches:
    """Which users a step holds, and which of their clicks are hidden: from the seed alone."""

    def __init__(self, split: Split, settings: Settings):
        self.settings, self.matrix = settings, split.train.matrix().astype(np.float32)
        self.n_users = settings.users or split.train.n_users
        self.n_clicks = np.diff(self.matrix.indptr)

    def users(self, step: int) -> np.ndarray:
        """The users of the whole batch; the last batch of an epoch may be smaller."""
        size = self.settings.batch
        epoch, place = divmod(step, -(-self.n_users // size))
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(self.n_users)
        return order[place * size : (place + 1) * size]

    def draw(self, users: np.ndarray, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of ones, and what dropout makes of each one; every user has draws of its own."""
        rows, share = self.matrix[users].toarray(), self.settings.dropout
        kept = np.zeros_like(rows)
        for row, user in enumerate(users):
            rng = np.random.default_rng([self.settings.seed, step, user])
            clicks = rows[row].nonzero()[0]
            kept[row, clicks] = (rng.random(len(clicks)) >= share) / (1 - share)
        return torch.from_numpy(rows), torch.from_numpy(kept)


def train(
    settings: Settings, out: Path, steps: int = 96, every: int = 8, kill_at: int = -1
) -> dict[str, Any]:
    """Train, alone or as one of torchrun's processes; rank 0 writes the checkpoint.

    Args:
        out: folder of ``checkpoint.pt``, from which a run that was stopped goes on.
        steps: in all, those of a resumed run included.
        every: a checkpoint is written after so many steps, and after the last.
        kill_at: the last process kills itself before this step, once, to try the resume.

    Returns:
        losses (nats a click, one a step), seconds of each step of this start, waits (the part of
        them in our ring), resumed (the step at which this start began), shards (sum of nDCG@10
        and number of users, of each process).

    Raises:
        ValueError: a batch that the processes cannot share equally, an unknown sync, or a
            checkpoint of other settings.
    """
    rank, world = me()
    if settings.batch % world or settings.sync not in SYNCS:
        raise ValueError(
            f"batch {settings.batch} for {world} processes, sync {settings.sync!r}: choose a "
            f"multiple of {world}, and one of {SYNCS}."
        )
    split = holdout_per_user(load_movielens(), 0.25, seed=settings.seed)
    batches = Batches(split, settings)
    torch.manual_seed(settings.seed)  # the same first weights in all processes
    model = ClickLoss(Autoencoder(n_factors=settings.width, dropout=0).build(split.train))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.l2)
    losses = resume(out / "checkpoint.pt", asdict(settings), model, optimizer)
    library = world > 1 and settings.sync != "ring"
    watched = DistributedDataParallel(model) if library else model
    resumed, seconds, waits = len(losses), [], []
    for step in range(resumed, steps):
        first_start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if step == kill_at and rank == world - 1 and first_start:
            os.kill(os.getpid(), signal.SIGKILL)
        start, users = time.perf_counter(), batches.users(step)
        mine, total = shard(users, rank, world), batches.n_clicks[users].sum()
        optimizer.zero_grad()
        loss = watched(*batches.draw(mine, step))  # the sum over the clicks of this shard
        if settings.sync == "mean":
            (loss / max(batches.n_clicks[mine].sum(), 1)).backward()
        else:  # over the clicks of the batch; DDP will divide by world, so multiply by it
            (loss * (world if library else 1) / total).backward()
        waits.append(0.0 if library or world == 1 else exchange(model))
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(sum(one for (one,) in gathered([loss.item()])) / float(total))
        if rank == 0 and ((step + 1) % every == 0 or step + 1 == steps):
            save(out / "checkpoint.pt", asdict(settings), model, optimizer, losses)
    result = {"settings": asdict(settings), "world": world, "resumed": resumed, "losses": losses}
    result |= {"seconds": seconds, "waits": waits}
    everyone = np.arange(batches.n_users)
    return result | {"shards": graded(model.network, split, shard(everyone, rank, world))}


def exchange(model: nn.Module) -> float:
    """Add up all processes' gradients by our own ring; the seconds that it took."""
    start = time.perf_counter()
    slopes = [parameter.grad for parameter in model.parameters()]
    whole = ring_all_reduce(torch.cat([slope.flatten() for slope in slopes]))
    for slope, part in zip(slopes, whole.split([slope.numel() for slope in slopes])):
        slope.copy_(part.view_as(slope))
    return time.perf_counter() - start


def graded(network: nn.Module, split: Split, users: np.ndarray) -> list[list[float]]:
    """Sum of nDCG@10 and number of users of each process's shard, which add up exactly.

    In float64: a score that is rounded otherwise in a smaller block would turn a tie.
    """

    class Scorer:
        def score(self, rows: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(split.train.matrix()[rows].toarray().astype(float))
            with torch.inference_mode():
                return network(functional.normalize(given)).numpy()

    network = network.double().eval()
    ndcg = evaluate(Scorer(), split, users=users, metrics=["ndcg"])["ndcg"].to_numpy()
    return gathered([ndcg.sum(), len(ndcg)])


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 and one line for what the caller can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m recsys_lab.limits.parallel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and result")
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--every", type=int, default=8, help="steps between checkpoints")
    parser.add_argument("--kill-at", type=int, default=-1, help="a process dies here, as a trial")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    for field in fields(Settings):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args(arguments))
    out, threads = options.pop("out"), options.pop("threads")
    how = {name: options.pop(name) for name in ("steps", "every", "kill_at")}
    torch.set_num_threads(threads)
    try:
        join()
        result = train(Settings(**options), out, **how)
    except (ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    if me()[0] == 0:
        (out / "result.part").write_text(json.dumps(result))
        os.replace(out / "result.part", out / "result.json")
    if me()[1] > 1:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
