"""The tuning runs of section 5, LoRA and its kin. Their results stand in lora_runs.json beside this
file; the section reads them and repeats one of them.

    .venv/bin/python chapters/5_llm_finetuning/lora_runs.py [--minutes 4] [--only curve/lora]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about 25 minutes of one core.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zero_shot_runs as zero_shot
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from recsys_lab import device, stored_runs, training
from recsys_lab.data import Interactions, load_movielens
from recsys_lab.language import CausalLM, lora, ranking
from recsys_lab.language.prompts import TEMPLATES
from recsys_lab.language.texts import item_texts, liked_items

STORE = Path(__file__).resolve().with_suffix(".json")
N_LIKED = 4  # films in a prompt
N_VALIDATION, N_TEST = 40, 150  # users
BATCH = 4  # users a step: eight labels
LORA = {"rank": 8, "alpha": 16, "targets": ("q_proj", "v_proj")}
EPOCHS = {16: 6, 64: 3, 256: 4}  # by the number of shots
EVERY = {256: 1}  # epochs from one look at the validation users to the next
RATES = {  # where two stand, at TUNED_AT shots the one that is better on the validation users
    "lora": (5e-4, 2e-3),
    "adalora": (2e-2,),
    "adapters": (1e-3,),
    "prompt": (3e-2,),
    "full": (2e-5,),
    "head": (1e-3,),
}
TUNED_AT = 256  # shots
KIN_AT, KIN_EPOCHS = 64, 3
SEEDS = (0, 1, 2)
N_LISTS = 40  # of section 4's users in each split
KIN_SEEDS = (0,)
SLOW_SEEDS = (0, 1, 2)  # at TUNED_AT


# ---- the task --------------------------------------------------------------------------------
class Asked(NamedTuple):
    """One user: what the prompt says of them, and two questions whose answers are known."""

    user: int
    history: np.ndarray  # (<= N_LIKED,) films that they liked, in the order of viewing
    liked: int  # a film seen later that got four stars or five
    disliked: int  # and one that got three or fewer


class Task(NamedTuple):
    train: list[Asked]
    validation: list[Asked]
    test: list[Asked]
    known: Interactions  # what the counts may count: training users, without their questions


@cache
def make_task() -> Task:
    """Histories come from the first half in time of a user's ratings, questions from the second.

    Test users are among those of section 4's lists; nobody of these lists is trained on.
    """
    data = load_movielens()
    order = np.random.default_rng(54).permutation(data.n_users)  # as in section 4
    n_listed = zero_shot.N_TUNING + len(SEEDS) * zero_shot.N_USERS
    groups = {
        "validation": order[:N_VALIDATION],
        "test": order[zero_shot.N_TUNING :][:N_TEST],
        "train": order[n_listed:],
    }
    rng = np.random.default_rng(5)
    in_time = np.lexsort((rng.random(len(data)), data.timestamps, data.users))
    start = np.concatenate([[0], np.cumsum(data.counts("users"))])
    halves = [np.array_split(in_time[a:b], 2) for a, b in pairwise(start)]
    early = np.zeros(len(data), dtype=bool)
    early[np.concatenate([first for first, _ in halves])] = True
    history, kept = data.select(early), np.isin(data.users, groups["train"])
    asked: dict[str, list[Asked]] = {name: [] for name in groups}
    for name, users in groups.items():
        for user in users:
            second = halves[user][1]
            events = [second[like == (data.ratings[second] >= 4)] for like in (True, False)]
            if min(map(len, events)) > 0:
                liked, disliked = (rng.choice(some) for some in events)
                films = liked_items(history, int(user), N_LIKED)[::-1]
                pair = (int(data.items[liked]), int(data.items[disliked]))
                asked[name].append(Asked(int(user), films, *pair))
                kept[[liked, disliked]] = False
    return Task(asked["train"], asked["validation"], asked["test"], data.select(kept))


def shots(n: int, seed: int) -> list[Asked]:
    """n labelled questions of n / 2 training users; a smaller draw is part of a larger one."""
    train = make_task().train
    order = np.random.default_rng([seed, 55]).permutation(len(train))
    return [train[i] for i in order[: n // 2]]


# ---- the model that is asked -----------------------------------------------------------------
class Ranker(nn.Module):
    """SmolLM2's log-odds of yes against no, for both questions of a user in one pass.

    A sequence is history, first question, second question. The second does not see the first and
    counts its positions from the end of the history, as if it stood there alone.
    """

    def __init__(self, language_model: CausalLM):
        super().__init__()
        self.body, self.tokenizer = language_model.model, language_model.tokenizer
        self.half = True  # matrix products in bfloat16
        self.soft: nn.Parameter | None = None  # (n_soft, d) of prompt tuning
        self.head: nn.Parameter | None = None  # (d,) of the tuned output layer
        self.template, self.titles = TEMPLATES["yes_no"], item_texts(load_movielens(), ("title",))
        self.answers = [self.tokens(answer)[0] for answer in self.template.answers]

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def readout(self) -> torch.Tensor:
        """(d,): the output layer's row of yes minus that of no. What both share cancels."""
        yes, no = self.body.get_output_embeddings().weight[self.answers]
        return yes - no if self.head is None else self.head

    def forward(self, asked: Sequence[Asked]) -> torch.Tensor:
        """(n_users, 2): the log-odds for the liked and for the disliked film."""
        n_soft, rows = (0 if self.soft is None else len(self.soft)), []
        for one in asked:
            read = self.tokens(self.template.read([self.titles[i] for i in one.history]))
            about = [
                self.tokens(self.template.about(self.titles[i])) for i in (one.liked, one.disliked)
            ]
            rows.append((read, *about))
        n = max(sum(map(len, row)) for row in rows)
        ids = torch.zeros(len(rows), n, dtype=torch.long)
        part = torch.full((len(rows), n_soft + n), 3)  # 0 history, 1 and 2 questions, 3 padding
        place, ends = torch.zeros_like(part), torch.empty(len(rows), 2, dtype=torch.long)
        for b, row in enumerate(rows):
            flat = torch.tensor(list(chain(*row)))
            ids[b, : len(flat)] = flat
            read, first, second = (len(tokens) for tokens in row)
            read += n_soft
            total = read + first + second
            part[b, :total] = torch.repeat_interleave(torch.tensor([read, first, second]))
            place[b, :total] = torch.arange(total)
            place[b, read + first : total] -= first
            ends[b] = torch.tensor([read + first, total]) - 1
        where = self.body.device
        ids, part, place, ends = (t.to(where) for t in (ids, part, place, ends))
        sees = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
        sees &= torch.ones_like(sees[0]).tril()  # (B, T, T)
        vectors = self.body.get_input_embeddings()(ids)
        if self.soft is not None:
            vectors = torch.cat([self.soft.expand(len(rows), -1, -1), vectors], dim=1)
        with half() if self.half else nullcontext():
            hidden = self.body.model(
                inputs_embeds=vectors,
                attention_mask=sees[:, None],
                position_ids=place,
                use_cache=False,
            ).last_hidden_state
        last = hidden[torch.arange(len(rows), device=where)[:, None], ends]  # (B, 2, d)
        return last.float() @ self.readout().float()


