"""What a run needs to go on after it was killed, in one file that is whole or absent.

Derived in chapters/7_limitations/3_wider.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save(
    path: Path,
    settings: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: list[float],
) -> None:
    """Settings, losses so far (their number is the step), weights and the optimiser's moments.

    Whoever draws at random from a generator that is carried along must keep its state too; here
    all draws follow from seed and step.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"settings": settings, "losses": losses, "model": model.state_dict()}
    torch.save(state | {"optimizer": optimizer.state_dict()}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def resume(
    path: Path, settings: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> list[float]:
    """Fill model and optimiser from the file; the losses so far, none if there is no file.

    Raises:
        ValueError: the file is no checkpoint, or one of other settings.
    """
    if not path.exists():
        return []
    try:
        state = torch.load(path, weights_only=True)
        saved = state["settings"]
    except Exception as error:  # torch raises half a dozen kinds
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is no checkpoint ({reason}). Delete it.") from None
    if other := {name: now for name, now in settings.items() if saved.get(name) != now}:
        told = ", ".join(
            f"{name} {saved.get(name)} there, {now} here" for name, now in other.items()
        )
        raise ValueError(f"{path} is of another run: {told}. Delete it, or take another folder.")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["losses"]
