"""Beyond-accuracy metrics: by hand, and against the definition in plain Python."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsys_lab.evaluation import (
    calibration,
    coverage,
    exposure,
    genre_matrix,
    gini,
    group_gap,
    intra_list_diversity,
    long_tail_share,
    novelty,
    popularity_bias,
    score_calibration,
    serendipity,
)

N_USERS, N_ITEMS = 60, 40


@pytest.fixture(scope="module")
def lists():
    """Random lists of up to six items, some shorter, the first one empty."""
    rng = np.random.default_rng(0)
    top = np.array([rng.permutation(N_ITEMS)[:6] for _ in range(N_USERS)])
    for user in range(1, 12):
        top[user, user % 6 + 1 :] = -1
    top[0] = -1
    return top


@pytest.fixture(scope="module")
def train():
    """Histories, item 0 of everyone, item 39 of nobody; the last user has none."""
    matrix = np.random.default_rng(1).random((N_USERS, N_ITEMS)) < np.linspace(0.6, 0.05, N_ITEMS)
    matrix[:, 0], matrix[:, -1], matrix[-1] = True, False, False
    return sparse.csr_matrix(matrix)


def shown(row):
    return [int(item) for item in row if item >= 0]


def plain(lists, value_of):
    """`value_of(user, items)` for each user with a list, else nan."""
    return [value_of(u, shown(row)) if shown(row) else math.nan for u, row in enumerate(lists)]


# ---- exposure ------------------------------------------------------------------------------


def test_coverage_by_hand():
    # items 0, 1 and 2 of 4
    assert coverage(np.array([[0, 1], [2, -1], [1, 0]]), 4) == 3 / 4
    assert exposure(np.array([[0, 1], [2, -1], [1, 0]]), 4).tolist() == [2, 2, 1, 0]


def test_coverage_is_the_definition(lists):
    assert coverage(lists, N_ITEMS) == len({i for row in lists for i in shown(row)}) / N_ITEMS


def test_gini_by_hand():
    assert gini([1, 1, 1, 1]) == 0
    assert gini([0, 0, 0, 7]) == 3 / 4
    assert gini([1, 3]) == 1 / 4
    assert gini([3, 1]) == gini([30, 10])


def test_gini_is_the_mean_difference_of_all_pairs():
    x = np.random.default_rng(0).poisson(2, size=50)
    pairs = [abs(a - b) for a in x.tolist() for b in x.tolist()]
    assert gini(x) == pytest.approx(sum(pairs) / (2 * 50 * x.sum()))


# ---- novelty, popularity -------------------------------------------------------------------


def test_novelty_by_hand():
    # known to 8 of 8, 2 of 8 and 1 of 8 users: 0, 2 and 3 bits; nobody counts as one
    popularity = [8, 2, 1, 0]
    assert novelty(np.array([[0, 1]]), popularity, 8).tolist() == [1]
    assert novelty(np.array([[2, 1], [3, -1]]), popularity, 8).tolist() == [2.5, 3]


def test_novelty_is_the_definition(lists, train):
    counts = train.sum(axis=0).A1
    expected = plain(
        lists,
        lambda u, row: sum(-math.log2(max(counts[i], 1) / N_USERS) for i in row) / len(row),
    )
    np.testing.assert_allclose(novelty(lists, counts, N_USERS), expected, atol=1e-12)


def test_long_tail_by_hand():
    popularity = np.array([9, 7, 7, 1, 0])
    # a head of 20 % is item 0; of 40 % items 0 and 1, and 2, which is as popular as 1
    assert long_tail_share(np.array([[0, 1, 2, 3]]), popularity).tolist() == [3 / 4]
    assert long_tail_share(np.array([[0, 1, 2, 3]]), popularity, head=0.4).tolist() == [1 / 4]
    assert long_tail_share(np.array([[3, 4, -1, -1]]), popularity, head=1).tolist() == [0]


def test_long_tail_is_the_definition(lists, train):
    counts = train.sum(axis=0).A1
    last = sorted(counts, reverse=True)[: N_ITEMS // 5][-1]
    expected = plain(lists, lambda u, row: sum(counts[i] < last for i in row) / len(row))
    np.testing.assert_allclose(long_tail_share(lists, counts), expected, atol=1e-12)


def test_popularity_bias_by_hand():
    # four users; item 0 is known to all, item 1 to two, item 2 to one
    train = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]])
    table = popularity_bias(np.array([[2], [0], [0], [1]]), train)
    assert table["history"].tolist() == [3 / 4, 3 / 4, 5 / 8, 1]
    assert table["recommended"].tolist() == [1 / 4, 1, 1, 1 / 2]
    assert table["lift"].to_numpy() == pytest.approx([-2 / 3, 1 / 3, 3 / 5, -1 / 2])


def test_popularity_bias_is_the_definition(lists, train):
    seen = train.toarray()
    phi = [seen[:, i].mean() for i in range(N_ITEMS)]
    table = popularity_bias(lists, train)
    expected = plain(lists, lambda u, row: sum(phi[i] for i in row) / len(row))
    np.testing.assert_allclose(table["recommended"], expected, atol=1e-12)
    expected = [
        np.mean([phi[i] for i in range(N_ITEMS) if seen[u, i]]) if seen[u].any() else math.nan
        for u in range(N_USERS)
    ]
    np.testing.assert_allclose(table["history"], expected, atol=1e-12)


# ---- diversity -----------------------------------------------------------------------------


def test_diversity_by_hand():
    # 0 and 1 alike, 2 at right angles to both, 3 without features
    features = np.array([[1.0, 0], [5, 0], [0, 2], [0, 0]])
    lists = np.array([[0, 1, -1], [0, 1, 2], [0, 2, -1], [2, -1, -1], [1, 3, -1]])
    result = intra_list_diversity(lists, features)
    assert result[[0, 1, 2, 4]] == pytest.approx([0, 1 - 1 / 3, 1, 1])
    assert math.isnan(result[3])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_diversity_is_the_definition(lists, kind):
    features = np.random.default_rng(2).normal(size=(N_ITEMS, 5))
    features[7] = 0
    norm = np.linalg.norm(features, axis=1)

    def cosine(a, b):
        return features[a] @ features[b] / (norm[a] * norm[b]) if norm[a] * norm[b] else 0.0

    def value(_, row):
        pairs = [cosine(a, b) for a in row for b in row if a < b]
        return 1 - sum(pairs) / len(pairs) if pairs else math.nan

    result = intra_list_diversity(lists, kind(features))
    np.testing.assert_allclose(result, plain(lists, value), atol=1e-12)


# ---- serendipity ---------------------------------------------------------------------------


def test_serendipity_by_hand():
    # shown 0 1 2 3, popularity shows 0 and 1; relevant are 0 and 2
    recommended, popular = np.array([[0, 1, 2, 3]]), np.array([[0, 1]])
    relevant = sparse.csr_matrix([[1, 0, 1, 0]])
    assert serendipity(recommended, popular, relevant).tolist() == [1 / 4]
    assert serendipity(recommended, popular, relevant, per="unexpected").tolist() == [1 / 2]
    assert serendipity(popular, popular, relevant).tolist() == [0]
    assert serendipity(popular, popular, relevant, per="unexpected").tolist() == [0]


@pytest.mark.parametrize("per", ["list", "unexpected"])
def test_serendipity_is_the_definition(lists, train, per):
    popular = np.tile(np.arange(10), (N_USERS, 1))
    seen = train.toarray()

    def value(user, row):
        unexpected = [i for i in row if i >= 10]
        size = len(row) if per == "list" else len(unexpected)
        return sum(seen[user, i] for i in unexpected) / size if size else 0.0

    result = serendipity(lists, popular, train * 3.0, per=per)  # any number above 0 is relevant
    np.testing.assert_allclose(result, plain(lists, value), atol=1e-12)


# ---- calibration ---------------------------------------------------------------------------


def test_genre_matrix():
    matrix, names = genre_matrix([("Comedy", "Action"), (), ("Drama",)])
    assert names == ["Action", "Comedy", "Drama"]
    assert matrix.toarray().tolist() == [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 1]]
    assert genre_matrix([(), ()])[0].shape == (2, 0)


def test_calibration_by_hand():
    genres = np.eye(2)  # item 0 is a comedy, item 1 a drama
    history = sparse.csr_matrix([[1, 1], [1, 0], [3, 1]])
    lists = np.array([[0, 1], [1, -1], [0, 1]])
    half, alpha = 1 / 2, 0.01
    result = calibration(lists, history, genres)
    assert result[0] == pytest.approx(0, abs=1e-15)
    assert result[1] == pytest.approx(math.log(1 / alpha))
    mixed = [(1 - alpha) * half + alpha * share for share in (3 / 4, 1 / 4)]
    expected = 3 / 4 * math.log(3 / 4 / mixed[0]) + 1 / 4 * math.log(1 / 4 / mixed[1])
    assert result[2] == pytest.approx(expected)


def test_calibration_is_the_definition(lists, train):
    rng = np.random.default_rng(3)
    names = list("abcdef")
    genres, _ = genre_matrix([rng.permutation(names)[: rng.integers(0, 4)] for _ in range(N_ITEMS)])
    dense, seen = genres.toarray(), train.toarray()

    def mix(items):
        total = sum((dense[i] for i in items), np.zeros(dense.shape[1]))
        return total / total.sum() if total.sum() else None

    def value(user, row):
        p, q = mix(np.flatnonzero(seen[user])), mix(row)
        if p is None or q is None:
            return math.nan
        return sum(a * math.log(a / (0.95 * b + 0.05 * a)) for a, b in zip(p, q) if a > 0)

    result = calibration(lists, train, genres, alpha=0.05)
    np.testing.assert_allclose(result, plain(lists, value), atol=1e-12)
    assert np.nanmin(result) >= 0


def test_score_calibration_by_hand():
    # two said 0.9, one of them right; two said 0.1, none right
    result = score_calibration([1, 0, 0, 0], [0.9, 0.9, 0.1, 0.1], n_bins=5)
    assert result.ece == pytest.approx((0.4 * 2 + 0.1 * 2) / 4)
    assert result.table["observed"].tolist() == [0, 0.5]
    assert result.table["n"].tolist() == [2, 2]


def test_score_calibration_is_the_definition():
    rng = np.random.default_rng(0)
    probability = np.concatenate([rng.random(500), np.linspace(0, 1, 11)])
    outcome = (rng.random(511) < probability**2).astype(int)
    result = score_calibration(outcome, probability)
    ece = 0.0
    for b in range(10):
        low, high = np.linspace(0, 1, 11)[[b, b + 1]]
        inside = [
            j for j, p in enumerate(probability) if low <= p and (p < high or (b == 9 and p == 1))
        ]
        gap = sum(outcome[j] for j in inside) / len(inside) - sum(probability[inside]) / len(inside)
        ece += abs(gap) * len(inside) / 511
    assert result.ece == pytest.approx(ece)
    assert result.table["n"].sum() == 511


def test_score_calibration_of_true_probabilities_is_small():
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    assert score_calibration(rng.random(20_000) < probability, probability).ece < 0.015


# ---- groups --------------------------------------------------------------------------------


def test_group_gap_by_hand():
    gap = group_gap([1, 1, 0, 0, 1, 9], list("aabbac"), "a", "b", n_boot=500)
    assert gap[:4] == (1, 1, 1, gap.p)
    assert (gap.n_first, gap.n_second) == (3, 2)
    # of the 10 ways to choose two users for b, only the observed one is as extreme
    assert gap.p == pytest.approx(0.1, abs=0.045)


def test_group_gap_equals_welch_and_a_permutation_test():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.15, 1, 300), rng.normal(0, 2, 100)])
    groups = np.repeat(["F", "M"], [300, 100])
    gap = group_gap(values, groups, "F", "M")
    a, b = values[:300], values[300:]
    error = math.sqrt(a.var(ddof=1) / 300 + b.var(ddof=1) / 100)
    assert gap.diff == pytest.approx(a.mean() - b.mean())
    assert gap.low == pytest.approx(gap.diff - 1.96 * error, abs=0.1 * error)
    assert gap.high == pytest.approx(gap.diff + 1.96 * error, abs=0.1 * error)
    shuffled = []
    for _ in range(4000):
        order = rng.permutation(values)
        shuffled.append(abs(order[:300].mean() - order[300:].mean()))
    assert gap.p == pytest.approx(np.mean(np.array(shuffled) >= abs(gap.diff)), abs=0.035)


def test_group_gap_is_antisymmetric_and_matches_series_by_index():
    rng = np.random.default_rng(0)
    values = pd.Series(rng.random(30), index=rng.permutation(50)[:30])
    gender = pd.Series(np.where(np.arange(50) % 3 == 0, "F", "M"))
    there = group_gap(values, gender, "F", "M", n_boot=2000)
    back = group_gap(values, gender, "M", "F", n_boot=2000)
    assert there.diff == pytest.approx(-back.diff)
    assert there.diff == pytest.approx(
        values[gender[values.index] == "F"].mean() - values[gender[values.index] == "M"].mean()
    )


def test_no_gap_is_found_where_there_is_none():
    rng = np.random.default_rng(0)
    p = [
        group_gap(rng.random(40), np.repeat([0, 1], [25, 15]), 0, 1, n_boot=200, seed=trial).p
        for trial in range(200)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.11  # 5 % expected, 3.9 standard errors


# ---- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: coverage(np.array([[0.5]]), 3), "expected item indices"),
        (lambda: coverage(np.array([0, 1]), 3), "expected item indices"),
        (lambda: coverage(np.array([[3]]), 3), r"outside -1\.\.2"),
        (lambda: coverage(np.array([[1, 1]]), 3), "an item twice"),
        (lambda: gini([0, 0]), "not all zero"),
        (lambda: gini([-1, 2]), "flat array"),
        (lambda: novelty(np.array([[0]]), [5], 4), "5 users, but there are 4"),
        (lambda: novelty(np.array([[0]]), [-5], 4), "counts >= 0"),
        (lambda: long_tail_share(np.array([[0]]), [5], head=0), "head is 0"),
        (lambda: serendipity(np.array([[0]]), np.array([[0], [1]]), sparse.eye(2)), "same users"),
        (lambda: serendipity(np.array([[0]]), np.array([[0]]), sparse.eye(1), per="k"), "per is"),
        (lambda: popularity_bias(np.array([[0]]), sparse.eye(2)), "same users"),
        (lambda: calibration(np.array([[0]]), sparse.eye(2), np.eye(2)), "history has shape"),
        (lambda: calibration(np.array([[0]]), sparse.eye(1), np.eye(1), alpha=0), "alpha is 0"),
        (lambda: score_calibration([0, 2], [0.1, 0.2]), "0 or 1"),
        (lambda: group_gap([1, 2, 3], list("aab"), "a", "b"), "hold 2 and 1 users"),
        (lambda: group_gap([1, 2], list("aab"), "a", "b"), "one per user"),
        (lambda: group_gap([1, 2, np.nan, 1], list("aabb"), "a", "b"), "nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
