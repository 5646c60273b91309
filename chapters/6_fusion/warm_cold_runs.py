"""The runs of section 3, Warm and cold. Their results stand in warm_cold_runs.json beside this
file, the lists of the networks in warm_cold_runs.npz; the section reads them and repeats some.

    .venv/bin/python chapters/6_fusion/warm_cold_runs.py [--minutes 4] [--only warm]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again. Training GRU4Rec takes three minutes a draw, all the rest
together about two.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_lab import evaluation, fusion, models, stored_runs
from recsys_lab.data import (
    Interactions,
    cold_items,
    cold_users,
    holdout_per_user,
    leave_last_out,
    load_movielens,
)
from recsys_lab.language import Encoder
from recsys_lab.language.texts import item_texts
from recsys_lab.models.markov import recency_weights
from recsys_lab.models.sequences import Histories

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "warm_cold_runs.json"
LISTS = HERE / "warm_cold_runs.npz"
DRAWS = (0, 1, 2)

# Chosen in sections 3.5 and 4.5 on validation data.
EASE_L2 = 450.0
IALS = {"n_factors": 64, "alpha0": 0.43, "l2": 0.014, "n_epochs": 15}
GRU = {"lr": 3e-3, "batch_size": 32, "dropout": 0.3, "n_epochs": 34}
N_LISTED = 100  # films of a network's list that are kept

TEXT_L2 = [3.0, 10.0, 30.0, 100.0]  # ridges tried for the text part, on validation
DECAYS = [1.0, 0.97, 0.9, 0.8]  # of its memory, for the next film
LENGTHS = [0, 1, 2, 5, 10, 19]  # ratings of a newcomer
EASE_RIDGES = [450.0, 1600.0, 6400.0, 25_600.0, 102_400.0]
ARTICLE_ALPHA = 0.7  # the weight of the text part in the article's example


class Run(NamedTuple):
    """One run: what is asked, and which draw of the split."""

    group: str
    draw: int
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.draw}"


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs: the cheap ones first, the networks and what rests on them last."""
    for draw in DRAWS:
        yield Run("warm", draw, {"ease": EASE_L2, "ials": IALS, "text": TEXT_L2})
        yield Run("items", draw, {"ials": IALS, "text": TEXT_L2})
        yield Run("users", draw, {"ease": EASE_RIDGES, "text": TEXT_L2, "lengths": LENGTHS})
    for draw in DRAWS:
        yield Run("network", draw, GRU)
    for draw in DRAWS:
        if f"network/{draw}" in stored:
            yield Run("lastout", draw, {"network": GRU, "decay": DECAYS})


# ---- parts -----------------------------------------------------------------------------------
@cache
def vectors(kind: str = "MiniLM") -> np.ndarray:
    """Centred rows of unit length, one a film (n_items, d): "MiniLM", "TF-IDF", "columns" (year
    and genres, no language), or "shuffled": MiniLM's rows given to the wrong films."""
    data = load_movielens()
    if kind == "TF-IDF":
        words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
        rows = words.fit_transform(item_texts(data)).toarray()
    elif kind == "columns":
        genres = evaluation.genre_matrix(data.item_table["genres"])[0].toarray()
        years = data.item_table["year"].astype(float).to_numpy()
        near = np.nan_to_num(np.exp(-np.abs(years[:, None] - np.arange(1922, 1999)) / 2))
        rows = np.hstack([unit(genres), unit(near)])
    else:
        rows = Encoder().encode(item_texts(data))
    rows = unit(rows - rows.mean(axis=0)).astype(np.float32)
    order = np.random.default_rng(63).permutation(len(rows))
    return rows[order] if kind == "shuffled" else rows


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def text_weights(rows: np.ndarray, l2: float, known: np.ndarray | None = None) -> np.ndarray:
    """Histories times this (n_items, n_items): for each user a ridge regression from a film's
    vector to "seen or not". Nobody else's ratings enter. Only ``known`` films teach."""
    known = np.ones(len(rows), dtype=bool) if known is None else known
    gram = rows[known] @ rows[known].T + l2 * np.eye(known.sum(), dtype=np.float32)
    weights = np.zeros((len(rows), len(rows)), dtype=np.float32)
    weights[known] = np.linalg.solve(gram, rows[known] @ rows.T)
    return weights


