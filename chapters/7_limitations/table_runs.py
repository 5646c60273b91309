"""The runs of section 9, One table: eight models, one split, every measure; and the ratings of the
table that an article prints. Their results stand in table_runs.json beside this file; the section
reads them and makes some of them again.

    .venv/bin/python chapters/7_limitations/table_runs.py [--minutes 4] [--only wrong]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. All runs take about a quarter of an hour of one core, most
of it for SASRec.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recsys_lab import evaluation, fusion, models, stored_runs
from recsys_lab.data import Interactions, Split, holdout_per_user, leave_last_out, load_movielens
from recsys_lab.data.splits import k_fold, time_split
from recsys_lab.language import Encoder, ranking
from recsys_lab.language.texts import item_texts
from recsys_lab.limits.injection import planted
from recsys_lab.limits.membership import half_split, membership_auc
from recsys_lab.limits.shilling import shilled

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
import cost_runs  # noqa: E402  lists of twenty, requests, resident memory
import loop_runs  # noqa: E402  the worlds of section 7.7
import shilling_runs  # noqa: E402  dirt and typing errors of section 7.8

asked = cost_runs.asked  # section 5.4: what SmolLM2 says of the lists of twenty
STORE = HERE / "table_runs.json"
DRAWS = (0, 1, 2)
MODELS = ("popularity", "item kNN", "EASE", "iALS", "SASRec", "MiniLM", "fusion")
QUICK = tuple(name for name in MODELS if name != "SASRec")
ALL = (*MODELS, "SmolLM2")
K = 10

# Chosen in earlier sections on validation data, and not tuned here.
EASE_L2 = 400.0
IALS = cost_runs.IALS_SETTINGS
ITEM_KNN = (200, 30.0)
SASREC = cost_runs.SASREC
TEXT_L2 = [3.0, 10.0, 30.0, 100.0]  # tried here, on validation
ALPHAS = [0.1, 0.2, 0.3, 0.4, 0.5]

HARD = (0,)  # draws in which data are soiled and fakes sent
WRONG = 0.1  # share of the ratings that go to another film
N_TARGETS, N_FAKES, RATED = 3, 9, (5, 20)  # little-known films, fakes for each
N_REQUESTS, N_ASKED = 200, 20  # timed; users of each draw whom SmolLM2 is asked about again
N_ROUNDS, WORLD_SEEDS = 6, (0,)


class Run(NamedTuple):
    """One run: what is asked, and of which draw, world, model or split."""

    group: str
    name: str
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def draw(self) -> int:
        return int(self.name.split()[0])

    @property
    def models(self) -> tuple[str, ...]:
        return ("SASRec",) if self.name.endswith("SASRec") else QUICK


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; those with a fusion rest on what "chosen" found on validation."""
    fit = {"ease": EASE_L2, "ials": IALS, "knn": list(ITEM_KNN), "sasrec": SASREC}
    for draw in DRAWS:
        yield Run("chosen", str(draw), {"ease": EASE_L2, "text": TEXT_L2, "alphas": ALPHAS})
    if any(f"chosen/{draw}" not in stored for draw in DRAWS):
        return
    chosen = [{k: stored[f"chosen/{d}"][k] for k in ("l2", "alpha")} for d in DRAWS]
    rounds = {"rounds": N_ROUNDS, "people": loop_runs.N_USERS}
    pushed = {"targets": N_TARGETS, "fakes": N_FAKES, "rated": list(RATED)}
    for slow in ("", " SASRec"):  # which is trained for minutes
        for draw in DRAWS if not slow else DRAWS[:1]:
            yield Run("lists", f"{draw}{slow}", fit | chosen[draw])
        for seed in WORLD_SEEDS:
            for world in loop_runs.WORLDS:
                yield Run("loop", f"{world} {seed}{slow}", fit | chosen[0] | rounds)
        for draw in HARD:
            yield Run("member", f"{draw}{slow}", fit | chosen[draw])
            yield Run("push", f"{draw}{slow}", fit | chosen[draw] | pushed)
            yield Run("wrong", f"{draw}{slow}", fit | chosen[draw] | {"share": WRONG})
    for draw in DRAWS:
        yield Run("typos", str(draw), {"n": 3} | chosen[draw])
        yield Run("asked", str(draw), {"n": N_ASKED})
    yield Run("clock", "0", fit | chosen[0] | {"n": N_REQUESTS})
    for name in ALL:
        yield Run("memory", name, fit | chosen[0])
    for kind in ("random", "per user", "time"):
        for draw in DRAWS if kind != "time" else DRAWS[:1]:  # there is one order of time
            yield Run("ratings", f"{kind} {draw}", {"tried": TRIED})


