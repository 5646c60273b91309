"""Preference tuning of SmolLM2 for section 8, From feedback. The results stand in
feedback_runs.json beside this file; the section reads them and repeats one of them.

    .venv/bin/python chapters/5_llm_finetuning/feedback_runs.py [--minutes 4] [--only base]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about a quarter of an hour of one core.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import zero_shot_runs as zero_shot
from torch import nn

from recsys_lab import stored_runs, training
from recsys_lab.language import CausalLM, lora, preference, ranking
from recsys_lab.language.prompts import Template
from recsys_lab.language.texts import liked_items
from recsys_lab.tracking import Tracker

STORE = Path(__file__).resolve().with_suffix(".json")
WORDING = "data set"  # the best of section 4's wordings on its tuning users
N_TUNED = 6  # upper layers that LoRA corrects; the others are read once a text
N_TRAIN, N_VALIDATION = 24, 12  # users of a run; users who say when to stop
N_PAIRS, BATCH = 8, 4  # pairs of a user; users a step
EPOCHS, PATIENCE = 2, 1
RATE = 2e-3  # of all runs
SEEDS = (0, 1, 2)
NEGATIVES = ("disliked", "unseen", "matched")  # what the liked film is held against
BETAS = (0.05, 0.2, 0.8)


# ---- pairs -------------------------------------------------------------------------------------
class Asked(NamedTuple):
    """A user's prompt, and the films that are weighed after it."""

    user: int
    history: tuple[int, ...]  # films liked, in the order of viewing
    chosen: tuple[int, ...]  # films liked later
    rejected: dict[str, tuple[int, ...]]  # by kind of negative, as many as are chosen


def pool(seed: int) -> np.ndarray:
    """The training users of a seed: they are in none of section 4's lists, and choose nothing."""
    data = zero_shot.movielens()[0]
    order = np.random.default_rng(54).permutation(data.n_users)  # as in section 4
    rest = order[zero_shot.N_TUNING + len(zero_shot.SEEDS) * zero_shot.N_USERS :]
    return np.random.default_rng([seed, 58]).permutation(rest)


@cache
def pairs(group: str) -> list[Asked]:
    """Pairs of "tuning" (section 4's, the validation users) or of "train 0" to "train 2".

    A history is of the first half in time of a user's ratings, the films of the second half or, if
    the user has never rated them, from the films with a rating. Nobody without a pair is asked.
    """
    data = zero_shot.movielens()[0]
    if group == "tuning":
        users, n = zero_shot.users_of("tuning"), N_VALIDATION
    else:
        users, n = pool(int(group.split()[1])), N_TRAIN
    counts = zero_shot.split_of(0).train.counts("items")
    found: list[Asked] = []
    for user in users:
        rng = np.random.default_rng([58, int(user)])
        mine = np.flatnonzero(data.users == user)
        mine = mine[np.lexsort((rng.random(len(mine)), data.timestamps[mine]))]
        early, late = np.array_split(mine, 2)
        history = liked_items(data.select(early), int(user), zero_shot.N_HISTORY)[::-1]
        liked, disliked = (
            rng.permutation(data.items[late[like == (data.ratings[late] >= 4)]])
            for like in (True, False)
        )
        n_pairs = min(N_PAIRS, len(liked), len(disliked))
        if n_pairs == 0 or len(history) == 0:
            continue
        unseen = rng.permutation(np.setdiff1d(np.flatnonzero(counts), data.items[mine]))
        chosen, taken = liked[:n_pairs], []
        for film in chosen:  # the unseen film with the closest number of ratings, each once
            left = np.setdiff1d(unseen, taken)
            left = rng.permutation(left)
            taken.append(left[np.abs(counts[left] - counts[film]).argmin()])
        rejected = {"disliked": disliked, "unseen": unseen, "matched": taken}
        kept = {kind: tuple(map(int, films[:n_pairs])) for kind, films in rejected.items()}
        found.append(Asked(int(user), tuple(map(int, history)), tuple(map(int, chosen)), kept))
    return found[:n]


# ---- the model ---------------------------------------------------------------------------------
class Text(NamedTuple):
    """A prompt and several titles, each after the prompt as if it stood there alone."""

    hidden: torch.Tensor  # (1, n, d) out of the frozen layers
    sees: torch.Tensor  # (1, 1, n, n) which place may attend to which
    place: torch.Tensor  # (1, n)
    source: torch.Tensor  # (n_title_tokens,) the place from which each token is foretold
    token: torch.Tensor  # (n_title_tokens,)
    title: torch.Tensor  # (n_title_tokens,) 0..n_titles-1