def ndcg(scores: np.ndarray, relevant: sparse.spmatrix, seen: sparse.spmatrix) -> np.ndarray:
    """nDCG@10 of each user who has a relevant film."""
    table = evaluation.ranking_metrics(scores, relevant, exclude=seen, metrics=["ndcg"])
    return table["ndcg"].to_numpy()


def rounded(values: np.ndarray) -> list[float]:
    return np.round(np.asarray(values, dtype=float), 5).tolist()


# ---- the next film ---------------------------------------------------------------------------
def train_network(run: Run, data: Interactions) -> dict[str, Any]:
    """GRU4Rec, trained without the last two events. Its best films after the event before those
    (to choose the fusion), and, the weights unchanged, after the event before the last."""
    parts = leave_last_out(data, seed=run.draw)
    later = leave_last_out(data, seed=run.draw, validation=False)
    model = models.GRU4Rec(**run.settings, seed=run.draw).fit(parts.train)
    kept = {}
    for when, history in (("validation", parts.train), ("test", later.train)):
        model.train, model.histories = history, Histories(history)
        where = fusion.candidates(history.matrix())
        scores = fusion.scale(model.score(), "z", where)
        scores[~where] = -np.inf
        films = np.argsort(-scores, axis=1, kind="stable")[:, :N_LISTED]
        kept[f"{when}/{run.draw}/films"] = films.astype(np.int16)
        values = np.take_along_axis(scores, films, axis=1)
        kept[f"{when}/{run.draw}/scores"] = values.astype(np.float16)
    held = dict(np.load(LISTS)) if LISTS.exists() else {}
    with open(LISTS.with_suffix(".part"), "wb") as file:
        np.savez_compressed(file, **(held | kept))
    os.replace(LISTS.with_suffix(".part"), LISTS)
    return {"films": N_LISTED}


def next_film(run: Run, data: Interactions) -> dict[str, Any]:
    """Fusions of the network's list, Markov + EASE and text; weights chosen on the event before
    the last, the exam is the last event."""
    lists, halves = np.load(LISTS), {}
    early = leave_last_out(data, seed=run.draw)
    late = leave_last_out(data, seed=run.draw, validation=False)
    for when, train, exam in (
        ("validation", early.train, early.validation),
        ("test", late.train, late.test),
    ):
        seen = train.matrix()
        where = fusion.candidates(seen)
        films = lists[f"{when}/{run.draw}/films"].astype(int)
        values = lists[f"{when}/{run.draw}/scores"].astype(float)
        listed = np.repeat(values.min(axis=1, keepdims=True), data.n_items, axis=1)
        np.put_along_axis(listed, films, values, axis=1)  # what is not listed counts as its last
        parts = {"GRU4Rec": listed}
        markov = models.MarkovEASE(seed=run.draw).fit(train)
        parts["Markov + EASE"] = fusion.scale(markov.score(), "z", where)
        memory = {decay: recency_weights(train, decay, run.draw).toarray() for decay in DECAYS}
        for kind in ("MiniLM", "shuffled"):
            weights = text_weights(vectors(kind), 30.0)
            for decay, history in memory.items():
                text = history.astype(np.float32) @ weights
                parts[kind, decay] = fusion.scale(text, "z", where)
        halves[when] = (parts, exam.matrix(), seen)
    return fuse_all(halves, NEXT_FUSIONS, variants(DECAYS))


def variants(dial: list[float]) -> dict[str, list[tuple[str, float]]]:
    """The versions of each text part from which validation takes the best."""
    names = {"text": "MiniLM", "shuffled text": "shuffled"}
    return {name: [(kind, value) for value in dial] for name, kind in names.items()}