# ---- small helpers ---------------------------------------------------------------------------
def pack(values: np.ndarray, kind: str = "f2") -> dict[str, Any]:
    """An array as text: half precision ("f2", three digits) or indices ("i2")."""
    values = np.asarray(values, dtype=f"<{kind}")
    text = base64.b85encode(zlib.compress(values.tobytes(), 9)).decode()
    return {"kind": kind, "shape": list(values.shape), "text": text}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    data = zlib.decompress(base64.b85decode(packed["text"]))
    values = np.frombuffer(data, f"<{packed['kind']}").reshape(packed["shape"])
    return values.astype(float if packed["kind"] == "f2" else int)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def ndcg(scores: np.ndarray, relevant: sparse.spmatrix, seen: sparse.spmatrix) -> np.ndarray:
    """nDCG@10 of each user, over all films that the user has not seen."""
    table = evaluation.ranking_metrics(scores, relevant, K, exclude=seen, metrics=["ndcg"])
    return table["ndcg"].to_numpy()


# ---- models ----------------------------------------------------------------------------------
@cache
def split_of(draw: int) -> Split:
    """Each user's last film is the exam, as in sections 5.4 and 7.1."""
    return asked.split_of(draw)


@cache
def read(changed: str = "", seed: int = 0) -> np.ndarray:
    """MiniLM's rows for "title (year). genres", centred on the clean ones, of unit length."""
    clean = encoded("", 0)
    return unit(encoded(changed, seed) - clean.mean(axis=0)).astype(np.float32)


@cache
def encoded(changed: str, seed: int) -> np.ndarray:
    data = load_movielens()
    texts = shilling_runs.changed(changed, seed) if changed else item_texts(data)
    return Encoder().encode(texts)


@cache
def text_table(l2: float) -> np.ndarray:
    """Histories times this: a ridge of a user's own clicks on the films' vectors (section 6.3)."""
    rows = read()
    gram = rows @ rows.T + l2 * np.eye(len(rows), dtype=np.float32)
    return np.linalg.solve(gram, rows @ rows.T)


def fused(text: np.ndarray, ease: np.ndarray, seen: Any, alpha: float) -> np.ndarray:
    """Both on the z scale of what each user has not seen, or of all films if ``seen`` is None."""
    where = None if seen is None else fusion.candidates(seen)
    parts = [fusion.scale(scores, "z", where) for scores in (text, ease)]
    return fusion.linear(parts, np.array([alpha, 1 - alpha]))


def scores_of(train: Interactions, run: Run, n_users: int | None = None) -> dict[str, np.ndarray]:
    """Scores of the first n_users users by the run's models, taught by ``train``: (n_users,
    n_items) each."""
    users, draw = np.arange(train.n_users if n_users is None else n_users), run.draw
    seen = train.matrix()[users]
    fitted = {
        "popularity": models.Popularity(),
        "item kNN": models.ItemKNN(*ITEM_KNN),
        "EASE": models.EASE(EASE_L2),
        "iALS": models.IALS(**IALS, seed=draw),
        "SASRec": models.SASRec(seed=draw, **SASREC),
    }
    fitted = {name: model for name, model in fitted.items() if name in run.models}
    scores = {name: np.asarray(model.fit(train).score(users)) for name, model in fitted.items()}
    if run.models == QUICK:
        scores["MiniLM"] = seen.toarray().astype(np.float32) @ text_table(run.settings["l2"])
        seen = None if run.group == "member" else seen  # an attack reads all scores
        scores["fusion"] = fused(scores["MiniLM"], scores["EASE"], seen, run.settings["alpha"])
    return scores


