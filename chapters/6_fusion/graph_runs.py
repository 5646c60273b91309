"""The runs of section 5, Graphs and other modalities. Their results stand in graph_runs.json
beside this file; the section reads them and repeats one of them.

    .venv/bin/python chapters/6_fusion/graph_runs.py [--minutes 4] [--only graph]

A run that is stored already is not repeated, unless the code it depends on has changed since; stop
it whenever you like and start it again.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.linalg import lapack
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd
from torch.nn import functional

from recsys_lab import stored_runs
from recsys_lab.data import (
    Interactions,
    Split,
    cold_items,
    cold_users,
    holdout_per_user,
    load_movielens,
)
from recsys_lab.evaluation import intra_list_diversity, rank_items, ranking_metrics
from recsys_lab.language import Encoder
from recsys_lab.language.texts import item_texts
from recsys_lab.models import IALS, standardize

HERE = Path(__file__).resolve().parent
STORE = HERE / "graph_runs.json"
SEEDS = (0, 1, 2)
EASE_L2 = 450.0  # the best of section 4.5's trials, on validation
IALS_SETTINGS = {"n_factors": 64, "alpha0": 0.43, "l2": 0.014}  # likewise


# ---- a graph that is true --------------------------------------------------------------------
def series_name(title: str) -> str:
    """What is left of a title without subtitle, part number and article: Die Hard 2 -> die hard."""
    name = re.split(r":| - |\(", title.lower())[0].strip()
    name = re.sub(r"\s+(part\s+)?(\d|[ivx]+)$", "", name)
    return re.sub(r"^(the|a|an)\s+|,\s*(the|a|an)$", "", name)


def facts_of_films(data: Interactions) -> pd.DataFrame:
    """One row a fact: film (index), relation, value. Read off the item table; nothing is guessed.

    A word or a series that names one film only joins nothing and is left out.
    """
    rows = []
    for film, row in enumerate(data.item_table.itertuples()):
        rows += [(film, "genre", genre) for genre in row.genres if genre != "unknown"]
        if not pd.isna(row.year):
            rows += [(film, "year", str(row.year)), (film, "decade", f"{row.year // 10 * 10}s")]
        if row.title != "unknown":
            rows.append((film, "series", series_name(row.title)))
            words = set(re.findall(r"[a-z]{4,}", row.title.lower())) - {"with", "from", "that"}
            rows += [(film, "word", word) for word in sorted(words)]
    table = pd.DataFrame(rows, columns=["film", "relation", "value"])
    shared = table.groupby(["relation", "value"])["film"].transform("size") > 1
    return table[shared | table["relation"].isin(["genre", "year", "decade"])].reset_index(
        drop=True
    )


def facts_of_users(data: Interactions) -> pd.DataFrame:
    """One row a fact: user, relation, value: gender, decade of age, occupation, postal region."""
    table = data.user_table
    columns = {
        "gender": table["gender"],
        "age": (table["age"] // 10 * 10).astype(str),
        "occupation": table["occupation"],
        "region": table["zip_code"].astype(str).str[0],  # first digit: a part of the country
    }
    parts = [
        pd.DataFrame({"user": range(data.n_users), "relation": name, "value": values.to_numpy()})
        for name, values in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


class Graph(NamedTuple):
    """Users come first, then films, then the values of facts."""

    triples: np.ndarray  # (n, 3) head, relation, tail
    names: list[str]  # (n_nodes,)
    relations: list[str]


def build_graph(
    data: Interactions, train: Interactions | None, order: np.ndarray | None = None
) -> Graph:
    """Facts of users and films, years that follow each other, and the training ratings, if given.

    ``order`` (n_items,) deals the films' facts out to other films: the control.
    """
    films = facts_of_films(data)
    if order is not None:
        films["film"] = order[films["film"]]
    films["head"] = films["film"] + data.n_users
    users = facts_of_users(data).rename(columns={"user": "head"})
    facts = pd.concat([films, users], ignore_index=True)
    facts["tail"] = facts["relation"] + " " + facts["value"]
    values = sorted(facts["tail"].unique())
    start = data.n_users + data.n_items
    place = {name: start + j for j, name in enumerate(values)}
    relations = ["rated", *sorted(facts["relation"].unique()), "next"]
    code = {name: j for j, name in enumerate(relations)}
    parts = [
        np.column_stack([facts["head"], facts["relation"].map(code), facts["tail"].map(place)])
    ]
    follows = [
        (place[f"year {y}"], code["next"], place[f"year {y + 1}"])
        for y in range(1900, 2000)
        if f"year {y}" in place and f"year {y + 1}" in place
    ]
    parts.append(np.array(follows))
    if train is not None:
        rated = np.zeros(len(train), dtype=int)
        parts.append(np.column_stack([train.users, rated, train.items + data.n_users]))
    names = [f"user {u}" for u in data.user_ids] + list(data.item_table["title"]) + values
    return Graph(np.concatenate(parts).astype(np.int64), names, relations)


# ---- paths and walks -------------------------------------------------------------------------
def adjacency(graph: Graph, fact_weight: float = 1.0) -> sp.csr_matrix:
    """Symmetric weights (n_nodes, n_nodes): 1 for a rating, ``fact_weight`` for a fact."""
    heads, relations, tails = graph.triples.T
    weights = np.where(relations == 0, 1.0, fact_weight)
    n = len(graph.names)
    half = sp.coo_matrix((weights, (heads, tails)), shape=(n, n)).tocsr()
    return half + half.T


def stepping(weights: sp.csr_matrix) -> sp.csr_matrix:
    """Chances of a random step: rows add up to 1; a node without edges stays empty."""
    degree = np.asarray(weights.sum(axis=1)).ravel()
    return sp.diags(1 / np.maximum(degree, 1e-12)) @ weights


def page_rank(weights: sp.csr_matrix, starts: np.ndarray, restart: float) -> np.ndarray:
    """Personalised PageRank: where a walk is that returns to its start with chance ``restart``.

    Returns (n_starts, n_nodes), rows add up to 1. Fifteen steps; the rest is at most
    (1 - restart) ** 15.
    """
    step = stepping(weights).T.tocsr().astype(np.float32)
    home = np.zeros((weights.shape[0], len(starts)), dtype=np.float32)
    home[starts, np.arange(len(starts))] = 1
    here = home
    for _ in range(15):
        here = restart * home + (1 - restart) * (step @ here)
    return here.T


def walk_vectors(weights: sp.csr_matrix, d: int = 64, window: int = 3, seed: int = 0) -> np.ndarray:
    """DeepWalk in closed form (NetMF): SVD of the log of how often two nodes meet on a walk.

    M = vol / window * (P + P^2 + ... + P^window) D^-1 is what an infinitely long walk counts over
    what chance would give; its positive log is cut to rank d. Returns (n_nodes, d). Source: Qiu et
    al. (2018), with one negative sample.
    """
    degree = np.maximum(np.asarray(weights.sum(axis=1)).ravel(), 1e-12)
    step = stepping(weights).astype(np.float32)
    power = total = step.toarray()
    for _ in range(window - 1):
        power = step @ power
        total = total + power
    meet = total * (degree.sum() / window / degree[None, :]).astype(np.float32)
    meet = np.log(np.maximum(meet, 1))
    u, s, _ = randomized_svd(meet, d, n_iter=4, random_state=seed)
    return u * np.sqrt(s)


# ---- TransE ----------------------------------------------------------------------------------
def transe(
    graph: Graph,
    d: int = 32,
    margin: float = 1.0,
    n_epochs: int = 20,
    lr: float = 0.01,
    n_negatives: int = 4,
    batch_size: int = 8192,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors with head + relation near tail: (n_nodes, d), (n_relations, d). Bordes et al. (2013).

    Margin loss on squared distances. A wrong triple has another tail, or another head, drawn from
    the same relation: a film is not tried as somebody's occupation.
    """
    triples = torch.from_numpy(graph.triples)
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.randn(len(graph.names), d, generator=generator) / d**0.5
    steps = torch.randn(len(graph.relations), d, generator=generator) / d**0.5
    nodes.requires_grad_(), steps.requires_grad_()
    pools = [
        [torch.unique(triples[triples[:, 1] == r, c]) for c in (0, 2)] for r in range(len(steps))
    ]
    start = torch.tensor([[len(side) for side in pool] for pool in pools])  # (n_relations, 2)
    flat = torch.cat([side for pool in pools for side in pool])
    offset = (start.flatten().cumsum(0) - start.flatten()).view(-1, 2)
    optimizer = torch.optim.Adam([nodes, steps], lr=lr)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(triples), generator=generator).split(batch_size):
            head, relation, tail = triples[rows].T
            side = int(torch.rand((), generator=generator) < 0.5) * 2  # 0: head, 2: tail
            draw = torch.rand(len(rows), n_negatives, generator=generator)
            size, first = start[relation, side // 2, None], offset[relation, side // 2, None]
            wrong = functional.embedding(flat[first + (draw * size).long()], nodes)  # (B, k, d)
            h, r, t = nodes[head], steps[relation], nodes[tail]
            right = ((h + r - t) ** 2).sum(dim=1, keepdim=True)
            if side == 0:
                wrong = ((wrong + (r - t)[:, None]) ** 2).sum(dim=2)
            else:
                wrong = (((h + r)[:, None] - wrong) ** 2).sum(dim=2)
            loss = functional.relu(margin + right - wrong).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():  # no longer than 1, or the margin means nothing
                nodes /= nodes.norm(dim=1, keepdim=True).clamp_min(1)
    return nodes.detach().numpy(), steps.detach().numpy()


def minus_distances(heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """-|head - tail|^2 of all pairs: (n_heads, n_tails)."""
    squares = (heads**2).sum(axis=1)[:, None] + (tails**2).sum(axis=1)
    return 2 * heads @ tails.T - squares


# ---- models on the graph ---------------------------------------------------------------------
def graph_scores(
    name: str,
    settings: dict[str, Any],
    data: Interactions,
    train: Interactions,
    seed: int,
    fitted: dict[str, Any] | None = None,
) -> np.ndarray:
    """Scores (n_users, n_items) of a model that reads the graph.

    ``name`` is a method and, after a blank, which facts: none, true or shuffled.
    """
    method, _, which = name.partition(" ")
    n_users, n_items = data.n_users, data.n_items
    order = np.random.default_rng([seed, 9]).permutation(n_items) if which == "shuffled" else None
    films = slice(n_users, n_users + n_items)
    graph = build_graph(data, train, order)
    if method == "TransE":
        if which == "none":
            graph = graph._replace(triples=graph.triples[graph.triples[:, 1] == 0])
        options = {k: v for k, v in settings.items() if k != "beta"}
        nodes, steps = transe(graph, seed=seed, **options)
        scores = minus_distances(nodes[:n_users] + steps[0], nodes[films])
        return scores + settings.get("beta", 0) * np.log(train.counts("items") + 1.0)
    weights = adjacency(graph, 0.0 if which == "none" else settings.get("fact_weight", 1.0))
    weights.eliminate_zeros()
    if method == "genre-path":
        genres = genre_columns(data)
        if order is not None:
            genres = genres[np.argsort(order)]
        step = genres / np.maximum(genres.sum(axis=0), 1)  # genre -> one of its films
        back = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1)
        return train.matrix() @ (back @ step.T)
    if method == "three-steps":
        step = stepping(weights)
        scores = (step[:n_users] @ step @ step)[:, films].toarray()
    elif method == "PageRank":
        scores = page_rank(weights, np.arange(n_users), settings["restart"])[:, films]
    else:
        vectors = walk_vectors(weights, settings["d"], settings["window"], seed)
        scores = vectors[:n_users] @ vectors[films].T
        return scores + settings["beta"] * np.log(train.counts("items") + 1.0)
    counts = np.maximum(train.counts("items"), 1.0)
    return scores / counts ** settings["beta"]


TRIALS = {
    "genre-path true": [{}],
    "three-steps none": [{"beta": b} for b in (0.0, 0.2, 0.4, 0.6, 0.8)],
    "PageRank none": [{"restart": r, "beta": b} for r in (0.2, 0.5, 0.8) for b in (0.3, 0.6)],
    "PageRank true": [
        {"restart": r, "beta": b, "fact_weight": w}
        for r in (0.5, 0.8)
        for b in (0.3, 0.6)
        for w in (0.1, 0.3)
    ],
    "walks none": [{"d": d, "window": 3, "beta": b} for d in (32, 128) for b in (0.3, 0.5, 1.0)],
    "walks true": [
        {"d": d, "window": 3, "beta": b, "fact_weight": w}
        for d in (32, 128)
        for b in (0.3, 0.5)
        for w in (0.3, 3.0)
    ],
    "TransE none": [
        {"d": 64, "margin": m, "n_epochs": n, "beta": 0.1} for m, n in ((1.0, 20), (2.0, 20))
    ],
    "TransE true": [
        {"d": 64, "margin": m, "n_epochs": n, "beta": 0.1} for m, n in ((1.0, 20), (2.0, 20))
    ],
}


# ---- other sources: a matrix with a row a film, or a row a user ------------------------------
def genre_columns(data: Interactions) -> np.ndarray:
    """Zeros and ones (n_items, n_genres)."""
    genres = sorted({genre for row in data.item_table["genres"] for genre in row} - {"unknown"})
    return np.array([[g in row for g in genres] for row in data.item_table["genres"]], dtype=float)


def year_columns(data: Interactions) -> np.ndarray:
    """Closeness to each year (n_items, 77); zeros where the year is unknown."""
    years = data.item_table["year"].astype(float).to_numpy()
    return np.nan_to_num(np.exp(-np.abs(years[:, None] - np.arange(1922, 1999)) / 2))


def film_fact_vectors(films: np.ndarray, values: np.ndarray, n_items: int) -> np.ndarray:
    """Walk vectors (n_items, 64) of films and values alone: no user, no rating.

    Every second step of a walk stands on a film, so the walk is one on films: there by a value,
    A D^-1 A^T. That graph has 1,682 nodes, whatever the number of values.
    """
    names, place = np.unique(values, return_inverse=True)
    table = sp.coo_matrix((np.ones(len(films)), (films, place)), shape=(n_items, len(names)))
    table = table.tocsr()
    table.data[:] = 1
    size = np.asarray(table.sum(axis=0)).ravel()
    return walk_vectors(table @ sp.diags(1 / size) @ table.T, window=2)


def freebase(data: Interactions) -> pd.DataFrame:
    """The shipped graph's facts as linked: film, value; values that at least two films share."""
    facts = data.knowledge_graph
    facts = facts[facts["relation"].str.startswith("film.film.") & (facts["item"] >= 0)]
    table = pd.DataFrame({"film": facts["item"], "value": facts["relation"] + facts["tail"]})
    table = table.drop_duplicates()
    return table[table.groupby("value")["film"].transform("size") > 1].reset_index(drop=True)


@cache
def film_source(name: str) -> np.ndarray:
    """A source as rows (n_items, d). What made the rows does not matter from here on."""
    data = load_movielens()
    match name:
        case "genres":
            rows = genre_columns(data)
        case "year":
            rows = year_columns(data)
        case "genres, year":
            rows = np.hstack([normalize(genre_columns(data)), normalize(year_columns(data))])
        case "text":
            rows = Encoder().encode(item_texts(data))
        case "title":
            rows = Encoder().encode(item_texts(data, ("title",)))
        case "graph: walks":
            facts = facts_of_films(data)
            values = (facts["relation"] + " " + facts["value"]).to_numpy()
            rows = film_fact_vectors(facts["film"].to_numpy(), values, data.n_items)
        case "graph: TransE":
            graph = build_graph(data, None)
            graph = graph._replace(triples=graph.triples[graph.triples[:, 0] >= data.n_users])
            rows = transe(graph, d=64, n_epochs=60)[0]
            rows = rows[data.n_users : data.n_users + data.n_items]
        case "Freebase as linked":
            facts = freebase(data)
            films, values = facts["film"].to_numpy(), facts["value"].to_numpy()
            rows = film_fact_vectors(films, values, data.n_items)
        case "noise":
            rows = np.random.default_rng(512).normal(size=(data.n_items, 512))
        case "text shuffled" | "Freebase shuffled":
            right = name.replace("Freebase shuffled", "Freebase as linked")
            order = np.random.default_rng(65).permutation(data.n_items)
            rows = film_source(right.removesuffix(" shuffled"))[order]
        case _:
            raise ValueError(f"no source {name!r}")
    return rows.astype(np.float32)


def user_columns(data: Interactions, wrong: int | None = None) -> np.ndarray:
    """Demographics as zeros and ones (n_users, d); of other users if ``wrong`` is a seed."""
    table = facts_of_users(data)
    names, place = np.unique(table["relation"] + " " + table["value"], return_inverse=True)
    rows = np.zeros((data.n_users, len(names)), dtype=np.float32)
    rows[table["user"], place] = 1
    if wrong is not None:
        rows = rows[np.random.default_rng([wrong, 3]).permutation(data.n_users)]
    return rows


def prepared(rows: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Unit rows, minus the average of the old ones, on a scale that all sources share."""
    rows = normalize(rows).astype(np.float32)
    rows = rows - rows[old].mean(axis=0)
    return rows / np.sqrt((rows[old] ** 2).sum(axis=1).mean())


def row_weights(rows: np.ndarray, old: np.ndarray, new: np.ndarray, l2: float) -> np.ndarray:
    """Weights (n_old, n_new) of the old rows for the new: ridge regression, section 5.2."""
    rows = prepared(rows, old)
    gram = rows[old] @ rows[old].T + l2 * np.eye(len(old), dtype=np.float32)
    return np.linalg.solve(gram, rows[old] @ rows[new].T)


def joint_ease(
    clicks: np.ndarray,
    l2: float = EASE_L2,
    film_rows: list[np.ndarray] = (),
    film_weights: list[float] = (),
    user_rows: np.ndarray | None = None,
    user_weight: float = 0.0,
) -> np.ndarray:
    """EASE on one table: films as columns; users, and each film source, as rows; user columns too.

    Returns weights (n_items + d_u, n_items): ``[clicks, sqrt(user_weight) * user_rows] @ weights``
    are the scores. Without sources it is EASE.
    """
    users = clicks
    if user_rows is not None:
        users = np.hstack([clicks, np.sqrt(user_weight) * user_rows]).astype(np.float32)
    n_items = clicks.shape[1]
    gram = users.T @ users
    for rows, weight in zip(film_rows, film_weights, strict=True):
        rows = prepared(rows, np.arange(n_items))
        gram[:n_items, :n_items] += weight * (rows @ rows.T)
    gram[np.diag_indices_from(gram)] += l2
    factor, _ = lapack.spotrf(gram, lower=1)
    inverse = lapack.spotri(factor, lower=1)[0]
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = -inverse / inverse.diagonal()
    np.fill_diagonal(weights, 0)
    return weights[:, :n_items]


# ---- warm: users and films with ratings ------------------------------------------------------
FILM_SOURCES = (
    *("genres, year", "text", "text shuffled", "graph: walks", "graph: TransE"),
    *("Freebase as linked", "Freebase shuffled"),
)
USER_SOURCES = ("demographics", "demographics shuffled")
TOGETHER = ("genres, year", "text", "graph: walks")  # with demographics: "all"
L2 = (1, 10, 100)
EARLY = (0, 3, 10, 30, 100)
LATE = (0, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8)


def warm_scores(source: str, door: str, value: float, clicks: np.ndarray, seed: int) -> np.ndarray:
    """Scores (n_users, n_items) of a source alone (``value``: its ridge) or early (its weight)."""
    data = load_movielens()
    everybody, films = np.arange(data.n_users), np.arange(data.n_items)
    people = user_columns(data, seed if source.endswith("shuffled") else None)
    if door == "alone":
        if source in USER_SOURCES:
            mean = clicks.mean(axis=0)
            return mean + row_weights(people, everybody, everybody, value).T @ (clicks - mean)
        return clicks @ row_weights(film_source(source), films, films, value)
    if source in USER_SOURCES:
        rows = prepared(people, everybody) if value else None
        weights = joint_ease(clicks, user_rows=rows, user_weight=value)
        return np.hstack([clicks, np.sqrt(value) * rows]) @ weights if value else clicks @ weights
    return clicks @ joint_ease(clicks, film_rows=[film_source(source)], film_weights=[value])


def own_part(source: str, alone: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """What a source adds to a sum: for demographics without popularity, which EASE knows."""
    return standardize(alone - clicks.mean(axis=0) if source in USER_SOURCES else alone)


def ndcg(scores: np.ndarray, relevant: sp.csr_matrix, seen: sp.csr_matrix) -> np.ndarray:
    return ranking_metrics(scores, relevant, exclude=seen, metrics=["ndcg"])["ndcg"]


def choose_warm(source: str) -> dict[str, float]:
    """Ridge alone, weight early, weight late: on the validation part of the first split."""
    split = holdout_per_user(load_movielens(), 0.25, 0.15, seed=0)
    seen, relevant = split.train.matrix(), split.validation.matrix()
    clicks = seen.toarray().astype(np.float32)
    ease = standardize(clicks @ joint_ease(clicks))
    tried, chosen = {}, {}
    for door, values in {"alone": L2, "early": EARLY}.items():
        tried[door] = {
            value: ndcg(warm_scores(source, door, value, clicks, 0), relevant, seen).mean()
            for value in values
        }
        chosen[door] = max(tried[door], key=tried[door].get)
    alone = own_part(source, warm_scores(source, "alone", chosen["alone"], clicks, 0), clicks)
    tried["late"] = {a: ndcg(ease + a * alone, relevant, seen).mean() for a in LATE}
    chosen["late"] = max(tried["late"], key=tried["late"].get)
    return {"chosen": chosen, "tried": {k: list(map(float, v.values())) for k, v in tried.items()}}


def list_facts(scores: np.ndarray, seen: sp.csr_matrix) -> dict[str, float]:
    """Of the lists of ten: films that appear in any, and how different a list's genres are."""
    lists = rank_items(scores, exclude=seen, k=10)
    inside = intra_list_diversity(lists, genre_columns(load_movielens()))
    return {"films": len(np.unique(lists)), "diversity": round(float(np.mean(inside)), 4)}


def warm(source: str, seed: int, chosen: dict[str, float]) -> dict[str, Any]:
    """nDCG@10 of each user: alone, early, late; and what the lists look like."""
    split = holdout_per_user(load_movielens(), 0.25, seed=seed)
    seen, relevant = split.train.matrix(), split.test.matrix()
    clicks = seen.toarray().astype(np.float32)
    ease = clicks @ joint_ease(clicks)
    if source == "EASE":
        scores = {"EASE": ease, "popularity": np.tile(clicks.sum(axis=0), (len(clicks), 1))}
    else:
        alone = warm_scores(source, "alone", chosen["alone"], clicks, seed)
        scores = {
            "alone": alone,
            "early": warm_scores(source, "early", chosen["early"], clicks, seed),
            "late": standardize(ease) + chosen["late"] * own_part(source, alone, clicks),
        }
    return {
        name: {"ndcg": rounded(ndcg(table, relevant, seen))} | list_facts(table, seen)
        for name, table in scores.items()
    }


def rounded(values: pd.Series) -> list[float]:
    return np.round(values.to_numpy(dtype=float), 4).tolist()


ALL = (*TOGETHER, "demographics")
FACTORS = (0.0, 0.25, 0.5, 1.0)


def all_scores(door: str, factor: float, chosen: dict[str, Any], clicks: np.ndarray) -> np.ndarray:
    """All true sources at once, each with ``factor`` times the weight that it was given alone."""
    data = load_movielens()
    if door == "early":
        people = prepared(user_columns(data), np.arange(data.n_users))
        value = factor * chosen["demographics"]["early"]
        weights = joint_ease(
            clicks,
            film_rows=[film_source(name) for name in TOGETHER],
            film_weights=[factor * chosen[name]["early"] for name in TOGETHER],
            user_rows=people,
            user_weight=value,
        )
        return np.hstack([clicks, np.sqrt(value) * people]) @ weights
    total = standardize(clicks @ joint_ease(clicks))
    for name in ALL:
        alone = warm_scores(name, "alone", chosen[name]["alone"], clicks, 0)
        total = total + factor * chosen[name]["late"] * own_part(name, alone, clicks)
    return total


def choose_all(chosen: dict[str, Any]) -> dict[str, Any]:
    """The factor of each door, on the validation part of the first split."""
    split = holdout_per_user(load_movielens(), 0.25, 0.15, seed=0)
    seen, relevant = split.train.matrix(), split.validation.matrix()
    clicks = seen.toarray().astype(np.float32)
    factors = {}
    for door in ("early", "late"):
        tried = {
            f: ndcg(all_scores(door, f, chosen, clicks), relevant, seen).mean() for f in FACTORS
        }
        factors[door] = max(tried, key=tried.get)
    return {"chosen": chosen | {"factors": factors}}


def all_warm(seed: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 of each user with all sources, early and late."""
    split = holdout_per_user(load_movielens(), 0.25, seed=seed)
    seen, relevant = split.train.matrix(), split.test.matrix()
    clicks = seen.toarray().astype(np.float32)
    result = {}
    for door, factor in chosen["factors"].items():
        scores = all_scores(door, factor, chosen, clicks)
        result[door] = {"ndcg": rounded(ndcg(scores, relevant, seen))} | list_facts(scores, seen)
    return result


# ---- new films -------------------------------------------------------------------------------
class NewFilms(NamedTuple):
    """A fifth of the films without ratings, and what iALS learnt from the others."""

    split: Split
    old: np.ndarray
    new: np.ndarray
    smooth: np.ndarray  # (n_users, n_old) iALS scores of the old films
    found: sp.csr_matrix  # (n_users, n_new) the exam


def new_films(data: Interactions, seed: int) -> NewFilms:
    split = cold_items(data, seed=seed)
    old, new = (np.flatnonzero(part.counts("items")) for part in (split.train, split.test))
    model = IALS(**IALS_SETTINGS).fit(split.train)
    smooth = model.user_factors @ model.item_factors[old].T
    return NewFilms(split, old, new, smooth, split.test.matrix()[:, new])


@cache
def inner_films() -> NewFilms:
    """Films taken out of the training films of the first draw: here everything is chosen."""
    return new_films(new_films(load_movielens(), 0).split.train, 100)


def judge(scores: np.ndarray, draw: NewFilms) -> pd.DataFrame:
    """AUC and nDCG@10 of each user among the new films; scores (n_users, n_new)."""
    return ranking_metrics(scores, draw.found, metrics=["auc", "ndcg"])


def row_scores(rows: np.ndarray, draw: NewFilms, l2: float) -> np.ndarray:
    return draw.smooth @ row_weights(rows, draw.old, draw.new, l2)


FILM_L2 = (3, 10, 30)
VIEWS = ("title", "genres", "year")
SUBSETS = tuple(
    tuple(view for j, view in enumerate(VIEWS) if number >> j & 1) for number in range(1, 8)
)
GRAPH_TRIALS = {
    "PageRank true": [
        {"restart": r, "beta": 0, "fact_weight": w} for r in (0.1, 0.3) for w in (1, 5)
    ],
    "walks true": [
        {"d": d, "window": 3, "beta": 0, "fact_weight": w} for d in (32, 128) for w in (1, 5)
    ],
    "TransE true": [{"d": 64, "margin": m, "n_epochs": 20} for m in (0.3, 1.0)],
}
SIMPLEX = [(a / 4, b / 4, (4 - a - b) / 4) for a in range(5) for b in range(5 - a)]


def joined(names: tuple[str, ...], old: np.ndarray) -> np.ndarray:
    """Early fusion: the rows of several sources side by side."""
    return np.hstack([prepared(film_source(name), old) for name in names])


def film_rows(name: str, old: np.ndarray) -> np.ndarray:
    if name == "early":
        return joined(TOGETHER, old)
    if name.startswith("views: "):
        return joined(tuple(name.removeprefix("views: ").split(" + ")), old)
    return film_source(name)


FILM_NAMES = (
    *FILM_SOURCES,
    "noise",
    "early",
    *("views: " + " + ".join(subset) for subset in SUBSETS),
)


def choose_films() -> dict[str, Any]:
    """The ridge of each description, the weights of the late sum, the settings of the graphs."""
    draw, data = inner_films(), load_movielens()
    chosen: dict[str, Any] = {}
    for name in FILM_NAMES:
        rows = film_rows(name, draw.old)
        tried = {l2: judge(row_scores(rows, draw, l2), draw)["auc"].mean() for l2 in FILM_L2}
        chosen[name] = max(tried, key=tried.get)
    parts = late_parts(draw, chosen)
    tried = {
        mix: judge(sum(w * part for w, part in zip(mix, parts)), draw)["auc"].mean()
        for mix in SIMPLEX
    }
    chosen["late"] = list(max(tried, key=tried.get))
    for name, trials in GRAPH_TRIALS.items():
        aucs = [
            judge(graph_scores(name, trial, data, draw.split.train, 0)[:, draw.new], draw)["auc"]
            for trial in trials
        ]
        chosen[name] = trials[int(np.argmax([auc.mean() for auc in aucs]))]
    return {"chosen": chosen}


def late_parts(draw: NewFilms, chosen: dict[str, Any]) -> list[np.ndarray]:
    return [standardize(row_scores(film_source(name), draw, chosen[name])) for name in TOGETHER]


def films(seed: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """AUC of each user among the new films, and the mean nDCG@10, by description."""
    data = load_movielens()
    draw = new_films(data, seed)
    scores = {
        name: row_scores(film_rows(name, draw.old), draw, chosen[name]) for name in FILM_NAMES
    }
    parts = late_parts(draw, chosen)
    scores["late"] = sum(w * part for w, part in zip(chosen["late"], parts))
    for name in GRAPH_TRIALS:
        every = graph_scores(name, chosen[name], data, draw.split.train, seed)
        scores[name] = every[:, draw.new]
    walks = graph_scores("walks shuffled", chosen["walks true"], data, draw.split.train, seed)
    scores["walks shuffled"] = walks[:, draw.new]
    result = {}
    for name, table in scores.items():
        graded = judge(table, draw)
        result[name] = {"auc": rounded(graded["auc"]), "mean_ndcg": float(graded["ndcg"].mean())}
    result["users"] = graded.index.tolist()
    return result


SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def missing(seed: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """Mean AUC when a share of all films, old and new, has no text: three ways to go on."""
    draw, rng = new_films(load_movielens(), seed), np.random.default_rng([seed, 7])
    columns, text = (normalize(film_source(name)) for name in ("genres, year", "text"))
    place, result = rng.permutation(len(text)), {}
    for share in SHARES:
        known = place >= share * len(place)
        here = np.flatnonzero(known[draw.old])  # places among the old films
        blank, filled = text.copy(), text.copy()
        if known.any():
            blank[~known] = text[known].mean(axis=0)
            old, new = np.flatnonzero(known), np.flatnonzero(~known)
            if len(new):
                guess = row_weights(columns, old, new, 10).T @ (text[old] - text[old].mean(axis=0))
                filled[~known] = text[old].mean(axis=0) + guess
        else:
            blank[:], filled[:] = 0, 0
        scores = {"no text": row_scores(columns, draw, chosen["genres, year"])}
        for name, rows in {"early, average": blank, "early, guessed": filled}.items():
            if known.any():
                rows = np.hstack([prepared(columns, draw.old), prepared(rows, draw.old)])
                scores[name] = row_scores(rows, draw, chosen["genres, year"])
            else:
                scores[name] = scores["no text"]
        late = standardize(scores["no text"])
        told = known[draw.new]
        if told.any():
            weights = row_weights(text, draw.old[here], draw.new[told], chosen["text"])
            late[:, told] += standardize(draw.smooth[:, here] @ weights)
        scores["late"] = late
        result[str(share)] = {k: float(judge(v, draw)["auc"].mean()) for k, v in scores.items()}
    return {"auc": result}


KNOWS = (0.0, 0.003, 0.01, 0.03, 0.1, 1.0)


def made_up_picture(seed: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """Mean AUC with a made-up vector of 512 numbers of which a share is true taste.

    It cheats on purpose: its true part is the film's iALS vector from *all* ratings, the exam's
    among them. So it says what a picture would have to know, and nothing about pictures.
    """
    data = load_movielens()
    draw, rng = new_films(data, seed), np.random.default_rng([seed, 11])
    taste = normalize(IALS(**IALS_SETTINGS).fit(data).item_factors)
    turn = np.linalg.qr(rng.normal(size=(512, taste.shape[1])))[0]  # into 512 directions
    noise = normalize(rng.normal(size=(data.n_items, 512)))
    result = {}
    for share in KNOWS:
        picture = np.sqrt(share) * taste @ turn.T + np.sqrt(1 - share) * noise
        both = np.hstack([joined(("text",), draw.old), prepared(picture, draw.old)])
        result[str(share)] = {
            "picture": float(judge(row_scores(picture, draw, 3), draw)["auc"].mean()),
            "picture and text": float(judge(row_scores(both, draw, 3), draw)["auc"].mean()),
        }
    return {"auc": result}


# ---- new users -------------------------------------------------------------------------------
HISTORY = (0, 1, 3, 10)
USER_L2 = (10, 100, 1000)
USER_EARLY = (0, 0.3, 3, 30)
USER_LATE = (0, 0.1, 0.2, 0.4, 0.8)
POPULAR = (0, 0.3, 1.0, 3.0)
TEXT_EARLY = (0, 10, 30)


class NewUsers:
    """A fifth of the users with n ratings each; no other rating of theirs reaches a model."""

    def __init__(self, data: Interactions, n: int, seed: int):
        split = cold_users(data, 0.2, n, seed)
        self.new = np.flatnonzero(split.test.counts("users"))
        rated = split.train.counts("users") > 0
        rated[self.new] = False
        self.warm = np.flatnonzero(rated)
        self.seen = split.train.matrix()[self.new]
        self.exam = split.test.matrix()[self.new]
        clicks = split.train.matrix().toarray().astype(np.float32)
        self.clicks, self.rows = clicks[self.warm], clicks[self.new]
        self.mean = self.clicks.mean(axis=0)
        self.n, self.seed = n, seed

    def ndcg(self, scores: np.ndarray) -> pd.Series:
        options = {"exclude": self.seen, "users": self.new, "metrics": ["ndcg"]}
        return ranking_metrics(scores, self.exam, **options)["ndcg"]

    def with_popularity(self, scores: np.ndarray, share: float) -> np.ndarray:
        """Popularity is a part of every model here: after few films EASE alone is below it."""
        return standardize(scores) + share * standardize(np.tile(self.mean, (len(scores), 1)))

    def joint(self, people: np.ndarray | None, value: float, text: float = 0.0) -> np.ndarray:
        """EASE with demographic columns, and with rows of text; what it says before popularity."""
        rows = {"film_rows": [film_source("text")], "film_weights": [text]} if text else {}
        if people is None or value == 0:
            return self.rows @ joint_ease(self.clicks, **rows)
        people = np.sqrt(value) * prepared(people, self.warm)
        weights = joint_ease(
            self.clicks, user_rows=people[self.warm] / np.sqrt(value), user_weight=value, **rows
        )
        return np.hstack([self.rows, people[self.new]]) @ weights

    def people_like_you(self, people: np.ndarray, l2: float) -> np.ndarray:
        """Ridge regression from demographics to clicks, minus what is the same for all."""
        weights = row_weights(people, self.warm, self.new, l2)  # (n_warm, n_new)
        return weights.T @ (self.clicks - self.mean)


def choose_users(n: int) -> dict[str, Any]:
    """On users made new among the training users of the first draw."""
    data = load_movielens()
    draw = NewUsers(cold_users(data, 0.2, n, 0).train, n, 100)

    def best(tables: dict[Any, np.ndarray]) -> Any:
        values = {key: draw.ndcg(table).mean() for key, table in tables.items()}
        return max(values, key=values.get)

    plain = draw.joint(None, 0)
    share = best({p: draw.with_popularity(plain, p) for p in POPULAR})
    base = draw.with_popularity(plain, share)
    chosen: dict[str, Any] = {"base": share}
    for kind in USER_SOURCES:
        people = user_columns(data, 0 if kind.endswith("shuffled") else None)
        found = {v: draw.people_like_you(people, v) for v in USER_L2}
        ridge = best({v: draw.mean + table for v, table in found.items()})
        joint = {v: draw.joint(people, v) for v in USER_EARLY}
        early = {(v, p): draw.with_popularity(joint[v], p) for v in USER_EARLY for p in POPULAR}
        late = {v: base + v * standardize(found[ridge]) for v in USER_LATE}
        chosen[kind] = {"alone": ridge, "early": list(best(early)), "late": best(late)}
    text = {v: draw.with_popularity(draw.joint(None, 0, v), share) for v in TEXT_EARLY}
    return {"chosen": chosen | {"text": best(text)}}


def users(n: int, seed: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 of each new user with n ratings."""
    data = load_movielens()
    draw = NewUsers(data, n, seed)
    plain = draw.joint(None, 0)
    base = draw.with_popularity(plain, chosen["base"])
    popular = np.tile(draw.mean, (len(draw.new), 1))
    scores = {"popularity": popular, "EASE": plain, "base": base}
    for kind in USER_SOURCES:
        people = user_columns(data, seed if kind.endswith("shuffled") else None)
        found, picked = draw.people_like_you(people, chosen[kind]["alone"]), chosen[kind]
        value, share = picked["early"]
        scores[f"{kind}: alone"] = draw.mean + found
        scores[f"{kind}: early"] = draw.with_popularity(draw.joint(people, value), share)
        scores[f"{kind}: late"] = base + picked["late"] * standardize(found)
    scores["text: early"] = draw.with_popularity(
        draw.joint(None, 0, chosen["text"]), chosen["base"]
    )
    result = {name: rounded(draw.ndcg(table)) for name, table in scores.items()}
    return result | {"users": draw.new.tolist()}


# ---- the store -------------------------------------------------------------------------------
class Run(NamedTuple):
    """One run. ``group`` says which function below does it."""

    group: str
    name: str
    number: int
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}/{self.number}"


def best_trial(stored: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Settings with the best nDCG@10 on validation; None as long as a trial is missing."""
    trials = [stored.get(f"tune/{name}/{j}") for j in range(len(TRIALS[name]))]
    return None if None in trials else max(trials, key=lambda t: t["ndcg"])["settings"]


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    """All runs; what rests on a choice comes once that is stored."""
    for name, trials in TRIALS.items():
        yield from (Run("tune", name, j, trial) for j, trial in enumerate(trials))
    for source in (*FILM_SOURCES, *USER_SOURCES):
        yield Run("choose", source, 0, {})
    yield Run("choose", "films", 0, {})
    yield from (Run("choose", "users", n, {}) for n in HISTORY)
    picked = {name: stored.get(f"choose/{name}/0") for name in ALL}
    if all(picked.values()):
        yield Run("all", "choose", 0, {name: run["chosen"] for name, run in picked.items()})
    for seed in SEEDS:
        yield Run("warm", "EASE", seed, {})
        if picked := stored.get("all/choose/0"):
            yield Run("all", "warm", seed, picked["chosen"])
        for source in (*FILM_SOURCES, *USER_SOURCES):
            if picked := stored.get(f"choose/{source}/0"):
                yield Run("warm", source, seed, picked["chosen"])
        if picked := stored.get("choose/films/0"):
            yield Run("films", "films", seed, picked["chosen"])
            yield Run("missing", "text", seed, picked["chosen"])
        yield Run("picture", "made up", seed, {})
        for n in HISTORY:
            if picked := stored.get(f"choose/users/{n}"):
                yield Run("users", str(n), seed, picked["chosen"])
        for name in TRIALS:
            if (settings := best_trial(stored, name)) is not None:
                yield Run("graph", name, seed, settings)
                if name in ("walks true", "PageRank true", "TransE true"):
                    yield Run("graph", name.replace("true", "shuffled"), seed, settings)
                    yield Run("like", name.replace("true", "none"), seed, settings)


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """Do it, and return what is stored."""
    data = load_movielens()
    match run.group:
        case "tune":
            split = holdout_per_user(data, 0.25, 0.15, seed=0)
            scores = graph_scores(run.name, run.settings, data, split.train, 0)
            found = ndcg(scores, split.validation.matrix(), split.train.matrix())
            return {"ndcg": round(float(found.mean()), 5)}
        case "graph" | "like":  # like: without facts, at the settings found with them
            split = holdout_per_user(data, 0.25, seed=run.number)
            scores = graph_scores(run.name, run.settings, data, split.train, run.number)
            return {"ndcg": rounded(ndcg(scores, split.test.matrix(), split.train.matrix()))}
        case "choose" if run.name == "films":
            return choose_films()
        case "choose" if run.name == "users":
            return choose_users(run.number)
        case "choose":
            return choose_warm(run.name)
        case "warm":
            return {"models": warm(run.name, run.number, run.settings)}
        case "all" if run.name == "choose":
            return choose_all(run.settings)
        case "all":
            return {"models": all_warm(run.number, run.settings)}
        case "films":
            return {"models": films(run.number, run.settings)}
        case "missing":
            return missing(run.number, run.settings)
        case "picture":
            return made_up_picture(run.number, run.settings)
        case _:
            return {"models": users(int(run.name), run.number, run.settings)}


PARTS = {
    "graph": (Graph, build_graph, facts_of_films, facts_of_users, series_name),
    "methods": (
        *(adjacency, stepping, page_rank, walk_vectors, transe, minus_distances, graph_scores),
        *(genre_columns, ndcg, rounded),
    ),
    "rows": (film_source, film_fact_vectors, freebase, year_columns, user_columns),
    "doors": (
        *(prepared, row_weights, joint_ease, warm_scores, own_part, choose_warm, warm),
        list_facts,
    ),
    "films": (
        *(NewFilms, new_films, inner_films, judge, row_scores, film_rows, joined, late_parts),
        *(choose_films, films, missing, made_up_picture),
    ),
    "users": (NewUsers, choose_users, users),
    "all": (all_scores, choose_all, all_warm),
}
READS = dict.fromkeys(("tune", "graph", "like"), "graph methods")
READS["warm"] = "graph methods rows doors"
READS["all"] = "graph methods rows doors all"
THE_REST = "graph methods rows doors films users"


@cache
def code_hash(group: str) -> str:
    """Of the functions above that a group of runs reads, and of the settings of other sections."""
    digest = hashlib.sha256(repr((EASE_L2, IALS_SETTINGS)).encode())
    for part in READS.get(group, THE_REST).split():
        for function in PARTS[part]:
            source = inspect.getsource(inspect.unwrap(function))
            digest.update(source.encode())
    return digest.hexdigest()[:16]


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run.group))


def main() -> int:
    return stored_runs.command(
        __doc__,
        "graph/TransE",
        store=STORE,
        wanted=runs,
        code=lambda run: code_hash(run.group),
        perform=perform,
    )


if __name__ == "__main__":
    raise SystemExit(main())