def fuse_all(
    halves: dict[str, tuple], fusions: dict[str, list[str]], choices: dict[str, list]
) -> dict[str, Any]:
    """nDCG@10 on the test of each part and of each fusion, all choices made on validation.

    A fusion lists its parts, the first one first: each next part is added with an alpha of its own,
    alpha * next + (1 - alpha) * what came before.
    """
    (tried, relevant, seen), (parts, exam, later) = halves["validation"], halves["test"]
    for name, options in choices.items():
        best = max(options, key=lambda option: ndcg(tried[option], relevant, seen).mean())
        tried[name], parts[name] = tried[best], parts[best]
    names = [name for name in parts if isinstance(name, str)]
    result: dict[str, Any] = {
        "grades": {name: rounded(ndcg(parts[name], exam, later)) for name in names},
        "validation": {
            name: rounded([ndcg(tried[name], relevant, seen).mean()])[0] for name in names
        },
        "alphas": {},
    }
    for name, (first, *others) in fusions.items():
        before, after, alphas = tried[first], parts[first], []
        for part in others:
            found = fusion.choose_alpha(tried[part], before, relevant, seen)
            alphas.append(round(found.alpha, 2))
            weights = [found.alpha, 1 - found.alpha]
            before = fusion.linear([tried[part], before], weights)
            after = fusion.linear([parts[part], after], weights)
        result["grades"][name] = rounded(ndcg(after, exam, later))
        result["validation"][name] = round(float(found.curve["ndcg"].max()), 5)
        result["alphas"][name] = alphas
        parts[name] = after
    return result


NEXT_FUSIONS = {
    "Markov + EASE, text": ["Markov + EASE", "text"],
    "GRU4Rec, text": ["GRU4Rec", "text"],
    "GRU4Rec, shuffled text": ["GRU4Rec", "shuffled text"],
    "GRU4Rec, Markov + EASE": ["GRU4Rec", "Markov + EASE"],
    "GRU4Rec, Markov + EASE, text": ["GRU4Rec", "Markov + EASE", "text"],
    "GRU4Rec, Markov + EASE, shuffled text": ["GRU4Rec", "Markov + EASE", "shuffled text"],
}


# ---- warm users ------------------------------------------------------------------------------
WARM_FUSIONS = {
    "EASE + iALS": ["EASE", "iALS"],
    "EASE + text": ["EASE", "text"],
    "iALS + text": ["iALS", "text"],
    "iALS + TF-IDF": ["iALS", "TF-IDF"],
    "iALS + columns": ["iALS", "columns"],
    "iALS + popularity": ["iALS", "popularity"],
    "iALS + shuffled text": ["iALS", "shuffled text"],
    "EASE + iALS + text": ["EASE", "iALS", "text"],
    "EASE + iALS + shuffled text": ["EASE", "iALS", "shuffled text"],
}
ALPHA_07 = "0.7 text + 0.3 iALS"  # the article's weight, not chosen
LISTS_OF = ("popularity", "EASE", "iALS", "text", "EASE + iALS", "EASE + text", "iALS + text")
LISTS_OF += ("EASE + iALS + text", ALPHA_07)  # whose lists are described


def warm_parts(train: Interactions, draw: int) -> dict[Any, np.ndarray]:
    """Every part on the z scale of each user's unseen films."""
    history, where = train.matrix().toarray().astype(np.float32), fusion.candidates(train.matrix())
    scores: dict[Any, np.ndarray] = {
        "popularity": models.Popularity().fit(train).score(),
        "EASE": models.EASE(EASE_L2).fit(train).score(),
        "iALS": models.IALS(**IALS, seed=draw).fit(train).score(),
    }
    for kind in ("MiniLM", "TF-IDF", "columns", "shuffled"):
        for l2 in TEXT_L2:
            scores[kind, l2] = history @ text_weights(vectors(kind), l2)
    return {name: fusion.scale(values, "z", where) for name, values in scores.items()}


