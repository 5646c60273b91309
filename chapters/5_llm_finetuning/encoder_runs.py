"""The fine-tuning runs of section 3, Fine-tuning an encoder. Their results stand in
encoder_runs.json beside this file; the section reads them and repeats one of them.

    .venv/bin/python chapters/5_llm_finetuning/encoder_runs.py [--minutes 4] [--only curve/full]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about a quarter of an hour of one core.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from recsys_lab import device, stored_runs, training
from recsys_lab.data import Interactions, load_movielens
from recsys_lab.data.assets import encoder_folder
from recsys_lab.language.cache import quiet
from recsys_lab.language.texts import item_texts, liked_items

HERE = Path(__file__).resolve().parent
STORE = HERE / "encoder_runs.json"
SIZES = (32, 128, 512, 2048, 10_000)
DEPTHS = {"full": 0, "last layers": 4, "head": 6}  # the first layer of MiniLM's six that is trained
SEEDS = (0, 1, 2)


# ---- the task --------------------------------------------------------------------------------
def make_examples(data: Interactions, n_liked: int = 3, seed: int = 0) -> pd.DataFrame:
    """One row a question "will this user like this film?", half of each part answered yes.

    Users are cut into train (560), validation (83) and test (300); a user is in one part only. A
    user's first half in time is the history: what the model may read. The second half holds the
    questions. 15 % of the films are ``new``: no history and no training question names one.

    Returns:
        Columns part, user, item, label (1: four stars or more), new, user_text, film_text,
        user_share (share of the films in their history that they liked, ten films of the average
        user mixed in).
    """
    rng = np.random.default_rng(seed)
    part_of = np.empty(data.n_users, dtype=object)
    order = rng.permutation(data.n_users)
    for part, users in zip(("train", "validation", "test"), np.split(order, [560, 643])):
        part_of[users] = part
    new = np.zeros(data.n_items, dtype=bool)
    new[rng.permutation(data.n_items)[: int(0.15 * data.n_items)]] = True
    films, titles = item_texts(data), item_texts(data, ("title",))
    in_time = np.lexsort((rng.random(len(data)), data.timestamps, data.users))
    start = np.concatenate([[0], np.cumsum(data.counts("users"))])
    is_history = np.zeros(len(data), dtype=bool)
    rows = []
    for user in range(data.n_users):
        mine = in_time[start[user] : start[user + 1]]
        first, second = np.array_split(mine, 2)
        is_history[first[~new[data.items[first]]]] = True
        asked = rng.permutation(second)
        if part_of[user] == "train":
            asked = asked[~new[data.items[asked]]][:40]
        else:
            asked = asked[:8] if part_of[user] == "test" else asked[:4]
        rows += [(part_of[user], user, event) for event in asked]
    history = data.select(is_history)
    table = pd.DataFrame(rows, columns=["part", "user", "event"])
    table["item"] = data.items[table["event"]]
    table["label"] = (data.ratings[table["event"]] >= 4).astype(int)
    kept = []
    for _, group in table.groupby("part"):  # as many yes as no
        n = group["label"].value_counts().min()
        kept += [rng.choice(group.index[group["label"] == label], n, False) for label in (0, 1)]
    table = table.loc[np.sort(np.concatenate(kept))].reset_index(drop=True)
    table["new"] = new[table["item"]]
    liked = {user: liked_items(history, user, n_liked) for user in table["user"].unique()}
    table["user_text"] = [
        "; ".join(titles[i] for i in liked[user]) or "no film yet" for user in table["user"]
    ]
    table["film_text"] = [films[item] for item in table["item"]]
    likes = np.bincount(history.users, history.ratings >= 4, data.n_users)
    count = np.bincount(history.users, minlength=data.n_users)
    average = (history.ratings >= 4).mean()
    table["user_share"] = ((likes + 10 * average) / (count + 10))[table["user"]]
    return table.drop(columns="event")


def draw(examples: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """n training rows, half of them liked. A smaller draw of the same seed is part of a larger."""
    train = examples[examples["part"] == "train"]
    rng = np.random.default_rng([seed, 5])
    halves = [rng.permutation(train.index[train["label"] == label])[: n // 2] for label in (0, 1)]
    return train.loc[np.column_stack(halves).ravel()]


# ---- the classifier --------------------------------------------------------------------------
class Classifier(nn.Module):
    """Encoder, mean over the tokens, one linear head: a logit a text. The layers before ``first``
    are not trained; the forward pass then starts from what they gave (``read_frozen``).

    The head starts at zero, so that training starts at probability 1/2.
    """

    def __init__(self, encoder: nn.Module, first: int = 0):
        super().__init__()
        self.first = first
        self.body = encoder if first == 0 else nn.ModuleList(encoder.encoder.layer[first:])
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.config.hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T) tokens, or (B, T, d) hidden vectors; types and mask (B, T) -> logits (B,)."""
        if self.first == 0:
            hidden = self.body(x, token_type_ids=types, attention_mask=mask).last_hidden_state
        else:
            hidden = x
            for layer in self.body:
                hidden = layer(hidden, mask[:, None, None].bool())
        pooled = (hidden.float() * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)  # (B, d)
        pooled = functional.normalize(pooled) * pooled.shape[1] ** 0.5  # numbers of size 1
        return self.head(self.dropout(pooled))[:, 0]