def chosen(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """The ridge of the text and its weight in the fusion, on the film before the last one."""
    split = leave_last_out(load_movielens(), seed=run.draw)
    seen, exam = split.train.matrix(), split.validation.matrix()
    ease = models.EASE(EASE_L2).fit(split.train).score()
    history, tried = seen.toarray().astype(np.float32), {}
    for l2 in TEXT_L2:
        text = history @ text_table(l2)
        for alpha in ALPHAS:
            tried[l2, alpha] = ndcg(fused(text, ease, seen, alpha), exam, seen).mean()
    l2, alpha = max(tried, key=tried.get)
    return {"l2": l2, "alpha": alpha, "tried": [round(float(v), 5) for v in tried.values()]}


# ---- accuracy, popularity bias, diversity, groups ----------------------------------------------
def lists(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """nDCG and lists of ten among all films, and scores of the lists of twenty."""
    split, twenty = split_of(run.draw), cost_runs.lists_of(run.draw)
    seen, result = split.train.matrix(), {"grades": {}, "lists": {}, "twenty": {}}
    targets, result["standing"] = targets_of(split.train, run.draw), {}
    for name, scores in scores_of(split.train, run).items():
        result["grades"][name] = pack(ndcg(scores, split.test.matrix(), seen))
        result["lists"][name] = pack(evaluation.rank_items(scores, exclude=seen, k=K), "i2")
        result["twenty"][name] = pack(np.take_along_axis(scores[twenty.users], twenty.items, 1))
        result["standing"][name] = pack(standing(scores, targets, seen.toarray() > 0))
    return result


# ---- robustness: wrong films, fakes, typing errors ---------------------------------------------
def wrong(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """nDCG when a tenth of the ratings stand at another film; the exam stays clean."""
    split = split_of(run.draw)
    scores = scores_of(shilling_runs.soiled(split.train, "wrong", WRONG, run.draw), run)
    seen, exam = split.train.matrix(), split.test.matrix()
    return {"grades": {name: pack(ndcg(values, exam, seen)) for name, values in scores.items()}}


def targets_of(train: Interactions, draw: int) -> list[int]:
    counts = train.counts("items")
    known = np.flatnonzero((counts >= RATED[0]) & (counts <= RATED[1]))
    rng = np.random.default_rng([79, draw])
    return rng.choice(known, N_TARGETS, replace=False).tolist()


def with_fakes(train: Interactions, targets: list[int]) -> Interactions:
    """Fakes of section 7.8, kind "popular", for each target; their ratings at moments by lot."""
    rng, users, items, ratings = np.random.default_rng(79), [train.users], [train.items], []
    ratings.append(train.ratings)
    for number, target in enumerate(targets):
        joined = shilled(train, target, N_FAKES, "popular", seed=79)
        fake = joined.users >= train.n_users
        users.append(joined.users[fake] + number * N_FAKES)
        items.append(joined.items[fake])
        ratings.append(joined.ratings[fake])
    n_new, n_fakes = sum(map(len, users)) - len(train), N_FAKES * len(targets)
    return Interactions(
        np.concatenate(users),
        np.concatenate(items),
        np.concatenate(ratings),
        np.append(train.timestamps, rng.choice(train.timestamps, n_new)),
        np.arange(train.n_users + n_fakes),
        train.item_ids,
        item_table=train.item_table,
    )


def standing(scores: np.ndarray, targets: list[int], seen: np.ndarray) -> np.ndarray:
    """Where the targets stand for each user: the share of unseen films above them, of equal ones
    half; the mean over the targets that the user has not seen. (n_users,), nan if all are seen."""
    total, number = np.zeros(len(scores)), np.zeros(len(scores))
    for target in targets:
        own, free = scores[:, [target]], ~seen
        free[:, target] = False
        above = ((scores > own) & free).sum(axis=1) + ((scores == own) & free).sum(axis=1) / 2
        without = ~seen[:, target]
        total += np.where(without, above / free.sum(axis=1), 0.0)
        number += without
    return np.divide(total, number, out=np.full(len(scores), np.nan), where=number > 0)


def push(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Where the targets stand for genuine users once the fakes have joined; before: `lists`."""
    train = split_of(run.draw).train
    targets, seen = targets_of(train, run.draw), train.matrix().toarray() > 0
    scores = scores_of(with_fakes(train, targets), run, train.n_users)
    after = {name: pack(standing(values, targets, seen)) for name, values in scores.items()}
    return {"targets": targets, "after": after}


def typos(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """nDCG among all films and scores of the lists of twenty, with three typing errors in every
    title; the user's history was read when it was clean. Only models that read titles change."""
    draw, l2 = run.draw, run.settings["l2"]
    split, twenty = split_of(draw), cost_runs.lists_of(draw)
    seen, rows = split.train.matrix(), read()
    gram = rows @ rows.T + l2 * np.eye(len(rows), dtype=np.float32)
    taste = seen.toarray().astype(np.float32) @ np.linalg.solve(gram, rows)  # (n_users, 384)
    text = taste @ read("three typos", draw).T
    ease = models.EASE(EASE_L2).fit(split.train).score()
    scores = {"MiniLM": text, "fusion": fused(text, ease, seen, run.settings["alpha"])}
    result: dict[str, Any] = {"grades": {}, "twenty": {}}
    for name, values in scores.items():
        result["grades"][name] = pack(ndcg(values, split.test.matrix(), seen))
        result["twenty"][name] = pack(np.take_along_axis(values[twenty.users], twenty.items, 1))
    titles = item_texts(load_movielens())
    own = twenty.items[np.arange(len(twenty.items)), pushed_place(twenty)]
    loud = [loudly(titles[item], item) for item in own]
    rows = Encoder().encode(loud) - encoded("", 0).mean(axis=0)
    said = (taste[twenty.users] * unit(rows)).sum(axis=1)
    where, clean = fusion.candidates(seen), taste @ read().T
    scaled = [fusion.scale(values, "z", where)[twenty.users] for values in (clean, ease)]
    known = np.where(where, clean, np.nan)[twenty.users]
    z_said = (said - np.nanmean(known, axis=1)) / np.nanstd(known, axis=1)
    share, place = run.settings["alpha"], (np.arange(len(own)), own)
    assert np.allclose(
        scaled[0][place],
        (clean[twenty.users][place] - np.nanmean(known, axis=1)) / np.nanstd(known, axis=1),
        atol=1e-3,
    )
    result["loud"] = {
        "MiniLM": pack(said),
        "fusion": pack(share * z_said + (1 - share) * scaled[1][place]),
    }
    return result


def pushed_place(twenty: Any) -> np.ndarray:
    """The film that its seller pushes stands behind the held-out one."""
    return (twenty.place + 1) % twenty.items.shape[1]


def loudly(text: str, item: int) -> str:
    """The film's text with the title repeated, as in section 7.8."""
    title = asked.movielens()[1][item]
    return text.replace(title, planted(title, "repetition"), 1)


def ask(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """SmolLM2 on the first lists of a draw: typing errors in every candidate, and one title that
    repeats itself."""
    draw, model, wording = run.draw, asked.language_model(), cost_runs.wording()
    twenty, titles = cost_runs.lists_of(draw), asked.movielens()[1]
    scores, loud = [], []
    for row in range(N_ASKED):
        history = asked.history_of(f"seed {draw}", int(twenty.users[row]))
        items = twenty.items[row]
        rng = [np.random.default_rng([draw, 79, int(i)]) for i in items]
        dirty = [shilling_runs.misspelt(titles[i], 3, r) for i, r in zip(items, rng)]
        title = titles[items[pushed_place(twenty)[row]]]
        both = ranking.score(model, wording, history, [*dirty, planted(title, "repetition")])
        scores.append(np.round(both[:-1], 4).tolist())
        loud.append(round(float(both[-1]), 4))
    return {"scores": scores, "loud": loud}


# ---- privacy ---------------------------------------------------------------------------------
def member(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """AUC of each user: half of the ratings taught the model, do its scores tell which half?"""
    first, second = half_split(load_movielens(), seed=run.draw)
    scores = scores_of(first, run)
    return {"auc": {name: pack(membership_auc(s, first, second)) for name, s in scores.items()}}


# ---- the long run ----------------------------------------------------------------------------
def loop(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Rounds of ten films in a world of section 7.7, every model taught anew before each: the
    chance of a click on what is shown, of each person in each round, and the Gini index of what
    was shown to whom. Nothing is tuned to the worlds."""
    world, seed = run.name.split()[:2]
    result: dict[str, Any] = {"utility": {}, "rounds": {}, "gini": {}}
    for name in run.models if "SASRec" in run.models else ("random", *QUICK):
        utility, exposure = rounds_of(name, world, int(seed), run.settings)
        result["utility"][name] = pack(utility.mean(axis=1))  # (n_people,)
        result["rounds"][name] = [round(float(x), 4) for x in utility.mean(axis=0)]
        result["gini"][name] = round(float(evaluation.gini(exposure)), 4)
    return result


def rounds_of(
    name: str, world: str, seed: int, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    state, would = loop_runs.start(world, seed)
    rng, moments = np.random.default_rng([79, seed]), np.zeros(state.clicks.shape)
    # Nobody knows in which order the films of the start were seen: by lot.
    moments[state.clicks > 0] = rng.random(int(state.clicks.sum()))
    found, exposure = [], np.zeros(state.clicks.shape[1])
    for number in range(1, N_ROUNDS + 1):
        scores = loop_scores(name, state, moments, settings, rng)
        shown = loop_runs.top(name, scores, state.shown, rng)
        np.put_along_axis(state.shown, shown, True, axis=1)
        clicked = np.take_along_axis(would, shown, 1).astype(np.float32)
        np.put_along_axis(state.clicks, shown, clicked, axis=1)
        np.put_along_axis(moments, shown, number * clicked, axis=1)
        found.append(np.take_along_axis(state.truth, shown, 1).mean(axis=1))
        exposure += evaluation.exposure(shown, len(exposure))
    return np.array(found).T, exposure


def loop_scores(
    name: str, state: Any, moments: np.ndarray, settings: dict[str, Any], rng: Any
) -> np.ndarray:
    if name == "random":
        return rng.random(state.clicks.shape)
    text = state.clicks @ loop_runs.text_weights(settings["l2"]).astype(np.float32)
    if name == "MiniLM":
        return text
    if name in ("EASE", "fusion"):
        ease = loop_runs.ease(state.clicks, EASE_L2)
        if name == "EASE":
            return ease
        return fused(text, ease, sparse.csr_matrix(state.shown), settings["alpha"])
    users, items = np.nonzero(state.clicks)
    people, films = map(np.arange, state.clicks.shape)
    stamps = np.floor(1000 * moments[users, items])
    events = Interactions(users, items, timestamps=stamps, user_ids=people, item_ids=films)
    model = {
        "popularity": models.Popularity,
        "item kNN": lambda: models.ItemKNN(*ITEM_KNN),
        "iALS": lambda: models.IALS(**IALS),
        "SASRec": lambda: models.SASRec(**SASREC),
    }[name]()
    return np.asarray(model.fit(events).score())


# ---- cost: seconds and memory ------------------------------------------------------------------
def clock(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Processor seconds, one request after the other: ten of all films ("ten"), and an order of
    twenty given films ("twenty"). Seconds of training, once."""
    train, n_items = split_of(0).train, load_movielens().n_items
    seen, result = train.matrix(), {"training": {}, "ten": {}, "twenty": {}}
    histories = [seen[user].indices for user in range(train.n_users)]
    order = models.SASRec().build(n_items).eval()  # the weights do not change the time
    fits: dict[str, Callable] = {
        "popularity": lambda: models.Popularity().fit(train),
        "item kNN": lambda: models.ItemKNN(*ITEM_KNN).fit(train),
        "EASE": lambda: models.EASE(EASE_L2).fit(train),
        "iALS": lambda: models.IALS(**IALS).fit(train),
        "MiniLM": lambda: text_table.__wrapped__(run.settings["l2"]),
    }
    fitted = {}
    for name, fit in fits.items():
        start = time.process_time()
        if name == "MiniLM":
            Encoder().compute(item_texts(load_movielens()))  # all films, nothing kept
        fitted[name] = fit()
        result["training"][name] = time.process_time() - start
    result["training"]["fusion"] = result["training"]["EASE"] + result["training"]["MiniLM"]
    result["training"]["SmolLM2"] = 0.0
    result["training"]["SASRec"] = cost_runs.load_runs()["sequences/0"]["train_seconds"]
    counts = train.counts("items").astype(np.float32)
    near = np.ascontiguousarray(fitted["item kNN"].similarity.T, np.float32)
    ease, ials, text = fitted["EASE"].weights, fitted["iALS"], fitted["MiniLM"]
    alpha = run.settings["alpha"]

    @torch.inference_mode()
    def by_sasrec(user: int) -> np.ndarray:
        hidden = order(torch.as_tensor(histories[user][None, -50:], dtype=torch.long))[0, -1]
        return order.output(hidden).numpy()

    def by_fusion(user: int) -> np.ndarray:
        parts = [text[histories[user]].sum(0), ease[histories[user]].sum(0)]
        mask = np.ones(n_items, dtype=bool)
        mask[histories[user]] = False
        a, b = ((p - p[mask].mean()) / p[mask].std() for p in parts)
        return alpha * a + (1 - alpha) * b

    scorers: dict[str, Callable[[int], np.ndarray]] = {
        "popularity": lambda user: counts.copy(),
        "item kNN": lambda user: near[histories[user]].sum(0),
        "EASE": lambda user: ease[histories[user]].sum(0),
        "iALS": lambda user: ials.item_factors @ ials.user_factors[user],
        "SASRec": by_sasrec,
        "MiniLM": lambda user: text[histories[user]].sum(0),
        "fusion": by_fusion,
    }

    def ten(scores: np.ndarray, user: int) -> np.ndarray:
        scores[histories[user]] = -np.inf
        best = np.argpartition(-scores, K)[:K]
        return best[np.argsort(-scores[best])]

    twenty = cost_runs.lists_of(0)
    visitors = np.random.default_rng(79).choice(train.n_users, N_REQUESTS, replace=False)
    for name, scorer in scorers.items():
        take = {
            "ten": [lambda u=int(u): ten(scorer(u), u) for u in visitors],  # noqa: B023
            "twenty": [
                lambda u=int(u), i=i: i[np.argsort(-scorer(u)[i])]  # noqa: B023
                for u, i in zip(twenty.users, twenty.items)
            ],
        }
        for kind, requests in take.items():
            result[kind][name] = timed(requests)
    rows = [lambda row=row: cost_runs.request("shared", 0, row) for row in range(12)]
    result["twenty"]["SmolLM2"] = timed(rows)
    result["training"] = {name: round(s, 4) for name, s in result["training"].items()}
    return result


def timed(requests: list[Callable[[], Any]]) -> list[float]:
    """Processor seconds of each; the first two are answered once more before, off the clock."""
    for request in requests[:2]:
        request()
    seconds = []
    for request in requests:
        start = time.process_time()
        request()
        seconds.append(float(f"{time.process_time() - start:.3g}"))
    return seconds


def work(name: str) -> None:
    """Teach or load a model and answer one request."""
    train, user = split_of(0).train, np.arange(1)
    fits: dict[str, Callable] = {
        "popularity": models.Popularity,
        "item kNN": lambda: models.ItemKNN(*ITEM_KNN),
        "EASE": lambda: models.EASE(EASE_L2),
        "iALS": lambda: models.IALS(**IALS),
        "SASRec": lambda: models.SASRec(**SASREC | {"n_epochs": 1}),
    }
    if name in ("MiniLM", "fusion"):
        Encoder().compute(item_texts(load_movielens()))
        text = train.matrix()[:1].toarray().astype(np.float32) @ text_table(30.0)
        if name == "fusion":
            fused(text, fits["EASE"]().fit(train).score(user), train.matrix()[:1], 0.3)
    elif name == "SmolLM2":
        cost_runs.work("SmolLM2")
    else:
        fits[name]().fit(train).score(user)


def peak(name: str) -> float:
    """Megabytes at the peak above what imports and data take (Linux)."""
    torch.set_num_threads(1)
    split_of(0), cost_runs.question(0, 0)
    before = cost_runs.resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    work(name)
    return cost_runs.resident("VmHWM") - before


def memory(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    call = f"import table_runs; print(table_runs.peak({run.name!r}))"
    said = subprocess.run(
        [sys.executable, "-c", call], cwd=HERE, capture_output=True, text=True, check=True
    )
    return {"megabytes": round(float(said.stdout.split()[-1]), 1)}


# ---- ratings: the table of the article ---------------------------------------------------------
RATERS = ("mean", "biases", "TF-IDF", "MiniLM", "item kNN", "MF", "MiniLM + MF")
TRIED = {"text": [1.0, 3.0, 10.0, 30.0], "factors": [0.1, 0.14, 0.2], "neighbours": [20, 40, 80]}


@cache
def words() -> np.ndarray:
    """TF-IDF of "title (year). genres", centred, of unit length: (n_items, n_words)."""
    found = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(
        item_texts(load_movielens())
    )
    rows = found.toarray()
    return unit(rows - rows.mean(axis=0)).astype(np.float32)


def text_ratings(train: Interactions, rows: np.ndarray, l2: float) -> np.ndarray:
    """Each user's ridge from a film's vector to what their stars leave over the user's mean,
    which is drawn towards the mean of all; no other user's stars enter: (n_users, n_items)."""
    overall, gram = train.ratings.mean(), (rows @ rows.T).astype(np.float64)
    predicted = np.full((train.n_users, train.n_items), overall)
    stars = train.matrix("ratings").tocsr()
    for user in np.flatnonzero(train.counts("users")):
        own, given = stars[user].indices, stars[user].data
        mean = (given.sum() + 5 * overall) / (len(given) + 5)
        near = gram[np.ix_(own, own)] + l2 * np.eye(len(own))
        predicted[user] = mean + gram[:, own] @ np.linalg.solve(near, given - mean)
    return predicted


def rating_tables(train: Interactions, name: str, value: Any, seed: int) -> np.ndarray:
    """Predicted stars of everybody for every film, in 1..5: (n_users, n_items)."""
    if name == "mean":
        table = np.full((train.n_users, train.n_items), train.ratings.mean())
    elif name in ("TF-IDF", "MiniLM"):
        table = text_ratings(train, words() if name == "TF-IDF" else read(), value)
    else:
        model = {
            "biases": lambda: models.baseline.Baseline(),
            "item kNN": lambda: models.rating_knn.RatingKNN("centred", value, user_based=False),
            "MF": lambda: models.ALS(n_factors=20, l2=value, seed=seed),
        }[name]()
        table = model.fit(train).score(np.arange(train.n_users))
    return np.clip(table, 1, 5)


OPTIONS = {"TF-IDF": "text", "MiniLM": "text", "item kNN": "neighbours", "MF": "factors"}


def rating_split(kind: str, draw: int) -> Split:
    """Four fifths, a tenth, a tenth: by chance over all ratings, within each user, or in time."""
    data = load_movielens()
    if kind == "time":
        return time_split(data)
    if kind == "per user":
        return holdout_per_user(data, 0.1, 0.1, seed=draw)
    outer = k_fold(data, 10, seed=draw)[0]
    inner = k_fold(outer.train, 9, seed=draw)[0]
    return Split(train=inner.train, validation=inner.test, test=outer.test, name="random")


def best_setting(name: str, split: Split, draw: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The setting with the least squared error on validation; the stars that it predicts there and
    on the test."""
    found, held, test = [], split.validation, split.test
    for value in TRIED[OPTIONS[name]] if name in OPTIONS else [None]:
        table = rating_tables(split.train, name, value, draw)
        parts = table[held.users, held.items], table[test.users, test.items]
        found.append((((parts[0] - held.ratings) ** 2).mean(), value, *parts))
    return min(found, key=lambda one: one[0])[1:]


def ratings(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Sums over each user's held-out ratings: squared errors on the scale 0..1, right guesses of
    "four stars or more", squared errors of its probability; AUC over all ratings. Settings, the
    weight of the mixture and the probability's curve (Platt) come from the validation part."""
    kind, draw = run.name.rsplit(" ", 1)
    split, n_users = rating_split(kind, int(draw)), load_movielens().n_users
    held, test = split.validation, split.test
    found = {name: best_setting(name, split, int(draw)) for name in RATERS[:-1]}
    picked, known = {n: found[n][0] for n in OPTIONS}, {n: found[n][1:] for n in found}
    text, factors = known["MiniLM"], known["MF"]
    steps = np.linspace(0, 1, 21)
    loss = [((a * text[0] + (1 - a) * factors[0] - held.ratings) ** 2).mean() for a in steps]
    share = picked["MiniLM + MF"] = round(float(steps[int(np.argmin(loss))]), 2)
    known["MiniLM + MF"] = tuple(share * t + (1 - share) * f for t, f in zip(text, factors))
    sums, auc, liked = {}, {}, test.ratings >= 4
    for name, (before, now) in known.items():
        platt = LogisticRegression(C=1e6).fit(before[:, None], held.ratings >= 4)
        chance = platt.predict_proba(now[:, None])[:, 1]
        rows = (now - test.ratings) ** 2 / 16, (chance >= 0.5) == liked, (chance - liked) ** 2
        sums[name] = pack(np.array([np.bincount(test.users, row, n_users) for row in rows]))
        auc[name] = round(float(auc_of(now, liked)), 5)
    n = pack(np.bincount(test.users, minlength=n_users), "i2")
    return {"sums": sums, "n": n, "auc": auc, "picked": picked}


def auc_of(scores: np.ndarray, good: np.ndarray) -> float:
    ranks, n = rankdata(scores), good.sum()
    return (ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n))


# ---- the store -------------------------------------------------------------------------------
PERFORM: dict[str, Callable[[Run, dict[str, Any]], dict[str, Any]]] = {
    "chosen": chosen,
    "lists": lists,
    "wrong": wrong,
    "push": push,
    "typos": typos,
    "asked": ask,
    "member": member,
    "loop": loop,
    "clock": clock,
    "memory": memory,
    "ratings": ratings,
}


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return PERFORM[run.group](run, stored)


TEXT = (read.__wrapped__, encoded.__wrapped__, text_table.__wrapped__, fused, unit, ndcg)
SCORES = (scores_of, split_of.__wrapped__, *TEXT)
TITLES = (pushed_place, loudly, planted, shilling_runs.misspelt)
PARTS: dict[str, tuple] = {
    "chosen": (chosen, *TEXT),
    "lists": (lists, standing, targets_of, *SCORES),
    "wrong": (wrong, shilling_runs.soiled, *SCORES),
    "push": (push, standing, targets_of, with_fakes, *SCORES),
    "typos": (typos, *TITLES, shilling_runs.changed, *SCORES),
    "asked": (ask, *TITLES, ranking.score, cost_runs.wording),
    "member": (member, *SCORES),
    "loop": (loop, rounds_of, loop_scores, loop_runs.start, loop_runs.top, loop_runs.ease, fused),
    "clock": (clock, timed, cost_runs.request, split_of.__wrapped__, *TEXT),
    "memory": (memory, peak, work, cost_runs.resident, *TEXT),
    "ratings": (
        ratings,
        best_setting,
        rating_tables,
        text_ratings,
        words.__wrapped__,
        rating_split,
        *TEXT,
    ),
}
FITTED = "models/ease models/ials models/least_squares models/knn models/popularity models/sasrec "
FITTED += "models/sequences data/splits fusion/scales fusion/linear language/texts"
FILES = {
    "chosen": "models/ease data/splits fusion/scales fusion/linear language/texts",
    "push": f"{FITTED} limits/shilling",
    "member": f"{FITTED} limits/membership",
    "asked": "",
    "ratings": "models/als models/least_squares models/rating_knn models/baseline data/splits",
}


def code_hash(run: Run) -> str:
    """Of the code that the run depends on."""
    digest = hashlib.sha256()
    for file in FILES.get(run.group, FITTED).split():
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in PARTS[run.group]:
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("wrong/0"); an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "wrong", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())
