"""What must hold for every ranking: bounds, invariances, monotonicity, the level of chance."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from recsys_lab.evaluation import METRICS, expected_metrics, rank_items, ranking_metrics

few = settings(max_examples=60, deadline=None)


@st.composite
def cases(draw, ties=True, exclude=True):
    """Scores, relevant, excluded (dense), k; at least one user has a relevant item."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 14)))
    if ties:
        values = st.integers(-3, 3).map(float) | st.just(-np.inf)
        scores = draw(hnp.arrays(float, shape, elements=values))
    else:
        rows = [draw(st.permutations(range(shape[1]))) for _ in range(shape[0])]
        scores = np.array(rows, dtype=float)
    relevant = draw(hnp.arrays(bool, shape))
    assume(relevant.any())
    hidden = draw(hnp.arrays(bool, shape)) & ~relevant & exclude
    return scores, relevant, hidden, draw(st.integers(1, 16))


def grade(scores, relevant, exclude, k, **options):
    return ranking_metrics(
        scores, sparse.csr_matrix(relevant), k, sparse.csr_matrix(exclude), **options
    )


def same(a, b):
    np.testing.assert_allclose(a.to_numpy(), b.to_numpy(), atol=1e-12, rtol=0)


@few
@given(cases())
def test_every_metric_lies_between_0_and_1(case):
    table = grade(*case)
    values = table.to_numpy()
    assert ((values >= 0) & (values <= 1 + 1e-12) | np.isnan(values)).all()
    assert not table.drop(columns="auc").isna().any(axis=None)


@few
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_users_does_not_matter(case, random):
    scores, relevant, exclude, k = case
    order = random.sample(range(len(scores)), len(scores))
    table = grade(scores, relevant, exclude, k)
    shuffled = grade(scores[order], relevant[order], exclude[order], k, users=np.array(order))
    same(shuffled.sort_index(), table)


@few
@given(cases(ties=False), st.randoms(use_true_random=False))
def test_order_of_items_does_not_matter_without_ties(case, random):
    scores, relevant, exclude, k = case
    order = random.sample(range(scores.shape[1]), scores.shape[1])
    same(
        grade(scores[:, order], relevant[:, order], exclude[:, order], k),
        grade(scores, relevant, exclude, k),
    )


@few
@given(cases(), st.randoms(use_true_random=False))
def test_auc_ignores_the_order_of_items_even_with_ties(case, random):
    scores, relevant, exclude, k = case
    order = random.sample(range(scores.shape[1]), scores.shape[1])
    same(
        grade(scores[:, order], relevant[:, order], exclude[:, order], k, metrics=["auc"]),
        grade(scores, relevant, exclude, k, metrics=["auc"]),
    )


@few
@given(cases(), st.sampled_from([lambda s: 3 * s + 7, np.exp, np.arctan, lambda s: s**3]))
def test_only_the_order_of_scores_matters(case, stretch):
    scores, relevant, exclude, k = case
    stretched = np.where(np.isfinite(scores), stretch(np.maximum(scores, -3)), -np.inf)
    same(grade(stretched, relevant, exclude, k), grade(scores, relevant, exclude, k))


@few
@given(cases(), st.data(), st.sampled_from([0.5, 1, 2.5, 50]))
def test_raising_a_relevant_item_lowers_nothing(case, data, step):
    scores, relevant, exclude, k = case
    user, item = data.draw(st.sampled_from(np.argwhere(relevant).tolist()))
    raised = scores.copy()
    raised[user, item] = max(scores[user, item], -4) + step
    change = grade(raised, relevant, exclude, k) - grade(scores, relevant, exclude, k)
    assert (change.fillna(0) >= -1e-12).all(axis=None)


@few
@given(cases())
def test_perfect_ranking_is_1(case):
    _, relevant, exclude, k = case
    table = grade(relevant.astype(float), relevant, exclude, k)
    for name in ("hit", "map", "mrr", "mrr_at_k", "ndcg"):
        assert table[name].to_numpy() == pytest.approx(1), name
    assert table["auc"].dropna().to_numpy() == pytest.approx(1)
    n_relevant = relevant.sum(axis=1)[table.index]
    assert table["recall"].to_numpy() == pytest.approx(np.minimum(n_relevant, k) / n_relevant)
    assert table["precision"].to_numpy() == pytest.approx(np.minimum(n_relevant, k) / k)


@few
@given(cases())
def test_worst_ranking_has_auc_0(case):
    _, relevant, exclude, k = case
    assert grade(-1.0 * relevant, relevant, exclude, k)["auc"].dropna().eq(0).all()


