"""The long training runs of section 5, Sequences of films. Their results stand in
sequence_runs.json beside this file; the section reads them and repeats one of them.

    .venv/bin/python chapters/3_transformer_layer/sequence_runs.py [--jobs 2] [--only curve]

A run that is stored already is not repeated, unless the code of the models has changed since; stop
it whenever you like and start it again. All runs take an hour and a half on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recsys_lab.data import Interactions, leave_last_out, load_movielens
from recsys_lab.models import BERT4Rec, Caser, GRU4Rec, SASRec, SequenceModel
from recsys_lab.models.sequences import Histories

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "sequence_runs.json"
SPLITS = (0, 1, 2)
ABLATION_SPLITS = (0, 1, 2, 3, 4)
CODE = (  # what the stored numbers depend on
    "attention.py transformer.py training.py data/splits.py models/sequences.py models/sasrec.py "
    "models/bert4rec.py models/gru4rec.py models/caser.py"
).split()

# ---- models ----------------------------------------------------------------------------------
SETTINGS: dict[str, dict[str, Any]] = {
    "SASRec": {"lr": 5e-3, "batch_size": 32, "dropout": 0.2},
    "GRU4Rec": {"lr": 3e-3, "batch_size": 32, "dropout": 0.3},
    "Caser": {"lr": 3e-3, "batch_size": 32, "dropout": 0.3, "n_last": 5},
    "BERT4Rec": {"lr": 5e-3, "batch_size": 32, "dropout": 0.2},
}
CURVE_EPOCHS = {"SASRec": 40, "GRU4Rec": 60, "Caser": 40, "BERT4Rec": 80}
LOSSES: dict[str, dict[str, Any]] = {  # SASRec's settings, but for the loss
    "all films, softmax": {},
    "1 negative, binary": {"kind": "binary", "n_negatives": 1},
    "100 negatives, binary": {"kind": "binary", "n_negatives": 100},
    "100 negatives, softmax": {"kind": "softmax", "n_negatives": 100},
}
LOSS_RATES = (2e-3, 5e-3, 1e-2)  # tried on the first split, for each loss
VARIANTS: dict[str, dict[str, Any]] = {
    "two heads": {},
    "one head": {"n_heads": 1},
    "four heads": {"n_heads": 4},
    "one layer": {"n_layers": 1},
    "no feed-forward": {"without": "feed-forward"},
    "no attention": {"without": "attention"},
    "no residual": {"without": "residual"},
    "no norm": {"without": "norm"},
    "no positions": {"without": "positions"},
}
ABLATION_RATES = (2e-3, 5e-3)  # tried on the first split, for each variant


class SampledSASRec(SASRec):
    """SASRec that tells the next film from ``n_negatives`` random ones, not from all the others.

    ``kind`` "binary": each film, true or drawn, is a yes-or-no question, as in the SASRec paper.
    ``kind`` "softmax": the cross-entropy over the true film and the drawn ones.
    """

    def __init__(self, kind: str = "binary", n_negatives: int = 1, **settings: Any):
        super().__init__(**settings)
        self.kind = kind
        self.n_negatives = n_negatives

    def token_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        n_items = self.train.n_items
        shape = (len(targets), self.n_negatives)
        drawn = torch.randint(n_items, shape, device=hidden.device)
        films = torch.cat([targets[:, None], drawn], dim=1)  # (n, 1 + n_negatives)
        items = self.network.items
        vectors, bias = items.vectors(films), items.bias[films]
        logits = (vectors @ hidden[:, :, None])[:, :, 0] + bias  # (n, 1 + n_negatives)
        if self.kind == "binary":
            # The bias starts at the log of popularity; against uniform negatives the odds of the
            # true film are its share times this. Without it the yes-or-no losses start far off.
            logits = logits + math.log(n_items / self.n_negatives)
            labels = torch.zeros_like(logits)
            labels[:, 0] = 1
            return functional.binary_cross_entropy_with_logits(logits, labels)
        # A film that was drawn although it is the true one is no negative.
        again = films[:, 1:] == targets[:, None]
        logits[:, 1:] = logits[:, 1:].masked_fill(again, -torch.inf)
        return functional.cross_entropy(logits, torch.zeros_like(targets))


class Nothing(nn.Module):
    """A part taken out: adds nothing."""

    def forward(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.zeros_like(x)


class AblatedSASRec(SASRec):
    """SASRec without one of its parts: "feed-forward", "attention", "residual", "norm",
    "positions"; "" takes nothing out."""

    def __init__(self, without: str = "", **settings: Any):
        super().__init__(**settings)
        self.without = without

    def build(self, n_items: int) -> nn.Module:
        network = super().build(n_items)
        stack = network.layers
        for layer in stack.layers:
            if self.without == "feed-forward":
                layer.feed_forward = Nothing()
            elif self.without == "attention":
                layer.attention = Nothing()
            elif self.without == "norm":
                layer.attention_norm = layer.feed_forward_norm = nn.Identity()
            elif self.without == "residual":
                layer._add = lambda x, part, norm, layer=layer: layer.dropout(part(norm(x)))
        if self.without == "norm":
            stack.norm = nn.Identity()
        if self.without == "positions":
            nn.init.zeros_(network.positions.weight)
            network.positions.weight.requires_grad_(False)
        return network


MODELS: dict[str, Callable[..., SequenceModel]] = {
    "SASRec": SASRec,
    "GRU4Rec": GRU4Rec,
    "Caser": Caser,
    "BERT4Rec": BERT4Rec,
    "SampledSASRec": SampledSASRec,
    "AblatedSASRec": AblatedSASRec,
}


# ---- runs ------------------------------------------------------------------------------------
class Run(NamedTuple):
    """One training run. ``kind`` "curve" validates while it trains; "test" trains on everything
    but the last events and ranks those."""

    group: str
    name: str
    kind: str
    model: str
    settings: dict[str, Any]
    split: int

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}/{self.split}"


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs. The test runs take their number of epochs from the stored curves."""
    for name, settings in SETTINGS.items():
        for split in SPLITS:
            with_epochs = settings | {"n_epochs": CURVE_EPOCHS[name]}
            yield Run("curve", name, "curve", name, with_epochs, split)
    for name, settings in SETTINGS.items():
        epochs = best_epoch(stored, name)
        if epochs is not None:
            for split in SPLITS:
                yield Run("test", name, "test", name, settings | {"n_epochs": epochs}, split)
    full = SETTINGS["SASRec"]
    for name, loss in LOSSES.items():
        model = "SampledSASRec" if loss else "SASRec"
        longest = full | loss | {"n_epochs": CURVE_EPOCHS["SASRec"]}
        yield from _tried("loss-tune", name, model, longest, LOSS_RATES)
        best = best_setting(stored, "loss-tune", name, LOSS_RATES)
        for split in SPLITS if best else ():
            yield Run("loss", name, "test", model, full | loss | best, split)
    small = full | {"d_model": 32, "n_layers": 2, "n_epochs": 12}
    for name, change in VARIANTS.items():
        yield from _tried("ablation-tune", name, "AblatedSASRec", small | change, ABLATION_RATES)
        best = best_setting(stored, "ablation-tune", name, ABLATION_RATES)
        for split in ABLATION_SPLITS if best else ():
            yield Run("ablation", name, "test", "AblatedSASRec", small | change | best, split)