class Ranker(nn.Module):
    """SmolLM2 as a ranker of titles; LoRA corrects its upper layers only.

    What lies below the lowest correction is frozen, the same for the tuned model and for the
    reference, and the same in every epoch: `read` computes it once a text.
    """

    def __init__(self, language_model: CausalLM, n_tuned: int = N_TUNED, rank: int = 8):
        super().__init__()
        body = language_model.model.requires_grad_(False)
        self.tokenizer, self.head = language_model.tokenizer, body.get_output_embeddings()
        self.stack = body.model
        self.lower = self.stack.layers[:-n_tuned]
        self.upper = lora.add_lora(self.stack.layers[-n_tuned:], rank=rank, alpha=2.0 * rank)

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def layers(self, hidden: torch.Tensor, text: Text, layers: nn.ModuleList) -> torch.Tensor:
        turned = self.stack.rotary_emb(hidden, position_ids=text.place)
        for layer in layers:
            hidden = layer(
                hidden,
                attention_mask=text.sees,
                position_ids=text.place,
                position_embeddings=turned,
            )
        return hidden

    @torch.no_grad()
    def read(self, prompt: str, titles: Sequence[str]) -> Text:
        """The prompt and its titles through the frozen layers."""
        start, ends = self.tokens(prompt), [self.tokens(title) for title in titles]
        shown = [end[:-1] for end in ends]  # the last token foretells nothing
        sizes = torch.tensor([len(start), *map(len, shown)])
        part = torch.repeat_interleave(torch.arange(len(sizes)), sizes)  # 0 prompt, 1.. titles
        sees = (part == 0) | (part[:, None] == part)
        sees &= torch.ones_like(sees).tril()
        begins = sizes.cumsum(0) - sizes
        place = torch.arange(len(part)) - (begins - len(start)).clamp(min=0)[part]
        source = [[len(start) - 1, *range(b, b + len(s))] for b, s in zip(begins[1:], shown)]
        title = torch.repeat_interleave(torch.arange(len(ends)), torch.tensor(list(map(len, ends))))
        ids = torch.tensor([start + list(chain(*shown))])
        laid = (sees[None, None], place[None], *map(torch.tensor, map(list, (chain(*source),))))
        laid = (*laid, torch.tensor(list(chain(*ends))), title)
        where = self.head.weight.device
        text = Text(ids.to(where), *(part.to(where) for part in laid))
        hidden = self.stack.embed_tokens(text.hidden)
        return text._replace(hidden=self.layers(hidden, text, self.lower))

    def forward(self, text: Text) -> torch.Tensor:
        """(n_titles,) log-probability of each whole title after the prompt, nats."""
        hidden = self.stack.norm(self.layers(text.hidden, text, self.upper))[0]  # (n, d)
        first = int(text.source.min())  # nothing before the prompt's last token foretells a title
        logits = self.head(hidden[first:]).float()  # (n - first, vocabulary)
        rows = text.source - first
        found = logits[rows, text.token] - logits.logsumexp(1)[rows]
        n_titles = int(text.title.max()) + 1
        return found.new_zeros(n_titles).index_add(0, text.title, found)


@contextmanager
def frozen(ranker: Ranker) -> Iterator[Ranker]:
    """The reference: the same model with the corrections switched off, and no gradients."""
    with torch.no_grad(), preference.without_lora(ranker.upper):
        yield ranker


# ---- training ----------------------------------------------------------------------------------
class Pairs(NamedTuple):
    """One user's text, the chosen titles first, then the rejected ones; and what the reference
    says of them, computed once."""

    text: Text
    reference: torch.Tensor  # (2 n_pairs,) nats


def prepared(ranker: Ranker, asked: Sequence[Asked], kind: str) -> list[Pairs]:
    """The users' pairs, through the frozen layers and with the reference's opinion."""
    found = []
    for one in asked:
        text = ranker.read(prompt_of(one.history), abouts(one.chosen + one.rejected[kind]))
        with frozen(ranker):
            found.append(Pairs(text, ranker(text)))
    return found


def prompt_of(history: Sequence[int]) -> str:
    return template().read([zero_shot.movielens()[1][film] for film in history])


def abouts(films: Sequence[int]) -> list[str]:
    return [template().about(zero_shot.movielens()[1][film]) for film in films]


def template() -> Template:
    return zero_shot.TITLE_NEXT[WORDING]


def dpo(ranker: Ranker, beta: float) -> Callable[[Pairs], torch.Tensor]:
    def loss(pairs: Pairs) -> torch.Tensor:
        parts = (*ranker(pairs.text).chunk(2), *pairs.reference.chunk(2))
        return preference.dpo_loss(*parts, beta=beta)

    return loss


