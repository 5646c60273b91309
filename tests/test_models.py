"""The models: one interface for all, and each against a slow reference or its own definition."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise

from recsys_lab import models
from recsys_lab.data import Interactions, holdout_per_user
from recsys_lab.evaluation import evaluate
from recsys_lab.models import (
    EASE,
    Baseline,
    ContentProfile,
    GenreRule,
    Item2Vec,
    ItemKNN,
    ItemMean,
    NaiveBayes,
    Popularity,
    PureSVD,
    Random,
    RatingKNN,
    SlopeOne,
    SwitchingHybrid,
    TfidfContent,
    UserKNN,
    WeightedHybrid,
    cosine_similarity,
    item_text,
    keep_neighbours,
    msd_similarity,
    standardize,
    tune,
)

ROOT = Path(__file__).resolve().parents[1]
SECTION = ROOT / "chapters" / "1_recsys_basics" / "3_neighbours.ipynb"

GENRES = [("Drama",), ("Comedy", "Sci-Fi"), ("Sci-Fi",), (), ("Drama", "War"), ("Comedy",)]
TITLES = ["Red Harbour", "The Red Star", "Star of Glass", "Harbour", "War and Glass", "Late"]


def make_data(
    n_users: int = 14,
    n_items: int = 10,
    density: float = 0.5,
    seed: int = 0,
    whole_stars: bool = True,
) -> Interactions:
    """Random ratings. The last user has rated nothing, the last item has no rating."""
    rng = np.random.default_rng(seed)
    rated = rng.random((n_users, n_items)) < density
    rated[-1], rated[:, -1] = False, False
    rated[0, 0] = rated[1, 0] = rated[0, 1] = True
    users, items = np.nonzero(rated)
    stars = rng.integers(1, 6, len(users)) if whole_stars else rng.uniform(1, 5, len(users))
    table = pd.DataFrame(
        {
            "item_id": np.arange(n_items),
            "title": [TITLES[i % len(TITLES)] + " " * (i // len(TITLES)) for i in range(n_items)],
            "year": pd.array([pd.NA if i == 3 else 1970 + 7 * i for i in range(n_items)], "Int64"),
            "genres": [GENRES[i % len(GENRES)] for i in range(n_items)],
        }
    )
    return Interactions(
        users,
        items,
        stars,
        user_ids=np.arange(n_users),
        item_ids=np.arange(n_items),
        item_table=table,
    )


@pytest.fixture(scope="module")
def data() -> Interactions:
    return make_data()


def stars_of(data: Interactions) -> np.ndarray:
    """(n_users, n_items) with nan where nothing is rated."""
    table = np.full((data.n_users, data.n_items), np.nan)
    table[data.users, data.items] = data.ratings
    return table


MODELS: dict[str, Callable[[], models.Recommender]] = {
    "Random": Random,
    "Popularity": Popularity,
    "GenreRule": GenreRule,
    "NaiveBayes": NaiveBayes,
    "UserKNN": lambda: UserKNN(n_neighbors=4, shrinkage=1.0),
    "ItemKNN": lambda: ItemKNN(n_neighbors=4),
    "ItemMean": ItemMean,
    "Baseline": Baseline,
    "SlopeOne": SlopeOne,
    "RatingKNN basic": lambda: RatingKNN("basic", n_neighbors=3),
    "RatingKNN centred": lambda: RatingKNN("centred", n_neighbors=3),
    "RatingKNN baseline": lambda: RatingKNN("baseline", n_neighbors=3),
    "RatingKNN by items": lambda: RatingKNN("centred", n_neighbors=3, user_based=False),
    "TfidfContent": TfidfContent,
    "ContentProfile": lambda: ContentProfile(np.random.default_rng(0).normal(size=(10, 3))),
    "Item2Vec": lambda: Item2Vec(n_factors=4, n_epochs=2),
    "PureSVD": lambda: PureSVD(n_factors=3),
    "EASE": lambda: EASE(l2=2.0),
    "WeightedHybrid": lambda: WeightedHybrid([ItemKNN(), TfidfContent()], [0.7, 0.3]),
    "SwitchingHybrid": lambda: SwitchingHybrid(Popularity(), EASE(l2=2.0), threshold=5),
}
RATING = [
    name for name in MODELS if name.split()[0] in ("ItemMean", "Baseline", "SlopeOne", "RatingKNN")
]


# ---- the interface ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_interface(name: str, data: Interactions) -> None:
    model = MODELS[name]()
    assert model.fit(data) is model
    assert model.train is data

    scores = model.score()
    assert scores.shape == (data.n_users, data.n_items)
    assert isinstance(scores, np.ndarray) and np.issubdtype(scores.dtype, np.floating)
    assert np.isfinite(scores).all()

    some = np.array([5, 0, 13])
    np.testing.assert_allclose(model.score(some), scores[some], rtol=1e-5, atol=1e-6)

    seen = data.matrix().toarray() > 0
    lists = model.recommend(k=3)
    assert lists.shape == (data.n_users, 3)
    assert np.issubdtype(lists.dtype, np.integer)
    for user, shown in enumerate(lists):
        kept = shown[shown >= 0]
        assert len(set(kept)) == len(kept)
        assert not seen[user, kept].any()
    np.testing.assert_array_equal(model.recommend(some, k=3), lists[some])
    everything = model.recommend(np.array([0]), k=data.n_items, exclude_seen=False)[0]
    assert sorted(everything) == list(range(data.n_items))


@pytest.mark.parametrize("name", MODELS)
def test_recommends_by_score(name: str, data: Interactions) -> None:
    model = MODELS[name]().fit(data)
    scores, seen = model.score(), data.matrix().toarray() > 0
    for user, shown in enumerate(model.recommend(k=data.n_items)):
        shown = shown[shown >= 0]
        assert set(shown) == set(np.flatnonzero(~seen[user]))
        assert (np.diff(scores[user, shown]) <= 1e-6).all()


@pytest.mark.parametrize("name", MODELS)
def test_same_fit_same_scores(name: str, data: Interactions) -> None:
    first, second = (MODELS[name]().fit(data).score() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    again = MODELS[name]()
    again.fit(make_data(seed=5))  # a second fit forgets the first
    np.testing.assert_array_equal(again.fit(data).score(), first)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["score", "recommend"])
def test_not_fitted(name: str, method: str) -> None:
    model = MODELS[name]()
    with pytest.raises(RuntimeError, match=rf"{type(model).__name__} is not fitted: call fit"):
        getattr(model, method)(np.array([0]))


@pytest.mark.parametrize("name", RATING)
def test_rating_predictors(name: str, data: Interactions) -> None:
    with pytest.raises(RuntimeError, match="is not fitted"):
        MODELS[name]().predict(np.array([0]), np.array([0]))
    model = MODELS[name]().fit(data)
    scores = model.score()
    users, items = np.divmod(np.random.default_rng(1).permutation(scores.size), data.n_items)
    predicted = model.predict(users, items)
    assert predicted.shape == users.shape and predicted.dtype == float
    np.testing.assert_allclose(predicted, scores[users, items])
    assert predicted.min() >= data.ratings.min() and predicted.max() <= data.ratings.max()
    assert model.predict(np.array([], dtype=int), np.array([], dtype=int)).shape == (0,)


def test_every_exported_name_is_tested() -> None:
    classes = {type(make()).__name__ for make in MODELS.values()}
    public = {
        name
        for name in models.__all__
        if isinstance(getattr(models, name), type)
        and name not in ("Recommender", "RatingPredictor")
    }
    others = ("sequences", "implicit_factors", "rating_factors", "deep_models", "negatives")
    text = "\n".join(Path(__file__).with_name(f"test_{name}.py").read_text() for name in others)
    elsewhere = {name for name in public if re.search(rf"\b{name}\(|\b{name}[,\]]", text)}
    assert public - classes <= elsewhere | {"SequenceModel"}  # their base
    assert classes <= public


# ---- neighbours and ratings ------------------------------------------------------------------


def reference_msd(table: np.ndarray) -> np.ndarray:
    n = len(table)
    similarity = np.zeros((n, n))
    for u in range(n):
        for v in range(n):
            gaps = [(a - b) ** 2 for a, b in zip(table[u], table[v]) if a == a and b == b]
            if u != v and gaps:
                similarity[u, v] = 1 / (1 + sum(gaps) / len(gaps))
    return similarity


def reference_baseline(data: Interactions, user_reg: float, item_reg: float, n_epochs: int):
    mean = data.ratings.mean()
    user_bias, item_bias = [0.0] * data.n_users, [0.0] * data.n_items
    triples = list(zip(data.users, data.items, data.ratings))
    for _ in range(n_epochs):
        for i in range(data.n_items):
            left = [r - mean - user_bias[u] for u, j, r in triples if j == i]
            item_bias[i] = sum(left) / (len(left) + item_reg)
        for u in range(data.n_users):
            left = [r - mean - item_bias[i] for v, i, r in triples if v == u]
            user_bias[u] = sum(left) / (len(left) + user_reg)
    return mean + np.add.outer(user_bias, item_bias)


def reference_knn(data: Interactions, kind: str, k: int, user_based: bool) -> np.ndarray:
    table = stars_of(data)
    if kind == "baseline":
        offset = reference_baseline(data, 15, 10, 10)
    else:
        offset = np.zeros_like(table)
    if not user_based:
        table, offset = table.T, offset.T
    if kind == "centred":
        means = [row[~np.isnan(row)] for row in table]
        means = [row.mean() if len(row) else data.ratings.mean() for row in means]
        offset = np.repeat(np.array(means)[:, None], table.shape[1], axis=1)
    similarity = reference_msd(table)
    predicted = np.empty_like(table)
    for u, i in np.ndindex(table.shape):
        raters = [v for v in range(len(table)) if not np.isnan(table[v, i])]
        raters = sorted(raters, key=lambda v: -similarity[u, v])[:k]
        weights = [similarity[u, v] for v in raters]
        residuals = [table[v, i] - offset[v, i] for v in raters]
        if sum(weights) > 0:
            average = sum(w * x for w, x in zip(weights, residuals)) / sum(weights)
        else:
            average = data.ratings.mean() if kind == "basic" else 0.0
        predicted[u, i] = offset[u, i] + average
    predicted = np.clip(predicted, data.ratings.min(), data.ratings.max())
    return predicted if user_based else predicted.T


def test_msd_similarity(data: Interactions) -> None:
    stars, rated = data.matrix("ratings").toarray(), data.matrix().toarray()
    found = msd_similarity(stars, rated)
    np.testing.assert_allclose(found, reference_msd(stars_of(data)), atol=1e-6)
    theirs = pairwise.nan_euclidean_distances(stars_of(data)[:-1]) ** 2 / data.n_items
    theirs = np.nan_to_num(1 / (1 + theirs))
    np.fill_diagonal(theirs, 0)
    np.testing.assert_allclose(found[:-1, :-1], theirs, atol=1e-6)


@pytest.mark.parametrize("user_based", [True, False])
@pytest.mark.parametrize("kind", ["basic", "centred", "baseline"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_rating_knn(kind: str, k: int, user_based: bool) -> None:
    # Stars in halves of a thousandth tie nowhere, so that the k nearest are well defined.
    data = make_data(seed=3, whole_stars=False)
    found = RatingKNN(kind, n_neighbors=k, user_based=user_based).fit(data).score()
    np.testing.assert_allclose(found, reference_knn(data, kind, k, user_based), atol=1e-4)


@pytest.mark.parametrize("kind", ["basic", "centred", "baseline"])
def test_rating_knn_whole_stars_all_neighbours(kind: str, data: Interactions) -> None:
    found = RatingKNN(kind, n_neighbors=100).fit(data).score()
    np.testing.assert_allclose(found, reference_knn(data, kind, 100, True), atol=1e-5)


def test_rating_knn_refuses_unknown_kind() -> None:
    with pytest.raises(ValueError, match="choose basic, centred or baseline"):
        RatingKNN("pearson")


@pytest.mark.parametrize("damping", [0, 2.5])
def test_item_mean_by_its_definition(damping: float, data: Interactions) -> None:
    found = (
        ItemMean(damping).fit(data).predict(np.zeros(data.n_items, int), np.arange(data.n_items))
    )
    overall = data.ratings.mean()
    for item in range(data.n_items):
        mine = data.ratings[data.items == item]
        known = len(mine) + damping
        expected = (mine.sum() + damping * overall) / known if known else overall
        assert found[item] == pytest.approx(expected)


@pytest.mark.parametrize("n_epochs", [1, 10])
def test_baseline_by_its_definition(n_epochs: int, data: Interactions) -> None:
    model = Baseline(user_reg=3, item_reg=2, n_epochs=n_epochs).fit(data)
    found = model.mean + np.add.outer(model.user_bias, model.item_bias)
    np.testing.assert_allclose(found, reference_baseline(data, 3, 2, n_epochs))


def test_baseline_converges_to_the_ridge_solution(data: Interactions) -> None:
    model = Baseline(user_reg=3, item_reg=2, n_epochs=200).fit(data)
    n, width = len(data), data.n_users + data.n_items
    design = np.zeros((n, width))
    design[np.arange(n), data.users] = design[np.arange(n), data.n_users + data.items] = 1
    penalty = np.diag(np.sqrt([3.0] * data.n_users + [2.0] * data.n_items))
    target = np.concatenate([data.ratings - data.ratings.mean(), np.zeros(width)])
    solution = np.linalg.lstsq(np.vstack([design, penalty]), target)[0]
    np.testing.assert_allclose(
        np.concatenate([model.user_bias, model.item_bias]), solution, atol=1e-9
    )


def test_baseline_without_regularisation() -> None:
    model = Baseline(user_reg=0, item_reg=0).fit(make_data())
    assert np.isfinite(model.score()).all()
    assert model.item_bias[-1] == 0  # nobody has rated it


def test_slope_one(data: Interactions) -> None:
    table = stars_of(data)
    expected = np.empty_like(table)
    for u, i in np.ndindex(table.shape):
        rated = [j for j in range(data.n_items) if not np.isnan(table[u, j])]
        differences = []
        for j in rated:
            both = [v for v in range(data.n_users) if not np.isnan(table[v, i] + table[v, j])]
            if both:
                differences.append(sum(table[v, i] - table[v, j] for v in both) / len(both))
        mean = np.mean(table[u, rated]) if rated else data.ratings.mean()
        expected[u, i] = mean + (sum(differences) / len(differences) if differences else 0)
    expected = np.clip(expected, data.ratings.min(), data.ratings.max())
    np.testing.assert_allclose(SlopeOne().fit(data).score(), expected, atol=1e-5)


# ---- neighbours for ranking ------------------------------------------------------------------


def test_cosine_similarity(data: Interactions) -> None:
    vectors = data.matrix("ratings")
    expected = pairwise.cosine_similarity(vectors)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(cosine_similarity(vectors), expected)
    dense = vectors.toarray()
    u, v = 0, 1
    norms = np.linalg.norm(dense[u]) * np.linalg.norm(dense[v])
    shrunk = cosine_similarity(vectors, shrinkage=7.0)
    assert shrunk[u, v] == pytest.approx(dense[u] @ dense[v] / (norms + 7))
    np.testing.assert_array_equal(shrunk, shrunk.T)


def test_keep_neighbours() -> None:
    similarity = np.array([[0.0, 0.3, 0.2, 0.9], [0.3, 0.0, 0.3, 0.1], [0.2, 0.3, 0.0, 0.0]])
    kept = keep_neighbours(similarity, 1)
    np.testing.assert_array_equal(kept[0], [0, 0, 0, 0.9])
    np.testing.assert_array_equal(kept[1], [0.3, 0, 0.3, 0])  # a tie keeps both
    np.testing.assert_array_equal(keep_neighbours(similarity, 9), similarity)


@pytest.mark.parametrize("k", [2, 100])
def test_user_knn_and_item_knn(k: int, data: Interactions) -> None:
    seen = data.matrix().toarray()

    def neighbours(rows: np.ndarray) -> list[dict[int, float]]:
        found = []
        for u in range(len(rows)):
            cosines = [
                rows[u] @ rows[v] / max(np.linalg.norm(rows[u]) * np.linalg.norm(rows[v]), 1e-12)
                for v in range(len(rows))
            ]
            cosines[u] = 0.0
            least = sorted(cosines)[-min(k, len(rows))]
            found.append({v: c for v, c in enumerate(cosines) if c >= least - 1e-12})
        return found

    by_user, by_item = neighbours(seen), neighbours(seen.T)
    users, items = np.zeros_like(seen), np.zeros_like(seen)
    for u, i in np.ndindex(seen.shape):
        users[u, i] = sum(c for v, c in by_user[u].items() if seen[v, i])
        items[u, i] = sum(c for j, c in by_item[i].items() if seen[u, j])
    np.testing.assert_allclose(UserKNN(n_neighbors=k).fit(data).score(), users, atol=1e-9)
    np.testing.assert_allclose(ItemKNN(n_neighbors=k).fit(data).score(), items, atol=1e-9)


# ---- linear algebra and counts ---------------------------------------------------------------


def test_ease_is_the_constrained_ridge(data: Interactions) -> None:
    seen, l2 = data.matrix().toarray(), 3.0
    weights = EASE(l2=l2).fit(data).weights
    assert (np.diag(weights) == 0).all()
    gram = seen.T @ seen
    gradient = (gram + l2 * np.eye(len(gram))) @ weights - gram  # half of it
    np.fill_diagonal(gradient, 0)  # the diagonal is held at zero, not free
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    for item in range(data.n_items):
        others = np.delete(np.arange(data.n_items), item)
        ridge = Ridge(alpha=l2, fit_intercept=False).fit(seen[:, others], seen[:, item])
        np.testing.assert_allclose(weights[others, item], ridge.coef_, atol=1e-5)


def test_ease_refuses_no_ridge(data: Interactions) -> None:
    with pytest.raises(ValueError, match="the ridge must be positive"):
        EASE(l2=0.0).fit(data)  # an item without ratings: the Gram matrix is singular


@pytest.mark.parametrize("values", ["binary", "ratings"])
def test_pure_svd(values: str, data: Interactions) -> None:
    left, singular, right = np.linalg.svd(data.matrix(values).toarray(), full_matrices=False)
    expected = (left[:, :3] * singular[:3]) @ right[:3]
    model = PureSVD(n_factors=3, values=values).fit(data)
    np.testing.assert_allclose(model.score(), expected, atol=1e-8)
    np.testing.assert_allclose(model.item_factors.T @ model.item_factors, np.eye(3), atol=1e-8)


def test_naive_bayes(data: Interactions) -> None:
    alpha, seen = 4.0, data.matrix().toarray()
    expected = np.empty_like(seen)
    counts = [seen[:, i].sum() + 1 for i in range(data.n_items)]
    for u, i in np.ndindex(seen.shape):
        score = np.log(counts[i] / data.n_users)
        for j in np.flatnonzero(seen[u]):
            both = 0 if i == j else sum(row[i] and row[j] for row in seen)
            given = (both + alpha * counts[j] / data.n_users) / (counts[i] + alpha)
            score += np.log(given)
        expected[u, i] = score
    np.testing.assert_allclose(NaiveBayes(alpha=alpha).fit(data).score(), expected)


def test_popularity_and_random(data: Interactions) -> None:
    scores = Popularity().fit(data).score()
    assert (scores == data.counts("items")).all()
    first, second = (Random(seed=s).fit(data).score() for s in (0, 1))
    assert (first != second).all() and 0.4 < first.mean() < 0.6


def test_genre_rule() -> None:
    genres = [("War",), ("War",), ("Drama",), ("Drama", "War"), ()]
    table = pd.DataFrame(
        {"item_id": range(5), "title": "x", "year": pd.array([1990] * 5, "Int64"), "genres": genres}
    )
    # User 0 has seen a war film; drama is the more popular.
    data = Interactions(
        [0, 1, 1, 2, 2, 3], [0, 2, 3, 2, 4, 2], item_ids=np.arange(5), item_table=table
    )
    model = GenreRule(n_favourites=1).fit(data)
    assert model.recommend(np.array([0]), k=4)[0].tolist() == [3, 1, 2, 4]
    # A user without history has no favourites: popularity alone.
    nobody = Interactions(
        data.users, data.items, user_ids=np.arange(5), item_ids=np.arange(5), item_table=table
    )
    assert GenreRule().fit(nobody).score(np.array([4]))[0].argmax() == 2


# ---- content, hybrids, vectors ---------------------------------------------------------------


def test_item_text(data: Interactions) -> None:
    lines = item_text(data.item_table)
    assert len(lines) == data.n_items
    assert lines[1] == "the red star genre_comedy genre_scifi decade_1970"
    assert lines[3] == "harbour"  # no genre, no year
    assert item_text(data.item_table, ("genres",))[0] == "genre_drama"
    with pytest.raises(ValueError, match="unknown fields"):
        item_text(data.item_table, ("title", "plot"))


@pytest.mark.parametrize("use_ratings", [True, False])
def test_tfidf_content(use_ratings: bool, data: Interactions) -> None:
    lines = [line.split() for line in item_text(data.item_table)]
    words = sorted({word for line in lines for word in line})
    n = data.n_items
    vectors = np.zeros((n, len(words)))
    for i, line in enumerate(lines):
        for w, word in enumerate(words):
            df = sum(word in other for other in lines)
            vectors[i, w] = line.count(word) * (np.log((1 + n) / (1 + df)) + 1)
        vectors[i] /= np.linalg.norm(vectors[i])
    table, expected = stars_of(data), np.zeros((data.n_users, n))
    for u in range(data.n_users):
        rated = np.flatnonzero(~np.isnan(table[u]))
        if len(rated):
            weight = table[u, rated] - table[u, rated].mean() + 1 if use_ratings else 1.0
            profile = (np.broadcast_to(weight, len(rated))[:, None] * vectors[rated]).sum(axis=0)
            expected[u] = vectors @ profile / max(np.linalg.norm(profile), 1e-12)
    np.testing.assert_allclose(
        TfidfContent(use_ratings=use_ratings).fit(data).score(), expected, atol=1e-9
    )


def test_content_profile_takes_any_features(data: Interactions) -> None:
    words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(item_text(data.item_table))
    by_hand = ContentProfile(words).fit(data).score()
    np.testing.assert_allclose(by_hand, TfidfContent().fit(data).score())
    np.testing.assert_allclose(by_hand, ContentProfile(words.toarray() * 3).fit(data).score())
    with pytest.raises(ValueError, match="give one row an item"):
        ContentProfile(words[:-1]).fit(data)


def test_standardize() -> None:
    scores = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    found = standardize(scores)
    np.testing.assert_allclose(found[0], [-np.sqrt(1.5), 0, np.sqrt(1.5)])
    np.testing.assert_array_equal(found[1], 0)


def test_weighted_hybrid(data: Interactions) -> None:
    item, content = ItemKNN().fit(data), TfidfContent().fit(data)
    found = WeightedHybrid([ItemKNN(), TfidfContent()], [2.0, 0.5]).fit(data).score()
    expected = 2 * standardize(item.score()) + 0.5 * standardize(content.score())
    np.testing.assert_allclose(found, expected)
    alone = WeightedHybrid([ItemKNN(), TfidfContent()], [1, 0]).fit(data)
    np.testing.assert_allclose(alone.score(), standardize(item.score()))
    with pytest.raises(ValueError, match="1 models and 2 weights"):
        WeightedHybrid([ItemKNN()], [1, 2])


def test_switching_hybrid(data: Interactions) -> None:
    counts = data.counts("users")
    threshold = int(np.median(counts))
    model = SwitchingHybrid(Popularity(), ItemKNN(), threshold=threshold).fit(data)
    cold = counts < threshold
    assert cold.any() and (~cold).any()
    np.testing.assert_array_equal(model.score()[cold], Popularity().fit(data).score()[cold])
    np.testing.assert_array_equal(model.score()[~cold], ItemKNN().fit(data).score()[~cold])


@pytest.fixture(scope="module")
def planted() -> Interactions:
    """Two crowds of 30 users, each with 12 films of its own; everybody has seen 8 of them."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 8)
    items = np.concatenate([rng.permutation(12)[:8] + 12 * (user >= 30) for user in range(60)])
    return Interactions(users, items, user_ids=np.arange(60), item_ids=np.arange(24))


