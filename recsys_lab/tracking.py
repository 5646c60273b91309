"""Logs of a training run that TensorBoard shows, written beside `training.train`, not inside it.

Used in chapters/5_llm_finetuning/8_from_feedback.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

COLUMNS = ["name", "step", "value", "wall_time"]
EPOCH = "epoch"  # logged at the first step of each, so that a resumed run finds its place


class Tracker:
    """Wraps the callables of `training.train`, and writes what passes through them to a folder.

        with Tracker("logs/run 1") as log:
            train(model, log.batches(batches), log.loss(loss), validate=log.validate(validate), ...)

    Logged are "loss" after each step, "validation" after each epoch that is validated, "epoch", and
    whatever `scalars` is called with. A step is a batch, counted from 1 over all epochs. A run that
    is resumed from a checkpoint goes on at the step of that checkpoint; what an interrupted run had
    written after it is dropped by every reader. An older run in the folder is replaced so as well.

    Args:
        folder: one for each run; it is made with the first batch.
        every: write the loss of each so many steps.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path, every: int = 1):
        if every < 1:
            raise ValueError(f"every is {every}: it starts at 1.")
        _writer_class()
        self.folder, self.every = Path(folder), every
        self.step = 0  # batches so far
        self._writer: Any = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def batches(self, batches: Callable[[int], Iterable[Any]]) -> Callable[[int], Iterator[Any]]:
        """The same batches, counted."""

        def counted(epoch: int) -> Iterator[Any]:
            if self._writer is None:
                self._open(epoch)
            self._writer.add_scalar(EPOCH, epoch + 1, self.step + 1)
            for batch in batches(epoch):
                self.step += 1
                yield batch
            self._writer.flush()

        return counted

    def loss(self, loss: Callable[[Any], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
        """The same loss, written down."""

        def written(batch: Any) -> torch.Tensor:
            value = loss(batch)
            if self.step % self.every == 0:
                self.scalars(loss=value.item())
            return value

        return written

    def validate(self, validate: Callable[[], float]) -> Callable[[], float]:
        """The same validation, written down."""

        def written() -> float:
            value = float(validate())
            self.scalars(validation=value)
            self._writer.flush()
            return value

        return written

    def scalars(self, **values: float) -> None:
        """Write named numbers at the present step; for use within a loss or a validation."""
        if self._writer is None:
            raise RuntimeError("nothing is open yet: pass the batches through Tracker.batches.")
        for name, value in values.items():
            self._writer.add_scalar(name, value, self.step)

    def _open(self, epoch: int) -> None:
        """Go on where this epoch began; whatever is logged from that step on is dropped."""
        earlier = read(self.folder) if _files(self.folder) else pd.DataFrame(columns=COLUMNS)
        begun = earlier[(earlier["name"] == EPOCH) & (earlier["value"] == epoch + 1)]
        if epoch and begun.empty:
            raise ValueError(
                f"the run goes on at epoch {epoch + 1}, which {self.folder} has no trace of: "
                f"use the folder of the interrupted run, or delete the checkpoint."
            )
        self.step = int(begun["step"].iloc[-1]) - 1 if epoch else 0
        purge = self.step + 1 if len(earlier) else None
        # Readers take the files in the order of their names, which tell the second.
        while any(f".{int(time.time())}." in file.name for file in _files(self.folder)):
            time.sleep(0.05)
        self._writer = _writer_class()(str(self.folder), purge_step=purge)


def read(folder: str | Path) -> pd.DataFrame:
    """All numbers in a folder of logs: name, step, value, wall_time (seconds since 1970).

    Raises:
        ImportError: tensorboard is not installed.
        FileNotFoundError: no logs there.
    """
    _writer_class()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not _files(folder):
        raise FileNotFoundError(f"{folder} holds no logs of a run.")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of steps that it drops
    log = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()  # 0: keep all
    rows = [
        (n, e.step, e.value, e.wall_time) for n in log.Tags()["scalars"] for e in log.Scalars(n)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _files(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob("*tfevents*"))


def _writer_class() -> Any:
    try:
        import tensorboard  # noqa: F401  torch's own import says less when it is missing
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            "tensorboard is not installed. Install it: pip install tensorboard"
        ) from None
    return SummaryWriter