def _tried(
    group: str, name: str, model: str, settings: dict[str, Any], rates: tuple[float, ...]
) -> Iterator[Run]:
    """One curve a learning rate, on the first split."""
    for lr in rates:
        yield Run(group, f"{name}, {lr:g}", "curve", model, settings | {"lr": lr}, 0)


def best_setting(
    stored: dict[str, Any], group: str, name: str, rates: tuple[float, ...]
) -> dict[str, Any] | None:
    """Learning rate and number of epochs with the best validation nDCG@10; None if not run yet."""
    curves = {lr: stored.get(f"{group}/{name}, {lr:g}/0") for lr in rates}
    if None in curves.values():
        return None
    lr = max(curves, key=lambda lr: max(curves[lr]["validation"]))
    return {"lr": lr, "n_epochs": curves[lr]["epoch"][int(np.argmax(curves[lr]["validation"]))]}


def best_epoch(stored: dict[str, Any], name: str) -> int | None:
    """The epoch with the best validation nDCG@10, mean over the splits; None if not run yet."""
    curves = [stored.get(f"curve/{name}/{split}") for split in SPLITS]
    if None in curves:
        return None
    epochs = curves[0]["epoch"]
    mean = np.mean([curve["validation"] for curve in curves], axis=0)
    return epochs[int(np.argmax(mean))]


def train(run: Run) -> dict[str, Any]:
    """Train, and return what is stored."""
    torch.set_num_threads(1)
    data = load_movielens()
    model = MODELS[run.model](seed=run.split, **run.settings)
    start = time.process_time()
    if run.kind == "curve":
        split = leave_last_out(data, seed=run.split)
        history = model.fit(split.train, validation=split.validation).history.dropna()
        result = {
            "epoch": history["epoch"].tolist(),
            "loss": history["loss"].round(4).tolist(),
            "validation": history["validation"].round(5).tolist(),
            "seconds": history["seconds"].round(1).tolist(),
        }
    else:
        split = leave_last_out(data, seed=run.split, validation=False)
        model.fit(split.train)
        result = {
            "cpu_seconds": round(time.process_time() - start, 1),
            "rank": ranks(model.score(), split.train, split.test),
        }
        if run.group == "test":
            result["rank_of"] = rank_with_less(model, split.train, split.test)
    return {"settings": run.settings} | result