def load(name: str | Path | None = None) -> tuple[nn.Module, Any]:
    """Encoder and tokenizer of a folder or a hub id; MiniLM if none is given."""
    name = str(encoder_folder() if name is None else name)
    with quiet():
        model = AutoModel.from_pretrained(name)
    model.pooler = None  # a layer on top of the first token, which nothing here reads
    return model.to(device.pick()), AutoTokenizer.from_pretrained(name)


def half():
    """Matrix products in bfloat16, the rest in float32: twice as fast where it is built in."""
    return torch.autocast(device.pick().type, dtype=torch.bfloat16)


class Texts:
    """Tokenised texts, to be padded a batch at a time. ``pairs``: (user text, film text) or
    (film text,)."""

    def __init__(self, tokenizer: Any, pairs: Sequence[tuple[str, ...]]):
        columns = [list(column) for column in zip(*pairs)]
        found = tokenizer(*columns, truncation=True, max_length=64)
        self.x = [torch.tensor(row) for row in found["input_ids"]]
        self.types = [torch.tensor(row) for row in found["token_type_ids"]]

    def batch(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = nn.utils.rnn.pad_sequence([self.x[i] for i in rows], True)
        types = nn.utils.rnn.pad_sequence([self.types[i] for i in rows], True)
        mask = torch.zeros(x.shape[:2], dtype=torch.long)
        for place, i in enumerate(rows):
            mask[place, : len(self.x[i])] = 1
        return tuple(part.to(device.pick()) for part in (x, types, mask))

    def by_length(self, rows: np.ndarray, size: int) -> list[np.ndarray]:
        """``rows`` in batches of like length: little padding."""
        lengths = np.array([len(self.x[i]) for i in rows])
        order = rows[np.argsort(lengths, kind="stable")]
        return np.split(order, range(size, len(order), size)) if len(order) else []


_frozen: dict[tuple[int, ...], torch.Tensor] = {}  # (first, *tokens) -> vectors: read once


def read_frozen(encoder: nn.Module, texts: Texts, first: int) -> Texts:
    """``texts`` with each one's tokens replaced by the vectors that enter layer ``first``."""
    seen = Texts.__new__(Texts)
    keys = [(first, *x.tolist()) for x in texts.x]
    missing = np.array([i for i, key in enumerate(keys) if key not in _frozen], dtype=int)
    encoder.eval()
    for rows in texts.by_length(missing, 64):
        x, types, mask = texts.batch(rows)
        with torch.inference_mode(), half():
            hidden = encoder.embeddings(x, token_type_ids=types)
            for layer in encoder.encoder.layer[:first]:
                hidden = layer(hidden, mask[:, None, None].bool())
        for i, vectors in zip(rows, hidden.bfloat16().cpu()):
            _frozen[keys[i]] = vectors[: len(texts.x[i])].clone()
    seen.types, seen.x = texts.types, [_frozen[key] for key in keys]
    return seen


@torch.inference_mode()
def score(model: Classifier, texts: Texts, rows: np.ndarray) -> np.ndarray:
    """The logit of each row."""
    model.eval()
    logits = np.empty(len(rows))
    place = {row: i for i, row in enumerate(rows)}
    for some in texts.by_length(rows, 64):
        with half():
            logits[[place[row] for row in some]] = model(*texts.batch(some)).float().cpu()
    return logits


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats."""
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


def fine_tune(
    model: Classifier,
    texts: Texts,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    *,
    n_epochs: int,
    lr: float,
    batch_size: int,
    every: int,
    seed: int,
) -> pd.DataFrame:
    """Train on the rows ``train``; keep the epoch whose loss on the rows ``validation`` is least.

    Returns:
        One row every ``every`` epochs: train (loss on at most 128 training rows, dropout off),
        validation (loss), auc (on validation). ``labels`` and the rows refer to ``texts``.
    """
    target = torch.tensor(labels, dtype=torch.float32, device=device.pick())
    curve = []

    def batches(epoch: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([seed, epoch])
        for chunk in np.split(rows := rng.permutation(train), range(512, len(rows), 512)):
            some = texts.by_length(chunk, batch_size)
            yield from (some[i] for i in rng.permutation(len(some)))

    def loss(rows: np.ndarray) -> torch.Tensor:
        with half():
            logits = model(*texts.batch(rows))
        return functional.binary_cross_entropy_with_logits(logits.float(), target[rows])

    def validate() -> float:
        held = score(model, texts, validation)
        seen = train[:128]
        curve.append(
            {
                "train": log_loss(score(model, texts, seen), labels[seen]),
                "validation": log_loss(held, labels[validation]),
                "auc": float(roc_auc_score(labels[validation], held)),
            }
        )
        return -curve[-1]["validation"]

    torch.manual_seed(seed)
    settings = {"n_epochs": n_epochs, "lr": lr, "lr_decay": True, "clip": 1.0, "every": every}
    training.train(model, batches, loss, validate=validate, **settings)
    return pd.DataFrame(curve)


# ---- runs ------------------------------------------------------------------------------------
BATCH = {32: 8, 128: 16, 512: 16, 2048: 32, 10_000: 32}
EPOCHS = {  # depth -> size -> epochs; up to 512 rows, a depth takes equally many steps
    "full": {32: 24, 128: 12, 512: 3, 2048: 2, 10_000: 1},
    "last layers": {32: 32, 128: 16, 512: 4, 2048: 3, 10_000: 1},
    "head": {32: 80, 128: 40, 512: 10, 2048: 10, 10_000: 4},
}
RATES = {"full": (5e-5, 2e-4), "last layers": (1e-4, 5e-4), "head": (1e-3, 1e-2)}
TUNED_AT = 512  # rows, seed 0; the rate with the least validation loss is used at all sizes


class Run(NamedTuple):
    """``group`` "tune": a learning rate tried; "curve": a point of the learning curve; "film only":
    the same without the user's text."""

    group: str
    depth: str
    n: int
    seed: int
    lr: float

    @property
    def key(self) -> str:
        last = f"{self.lr:g}" if self.group == "tune" else str(self.seed)
        return f"{self.group}/{self.depth}/{self.n}/{last}"

    @property
    def settings(self) -> dict[str, Any]:
        n_epochs = EPOCHS[self.depth][self.n]
        settings = {"lr": self.lr, "n_epochs": n_epochs, "batch_size": BATCH[self.n]}
        return settings | {"every": max(1, n_epochs // 6)}


def seeds_of(depth: str, n: int) -> tuple[int, ...]:
    """Training many layers, or on many rows, is slow, so it has one seed."""
    fast = depth == "head" or (depth == "last layers" and n < 2048)
    return SEEDS if fast else SEEDS[:1]


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; those that need a tuned rate come once it is stored."""
    for depth, rates in RATES.items():
        for lr in rates:
            yield Run("tune", depth, TUNED_AT, 0, lr)
    for depth in ("head", "last layers", "full"):
        if lr := best_rate(stored, depth):
            for seed in SEEDS:
                for n in SIZES:
                    if seed in seeds_of(depth, n):
                        yield Run("curve", depth, n, seed, lr)
            if depth == "last layers":
                yield Run("film only", depth, 2048, 0, lr)


def best_rate(stored: dict[str, Any], depth: str) -> float | None:
    """The tried rate with the least validation loss; None if not all are stored."""
    tried = {lr: stored.get(Run("tune", depth, TUNED_AT, 0, lr).key) for lr in RATES[depth]}
    if None in tried.values():
        return None
    return min(tried, key=lambda lr: min(tried[lr]["validation"]))


@cache
def examples() -> pd.DataFrame:
    return make_examples(load_movielens())


def one_run(run: Run, examples: pd.DataFrame) -> dict[str, Any]:
    """Losses after each epoch; logits of the test rows; how far the weights have moved."""
    drawn = draw(examples, run.n, run.seed)
    others = [examples[examples["part"] == part] for part in ("validation", "test")]
    table = pd.concat([drawn, *others])
    train, validation, test = np.split(
        np.arange(len(table)), np.cumsum([len(drawn), len(others[0])])
    )
    columns = ["film_text"] if run.group == "film only" else ["user_text", "film_text"]
    encoder, tokenizer = load()
    texts = Texts(tokenizer, list(table[columns].itertuples(index=False, name=None)))
    if first := DEPTHS[run.depth]:
        texts = read_frozen(encoder, texts, first)
    model = Classifier(encoder, first).to(device.pick())
    before = [weight.detach().clone() for weight in model.body.parameters()]
    labels = table["label"].to_numpy()
    curve = fine_tune(model, texts, labels, train, validation, seed=run.seed, **run.settings)
    with torch.no_grad():
        moved = sum(((a - b) ** 2).sum() for a, b in zip(model.body.parameters(), before))
        size = sum((b**2).sum() for b in before)
    result = {column: curve[column].round(4).tolist() for column in curve}
    result["moved"] = round(float((moved / size) ** 0.5), 5) if before else 0.0
    return result | {"logits": score(model, texts, test).round(3).tolist()}


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Do it, and return what is stored. The trial that won is that point of the curve."""
    trial = run._replace(group="tune")
    if run.group == "curve" and (run.n, run.seed) == (TUNED_AT, 0) and is_current(trial, stored):
        return stored[trial.key] | {"cpu_seconds": 0.0}
    return one_run(run, examples())


# ---- the store -------------------------------------------------------------------------------
PARTS: tuple[Callable | type, ...] = (
    *(draw, Classifier, load, half, Texts, read_frozen, score, log_loss, fine_tune, one_run),
)


@cache
def code_hash() -> str:
    """Of the rows, the training loop and the functions above."""
    digest = hashlib.sha256(Path(training.__file__).read_bytes())
    digest.update(examples().drop(columns="user_share").to_csv().encode())
    for part in PARTS:
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash())


def main() -> int:
    return stored_runs.command(
        __doc__,
        "curve/head",
        store=STORE,
        wanted=runs,
        code=lambda run: code_hash(),
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())
