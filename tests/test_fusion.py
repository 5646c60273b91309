"""Fusion against ranx, against plain definitions, and what it refuses."""

import os
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

from recsys_lab.evaluation import ranking_metrics
from recsys_lab.fusion import (
    AlphaByHistory,
    Stacking,
    borda,
    candidates,
    cascade,
    choose_alpha,
    comb_mnz,
    keep_top,
    linear,
    ranks,
    reciprocal_rank,
    scale,
)
from recsys_lab.models import standardize

# The cases are small: ranx in plain Python is done before its compiler would have started.
os.environ["NUMBA_DISABLE_JIT"] = "1"
import ranx

NAN = np.nan


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_parts(rng, n_parts=3, n_users=12, n_items=25, known=0.6, grades=None):
    """Scores, some films missing; with `grades` few different values, so that many are tied."""
    shape = (n_parts, n_users, n_items)
    scores = rng.normal(size=shape) if grades is None else rng.integers(grades, size=shape) * 1.0
    return list(np.where(rng.random(shape) < known, scores, NAN))


# ---- scales ----------------------------------------------------------------------------------
def test_scales_on_paper():
    scores = np.array([[4.0, 1.0, 2.0, 2.0]])
    np.testing.assert_allclose(scale(scores, "minmax"), [[1, 0, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(scale(scores, "rank"), [[1, 0, 0.5, 0.5]])  # places 1, 4, 2.5, 2.5
    assert scale(scores, "none").tolist() == scores.tolist()


def test_z_is_the_standardisation_of_chapter_1(rng):
    scores = rng.normal(5, 3, size=(7, 30))
    np.testing.assert_allclose(scale(scores, "z"), standardize(scores), atol=1e-12)


@pytest.mark.parametrize("how", ["minmax", "z", "rank"])
def test_seen_films_do_not_set_the_scale(rng, how):
    scores = rng.normal(size=(6, 20))
    where = rng.random((6, 20)) < 0.7
    changed = np.where(where, scores, 1e6)
    changed[0, ~where[0]] = -np.inf  # some models mark seen films so
    scaled = scale(changed, how, where)
    np.testing.assert_array_equal(scale(scores, how, where), scaled)
    assert (scaled[~where] == 0).all()
    for row, mask, got in zip(scores, where, scaled, strict=True):
        np.testing.assert_allclose(got[mask], scale(row[mask][None], how)[0], atol=1e-12)


@pytest.mark.parametrize("how", ["minmax", "z", "rank"])
def test_scale_is_monotone_and_forgets_units(rng, how):
    scores = rng.normal(size=(5, 30))
    scaled = scale(scores, how)
    assert (scaled.argsort(axis=1) == scores.argsort(axis=1)).all()
    np.testing.assert_allclose(scale(1000 * scores - 7, how), scaled, atol=1e-9)


@pytest.mark.parametrize("how", ["minmax", "z", "rank"])
def test_a_constant_row_gives_zeros_and_unknown_films_stay_unknown(how):
    scores = np.array([[2.0, 2, 2, NAN], [1, 2, 3, NAN], [NAN, NAN, NAN, NAN], [5, NAN, NAN, NAN]])
    scaled = scale(scores, how)
    assert scaled[0, :3].tolist() == [0, 0, 0]
    assert (np.isnan(scaled) == np.isnan(scores)).all()
    assert scaled[3, 0] == 0
    np.testing.assert_allclose(scaled[1, :3], scale(np.array([[1.0, 2, 3]]), how)[0])


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.zeros((2, 3)), {"how": "max"}, "choose one of"),
        (np.zeros(3), {}, "expected .n_users, n_items"),
        (np.zeros((2, 3)), {"where": np.ones((2, 2), dtype=bool)}, "expected booleans"),
        (np.zeros((2, 3)), {"where": np.ones((2, 3))}, "expected booleans"),
        (np.array([[0, np.inf]]), {}, "scores inf"),
    ],
)
def test_scale_refuses(scores, options, message):
    with pytest.raises(ValueError, match=message):
        scale(scores, **options)


def test_candidates_are_the_unseen():
    seen = sparse.csr_matrix([[1, 0, 0], [0, 2, 0]])
    assert candidates(seen).tolist() == [[False, True, True], [True, False, True]]