def ranks(scores: np.ndarray, train: Interactions, test: Interactions) -> list[int]:
    """Of user 0, 1, ...: the place of the film seen next, from 1, among all films that the user had
    not seen. nDCG@10 is 1 / log2(1 + rank), or 0 from rank 11 on."""
    scores = np.where(train.matrix().toarray() > 0, -np.inf, scores)
    true = scores[test.users, test.items]  # one event a user
    places = 1 + (scores[test.users] > true[:, None]).sum(axis=1)
    return places[np.argsort(test.users)].tolist()


def rank_with_less(
    model: SequenceModel, train: Interactions, test: Interactions
) -> dict[str, list[int]]:
    """The same trained model, shown only the last films of a window, or its films shuffled."""
    seed, window = model.seed, model.max_length
    views = {f"last {n}": last_events(train, n, seed) for n in (1, 5, 10, 20)}
    views["last 5 shuffled"] = last_events(train, window, seed, n_shuffled=5)
    views["shuffled"] = last_events(train, window, seed, n_shuffled=window)
    whole, results = model.histories, {}
    for name, view in views.items():
        model.histories = Histories(view)
        results[name] = ranks(model.score(), train, test)
    model.histories = whole
    return results


def last_events(
    train: Interactions, n_last: int, seed: int = 0, n_shuffled: int = 0
) -> Interactions:
    """The last ``n_last`` events of each user, in the order in which a model with this seed reads
    them; the last ``n_shuffled`` of those in random order. Timestamps are places in that order."""
    chance = np.random.default_rng(seed).random(len(train))  # as in SequenceModel.score
    order = np.lexsort((chance, train.timestamps, train.users))
    from_end = np.concatenate([np.arange(n)[::-1] for n in train.counts("users")])
    place = np.arange(len(train))
    anywhere = len(train) + np.random.default_rng([seed, 1]).permutation(len(train))
    place = np.where(from_end < n_shuffled, anywhere, place)
    rows = order[from_end < n_last]
    return Interactions(
        train.users[rows],
        train.items[rows],
        train.ratings[rows],
        place[from_end < n_last],
        user_ids=train.user_ids,
        item_ids=train.item_ids,
    )


# ---- the store -------------------------------------------------------------------------------
def code_hash() -> str:
    """Of the code that the stored numbers depend on."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update((ROOT / "recsys_lab" / name).read_bytes())
    for part in (SampledSASRec, Nothing, AblatedSASRec, train, ranks, rank_with_less, last_events):
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("curve/SASRec/0").

    Raises:
        FileNotFoundError: nothing is stored yet; the message says how to make it.
    """
    if not STORE.exists():
        raise FileNotFoundError(f"{STORE.name} is not here. Make it: python {Path(__file__).name}")
    return json.loads(STORE.read_text())["runs"]


def _save(stored: dict[str, Any]) -> None:
    lines = [f"{json.dumps(key)}: {json.dumps(stored[key])}" for key in sorted(stored)]
    head = json.dumps({"code": code_hash(), "torch": torch.__version__.split("+")[0]})
    text = head[:-1] + ', "runs": {\n' + ",\n".join(lines) + "\n}}\n"
    unfinished = STORE.with_suffix(".part")
    unfinished.write_text(text)
    os.replace(unfinished, STORE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (default: 2)")
    parser.add_argument("--only", default="", help="a group: curve, test, loss or ablation")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # for the processes below
    saved = json.loads(STORE.read_text()) if STORE.exists() else {}
    if saved and saved["code"] != code_hash():
        print("The models' code has changed: all runs are repeated.")
    stored = saved["runs"] if saved.get("code") == code_hash() else {}
    while todo := [
        run
        for run in runs(stored)
        if stored.get(run.key, {}).get("settings") != run.settings
        and run.group.startswith(arguments.only)
    ]:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            waiting = {pool.submit(train, run): run for run in todo}
            for number, future in enumerate(as_completed(waiting), start=1):
                run = waiting[future]
                stored[run.key] = future.result()
                _save(stored)
                print(f"{number}/{len(todo)}  {run.key}", flush=True)
    print(f"{len(stored)} runs in {STORE.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
