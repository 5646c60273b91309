"""RecBole's models, as `worker.py` fits them: in .venv-bench-recbole.

RecBole itself is not changed. Its data pipeline (files, renumbering, samplers) runs before the
watch starts; building the network and training it are timed, without validation.
"""

# ruff: noqa: E402  (RecBole reads numpy's names when it is imported)
from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

# Python 3.13 has wheels of numpy 2 only, which dropped three names that RecBole's Config reads.
for old, new in {"float_": "float64", "complex_": "complex128", "unicode_": "str_"}.items():
    if old not in np.__dict__:
        setattr(np, old, getattr(np, new))
warnings.filterwarnings("ignore")  # deprecations in pandas and torch: RecBole's, not the reader's

import scipy.sparse
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

# The same for a private method of scipy that RecBole's LightGCN fills its adjacency with.
if not hasattr(scipy.sparse.dok_matrix, "_update"):
    scipy.sparse.dok_matrix._update = lambda self, entries: self._dict.update(entries)

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
SETTINGS = {
    "benchmark_filename": ["train", "test", "test"],  # the parts are given, nothing is split
    "load_col": {"inter": ["user_id", "item_id"]},
    "eval_args": {"mode": "full", "order": "RO", "group_by": "user"},
    "valid_metric": "NDCG@10",
    "metrics": ["NDCG"],
    "gpu_id": "",  # the CPU
    "show_progress": False,
}
USERS_AT_ONCE = 256


def versions() -> dict[str, str]:
    recbole = __import__("recbole").__version__
    return {"recbole": recbole, "torch": torch.__version__, "numpy": np.__version__}


def write(data: SimpleNamespace, folder: Path) -> None:
    """The parts as RecBole's files: bench.train.inter and bench.test.inter."""
    folder.mkdir(exist_ok=True)
    parts = {"train": (data.users, data.items), "test": (data.test_users, data.test_items)}
    for part, pairs in parts.items():
        lines = [f"{user}\t{item}" for user, item in zip(*pairs)]
        text = "\n".join(["user_id:token\titem_id:token", *lines]) + "\n"
        (folder / f"bench.{part}.inter").write_text(text)


def prepare(data: SimpleNamespace, name: str, settings: dict) -> tuple[Callable, Callable]:
    """``fit() -> model`` and ``score(model) -> scores`` of RecBole's ``name``, neither called."""
    write(data, Path("bench"))
    seed = settings.pop("seed", 2020)
    path = {"data_path": str(Path.cwd()), "seed": seed}
    config = Config(model=name, dataset="bench", config_dict=SETTINGS | path | settings)
    init_seed(seed, True)
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)

    def fit():
        init_seed(seed, True)
        model = get_model(name)(config, train._dataset).to(config["device"])
        if name != "EASE":  # closed form: all the work is done when it is built
            trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
            trainer.fit(train, valid_data=None, verbose=False, saved=False, show_progress=False)
        return model

    @torch.no_grad()
    def score(model) -> np.ndarray:
        model.eval()
        rows = dataset.token2id("user_id", data.wanted_users.astype(str))
        n = dataset.item_num
        scores = []
        for start in range(0, len(rows), USERS_AT_ONCE):
            block = torch.as_tensor(rows[start : start + USERS_AT_ONCE])
            # NeuMF scores pairs only; the others a user's whole catalogue at once.
            if name == "NeuMF":
                pairs = {
                    "user_id": block.repeat_interleave(n),
                    "item_id": torch.arange(n).repeat(len(block)),
                }
                values = model.predict(Interaction(pairs))
            else:
                values = model.full_sort_predict(Interaction({"user_id": block}))
            scores.append(np.asarray(values, dtype=np.float32).reshape(len(block), n))
        # Token 0 is the padding; an item that RecBole never met is never recommended.
        items = dataset.id2token("item_id", np.arange(1, n)).astype(np.int64)
        ours = np.full((len(rows), data.n_items), -np.inf, dtype=np.float32)
        ours[:, items] = np.concatenate(scores)[:, 1:]
        return ours

    return fit, score