def warm(run: Run, data: Interactions) -> dict[str, Any]:
    """A random quarter of each user's ratings is the exam; alpha is chosen on 15 % more."""
    inner = holdout_per_user(data, 0.25, 0.15, seed=run.draw)
    outer = holdout_per_user(data, 0.25, seed=run.draw)
    halves = {
        "validation": (
            warm_parts(inner.train, run.draw),
            inner.validation.matrix(),
            inner.train.matrix(),
        ),
        "test": (warm_parts(outer.train, run.draw), outer.test.matrix(), outer.train.matrix()),
    }
    choices = variants(TEXT_L2)
    choices |= {kind: [(kind, l2) for l2 in TEXT_L2] for kind in ("TF-IDF", "columns")}
    result = fuse_all(halves, WARM_FUSIONS, choices)
    parts, exam, seen = halves["test"]
    parts[ALPHA_07] = fusion.linear(
        [parts["text"], parts["iALS"]], [ARTICLE_ALPHA, 1 - ARTICLE_ALPHA]
    )
    result["grades"][ALPHA_07] = rounded(ndcg(parts[ALPHA_07], exam, seen))
    top = {name: evaluation.rank_items(parts[name], exclude=seen, k=10) for name in LISTS_OF}
    return result | describe_lists(top, data, outer.train, exam)


def describe_lists(
    top: dict[str, np.ndarray], data: Interactions, train: Interactions, exam: sparse.spmatrix
) -> dict[str, Any]:
    """Diversity in two spaces, novelty, coverage; who shares films and hits with whom."""
    genres = evaluation.genre_matrix(data.item_table["genres"])[0]
    popularity, result = train.counts("items"), {"lists": {}, "overlap": {}, "origin": {}}
    member = {}
    for name, films in top.items():
        per_user = {
            "genre diversity": evaluation.intra_list_diversity(films, genres),
            "text diversity": evaluation.intra_list_diversity(films, vectors()),
            "novelty": evaluation.novelty(films, popularity, data.n_users),
            "long tail": evaluation.long_tail_share(films, popularity),
        }
        result["lists"][name] = {key: np.round(v, 4).tolist() for key, v in per_user.items()}
        result["lists"][name]["coverage"] = round(evaluation.coverage(films, data.n_items), 4)
        member[name] = np.zeros((data.n_users, data.n_items), dtype=bool)
        np.put_along_axis(member[name], films, True, axis=1)
    for a in top:
        result["overlap"][a] = {
            b: round(float((member[a] & member[b]).sum() / member[a].sum()), 4) for b in top
        }
    hit = exam.toarray() > 0
    for name in ("EASE + iALS + text", "iALS + text"):
        sources = [part for part in ("EASE", "iALS", "text") if part in name]
        for good, which in (("hits", hit), ("misses", ~hit)):
            found = member[name] & which
            code = sum(2**n * member[part][found] for n, part in enumerate(sources))
            counts = np.bincount(code, minlength=2 ** len(sources))
            result["origin"][f"{name}/{good}"] = counts.tolist()
    return result


# ---- films without a rating ------------------------------------------------------------------
MISSING = ("zero", "lowest", "renormalise", "filled")