def likelihood(ranker: Ranker) -> Callable[[Pairs], torch.Tensor]:
    """Plain tuning: cross-entropy of a token of the chosen titles; the rejected play no part."""

    def loss(pairs: Pairs) -> torch.Tensor:
        n = len(pairs.reference) // 2
        n_tokens = (pairs.text.title < n).sum()
        return -ranker(pairs.text)[:n].sum() / n_tokens

    return loss


def tune(
    ranker: Ranker,
    loss: Callable[[Pairs], torch.Tensor],
    train: Sequence[Pairs],
    validation: Sequence[Pairs],
    *,
    seed: int,
    lr: float = RATE,
    n_epochs: int = EPOCHS,
    checkpoint: str | Path | None = None,
    log: Tracker | None = None,
) -> tuple[pd.DataFrame, list[dict[str, float]]]:
    """Tune the corrections, in place; stops early on the validation users' loss.

    Returns:
        The history of `training.train`, and for each epoch how the validation users' log-ratios
        moved (none of epochs before a resumed run's checkpoint).
    """
    moved: list[dict[str, float]] = []

    def batches(epoch: int) -> list[list[Pairs]]:
        order = np.random.default_rng([seed, epoch]).permutation(len(train))
        return [[train[i] for i in order[a : a + BATCH]] for a in range(0, len(order), BATCH)]

    def mean_loss(some: list[Pairs]) -> torch.Tensor:
        return torch.stack([loss(one) for one in some]).mean()

    @torch.no_grad()
    def validate() -> float:
        moved.append(movement(ranker, validation))
        if log is not None:
            log.scalars(**moved[-1])
        return -float(np.mean([loss(one).item() for one in validation]))

    wrapped = (batches, mean_loss, validate)
    if log is not None:
        wrapped = (log.batches(batches), log.loss(mean_loss), log.validate(validate))
    how = {"n_epochs": n_epochs, "lr": lr, "lr_decay": True, "patience": PATIENCE, "clip": 1.0}
    history = training.train(
        lora.lora_parameters(ranker.upper),
        *wrapped[:2],
        validate=wrapped[2],
        checkpoint=checkpoint,
        **how,
    )
    return history, moved


@torch.no_grad()
def movement(ranker: Ranker, some: Sequence[Pairs]) -> dict[str, float]:
    """Mean log-ratio to the reference of chosen and of rejected titles, and the share of pairs in
    which the chosen one's is the higher (half if they are equal)."""
    ratios = [(ranker(one.text) - one.reference).chunk(2) for one in some]
    chosen, rejected = (torch.cat(part) for part in zip(*ratios))
    ahead = ((chosen - rejected).sign() + 1).mean() / 2
    found = {"chosen": chosen.mean(), "rejected": rejected.mean(), "ahead": ahead}
    return {name: round(value.item(), 4) for name, value in found.items()}


# ---- twenty candidates -------------------------------------------------------------------------
LISTS = {"uniform": None, "popular": 20}  # users of a seed whose lists of that kind are scored


@cache
def lists_of(group: str, how: str = "uniform") -> ranking.Candidates:
    """Section 4's lists of the users whom it asked: 40 a group; fewer of the matched ones."""
    n = zero_shot.BLOCK * zero_shot.N_BLOCKS
    return ranking.Candidates(*(part[: LISTS[how] or n] for part in zero_shot.lists_of(group, how)))


_read: dict[tuple[str, str], list[Text]] = {}


def texts_of(ranker: Ranker, group: str, how: str) -> list[Text]:
    """Each list's text, through the frozen layers once in this process."""
    if (group, how) not in _read:
        lists = lists_of(group, how)
        _read[group, how] = [
            ranker.read(
                template().read(zero_shot.history_of(group, int(user))), abouts(items.tolist())
            )
            for user, items in zip(lists.users, lists.items)
        ]
    return _read[group, how]


@torch.no_grad()
def scores(ranker: Ranker, group: str, how: str = "uniform") -> np.ndarray:
    """(n_users, 20) log-probabilities of the candidates' whole titles, nats."""
    return np.array([ranker(text).tolist() for text in texts_of(ranker, group, how)])


def n_tokens(ranker: Ranker, group: str, how: str = "uniform") -> np.ndarray:
    """(n_users, 20) of the candidates' quoted titles."""
    rows = [abouts(items.tolist()) for items in lists_of(group, how).items]
    return np.array([[len(ranker.tokens(title)) for title in titles] for titles in rows])


def ndcg(values: np.ndarray, group: str, how: str = "uniform") -> np.ndarray:
    """nDCG@10 of each user's list."""
    return ranking.evaluate_lists(values, lists_of(group, how))["ndcg"].to_numpy()