def test_item2vec_finds_planted_clusters(planted: Interactions) -> None:
    model = Item2Vec(n_factors=8, n_epochs=60, lr=0.05, seed=1).fit(planted)
    np.testing.assert_allclose(np.linalg.norm(model.vectors, axis=1), 1, rtol=1e-5)
    alike = model.vectors @ model.vectors.T
    np.fill_diagonal(alike, -np.inf)
    crowd = np.repeat([0, 1], 12)
    nearest = alike.argsort(axis=1)[:, -5:]
    assert (crowd[nearest] == crowd[:, None]).mean() > 0.95
    shown = model.recommend(k=3)
    own = np.repeat([0, 1], 30)[:, None]
    assert (crowd[shown] == own)[shown >= 0].mean() > 0.95
    assert model.losses[-1] < model.losses[0]
    assert not np.array_equal(Item2Vec(seed=2, n_epochs=1).fit(planted).vectors, model.vectors)


@pytest.mark.parametrize(
    "make",
    [
        UserKNN,
        ItemKNN,
        lambda: EASE(l2=5.0),
        lambda: PureSVD(n_factors=2),
        lambda: NaiveBayes(alpha=1.0),
    ],
    ids=["UserKNN", "ItemKNN", "EASE", "PureSVD", "NaiveBayes"],
)
def test_personal_models_find_planted_clusters(make: Callable, planted: Interactions) -> None:
    shown = make().fit(planted).recommend(k=2)
    own = np.repeat([0, 1], 30)[:, None]
    assert ((np.repeat([0, 1], 12)[shown] == own) | (shown < 0)).mean() > 0.95