@few
@given(cases())
def test_lists_are_what_they_promise(case):
    scores, _, exclude, k = case
    top = rank_items(scores, sparse.csr_matrix(exclude), k)
    assert top.shape == (len(scores), k)
    for user, row in enumerate(top):
        shown = row[row >= 0]
        allowed = np.flatnonzero(~exclude[user] & (scores[user] > -np.inf))
        assert len(shown) == min(k, len(allowed)) == len(set(shown))
        assert (row[len(shown) :] == -1).all()
        assert set(shown) <= set(allowed)
        assert (np.diff(scores[user, shown]) <= 0).all()
        left_out = np.setdiff1d(allowed, shown)
        assert not len(left_out) or scores[user, left_out].max() <= scores[user, shown].min()


@few
@given(cases())
def test_a_longer_list_finds_no_less(case):
    scores, relevant, exclude, k = case
    short, long = grade(scores, relevant, exclude, k), grade(scores, relevant, exclude, k + 3)
    for name in ("recall", "hit", "mrr_at_k"):
        assert (long[name] >= short[name]).all(), name
    same(short[["mrr", "auc"]], long[["mrr", "auc"]])
    assert (short["mrr_at_k"] <= short["mrr"]).all()


@few
@given(cases())
def test_beyond_the_catalogue_a_list_is_whole(case):
    scores, relevant, exclude, _ = case
    scores = np.where(np.isfinite(scores), scores, 0)
    table = grade(scores, relevant, exclude, scores.shape[1] + 5)
    assert table["recall"].eq(1).all() and table["hit"].eq(1).all()
    same(table[["mrr_at_k"]], table[["mrr"]])


# ---- the level of chance -------------------------------------------------------------------


@pytest.mark.parametrize("n_items", [1, 2, 5, 6])
def test_chance_is_the_mean_over_all_orders(n_items):
    orders = np.array(list(itertools.permutations(range(n_items))), dtype=float)
    for n_relevant in range(1, n_items + 1):
        relevant = np.tile(np.arange(n_items) < n_relevant, (len(orders), 1))
        for k in (1, 2, 3, n_items, n_items + 4):
            exact = ranking_metrics(orders, sparse.csr_matrix(relevant), k).mean()
            level = expected_metrics([n_items], [n_relevant], k).iloc[0]
            np.testing.assert_allclose(level[list(METRICS)], exact, atol=1e-12, rtol=0)


def test_chance_is_the_mean_over_random_rankings():
    rng = np.random.default_rng(0)
    n_relevant, n_hidden = np.array([1, 4, 30, 120]), np.array([0, 100, 7, 50])
    n_items, k, draws = 300, 10, 4000
    place = np.arange(n_items)
    for r, h in zip(n_relevant, n_hidden):
        relevant = np.tile(place < r, (draws, 1))
        exclude = np.tile(place >= n_items - h, (draws, 1))
        table = grade(rng.random((draws, n_items)), relevant, exclude, k)
        level = expected_metrics([n_items - h], [r], k).iloc[0]
        error = table.std() / np.sqrt(draws)
        assert ((table.mean() - level).abs() <= 4.5 * error + 1e-12).all()


def test_a_constant_score_is_at_chance():
    n_users, n_items, k = 8000, 60, 5
    relevant = np.zeros((n_users, n_items), dtype=bool)
    relevant[:, :3] = True
    table = ranking_metrics(np.zeros((n_users, n_items)), sparse.csr_matrix(relevant), k)
    level = expected_metrics([n_items], [3], k).iloc[0]
    error = table.std() / np.sqrt(n_users)
    assert ((table.mean() - level).abs() <= 4.5 * error + 1e-12).all()
    assert table["auc"].eq(0.5).all()


def test_chance_of_many_kinds_of_users_keeps_their_order():
    rng = np.random.default_rng(1)
    candidates = rng.integers(1, 80, size=2000)
    relevant = rng.integers(1, candidates + 1)
    table = expected_metrics(candidates, relevant, 10)
    for user in (0, 17, 1999):
        alone = expected_metrics(candidates[[user]], relevant[[user]], 10)
        np.testing.assert_array_equal(table.iloc[user], alone.iloc[0])


@pytest.mark.parametrize("candidates, relevant", [([3], [0]), ([3], [4])])
def test_impossible_counts_are_named(candidates, relevant):
    with pytest.raises(ValueError, match="1 or more relevant"):
        expected_metrics(candidates, relevant)
