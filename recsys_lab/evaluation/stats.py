"""How sure a mean over users is: bootstrap intervals, paired tests, many tests at once.

Derived in chapters/1_recsys_basics/5_measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats as scipy_stats

CHUNK = 500_000  # resampled values held in memory at once: they fit in the cache


class Estimate(NamedTuple):
    """A mean, its interval, and the number of observations behind it."""

    mean: float
    low: float
    high: float
    n: int


class SignedRank(NamedTuple):
    """Wilcoxon's statistic, its two-sided p-value, and the number of pairs that differ."""

    statistic: float
    p: float
    n: int


def bootstrap_mean(
    x: np.ndarray,
    n_boot: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    clusters: np.ndarray | None = None,
) -> Estimate:
    """Mean of a value per user with its percentile bootstrap interval (Efron 1979).

    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        x: (n,) values.
        n_boot: resamples drawn.
        seed: of the resamples.
        level: share of the resampled means inside the interval.
        clusters: (n,) labels. Whole clusters are drawn instead of single values: needed when
            values of one user (or item) are alike, as its ratings are; without it the interval
            comes out too short.

    Raises:
        ValueError: empty, nan or infinite values, clusters of another length.
    """
    x = _check(x)
    means = bootstrap_means(x[:, None], n_boot, seed, clusters)[:, 0]
    return Estimate(float(x.mean()), *interval(means, level), len(x))


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    n_boot: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    clusters: np.ndarray | None = None,
) -> Estimate:
    """Mean of `a - b` with its interval; position i of both belongs to the same user.

    Derived in chapters/1_recsys_basics/5_measuring. Arguments and errors as in `bootstrap_mean`.
    """
    return bootstrap_mean(_differences(a, b), n_boot, seed, level, clusters)


def bootstrap_means(
    x: np.ndarray, n_boot: int = 10_000, seed: int = 0, clusters: np.ndarray | None = None
) -> np.ndarray:
    """Column means of n_boot resamples of the rows of `x`.

    All columns share each resample, so differences between columns are paired.
    Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        x: (n, m) values, a column per model.
        n_boot, seed, clusters: as in `bootstrap_mean`.

    Returns:
        (n_boot, m) means.
    """
    x = np.asarray(x, dtype=float)
    sizes = np.ones(len(x))
    if clusters is not None:
        clusters = np.asarray(clusters)
        if clusters.shape != (len(x),):
            raise ValueError(f"clusters have shape {clusters.shape}: expected ({len(x)},)")
        _, label = np.unique(clusters, return_inverse=True)
        sizes = np.bincount(label).astype(float)
        x = np.column_stack([np.bincount(label, weights=column) for column in x.T])
    n = len(x)
    rng = np.random.default_rng(seed)
    totals = np.column_stack([x, sizes])
    sums = np.empty((n_boot, totals.shape[1]))
    step = max(1, CHUNK // n)
    for start in range(0, n_boot, step):
        draws = min(step, n_boot - start)
        picked = rng.integers(n, size=(draws, n)) + np.arange(draws)[:, None] * n
        times = np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n)
        sums[start : start + draws] = times.astype(float) @ totals  # (draws, n) @ (n, m + 1)
    return sums[:, :-1] / sums[:, -1:]


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The two ends of the central share `level` of `draws`.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected a share such as 0.95")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilcoxon(a: np.ndarray, b: np.ndarray) -> SignedRank:
    """Signed-rank test of paired values (Wilcoxon 1945), by SciPy; equal pairs are left out.

    Derived in chapters/1_recsys_basics/5_measuring.
    """
    different = _differences(a, b)
    different = different[different != 0]
    if len(different) == 0:
        return SignedRank(0.0, 1.0, 0)
    result = scipy_stats.wilcoxon(different)
    return SignedRank(float(result.statistic), float(result.pvalue), len(different))


def holm(p_values: np.ndarray | Mapping[str, float]) -> np.ndarray | dict[str, float]:
    """Holm's (1979) adjusted p-values of a family of tests.

    Calling a finding what has an adjusted value below 0.05 keeps the chance of even one false
    finding in the family below 0.05. Derived in chapters/1_recsys_basics/5_measuring.

    Args:
        p_values: (n_tests,), or a mapping of names to p-values.

    Returns:
        The adjusted values in the same order; a dict for a mapping.
    """
    if isinstance(p_values, Mapping):
        adjusted = holm(np.array(list(p_values.values())))
        return dict(zip(p_values, adjusted.tolist()))
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a flat array of numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = _check(a), _check(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}: pair them by user first")
    return a - b


def _check(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"values have shape {x.shape}: expected a flat array, one value per user")
    if not np.isfinite(x).all():
        raise ValueError(f"{(~np.isfinite(x)).sum()} values are nan or infinite: drop those users")
    return x