class NewFilms:
    """A fifth of the films lose all their ratings, and each user a quarter of the others."""

    def __init__(self, source: Interactions, seed: int):
        cold = cold_items(source, seed=seed)
        warm = holdout_per_user(cold.train, 0.25, seed=seed)
        self.train, self.seen = warm.train, warm.train.matrix()
        self.history = self.seen.toarray().astype(np.float32)
        self.cold = cold.test.counts("items") > 0  # (n_items,)
        self.known = warm.train.counts("items") > 0
        self.exams = {"cold": cold.test.matrix(), "all": cold.test.matrix() + warm.test.matrix()}
        self.where = fusion.candidates(self.seen)
        model = models.IALS(**IALS, seed=seed).fit(warm.train)
        self.behaviour = model.user_factors @ model.item_factors.T  # (n_users, n_items)

    def read(self, kind: str, l2: float, taught_by: str) -> np.ndarray:
        """Scores of all films from their text: a ridge of the user's own clicks ("clicks"), or of
        what iALS says of the films that it knows ("iALS"), which fills in the others."""
        table = self.history if taught_by == "clicks" else self.behaviour
        return table @ text_weights(vectors(kind), l2, self.known)

    def among_cold(self, scores: np.ndarray) -> np.ndarray:
        """nDCG@10 of each user with films among the new ones, only those being candidates."""
        return ndcg(np.where(self.cold, scores, -np.inf), self.exams["cold"], self.seen)

    def fuse(self, text: np.ndarray, filled: np.ndarray, missing: str, alpha: float) -> np.ndarray:
        """alpha * text + (1 - alpha) * iALS, with one answer to what a film without ratings is."""
        if missing == "zero":
            behaviour = fusion.scale(self.behaviour, "z", self.where)
        elif missing == "filled":
            whole = np.where(self.known, self.behaviour, filled)
            behaviour = fusion.scale(whole, "z", self.where)
        else:
            gaps = np.where(self.known, self.behaviour, np.nan)
            behaviour = fusion.scale(gaps, "z", self.where)
        text = fusion.scale(text, "z", self.where)
        rule = missing if missing in ("lowest", "renormalise") else None
        return fusion.linear([text, behaviour], [alpha, 1 - alpha], rule)


def new_films(run: Run, data: Interactions) -> dict[str, Any]:
    """Everything is chosen on films taken out of the training part."""
    draw = NewFilms(data, run.draw)
    inner = NewFilms(draw.train, 100 + run.draw)
    result: dict[str, Any] = {"cold": {}, "all": {}, "chosen": {}}
    read: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    for kind in ("MiniLM", "TF-IDF", "columns", "shuffled"):
        for teacher in ("clicks", "iALS"):
            tried = {l2: inner.among_cold(inner.read(kind, l2, teacher)).mean() for l2 in TEXT_L2}
            l2 = max(tried, key=tried.get)
            read[kind, teacher] = inner.read(kind, l2, teacher), draw.read(kind, l2, teacher)
            result["chosen"][f"{kind}/{teacher}"] = l2
            result["cold"][f"{kind}, {teacher}"] = rounded(draw.among_cold(read[kind, teacher][1]))
    result["cold"]["iALS"] = rounded(draw.among_cold(np.where(draw.cold, 0.0, draw.behaviour)))
    for kind in ("MiniLM", "shuffled"):
        both = [
            [fusion.scale(x, "z", d.where * d.cold) for x in pair]
            for d, pair in (
                (inner, [read[kind, t][0] for t in ("clicks", "iALS")]),
                (draw, [read[kind, t][1] for t in ("clicks", "iALS")]),
            )
        ]
        tried = {a: inner.among_cold(fusion.linear(both[0], [a, 1 - a])).mean() for a in ALPHAS}
        alpha = max(tried, key=tried.get)
        fused = fusion.linear(both[1], [alpha, 1 - alpha])
        result["cold"][f"{kind}, fused"] = rounded(draw.among_cold(fused))
        result["chosen"][f"{kind}/fused"] = alpha
    n_relevant = draw.exams["cold"].getnnz(axis=1)
    judged = np.flatnonzero(n_relevant)
    n_cold = np.full(len(judged), int(draw.cold.sum()))
    chance = evaluation.ranking.expected_metrics(n_cold, n_relevant[judged])["ndcg"]
    result["cold"]["chance"] = rounded(chance)
    result["users"] = {"cold": judged.tolist()}
    result["users"]["all"] = np.flatnonzero(draw.exams["all"].getnnz(axis=1)).tolist()
    l2 = [result["chosen"][f"MiniLM/{teacher}"] for teacher in ("clicks", "iALS")]
    trials = [inner] + [NewFilms(draw.train, 200 + 10 * n + run.draw) for n in range(2)]
    rows = {"popularity": np.tile(draw.train.counts("items").astype(float), (data.n_users, 1))}
    rows |= {"iALS": draw.behaviour, "text": draw.read("MiniLM", l2[0], "clicks")}
    result["curves"], curves = {}, {missing: np.zeros(len(STEPS)) for missing in MISSING}
    for trial in trials:
        text, filled = (trial.read("MiniLM", x, t) for x, t in zip(l2, ("clicks", "iALS")))
        for missing in MISSING:
            for place, alpha in enumerate(STEPS):
                fused = trial.fuse(text, filled, missing, alpha)
                curves[missing][place] += ndcg(fused, trial.exams["all"], trial.seen).mean() / 3
    filled = draw.read("MiniLM", l2[1], "iALS")
    for missing in MISSING:
        result["chosen"][missing] = alpha = STEPS[int(np.argmax(curves[missing]))]
        result["curves"][missing] = rounded(curves[missing])
        rows[missing] = draw.fuse(rows["text"], filled, missing, alpha)
        rows[f"{missing}, 0.3"] = draw.fuse(rows["text"], filled, missing, 0.3)
    for name, scores in rows.items():
        top = evaluation.rank_items(scores, exclude=draw.seen, k=10)
        result["all"][name] = {
            "ndcg": rounded(ndcg(scores, draw.exams["all"], draw.seen)),
            "cold ndcg": rounded(ndcg(scores, draw.exams["cold"], draw.seen)),
            "cold share": round(float(draw.cold[top].mean()), 4),
        }
    return result


