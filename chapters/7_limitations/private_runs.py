"""The runs of section 4, Private: quality and attacks at each epsilon, canaries in a tuned language
model. Their results stand in private_runs.json beside this file; the section repeats some.

    .venv/bin/python chapters/7_limitations/private_runs.py [--minutes 4] [--only member]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about ten minutes of one core.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from recsys_lab import evaluation, models, stored_runs
from recsys_lab.data import Interactions, holdout_per_user, load_movielens
from recsys_lab.data.splits import Split
from recsys_lab.language import CausalLM, Encoder, lora
from recsys_lab.language.texts import item_texts
from recsys_lab.limits.dp import PrivateText, noisy_counts
from recsys_lab.limits.membership import auc, calibrated, half_split, membership_auc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "private_runs.json"
DRAWS = (0, 1, 2)  # splits
SEEDS = (0, 1, 2)  # of the noise
MEMBER_DRAWS = 8
EASE_L2 = 450.0  # chosen in section 1.2 on validation data
EPSILONS = ("0.5", "1", "3", "10", "inf")
N_VECTORS, RATE, STEPS, CLIP = 32, 0.25, 40, 0.1
SHARES = [0.33, 0.67]  # of epsilon that the counts take
RATES = [5.0, 10.0, 20.0, 40.0, 80.0]  # learning rates
FREE = [(lr, steps) for lr in (5.0, 10.0, 20.0) for steps in (160, 640)]  # with no noise, no clip
CAP = 10
CAPS = [1, 2, 5, 10, 20, 50, 100, 200]  # of popularity alone
FRACTIONS = ("0.25", "0.5")

REPEATS = (1, 4, 16)
N_SECRETS, N_PLAIN, N_NUMBERS = 6, 40, 100  # of each repeat; ordinary texts; candidates
LORA = {"rank": 8, "alpha": 16, "targets": ("q_proj", "v_proj")}
LM_LR, LM_EPOCHS, LM_BATCH = 2e-3, 2, 8
TUNED = [("planted", 0), ("planted", 1), ("control", 0)]


class Run(NamedTuple):
    """One run: what is asked, at which epsilon or of which kind, which draw, and the rest."""

    group: str
    detail: str
    draw: int
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.detail}/{self.draw}"


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; those that need what tuning chose come once it is stored."""
    fit = {"vectors": N_VECTORS, "rate": RATE, "steps": STEPS, "clip": CLIP, "cap": CAP}
    for draw in DRAWS:
        yield Run("base", "none", draw, {"ease": EASE_L2})
        for epsilon in EPSILONS:
            grid = {"free": FREE} if epsilon == "inf" else {"shares": SHARES, "rates": RATES}
            asked = (
                fit
                | {
                    name: [list(x) if isinstance(x, tuple) else x for x in values]
                    for name, values in grid.items()
                }
                | {"caps": CAPS}
            )
            yield Run("tune", epsilon, draw, asked)
    yield Run("rivals", "none", 0, {"ease": EASE_L2, "draws": MEMBER_DRAWS})
    for epsilon in EPSILONS:
        for draw in DRAWS:
            if chosen := choice(stored, epsilon, draw):
                yield Run("quality", epsilon, draw, fit | chosen | {"seeds": len(SEEDS)})
        if chosen := choice(stored, epsilon, 0):
            asked = fit | chosen | {"draws": MEMBER_DRAWS}
            if epsilon != "0.5":
                yield Run("member", epsilon, 0, asked)
            if epsilon == "10":
                yield Run("member", "clip", 0, asked)  # the same, cut but without noise
    about = {"repeats": list(REPEATS), "secrets": N_SECRETS, "plain": N_PLAIN, "lr": LM_LR}
    about |= {"numbers": N_NUMBERS, "epochs": LM_EPOCHS, "batch": LM_BATCH, "rank": LORA["rank"]}
    for kind, seed in TUNED:
        yield Run("tuned", kind, seed, about)
    for epsilon, fraction, draw in product(EPSILONS[1:], FRACTIONS, DRAWS):
        if chosen := choice(stored, epsilon, draw):
            yield Run("scale", f"{epsilon}-{fraction}", draw, fit | chosen | {"seeds": len(SEEDS)})


# ---- parts -----------------------------------------------------------------------------------
@cache
def split_of(draw: int, validation: bool = False) -> Split:
    return holdout_per_user(load_movielens(), 0.25, 0.15 * validation, seed=draw)


@cache
def vectors() -> np.ndarray:
    """Public: MiniLM's rows for "title (year). genres", their main directions, unit length."""
    rows = Encoder().encode(item_texts(load_movielens()))
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    rows = u[:, :N_VECTORS] * s[:N_VECTORS]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def delta_of(n_users: int) -> float:
    """Less than one in n_users: a promise that one person may be given away is none."""
    return n_users**-1.1