# ---- tuning ----------------------------------------------------------------------------------


def test_tune(planted: Interactions) -> None:
    split = holdout_per_user(planted, 0.2, validation_fraction=0.2, seed=0)
    grid = {"n_neighbors": [1, 5, 50], "shrinkage": [0, 3]}
    best, table = tune(UserKNN, grid, split, metric="recall", k=4)
    assert list(table.columns) == ["n_neighbors", "shrinkage", "recall"]
    assert len(table) == 6 and (table["recall"].diff().dropna() <= 0).all()
    assert best == table.iloc[0][["n_neighbors", "shrinkage"]].to_dict()
    model = UserKNN(**best).fit(split.train)
    again = evaluate(model, split, k=4, part="validation")["recall"].mean()
    assert again == pytest.approx(table.iloc[0]["recall"])


def test_tune_never_sees_the_test_part(planted: Interactions) -> None:
    split = holdout_per_user(planted, 0.2, validation_fraction=0.2, seed=0)
    without = type(split)(split.train, split.validation, split.test.select([0]), split.name)
    grid = {"n_neighbors": [1, 3, 9, 27]}
    pd.testing.assert_frame_equal(
        tune(UserKNN, grid, split)[1], tune(UserKNN, grid, without)[1], check_exact=True
    )


def test_tune_takes_the_first_of_equals(planted: Interactions) -> None:
    split = holdout_per_user(planted, 0.2, validation_fraction=0.2, seed=0)
    best, _ = tune(lambda unused: Popularity(), {"unused": ["first", "second"]}, split)
    assert best == {"unused": "first"}


