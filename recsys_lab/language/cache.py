"""A folder for what is slow to compute and safe to lose: embeddings, converted weights."""

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file


def cache_folder() -> Path:
    """``RECSYS_LAB_CACHE`` if set, else ``recsys_lab`` in the user's cache folder."""
    base = os.environ.get("RECSYS_LAB_CACHE")
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "recsys_lab"
    folder = Path(base) if base else default
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def quiet():
    """Hold back the progress bars of ``transformers``: a notebook's stderr stays empty.

    If loading fails, the exception still says why.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def cached_array(key: tuple[str, ...], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that ``compute`` returns, kept on disk under the hash of ``key``.

    A file that cannot be read (a run was cut off, a disk was full) is computed anew.
    """
    name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
    path = cache_folder() / f"{name}.safetensors"
    try:
        return load_file(path)["array"]
    except (FileNotFoundError, SafetensorError, KeyError):
        array = np.ascontiguousarray(compute())
    # Written beside, then renamed: a reader never meets half a file.
    handle, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    save_file({"array": array}, unfinished)
    os.replace(unfinished, path)
    return array
