"""The one place that decides where torch computes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIABLE = "RECSYS_LAB_DEVICE"


def pick() -> torch.device:
    """The device to compute on: ``RECSYS_LAB_DEVICE`` if set, else CUDA, else MPS, else the CPU.

    Raises:
        ValueError: the variable names a device that is unknown or not on this machine; the
            message lists those that are.
    """
    import torch  # here, so that chapters without torch start fast

    here = available()
    wanted = os.environ.get(VARIABLE, "").strip().lower()
    if not wanted:
        return torch.device(here[0])
    names = [name for kind in here for name in _names(kind)]
    if wanted not in names:
        raise ValueError(
            f"{VARIABLE}={wanted!r} is not available on this machine; choose from "
            f"{', '.join(names)}, or unset it"
        )
    return torch.device(wanted)


def available() -> list[str]:
    """The kinds of device on this machine, the one that ``pick`` prefers first."""
    import torch

    kinds = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    return [kind for kind, is_here in kinds.items() if is_here]


def _names(kind: str) -> list[str]:
    """A kind and, for CUDA, its numbered devices: cuda, cuda:0, cuda:1 ..."""
    import torch

    count = torch.cuda.device_count() if kind == "cuda" else 0
    return [kind, *(f"{kind}:{number}" for number in range(count))]