# ---- the weighted sum --------------------------------------------------------------------------
def test_linear_equals_the_loop_for_common_and_own_weights(rng):
    parts = rng.normal(size=(3, 4, 5))
    weights = rng.random((4, 3))
    expected = np.zeros((4, 5))
    for part in range(3):
        for user in range(4):
            expected[user] += weights[user, part] * parts[part][user]
    np.testing.assert_allclose(linear(parts, weights), expected)
    np.testing.assert_allclose(linear(parts, weights[0])[0], expected[0])


def test_five_books_under_each_treatment_of_missing_scores():
    """Exact values from Fractions: text knows T, W, H; behaviour knows T, G, R."""
    text = [Fraction(95, 100), Fraction(88, 100), Fraction(85, 100), None, None]
    behaviour = [Fraction(95, 100), None, None, Fraction(70, 100), Fraction(75, 100)]
    alpha = Fraction(7, 10)

    def filled(values, value):
        return [value if v is None else v for v in values]

    def as_array(values):
        return np.array([[NAN if v is None else float(v) for v in values]])

    def mixed(a, b):
        return [float(alpha * x + (1 - alpha) * y) for x, y in zip(a, b, strict=True)]

    parts, weights = [as_array(text), as_array(behaviour)], [0.7, 0.3]
    expected = {
        "zero": mixed(filled(text, 0), filled(behaviour, 0)),
        "lowest": mixed(filled(text, min(text[:3])), filled(behaviour, Fraction(70, 100))),
        "renormalise": [0.95, 0.88, 0.85, 0.70, 0.75],
    }
    for missing, values in expected.items():
        np.testing.assert_allclose(linear(parts, weights, missing)[0], values, atol=1e-12)
    with pytest.raises(ValueError, match="4 scores are missing"):
        linear(parts, weights)


def test_renormalise_leaves_out_what_nobody_knows():
    parts = [np.array([[1.0, NAN, NAN]]), np.array([[3.0, 2.0, NAN]])]
    assert linear(parts, [0.5, 0.5], "renormalise").tolist() == [[2.0, 2.0, -np.inf]]
    # a part without weight knows nothing either
    assert linear(parts, [1.0, 0.0], "renormalise").tolist() == [[1.0, -np.inf, -np.inf]]


@pytest.mark.parametrize(
    ("parts", "weights", "missing", "message"),
    [
        ([], [], None, "no parts"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], [1, 1], None, "part 1 has shape"),
        ([np.zeros((2, 3))], [1, 1], None, "weights have shape"),
        ([np.zeros((2, 3))], [NAN], None, "NaN or infinite"),
        ([np.zeros((2, 3))], [1], "mean", "choose one of"),
        ([np.zeros((2, 3))], [-1], "renormalise", "negative"),
    ],
)
def test_linear_refuses(parts, weights, missing, message):
    with pytest.raises(ValueError, match=message):
        linear(parts, weights, missing)


# ---- rankings, against ranx ----------------------------------------------------------------------
def as_runs(parts):
    return [
        ranx.Run(
            {
                f"u{user}": {f"i{i}": float(row[i]) for i in np.flatnonzero(~np.isnan(row))}
                for user, row in enumerate(part)
            }
        )
        for part in parts
    ]


def fused_by_ranx(parts, **options):
    """As an array; NaN for what no list holds."""
    run = ranx.fuse(as_runs(parts), **options)
    result = np.full(parts[0].shape, NAN)
    for user, row in run.run.items():
        for item, score in row.items():
            result[int(user[1:]), int(item[1:])] = score
    return result


@pytest.mark.parametrize("known", [0.5, 1.0])
def test_rank_fusion_equals_ranx(rng, known):
    parts = random_parts(rng, known=known)
    in_any = ~np.isnan(parts).all(axis=0)
    for ours, options in [
        (reciprocal_rank(parts), {"norm": None, "method": "rrf", "params": {"k": 60}}),
        (reciprocal_rank(parts, k=5), {"norm": None, "method": "rrf", "params": {"k": 5}}),
        (borda(parts), {"norm": "borda", "method": "sum"}),
        (comb_mnz(parts), {"norm": "min-max", "method": "mnz"}),
    ]:
        theirs = fused_by_ranx(parts, **options)
        assert (np.isnan(theirs) == ~in_any).all()
        np.testing.assert_allclose(ours[in_any], theirs[in_any], atol=1e-9)
        assert (ours[~in_any] == 0).all()