ALPHAS = [round(0.05 * step, 2) for step in range(21)]
STEPS = ALPHAS[::2]


# ---- people with few ratings -----------------------------------------------------------------
class Newcomers:
    """Some users keep n random ratings, for each n; the films to find are the same for every n.
    The others teach. Films that wait in between are no candidates, as in section 1.7."""

    def __init__(self, source: Interactions, share: float, seed: int):
        longest = cold_users(source, share, LENGTHS[-1], seed)
        self.who = np.unique(longest.test.users)
        self.exam = longest.test.matrix()[self.who]
        self.seen = source.matrix()[self.who] - self.exam
        self.where = fusion.candidates(self.seen)
        self.teachers = cold_users(source, share, 0, seed).train
        self.histories = [
            cold_users(source, share, n, seed).train.matrix()[self.who] for n in LENGTHS
        ]
        self.lengths = np.repeat(LENGTHS, len(self.who))
        self.tables: dict[Any, np.ndarray] = {
            ("EASE", l2): models.EASE(l2).fit(self.teachers).weights for l2 in EASE_RIDGES
        }
        for l2 in TEXT_L2:
            self.tables["text", l2] = text_weights(vectors(), l2)
            self.tables["shuffled text", l2] = text_weights(vectors("shuffled"), l2)

    def all_lengths(self, part: Any) -> np.ndarray:
        """The part's scores (n_lengths * n_newcomers, n_items), on the z scale."""
        if part == "popularity":
            counts = self.teachers.counts("items").astype(float)
            scores = [np.tile(counts, (len(self.who), 1))] * len(LENGTHS)
        else:
            scores = [history @ self.tables[part] for history in self.histories]
        return np.vstack([fusion.scale(block, "z", self.where) for block in scores])

    def grade(self, scores: np.ndarray) -> np.ndarray:
        """nDCG@10 (n_lengths, n_newcomers) of scores for all lengths."""
        blocks = np.split(scores, len(LENGTHS))
        return np.array([ndcg(block, self.exam, self.seen) for block in blocks])