@contextmanager
def half():
    """Matrix products in bfloat16, the rest in float32: twice as fast where it is built in.

    Attention is computed in plain steps: for a hundred tokens the fused kernel's way back is the
    slowest part of all on a processor.
    """
    with torch.autocast(device.pick().type, dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield


def keep_half(model: Ranker) -> None:
    """Round the frozen matrices to bfloat16 once, instead of in every product: the same numbers."""
    for part in model.body.model.modules():
        if isinstance(part, nn.Linear) and not part.weight.requires_grad:
            part.weight.data = part.weight.data.bfloat16()


@torch.inference_mode()
def score(model: Ranker, asked: Sequence[Asked], size: int = 10) -> np.ndarray:
    """(n_users, 2) log-odds, for the liked and for the disliked film."""
    rows = [model(asked[i : i + size]).double().cpu() for i in range(0, len(asked), size)]
    return torch.cat(rows).numpy()


# ---- what is tuned ---------------------------------------------------------------------------
class Bottleneck(nn.Module):
    """An adapter: x + up(gelu(down(x))), from d to ``size`` numbers and back; at first it is x."""

    def __init__(self, d: int, size: int):
        super().__init__()
        self.down, self.up = nn.Linear(d, size), nn.Linear(size, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(functional.gelu(self.down(x)))


def prepare(model: Ranker, method: str, n_steps: int = 100) -> Ranker:
    """Freeze what ``method`` leaves alone, add what it adds; ``n_steps`` is AdaLoRA's schedule."""
    body, d = model.body, model.body.config.hidden_size
    where = body.device
    if method == "full":
        return model
    body.requires_grad_(False)
    if method == "lora":
        lora.add_lora(body, **LORA)
    elif method == "adapters":  # after attention and after the feed-forward part of each layer
        for name, module in list(body.named_modules()):
            if name.endswith(("o_proj", "down_proj")):
                body.set_submodule(name, nn.Sequential(module, Bottleneck(d, 8).to(where)))
    elif method == "prompt":  # starts at the vectors of common tokens
        start = body.get_input_embeddings().weight[260:280].detach().clone()
        model.soft = nn.Parameter(start)
    elif method == "head":
        model.head = nn.Parameter(model.readout().detach().clone())
    elif method == "adalora":  # 12 ranks a matrix at first, 8 on average in the end
        from peft import AdaLoraConfig, get_peft_model

        about = {"init_r": 12, "target_r": 8, "lora_alpha": 16, "total_step": n_steps}
        about |= {"tinit": n_steps // 6, "tfinal": n_steps // 3, "deltaT": 1}
        targets = ["q_proj", "v_proj"]
        model.ada = get_peft_model(body, AdaLoraConfig(target_modules=targets, **about))
    else:
        raise ValueError(f"method is {method!r}: choose from {', '.join(RATES)}.")
    return model


def tuned_parameters(model: nn.Module) -> nn.ParameterDict:
    """All that asks for a gradient: what the optimizer and a checkpoint hold."""
    return nn.ParameterDict(
        {n.replace(".", "/"): p for n, p in model.named_parameters() if p.requires_grad}
    )


def orthogonality(model: nn.Module) -> torch.Tensor:
    """Mean of |P^T P - I|^2 and |Q Q^T - I|^2 over AdaLoRA's matrices."""
    found = []
    for name, p in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            product = p @ p.T if "lora_A" in name else p.T @ p
            found.append((product - torch.eye(len(product), device=p.device)).square().sum())
    return torch.stack(found).mean()


def tune(
    model: Ranker,
    method: str,
    examples: Sequence[Asked],
    *,
    lr: float,
    n_epochs: int,
    seed: int,
    every: int | None = None,
    validation: Sequence[Asked] = (),
    checkpoint: str | Path | None = None,
):
    """Tune ``model`` by ``method`` to answer yes for liked and no for disliked films, in place.

    The mean log-odds of the first 16 questions is taken off before the loss, so that training need
    not begin by unlearning a habit of saying yes. Given ``validation`` users, the epoch with the
    least `pair_loss` on them is put back at the end.

    Returns:
        The history of `training.train`, and the tuned parameters after the last epoch (with
        ``validation`` only).
    """
    torch.manual_seed(seed)
    n_steps = n_epochs * -(-len(examples) // BATCH)
    offset, steps = float(score(model, examples[:8]).mean()), iter(range(1, n_steps + 1))
    prepare(model, method, n_steps)
    if model.half:
        keep_half(model)
    target = torch.tensor([1.0, 0.0], device=model.body.device)

    def batches(epoch: int) -> list[list[Asked]]:
        order = np.random.default_rng([seed, epoch]).permutation(len(examples))
        return [[examples[i] for i in order[a : a + BATCH]] for a in range(0, len(order), BATCH)]

    def loss(asked: list[Asked]) -> torch.Tensor:
        if method == "adalora" and (step := next(steps)) > 1:  # the last step's gradients are here
            model.ada.base_model.update_and_allocate(step - 1)
        logits = model(asked) - offset
        value = functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits))
        return value + 0.5 * orthogonality(model.body) if method == "adalora" else value

    parameters, last = tuned_parameters(model), {}

    def validate() -> float:
        last.update({name: p.detach().clone() for name, p in parameters.items()})
        return -pair_loss(score(model, validation))

    how = {"n_epochs": n_epochs, "lr": lr, "lr_decay": True, "clip": 1.0, "name": method}
    if validation:
        how |= {"validate": validate, "every": every}
    return training.train(parameters, batches, loss, checkpoint=checkpoint, **how), last


def auc(scores: np.ndarray) -> float:
    """How often a liked film stands above a disliked one, over all pairs of users; ties half."""
    return float(wins(scores).mean())


def wins(scores: np.ndarray) -> np.ndarray:
    """(n, 2) -> (n, n): whether the liked film of user u is above the disliked one of user v."""
    return (np.sign(scores[:, :1] - scores[:, 1]) + 1) / 2


# ---- runs ------------------------------------------------------------------------------------
class Run(NamedTuple):
    """``group`` "tune": a rate tried; "curve": LoRA with a number of shots, tested; "kin": a method
    beside the others; "base": nothing tuned."""

    group: str
    method: str
    n: int
    seed: int
    lr: float

    @property
    def key(self) -> str:
        last = f"{self.lr:g}" if self.group == "tune" else str(self.seed)
        return f"{self.group}/{self.method}/{self.n}/{last}"

    @property
    def looks(self) -> bool:
        """Whether the validation users say which epoch is kept."""
        return self.group in ("tune", "curve") and self.n in EVERY

    @property
    def settings(self) -> dict[str, Any]:
        if self.looks:
            return {"lr": self.lr, "n_epochs": EPOCHS[self.n], "every": EVERY[self.n]}
        n_epochs = KIN_EPOCHS if self.group == "kin" else EPOCHS.get(self.n, 0)
        return {"lr": self.lr, "n_epochs": n_epochs}


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; those that need a tuned rate come once it is stored."""
    yield Run("base", "none", 0, 0, 0.0)
    for lr in RATES["lora"]:
        yield Run("tune", "lora", TUNED_AT, 0, lr)
    if lr := best_rate(stored, "lora"):
        for seed in SLOW_SEEDS:
            yield Run("curve", "lora", TUNED_AT, seed, lr)
    for seed in SEEDS:
        for n in set(EPOCHS) - set(EVERY):
            yield Run("curve", "lora", n, seed, RATES["lora"][0])
    for seed in KIN_SEEDS:
        for method in set(RATES) - {"lora"}:  # whose run is a point of the curve
            yield Run("kin", method, KIN_AT, seed, RATES[method][0])


def seeds_of(n: int) -> tuple[int, ...]:
    """The draws of n shots that were run."""
    return SLOW_SEEDS if n == TUNED_AT else SEEDS


def best_rate(stored: dict[str, Any], method: str) -> float | None:
    """The tried rate whose best epoch has the least loss on the validation users; None if not all
    are stored."""
    tried = {lr: stored.get(Run("tune", method, TUNED_AT, 0, lr).key) for lr in RATES[method]}
    if None in tried.values():
        return None
    return min(tried, key=lambda lr: min(tried[lr]["validation"]))


def pair_loss(scores: np.ndarray) -> float:
    """Cross-entropy of "the liked one of the two", in nats: no habit of saying yes enters it."""
    return float(np.logaddexp(0, scores[:, 1] - scores[:, 0]).mean())


def rank_lists(model: Ranker, group: str, n_users: int) -> list[list[float]]:
    """Log-odds of yes for the twenty candidates of section 4's users, in its prompt, in float32:
    the corrections of ``model``, merged into a fresh one."""
    fresh = CausalLM()
    lora.add_lora(fresh.model, **LORA)
    lora.lora_parameters(fresh.model).load_state_dict(lora.lora_parameters(model.body).state_dict())
    lora.merge(fresh.model)
    return zero_shot.in_order(fresh, TEMPLATES["yes_no"])(group, slice(0, n_users))


def one_run(run: Run) -> dict[str, Any]:
    """Losses; scores of the test users, after the epoch that was best on the validation users and
    after the last; of LoRA, the lists of section 4's users."""
    task, model = make_task(), Ranker(CausalLM())
    if run.group == "base":
        return {"scores": score(model, task.test).round(3).tolist()}
    examples, start = shots(run.n, run.seed), time.process_time()
    validation = task.validation if run.looks else ()
    history, last = tune(
        model, run.method, examples, seed=run.seed, validation=validation, **run.settings
    )
    result: dict[str, Any] = {"train_seconds": round(time.process_time() - start, 1)}
    result["loss"] = history["loss"].round(4).tolist()
    result["scores"] = score(model, task.test).round(3).tolist()
    if run.method == "adalora":
        kept = model.ada.peft_config["default"].rank_pattern
        result["ranks"] = {name.partition(".lora_E")[0]: sum(kept[name]) for name in kept}
    if not run.looks:
        return result
    looked = history.dropna()
    result["validation"] = (-looked["validation"]).round(4).tolist()
    result["kept"] = int(looked.loc[looked["validation"].idxmax(), "epoch"])
    result["lists"] = rank_lists(model, f"seed {run.seed}", N_LISTS)
    if result["kept"] < run.settings["n_epochs"]:
        tuned_parameters(model).load_state_dict(last)
        result["last_scores"] = score(model, task.test).round(3).tolist()
    result["own_auc"] = round(auc(score(model, examples[:32])), 4)  # after the last epoch
    return result


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Do it, and return what is stored. The trial that won is that point of the curve."""
    trial = run._replace(group="tune")
    if run.group == "curve" and (run.n, run.seed) == (TUNED_AT, 0) and is_current(trial, stored):
        return stored[trial.key] | {"cpu_seconds": 0.0}
    return one_run(run)


# ---- the store -------------------------------------------------------------------------------
PARTS: tuple[Callable | type, ...] = (
    *(make_task, shots, Ranker, half, keep_half, score, Bottleneck, prepare, tuned_parameters),
    *(orthogonality, tune, auc, wins, pair_loss, rank_lists, one_run),
    *(lora.LoRALinear, lora.add_lora, lora.merge, ranking.score, zero_shot.history_of),
)


@cache
def code_hash() -> str:
    """Of the questions, the lists, the wording, the training loop and the functions above."""
    task = make_task()
    told = [[(*one[:1], *map(int, one.history), *one[2:]) for one in part] for part in task[:3]]
    told += [repr(TEMPLATES["yes_no"]), item_texts(load_movielens(), ("title",)), BATCH]
    told += [zero_shot.lists_of(f"seed {seed}").items.tolist() for seed in SEEDS]
    told += [inspect.getsource(part) for part in (*PARTS, training)]
    return hashlib.sha256(json.dumps([told, repr((LORA, N_LISTS))]).encode()).hexdigest()[:16]


EARLIER = "4bbbdb8f73f89fb0"


def code_of(run: Run) -> str:
    """The runs without validation users were made before matrices were rounded once and attention
    was computed in plain steps, which moves the last digits. While their settings stay they are not
    made again; the section repeats one of them with the present code."""
    saved = load_runs().get(run.key, {}) if STORE.exists() else {}
    earlier = saved.get("code") == EARLIER and saved.get("settings") == run.settings
    return EARLIER if earlier and not run.looks else code_hash()


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_of(run))


def main() -> int:
    return stored_runs.command(
        __doc__,
        "curve/lora,base",
        store=STORE,
        wanted=runs,
        code=code_of,
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())
