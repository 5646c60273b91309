"""Intervals and tests: against SciPy, by hand, and by simulation."""

import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from recsys_lab.evaluation import bootstrap_mean, holm, paired_bootstrap, wilcoxon
from recsys_lab.evaluation.stats import bootstrap_means


def test_interval_equals_scipys():
    x = np.random.default_rng(0).beta(1, 3, size=400)
    ours = bootstrap_mean(x, n_boot=20_000)
    theirs = scipy_stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.mean == pytest.approx(x.mean())
    assert ours.n == 400
    # both ends carry Monte-Carlo noise of about 1 % of the width
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_resampled_means_are_those_of_a_plain_loop():
    """Of two values, a resample holds 0, 1 or 2 of the second: probabilities 1/4, 1/2, 1/4."""
    means = bootstrap_means(np.array([[0.0], [1.0]]), n_boot=40_000)[:, 0]
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / 40_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.011)  # 4.5 standard errors


def test_columns_share_their_resamples():
    x = np.random.default_rng(0).normal(size=(50, 1))
    draws = bootstrap_means(np.column_stack([x, 2 * x, x + 1]), n_boot=500)
    np.testing.assert_allclose(draws[:, 1], 2 * draws[:, 0], atol=1e-12)
    np.testing.assert_allclose(draws[:, 2], draws[:, 0] + 1, atol=1e-12)


def test_chunks_do_not_show(monkeypatch):
    x = np.random.default_rng(0).normal(size=300)
    whole = bootstrap_mean(x, n_boot=2000)
    monkeypatch.setattr("recsys_lab.evaluation.stats.CHUNK", 7_001)
    assert bootstrap_mean(x, n_boot=2000) == pytest.approx(whole)


def test_same_seed_same_interval():
    x = np.random.default_rng(0).normal(size=100)
    assert bootstrap_mean(x, seed=3) == bootstrap_mean(x, seed=3)
    assert bootstrap_mean(x, seed=3) != bootstrap_mean(x, seed=4)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    user = rng.normal(size=500)  # what two models share: easy and hard users
    a, b = user + 0.1 * rng.normal(size=500) + 0.05, user + 0.1 * rng.normal(size=500)
    paired = paired_bootstrap(a, b)
    assert paired.mean == pytest.approx((a - b).mean())
    assert paired.low > 0
    alone = [bootstrap_mean(x) for x in (a, b)]
    assert paired.high - paired.low < 0.3 * min(e.high - e.low for e in alone)
    assert paired_bootstrap(a, a) == (0, 0, 0, 500)


def test_interval_covers_as_often_as_it_says():
    """600 samples of 120 skewed values: the 95 % interval holds the true mean 95 % of the time."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(600):
        estimate = bootstrap_mean(rng.beta(1, 3, size=120), n_boot=1000, seed=trial)
        inside += estimate.low <= 0.25 <= estimate.high
    assert 0.925 <= inside / 600 <= 0.97  # standard error 0.009; a percentile interval runs short


def test_level_is_heeded():
    x = np.random.default_rng(0).normal(size=300)
    wide, narrow = bootstrap_mean(x, level=0.99), bootstrap_mean(x, level=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high
    expected = 2 * scipy_stats.norm.ppf(0.9) * x.std() / np.sqrt(300)
    assert narrow.high - narrow.low == pytest.approx(expected, rel=0.05)


# ---- clusters ------------------------------------------------------------------------------


def test_clusters_of_one_change_nothing():
    x = np.random.default_rng(0).normal(size=80)
    assert bootstrap_mean(x, clusters=np.arange(80)) == pytest.approx(bootstrap_mean(x))


def test_alike_values_need_clusters():
    """40 users with 25 equal values each are 40 observations, not 1,000."""
    rng = np.random.default_rng(0)
    inside = {"clustered": 0, "naive": 0}
    users = np.repeat(np.arange(40), 25)
    for trial in range(200):
        x = rng.normal(size=40)[users]
        clustered = bootstrap_mean(x, n_boot=500, seed=trial, clusters=users)
        naive = bootstrap_mean(x, n_boot=500, seed=trial)
        inside["clustered"] += clustered.low <= 0 <= clustered.high
        inside["naive"] += naive.low <= 0 <= naive.high
    assert inside["clustered"] / 200 > 0.87
    assert inside["naive"] / 200 < 0.5


def test_clusters_of_unequal_size_by_hand():
    """Clusters (0, 0, 0) and (1): the resamples are 0, 1/4 and 1."""
    x, clusters = np.array([0.0, 0, 0, 1]), np.array(["a", "a", "a", "b"])
    means = bootstrap_means(x[:, None], 4000, clusters=clusters)[:, 0]
    assert sorted(set(means.tolist())) == [0, 0.25, 1]


# ---- tests ---------------------------------------------------------------------------------


def test_wilcoxon_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=100) + 0.3, rng.normal(size=100)
    a[:10] = b[:10]  # equal pairs
    result = wilcoxon(a, b)
    expected = scipy_stats.wilcoxon(a[10:], b[10:])
    assert result == (expected.statistic, expected.pvalue, 90)
    assert wilcoxon(a, a) == (0, 1, 0)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, then never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm({"b": 0.5, "a": 0.9}) == {"b": 1.0, "a": 1.0}
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []


def test_holm_keeps_false_findings_rare():
    p = np.random.default_rng(0).random((2000, 6))
    assert np.mean([holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.02)


# ---- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bootstrap_mean([]), "flat array"),
        (lambda: bootstrap_mean(np.ones((2, 2))), "flat array"),
        (lambda: bootstrap_mean([1, np.nan]), "1 values are nan"),
        (lambda: bootstrap_mean([1, 2], level=95), "level is 95"),
        (lambda: bootstrap_mean([1, 2], clusters=[1]), "clusters have shape"),
        (lambda: paired_bootstrap([1, 2], [1]), "2 values against 1"),
        (lambda: wilcoxon([1, 2], [1]), "2 values against 1"),
        (lambda: holm([1.2]), "between 0 and 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ten_thousand_draws_are_quick():
    x = np.random.default_rng(0).random(943)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        bootstrap_mean(x)
        best = min(best, time.perf_counter() - start)
    assert best < 0.5  # 0.08 s on an idle core