def newcomers(run: Run, data: Interactions) -> dict[str, Any]:
    """Two fifths of the users arrive. What is chosen is chosen on a third of the others, thinned in
    the same way and taught by the rest."""
    outer = Newcomers(data, 0.4, run.draw)
    inner = Newcomers(outer.teachers, 0.2, 100 + run.draw)
    relevant = sparse.vstack([inner.exam] * len(LENGTHS)).tocsr()
    seen = sparse.vstack([inner.seen] * len(LENGTHS)).tocsr()
    result: dict[str, Any] = {"grades": {}, "chosen": {}, "users": outer.who.tolist()}
    parts = {"popularity": [d.all_lengths("popularity") for d in (inner, outer)]}
    parts["EASE"] = [d.all_lengths(("EASE", EASE_L2)) for d in (inner, outer)]
    best = {}
    for name, dial in (("EASE", EASE_RIDGES), ("text", TEXT_L2), ("shuffled text", TEXT_L2)):
        tried = {l2: inner.grade(inner.all_lengths((name, l2))).mean(axis=1) for l2 in dial}
        best[name] = [max(dial, key=lambda l2: tried[l2][n]) for n in range(len(LENGTHS))]
        by_length = []
        for d in (inner, outer):
            scores = [d.histories[n] @ d.tables[name, l2] for n, l2 in enumerate(best[name])]
            by_length.append(np.vstack([fusion.scale(block, "z", d.where) for block in scores]))
        parts["EASE by length" if name == "EASE" else name] = by_length
    result["chosen"]["ridges"] = best
    for name, (_, scores) in parts.items():
        result["grades"][name] = [rounded(row) for row in outer.grade(scores)]
    for name, (first, second) in {
        "popularity + EASE": ("popularity", "EASE"),
        "popularity + EASE by length": ("popularity", "EASE by length"),
        "text + EASE": ("text", "EASE"),
        "text + both": ("text", "popularity + EASE"),
        "shuffled text + both": ("shuffled text", "popularity + EASE"),
        "text + tuned": ("text", "popularity + EASE by length"),
        "shuffled text + tuned": ("shuffled text", "popularity + EASE by length"),
    }.items():
        tried = fusion.choose_alpha(parts[first][0], parts[second][0], relevant, seen)
        rule = fusion.AlphaByHistory().fit(tried, inner.lengths)
        fused = {}
        for how in ("one alpha", "by history"):
            both = []
            for place, d in enumerate((inner, outer)):
                alpha = np.full(len(d.lengths), tried.alpha)
                if how == "by history":
                    alpha = rule.alpha(d.lengths)
                weights = np.column_stack([alpha, 1 - alpha])
                both.append(fusion.linear([parts[first][place], parts[second][place]], weights))
            fused[how] = both
            result["grades"][f"{name}, {how}"] = [rounded(row) for row in outer.grade(both[1])]
        parts[name] = fused["by history"]
        result["chosen"][name] = {
            "alpha": round(tried.alpha, 2),
            "intercept": round(float(rule.intercept), 4),
            "slope": round(float(rule.slope), 4),
            "alphas": rounded(rule.alpha(np.array(LENGTHS))),
        }
    return result


PERFORM = {
    "network": train_network,
    "lastout": next_film,
    "warm": warm,
    "items": new_films,
    "users": newcomers,
}


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return PERFORM[run.group](run, load_movielens())


# ---- the store -------------------------------------------------------------------------------
FUSION = "fusion/linear fusion/scales fusion/weights language/texts"
FILES = {
    "network": "data/splits models/gru4rec models/sequences training",
    "lastout": f"data/splits models/markov models/ease {FUSION}",
    "warm": f"data/splits models/ease models/ials models/least_squares {FUSION}",
    "items": f"data/splits models/ials models/least_squares {FUSION}",
    "users": f"data/splits models/ease {FUSION}",
}
TEXT = (vectors.__wrapped__, unit, text_weights, ndcg)
PARTS = {
    "network": (train_network,),
    "lastout": (next_film, variants, fuse_all, *TEXT),
    "warm": (warm, warm_parts, describe_lists, variants, fuse_all, *TEXT),
    "items": (NewFilms, new_films, *TEXT),
    "users": (Newcomers, newcomers, *TEXT),
}


def code_hash(run: Run) -> str:
    """Of the code that the run depends on."""
    digest = hashlib.sha256()
    for file in FILES[run.group].split():
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in PARTS[run.group]:
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key ("warm/0"); an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "warm", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())
