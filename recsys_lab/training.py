"""One training loop for the torch models of the course: progress, validation, stopping, resume."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

COLUMNS = ["epoch", "loss", "validation", "seconds"]


def train(
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    loss: Callable[[Any], torch.Tensor],
    *,
    n_epochs: int,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    lr_decay: bool = False,
    validate: Callable[[], float] | None = None,
    every: int = 1,
    patience: int | None = None,
    clip: float | None = None,
    checkpoint: str | Path | None = None,
    name: str = "training",
) -> pd.DataFrame:
    """Train ``model`` with AdamW, and return one row an epoch: loss, validation, seconds.

    Used from chapters/3_transformer_layer on.

    Args:
        model: what to train, in place; left in evaluation mode.
        batches: the batches of an epoch (0, 1, ...). Draw them from a generator seeded by the
            epoch, so that a resumed run sees the same ones.
        loss: the mean loss of a batch, a scalar.
        n_epochs: epochs in all, those of a resumed run included.
        lr, weight_decay: of AdamW.
        lr_decay: let the learning rate fall in a straight line, epoch by epoch, to zero after
            ``n_epochs``. Small last steps end the wandering that large ones leave.
        validate: called in evaluation mode; higher is better. The best weights are put back at
            the end.
        every: validate after every so many epochs, and after the last one.
        patience: stop after so many validations in a row without a new best; None never stops.
        clip: largest norm of the gradient; None leaves it alone.
        checkpoint: a file that is written after each validated epoch (each epoch, if nothing is
            validated), and read if it is there; a resumed run keeps the checkpoint's ``lr``.
        name: what the progress bar says. ``TQDM_DISABLE=1`` hides the bar.

    ``seconds`` is wall time of training since the start, without validation; ``validation`` is
    nan where nothing was validated.

    Raises:
        ValueError: ``every`` or ``n_epochs`` below 1, ``patience`` without ``validate``, or a
            checkpoint of another model.
        FloatingPointError: the loss or the validation is no longer a number.
    """
    if n_epochs < 1 or every < 1:
        raise ValueError(f"n_epochs is {n_epochs}, every is {every}: both start at 1.")
    if patience is not None and validate is None:
        raise ValueError("patience needs validate: without it nothing says when to stop.")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    state = _resume(checkpoint, model, optimizer) or {"rows": [], "best": None}
    rows = state["rows"]
    seconds = rows[-1]["seconds"] if rows else 0.0
    epochs = tqdm(
        range(len(rows), n_epochs),
        initial=len(rows),
        total=n_epochs,
        desc=name,
        unit="epoch",
        leave=False,
        disable=bool(os.environ.get("TQDM_DISABLE")),  # the notebook's bar does not ask
    )
    for epoch in epochs:
        if _is_over(rows, patience):
            break
        if lr_decay:
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - epoch / n_epochs)
        start = time.perf_counter()
        mean_loss = _one_epoch(
            model, batches(epoch), loss, optimizer, clip, f"{name}, epoch {epoch + 1}"
        )
        seconds += time.perf_counter() - start
        due = (epoch + 1) % every == 0 or epoch + 1 == n_epochs
        score = float("nan")
        if validate is not None and due:
            model.eval()
            score = float(validate())
            if math.isnan(score):
                raise FloatingPointError(f"{name}, epoch {epoch + 1}: validation is not a number.")
            if state["best"] is None or score > _best(rows):
                state["best"] = copy.deepcopy(model.state_dict())
        rows.append(
            {"epoch": epoch + 1, "loss": mean_loss, "validation": score, "seconds": seconds}
        )
        epochs.set_postfix(loss=f"{mean_loss:.3f}", best=f"{_best(rows):.4f}", refresh=False)
        if checkpoint is not None and due:
            _save(checkpoint, state, model, optimizer)
    if state["best"] is not None:
        model.load_state_dict(state["best"])
    model.eval()
    return pd.DataFrame(rows, columns=COLUMNS)


def _one_epoch(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[Any], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    clip: float | None,
    where: str,
) -> float:
    """The mean of the batches' losses."""
    model.train()
    total, n_batches = 0.0, 0
    for batch in batches:
        value = loss(batch)
        if not torch.isfinite(value):
            raise FloatingPointError(f"{where}: the loss is {value.item()}; try a smaller lr.")
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        total += value.item()
        n_batches += 1
    if not n_batches:
        raise ValueError(f"{where}: there is no batch to train on.")
    return total / n_batches


def _best(rows: list[dict[str, float]]) -> float:
    """The best validation so far; -inf before the first."""
    scores = [row["validation"] for row in rows if row["validation"] == row["validation"]]
    return max(scores, default=float("-inf"))


def _is_over(rows: list[dict[str, float]], patience: int | None) -> bool:
    scores = [row["validation"] for row in rows if row["validation"] == row["validation"]]
    if patience is None or not scores:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= patience


def _save(
    path: str | Path, state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    now = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),  # of dropout
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(state | now, unfinished)
    os.replace(unfinished, path)  # complete or absent, never half a file


def _resume(
    path: str | Path | None, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    if path is None or not Path(path).exists():
        return None
    where = next(model.parameters()).device
    try:
        saved = torch.load(path, weights_only=True, map_location=where)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    except Exception as error:  # torch raises half a dozen kinds
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path} is no checkpoint of this model ({reason}). Delete it to start anew."
        ) from None
    torch.set_rng_state(saved["random"].cpu())
    if where.type == "cuda" and saved["random_cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["random_cuda"]])
    return {"rows": saved["rows"], "best": saved["best"]}