# ---- runs --------------------------------------------------------------------------------------
class Run(NamedTuple):
    """``group`` "base": the untuned model's scores; "tune": a beta tried, scored on the tuning
    users; "final": scored on the test users of its seed."""

    group: str
    method: str  # "none", "likelihood", or a kind of negative for DPO
    seed: int
    beta: float  # 0 where there is none

    @property
    def key(self) -> str:
        last = f"{self.beta:g}" if self.group == "tune" else f"seed {self.seed}"
        return f"{self.group}/{self.method}/{last}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"beta": self.beta}


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; those that need a chosen value come once it can be chosen."""
    yield Run("base", "none", 0, 0.0)
    for beta in BETAS:
        yield Run("tune", "unseen", 0, beta)
    if beta := best_beta(stored):
        for seed in SEEDS:
            for method in ("matched", "disliked", "unseen", "likelihood"):
                yield Run("final", method, seed, 0.0 if method == "likelihood" else beta)


def best_beta(stored: dict[str, Any]) -> float | None:
    """That of the best nDCG@10 on the tuning users, for one kind of negative; None if not all that
    are tried are stored."""
    tried = {beta: stored.get(Run("tune", "unseen", 0, beta).key) for beta in BETAS}
    if None in tried.values():
        return None
    return max(tried, key=lambda beta: tried[beta]["tuning_ndcg"])


_prepared: dict[tuple[str, str], list[Pairs]] = {}


def once(ranker: Ranker, group: str, kind: str) -> list[Pairs]:
    """A group's pairs, prepared once in this process: every ranker has the same frozen layers."""
    if (group, kind) not in _prepared:
        _prepared[group, kind] = prepared(ranker, pairs(group), kind)
    return _prepared[group, kind]


def made(run: Run, **options: Any) -> tuple[Ranker, dict[str, Any]]:
    """Train as the run says; the tuned ranker, and what is stored of its training."""
    torch.manual_seed(run.seed)
    ranker, start = Ranker(CausalLM()), time.process_time()
    kind = run.method if run.method in NEGATIVES else "unseen"
    train = once(ranker, f"train {run.seed}", kind)
    validation = once(ranker, "tuning", kind)
    loss = likelihood(ranker) if run.method == "likelihood" else dpo(ranker, run.beta)
    history, moved = tune(ranker, loss, train, validation, seed=run.seed, **options)
    told = {"loss": history["loss"].round(4).tolist(), "moved": moved}
    told["validation"] = history["validation"].round(4).tolist()
    told["train_seconds"] = round(time.process_time() - start, 1)
    return ranker, told


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    if run.group == "base":
        ranker = Ranker(CausalLM())
        groups = ["tuning", *(f"seed {seed}" for seed in zero_shot.SEEDS)]
        with frozen(ranker):
            return all_scores(ranker, groups)
    ranker, told = made(run)
    if run.group == "tune":
        values = scores(ranker, "tuning") / n_tokens(ranker, "tuning")
        return told | {"tuning_ndcg": round(float(ndcg(values, "tuning").mean()), 4)}
    return told | all_scores(ranker, [f"seed {run.seed}"])


def all_scores(ranker: Ranker, groups: Sequence[str]) -> dict[str, Any]:
    found = {}
    for group in groups:
        for how in LISTS:
            if group != "tuning" or how == "uniform":
                found[f"{how}/{group}"] = scores(ranker, group, how).round(3).tolist()
    return found


# ---- the store ---------------------------------------------------------------------------------
SCORING: tuple[Callable | type, ...] = (
    *(Ranker, prompt_of, abouts, texts_of, scores, all_scores, preference.without_lora),
    *(lora.LoRALinear, lora.add_lora),
)
TRAINING: tuple[Callable | type, ...] = (
    *(pool, pairs, prepared, dpo, likelihood, tune, movement, made, perform),
    preference.dpo_loss,
)


@cache
def code_hash(trained: bool) -> str:
    """Of the lists, the wording, and the functions that score; for a run that trains, of the pairs,
    the settings, and the functions that train as well."""
    groups = ["tuning", *(f"seed {seed}" for seed in zero_shot.SEEDS)]
    told: list[Any] = [lists_of(group, how).items.tolist() for group in groups for how in LISTS]
    told += [repr(template()), N_TUNED, *map(inspect.getsource, SCORING)]
    if trained:
        told += [
            pairs(group) for group in ("tuning", *(f"train {seed}" for seed in zero_shot.SEEDS))
        ]
        told += [RATE, EPOCHS, PATIENCE, BATCH, *map(inspect.getsource, TRAINING)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def code_of(run: Run) -> str:
    return code_hash(run.group != "base")


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_of(run))


def main() -> int:
    return stored_runs.command(
        __doc__,
        "base,tune",
        store=STORE,
        wanted=runs,
        code=code_of,
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())