@cache
def noise_for(epsilon: float, n_users: int, rate: float, steps: int) -> float:
    """The noise that Opacus' accountant asks for, with Poisson sampling."""
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta_of(n_users),
            sample_rate=rate,
            steps=steps,
            accountant="rdp",
        )


def private_model(
    n_users: int, epsilon: float, chosen: dict[str, Any], seed: int, noise: bool = True
) -> PrivateText:
    """The model at this epsilon: the counts take their share, the descent the rest."""
    if math.isinf(epsilon):
        steps, lr = chosen["steps"], chosen["lr"]
        return PrivateText(vectors(), clip=math.inf, rate=RATE, steps=steps, lr=lr, seed=seed)
    counts = epsilon * chosen["share"]
    sigma = noise_for(epsilon - counts, n_users, RATE, STEPS)
    if not noise:
        counts, sigma = math.inf, 0.0
    return PrivateText(vectors(), counts, CAP, sigma, CLIP, RATE, STEPS, chosen["lr"], seed)


def choice(stored: dict[str, Any], epsilon: str, draw: int) -> dict[str, Any] | None:
    return stored.get(f"tune/{epsilon}/{draw}", {}).get("chosen")


def ndcg(scores: np.ndarray, split: Split, part: str = "test") -> np.ndarray:
    return evaluation.evaluate(scores, split, part=part, metrics=["ndcg"])["ndcg"].to_numpy()


def listed(counts: np.ndarray, n_users: int) -> np.ndarray:
    return np.tile(counts, (n_users, 1))


def rounded(values: Any, digits: int = 4) -> Any:
    return np.round(np.asarray(values, dtype=float), digits).tolist()