def test_ties_equal_ranx_where_places_play_no_part(rng):
    """CombMNZ and the weighted sum read scores, so ties are defined, in ranx too."""
    parts = random_parts(rng, grades=4)
    in_any = ~np.isnan(parts).all(axis=0)
    theirs = fused_by_ranx(parts, norm="min-max", method="mnz")
    np.testing.assert_allclose(comb_mnz(parts)[in_any], theirs[in_any], atol=1e-9)
    scaled = [scale(part, "minmax") for part in parts]
    weights = [0.5, 0.3, 0.2]
    theirs = fused_by_ranx(parts, norm="min-max", method="wsum", params={"weights": weights})
    np.testing.assert_allclose(linear(scaled, weights, "zero")[in_any], theirs[in_any], atol=1e-9)


def test_ties_share_what_ranx_gives_to_one_order(rng):
    """ranx gives tied films the places in which they happen to stand; the mean over all orders of
    a tie is Borda's with our mean places."""
    part = np.array([[3.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 5.0]])
    n_draws = 300
    mean = np.zeros_like(part)
    for _ in range(n_draws):
        untied = part + 1e-6 * rng.random(part.shape)
        mean += borda([untied]) / n_draws
    np.testing.assert_allclose(borda([part]), mean, atol=0.05)
    assert borda([part])[0, 1] == borda([part])[0, 2]


def test_reciprocal_rank_on_paper():
    text = np.array([[0.95, 0.88, 0.85, NAN, NAN]])
    behaviour = np.array([[3.0, NAN, NAN, 2.0, 1.0]])
    fused = reciprocal_rank([text, behaviour], [0.7, 0.3])[0]
    expected = [1 / 61, 0.7 / 62, 0.7 / 63, 0.3 / 62, 0.3 / 63]
    np.testing.assert_allclose(fused, expected)
    with pytest.raises(ValueError, match="k is -1"):
        reciprocal_rank([text], k=-1)


def test_places_and_lists(rng):
    scores = np.array([[5.0, NAN, 7.0, 5.0, 9.0]])
    where = np.array([[True, True, True, True, False]])
    np.testing.assert_array_equal(ranks(scores, where), [[2.5, NAN, 1, 2.5, NAN]])
    kept = keep_top(scores, 1, where)
    np.testing.assert_array_equal(kept, [[NAN, NAN, 7, NAN, NAN]])
    many = keep_top(rng.integers(3, size=(50, 20)) * 1.0, 6)
    assert ((~np.isnan(many)).sum(axis=1) == 6).all()  # ties at the end of the list too


def test_candidates_only(rng):
    parts = list(rng.normal(size=(2, 5, 12)))
    where = rng.random((5, 12)) < 0.6
    changed = [np.where(where, part, 99.0) for part in parts]
    for fuse in (reciprocal_rank, borda, comb_mnz):
        np.testing.assert_array_equal(fuse(parts, where=where), fuse(changed, where=where))


