"""How good a recommender is, and how sure you are of it.

Derived in chapters/1_recsys_basics/5_measuring and 6_how_evaluation_lies.
"""

from recsys_lab.evaluation.beyond import (
    Gap,
    Reliability,
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
from recsys_lab.evaluation.protocol import (
    FormattedTable,
    chance_level,
    chance_ratings,
    compare,
    evaluate,
    evaluate_ratings,
    evaluate_sampled,
    format_table,
)
from recsys_lab.evaluation.ranking import METRICS, expected_metrics, rank_items, ranking_metrics
from recsys_lab.evaluation.rating import brier, classification_metrics, mae, rmse
from recsys_lab.evaluation.stats import (
    Estimate,
    SignedRank,
    bootstrap_mean,
    bootstrap_means,
    holm,
    interval,
    paired_bootstrap,
    wilcoxon,
)

__all__ = [
    "METRICS",
    "Estimate",
    "FormattedTable",
    "Gap",
    "Reliability",
    "SignedRank",
    "bootstrap_mean",
    "bootstrap_means",
    "brier",
    "calibration",
    "chance_level",
    "chance_ratings",
    "classification_metrics",
    "compare",
    "coverage",
    "evaluate",
    "evaluate_ratings",
    "evaluate_sampled",
    "expected_metrics",
    "exposure",
    "format_table",
    "genre_matrix",
    "gini",
    "group_gap",
    "holm",
    "interval",
    "intra_list_diversity",
    "long_tail_share",
    "mae",
    "novelty",
    "paired_bootstrap",
    "popularity_bias",
    "rank_items",
    "ranking_metrics",
    "rmse",
    "score_calibration",
    "serendipity",
    "wilcoxon",
]