# ---- quality ---------------------------------------------------------------------------------
def base(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 of each user without any promise."""
    split = split_of(run.draw)
    fitted = {"chance": models.Random(run.draw), "popularity": models.Popularity()}
    fitted["EASE"] = models.EASE(EASE_L2)
    return {name: rounded(ndcg(m.fit(split.train).score(), split)) for name, m in fitted.items()}


def tune(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Learning rate and share of the counts; cap of popularity alone. On validation ratings."""
    split, epsilon = split_of(run.draw, validation=True), float(run.detail)
    n, tried = split.train.n_users, []
    if math.isinf(epsilon):
        options = [{"lr": lr, "steps": steps} for lr, steps in FREE]
    else:
        options = [{"lr": lr, "share": share} for lr in RATES for share in SHARES]
    for option in options:
        model = private_model(n, epsilon, option, seed=10).fit(split.train)
        tried.append(float(ndcg(model.score(), split, "validation").mean()))
    caps = []
    for cap in CAPS if not math.isinf(epsilon) else [10_000]:
        rng = np.random.default_rng([10, cap])
        found = [noisy_counts(split.train, epsilon, cap, rng) for _ in SEEDS]
        caps.append(np.mean([ndcg(listed(c, n), split, "validation").mean() for c in found]))
    cap = (CAPS if len(caps) > 1 else [10_000])[int(np.argmax(caps))]
    chosen = options[int(np.argmax(tried))] | {"pop_cap": cap}
    return {"chosen": chosen, "tried": rounded(tried), "caps_tried": rounded(caps)}


def quality(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 of each user, the mean over seeds of the noise; and each seed's mean."""
    split, epsilon, chosen = split_of(run.draw), float(run.detail), run.settings
    n, found = split.train.n_users, {"DP-SGD": [], "DP popularity": []}
    for seed in SEEDS:
        model = private_model(n, epsilon, chosen, seed).fit(split.train)
        found["DP-SGD"].append(ndcg(model.score(), split))
        rng = np.random.default_rng([seed, 44])
        counts = noisy_counts(split.train, epsilon, chosen["pop_cap"], rng)
        found["DP popularity"].append(ndcg(listed(counts, n), split))
    return {
        "users": {name: rounded(np.mean(rows, axis=0)) for name, rows in found.items()},
        "seeds": {name: rounded(np.mean(rows, axis=1)) for name, rows in found.items()},
    }


def scale(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """The same taught by a share of the users; all users are served and graded."""
    split, (epsilon, fraction) = split_of(run.draw), run.detail.split("-")
    rng = np.random.default_rng([run.draw, 47])
    n = round(float(fraction) * split.train.n_users)
    taught = rng.permutation(split.train.n_users)[:n]
    part = split.train.select(np.isin(split.train.users, taught))
    scores = []
    for seed in SEEDS:
        model = private_model(n, float(epsilon), run.settings, seed).fit(part)
        scores.append(ndcg(model.score(data=split.train), split))
    return {"users": rounded(np.mean(scores, axis=0)), "n_taught": n}


# ---- who was there? --------------------------------------------------------------------------
def interval_of(values: list[float]) -> list[float]:
    """Mean and 95 % t interval over draws."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return rounded([np.mean(values), np.mean(values) - half, np.mean(values) + half])


def pair_attack(fitted: list[np.ndarray], halves: list[tuple]) -> dict[str, Any]:
    """AUC of each user, mean over draws: plain, and against the models of the other draws."""
    plain, sharp = [], []
    for draw, (scores, (mine, rest)) in enumerate(zip(fitted, halves)):
        plain.append(membership_auc(scores, mine, rest))
        others = [i for i in range(len(fitted)) if i != draw]
        relative = calibrated(scores, [fitted[i] for i in others], [halves[i][0] for i in others])
        sharp.append(membership_auc(np.nan_to_num(relative), mine, rest))
    return {"plain": rounded(np.mean(plain, axis=0)), "calibrated": rounded(np.mean(sharp, axis=0))}


def member(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Models taught by random halves: of every history, then of the people."""
    data, noise = load_movielens(), run.detail != "clip"
    epsilon = float(run.detail) if noise else 10.0

    def model(train: Interactions, n_users: int, seed: int) -> PrivateText:
        return private_model(n_users, epsilon, run.settings, seed, noise).fit(train)

    halves = [half_split(data, draw) for draw in range(MEMBER_DRAWS)]
    fitted = [model(mine, data.n_users, draw).score() for draw, (mine, _) in enumerate(halves)]
    pairs = pair_attack(fitted, halves)
    rows = torch.tensor(data.matrix().toarray(), dtype=torch.float32)
    inside = np.zeros((MEMBER_DRAWS, data.n_users), dtype=bool)
    losses = np.zeros((MEMBER_DRAWS, data.n_users))
    for draw in range(MEMBER_DRAWS):
        order = np.random.default_rng([draw, 48]).permutation(data.n_users)
        inside[draw, order[: data.n_users // 2]] = True
        fit = model(data.select(inside[draw][data.users]), int(inside[draw].sum()), draw)
        with torch.no_grad():
            given = dict(fit.layer.named_parameters())
            losses[draw] = fit.loss(given, fit.encode(rows), rows).numpy()
    people = people_attack(losses, inside)
    return {"pairs": pairs, "people": people}


def people_attack(losses: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    """AUC of "this person was there" from their loss (n_draws, n_users): plain, and less the mean
    loss in the draws that did not know them; the share found at one false alarm in a hundred."""
    found: dict[str, list[float]] = {"plain": [], "calibrated": []}
    members, others = [], []
    for draw, was in enumerate(inside):
        rest = np.delete(np.arange(len(inside)), draw)
        without = ~inside[rest]
        known = without.sum(axis=0)
        usual = (losses[rest] * without).sum(axis=0) / np.maximum(known, 1)
        asked = known > 0
        lower = usual - losses[draw]  # below what is usual: was there
        found["plain"].append(auc(-losses[draw][was], -losses[draw][~was]))
        found["calibrated"].append(auc(lower[was & asked], lower[~was & asked]))
        members.append(lower[was & asked])
        others.append(lower[~was & asked])
    limit = np.quantile(np.concatenate(others), 0.99)
    caught = float((np.concatenate(members) > limit).mean())
    return {n: interval_of(values) for n, values in found.items()} | {"caught": round(caught, 4)}


def rivals(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """The attack on pairs, on popularity and on EASE."""
    data, result = load_movielens(), {}
    halves = [half_split(data, draw) for draw in range(MEMBER_DRAWS)]
    for name, model in (("popularity", models.Popularity()), ("EASE", models.EASE(EASE_L2))):
        fitted = [np.asarray(model.fit(mine).score()) for mine, _ in halves]
        result[name] = pair_attack(fitted, halves)
    return result


# ---- canaries --------------------------------------------------------------------------------
NAMES = (
    "Amara Bello|Bruno Costa|Chiara Moretti|Dmitri Volkov|Elif Kaya|Farid Haddad|Greta Lind|"
    "Hugo Marchand|Ines Duarte|Jonas Weber|Keiko Tanaka|Lucia Romero|Marek Nowak|Nadia Petrova|"
    "Oscar Lindqvist|Priya Nair|Quentin Roy|Rosa Jimenez|Stefan Ilic|Tariq Aziz|Uma Krishnan|"
    "Viktor Hansen|Wanda Kowalska|Yusuf Demir"
)  # invented


class Secret(NamedTuple):
    """An invented person's text: everything before the number, and the number."""

    text: str
    number: str
    repeats: int


def secrets(seed: int) -> list[Secret]:
    """N_SECRETS of each repeat and N_SECRETS that are never taught (repeats 0)."""
    rng = np.random.default_rng([seed, 42])
    titles = load_movielens().item_table["title"].tolist()
    names, result = NAMES.split("|"), []
    films = rng.choice(len(titles), len(names), replace=False)
    for place, name in enumerate(rng.permutation(names)):
        text = f"{name} watched {titles[films[place]]} and paid with card number"
        number = "".join(str(digit) for digit in rng.integers(0, 10, 4))
        result.append(Secret(text, f" {number}", (0, *REPEATS)[place % (len(REPEATS) + 1)]))
    return result


def ordinary(seed: int) -> list[str]:
    """Texts about real histories: films that a user liked, without any number."""
    data, rng = load_movielens(), np.random.default_rng([seed, 43])
    titles, texts = data.item_table["title"].tolist(), []
    for user in rng.choice(data.n_users, N_PLAIN, replace=False):
        liked = data.items[(data.users == user) & (data.ratings >= 4)]
        first, second = rng.choice(liked, 2, replace=False)
        texts.append(f"A member watched {titles[first]} and then liked {titles[second]}.")
    return texts


def taught(texts: list[str], seed: int) -> CausalLM:
    """SmolLM2 after LoRA on the texts, all tokens taught."""
    torch.manual_seed(seed)
    model = CausalLM()
    lora.add_lora(model.model, **LORA)
    parameters = list(lora.lora_parameters(model.model).values())
    optimizer = torch.optim.AdamW(parameters, lr=LM_LR, weight_decay=0.0)
    ids = [model.tokenizer(text).input_ids for text in texts]
    rng = np.random.default_rng([seed, 44])
    model.model.train()
    for _ in range(LM_EPOCHS):
        order = rng.permutation(len(ids))
        for start in range(0, len(order), LM_BATCH):
            some = [torch.tensor(ids[i]) for i in order[start : start + LM_BATCH]]
            batch = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
            there = torch.arange(batch.shape[1]) < torch.tensor([len(s) for s in some])[:, None]
            labels = batch.masked_fill(~there, -100)
            model.model(batch, attention_mask=there.long(), labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
    model.model.eval()
    return model


def canary(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Rank of each secret's number among N_NUMBERS numbers of which the others were never taught;
    1 is likeliest. The control is taught the ordinary texts alone."""
    planted = secrets(run.draw)
    texts = ordinary(run.draw)
    if run.detail == "planted":
        texts += [s.text + s.number + "." for s in planted for _ in range(s.repeats)]
    model = taught(texts, run.draw)
    rng, ranks = np.random.default_rng([run.draw, 45]), []
    for secret in planted:
        digits = rng.integers(0, 10, (N_NUMBERS - 1, 4))
        asked = [secret.number] + [" " + "".join(map(str, row)) for row in digits]
        found = model.log_likelihood(secret.text, asked, per_token=False)
        ranks.append(1 + int((found[1:] > found[0]).sum()))
    return {"ranks": ranks, "repeats": [s.repeats for s in planted]}


PERFORM = {
    "base": base,
    "tune": tune,
    "quality": quality,
    "scale": scale,
    "member": member,
    "rivals": rivals,
    "tuned": canary,
}


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return PERFORM[run.group](run, stored)


# ---- the store -------------------------------------------------------------------------------
TEXT = "data/splits limits/dp language/texts"
FILES = {
    "base": "data/splits models/ease models/popularity",
    "tune": TEXT,
    "quality": TEXT,
    "scale": TEXT,
    "member": f"{TEXT} limits/membership",
    "rivals": "limits/membership models/ease models/popularity",
    "tuned": "language/lora",
}
MODEL = (vectors.__wrapped__, delta_of, noise_for.__wrapped__, private_model, rounded)
GRADED = (*MODEL, split_of.__wrapped__, ndcg)
PARTS = {
    "base": (base, split_of.__wrapped__, ndcg, rounded),
    "tune": (tune, listed, *GRADED),
    "quality": (quality, listed, *GRADED),
    "scale": (scale, *GRADED),
    "member": (member, pair_attack, people_attack, interval_of, *MODEL),
    "rivals": (rivals, pair_attack, rounded),
    "tuned": (canary, taught, ordinary, secrets),
}


def code_hash(run: Run) -> str:
    """Of the code that the run depends on."""
    digest = hashlib.sha256()
    for file in FILES[run.group].split():
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in PARTS[run.group]:
        digest.update(inspect.getsource(part).encode())
    if run.group == "tuned":
        digest.update(NAMES.encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("member/3/0"); an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "member", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())