# ---- weights -----------------------------------------------------------------------------------
def problem(rng, n_users=200, n_items=40):
    """Relevant films follow `first` for short histories, `second` for long ones."""
    first, second = rng.normal(size=(2, n_users, n_items))
    lengths = np.repeat([0, 3, 30, 300], n_users // 4)
    truth = np.where(lengths[:, None] < 10, first, second)
    relevant = sparse.csr_matrix(truth + rng.normal(0, 0.3, truth.shape) > 1.5)
    return first, second, relevant, sparse.csr_matrix(truth.shape), lengths


def test_choose_alpha_finds_the_part_that_knows(rng):
    first, second, relevant, seen, _ = problem(rng)
    relevant = sparse.csr_matrix(first > 1.2)
    tried = choose_alpha(first, second, relevant, seen)
    assert tried.alpha == 1.0
    assert tried.curve["ndcg"].is_monotonic_increasing
    by_hand = ranking_metrics(0.25 * first + 0.75 * second, relevant, 10, seen)["ndcg"]
    np.testing.assert_allclose(tried.per_user[0.25], by_hand)
    with pytest.raises(ValueError, match="from 0 to 1"):
        choose_alpha(first, second, relevant, seen, alphas=[0, 2])


def test_alpha_by_history_falls_and_is_no_worse_than_one_alpha(rng):
    first, second, relevant, seen, lengths = problem(rng)
    tried = choose_alpha(first, second, relevant, seen)
    rule = AlphaByHistory().fit(tried, lengths)
    alpha = rule.alpha(np.array([0, 3, 30, 300]))
    assert (np.diff(alpha) <= 0).all()
    assert alpha[0] > 0.9 and alpha[-1] < 0.1
    assert rule.ndcg > tried.curve["ndcg"].max() + 0.05
    own = rule.alpha(lengths)
    fused = linear([first, second], np.column_stack([own, 1 - own]))
    measured = ranking_metrics(fused, relevant, 10, seen)["ndcg"].mean()
    assert abs(measured - rule.ndcg) < 0.02  # the interpolation


def test_alpha_by_history_must_be_fitted_and_must_not_rise():
    with pytest.raises(RuntimeError, match="not fitted"):
        AlphaByHistory().alpha(np.array([1]))
    with pytest.raises(ValueError, match="slope"):
        AlphaByHistory(slopes=[-1.0])


# ---- stacking and the cascade --------------------------------------------------------------------
def test_stacking_learns_the_weights_that_made_the_data(rng):
    parts = rng.normal(size=(3, 300, 100))
    odds = 2.0 * parts[0] + 0.5 * parts[1] - 4.0
    relevant = sparse.csr_matrix(rng.random(odds.shape) < 1 / (1 + np.exp(-odds)))
    where = np.ones(odds.shape, dtype=bool)
    model = Stacking(n_negatives=5).fit(parts, relevant, where)
    np.testing.assert_allclose(model.coefficients, [2.0, 0.5, 0.0], atol=0.15)
    expected = model.intercept + sum(c * p for c, p in zip(model.coefficients, parts, strict=True))
    np.testing.assert_allclose(model.score(parts), expected)


def test_stacking_reads_candidates_only(rng):
    parts = rng.normal(size=(2, 60, 30))
    where = rng.random((60, 30)) < 0.7
    relevant = (parts[0] > 1) | ~where
    changed = np.where(where, parts, 50.0)
    fits = [
        Stacking().fit(p, sparse.csr_matrix(r), where).coefficients
        for p, r in [(parts, relevant), (changed, (parts[0] > 1) & where)]
    ]
    np.testing.assert_array_equal(*fits)


def test_stacking_refuses(rng):
    parts, where = rng.normal(size=(2, 5, 6)), np.ones((5, 6), dtype=bool)
    with pytest.raises(RuntimeError, match="not fitted"):
        Stacking().score(parts)
    with pytest.raises(ValueError, match="no relevant"):
        Stacking().fit(parts, sparse.csr_matrix((5, 6)), where)
    with pytest.raises(ValueError, match="NaN"):
        Stacking().fit([np.full((5, 6), NAN)], sparse.csr_matrix(np.eye(5, 6)), where)
    model = Stacking().fit(parts, sparse.csr_matrix(np.eye(5, 6)), where)
    with pytest.raises(ValueError, match="1 parts, fitted with 2"):
        model.score(parts[:1])


def test_cascade_reorders_the_head_only():
    first = np.array([[9.0, 8, 7, 6, 5, 100]])
    second = np.array([[1.0, 3, NAN, 9, 9, 9]])
    where = np.array([[True, True, True, True, True, False]])
    fused = cascade(first, second, n=3, where=where)
    # 1 before 0 by the second, 2 unknown to it; 3 and 4 stay below though the second likes them
    assert np.argsort(-fused[0]).tolist() == [1, 0, 2, 3, 4, 5]
    assert fused[0, 5] == -np.inf
    one = cascade(first, second, n=1, where=where)
    assert np.argsort(-one[0]).tolist() == [0, 1, 2, 3, 4, 5]
    assert (cascade(first, np.zeros_like(first), 3, where) == one).all()  # ties keep the order
    with pytest.raises(ValueError, match="n is 0"):
        cascade(first, second, n=0)