# ---- what section 3 derives in its cells -----------------------------------------------------


@pytest.fixture(scope="module")
def cells() -> dict[str, Callable]:
    """The functions that the section defines, by name, run outside of the notebook."""
    sources = [
        "".join(cell["source"])
        for cell in json.loads(SECTION.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    names: dict[str, object] = {"np": np, "pd": pd, "models": models}
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                exec(compile(ast.Module([node], []), SECTION.name, "exec"), names)
    return names


def test_section_similarities(cells: dict, data: Interactions) -> None:
    stars, rated = data.matrix("ratings").toarray(), data.matrix().toarray()
    np.testing.assert_allclose(
        cells["msd_similarity"](stars, rated), msd_similarity(stars, rated), atol=1e-6
    )
    np.testing.assert_allclose(
        cells["cosine_similarity"](rated), cosine_similarity(data.matrix()), atol=1e-9
    )
    table = stars_of(data)
    compared = 0
    for u, v in np.ndindex(data.n_users, data.n_users):
        both = ~np.isnan(table[u] + table[v])
        if both.any() and np.ptp(table[u, both]) and np.ptp(table[v, both]):
            expected = np.corrcoef(table[u, both], table[v, both])[0, 1]
            assert cells["pearson"](table[u], table[v]) == pytest.approx(expected)
            compared += 1
        elif both.any():
            assert np.isnan(cells["pearson"](table[u], table[v]))
    assert compared > 50


def test_section_star_similarities(cells: dict, data: Interactions) -> None:
    stars, rated = data.matrix("ratings").toarray(), data.matrix().toarray()
    table, found = stars_of(data), cells["star_similarities"](stars, rated)
    for u, v in np.ndindex(data.n_users, data.n_users):
        if u == v or not (rated[u] * rated[v]).any():
            assert all(similarity[u, v] == 0 for similarity in found.values())
            continue
        pearson = np.nan_to_num(cells["pearson"](table[u], table[v]))
        n = (rated[u] * rated[v]).sum()
        assert found["cosine"][u, v] == pytest.approx(cells["cosine"](table[u], table[v]))
        assert found["MSD"][u, v] == pytest.approx(cells["msd"](table[u], table[v]), abs=1e-6)
        assert found["Pearson, positive"][u, v] == pytest.approx(max(pearson, 0), abs=1e-9)
        assert found["Pearson, shrunk"][u, v] == pytest.approx(max(pearson, 0) * n / (n + 25))
        size = rated[u].sum() * rated[v].sum()
        assert found["who rated what"][u, v] == pytest.approx(n / np.sqrt(size))


def test_section_predictions(cells: dict) -> None:
    data = make_data(density=0.7, seed=3, whole_stars=False)
    table = stars_of(data)[:-1, :-1]  # the section's loops expect a rating in each row and column
    data = Interactions(data.users, data.items, data.ratings)
    similarity = msd_similarity(np.nan_to_num(table), ~np.isnan(table))
    biases = cells["baseline"](table, 15, 10, 10)
    np.testing.assert_allclose(
        np.clip(biases, *Baseline().fit(data).range), Baseline().fit(data).score()
    )
    offsets = {
        "basic": np.zeros_like(table),
        "centred": np.nanmean(table, axis=1, keepdims=True) + np.zeros_like(table),
        "baseline": biases,
    }
    low, high = data.ratings.min(), data.ratings.max()
    empty = np.argwhere(np.isnan(table))
    for kind, offset in offsets.items():
        ours = [cells["predict_stars"](table, u, i, similarity, offset, k=3) for u, i in empty]
        package = RatingKNN(kind, n_neighbors=3).fit(data).predict(*empty.T)
        np.testing.assert_allclose(np.clip(ours, low, high), package, atol=1e-4)
    ours = [cells["slope_one"](table, u, i) for u, i in empty]
    package = SlopeOne().fit(data).predict(*empty.T)
    np.testing.assert_allclose(np.clip(ours, low, high), package, atol=1e-4)
