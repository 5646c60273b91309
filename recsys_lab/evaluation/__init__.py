"""How good a recommender is, and how sure you are of it.

Derived in chapters/1_recsys_basics/5_measuring and 6_how_evaluation_lies.
"""

from recsys_lab.evaluation.protocol import chance_level, compare, evaluate
from recsys_lab.evaluation.ranking import METRICS, expected_metrics, rank_items, ranking_metrics
from recsys_lab.evaluation.stats import (
    Estimate,
    bootstrap_mean,
    holm,
    paired_bootstrap,
    wilcoxon,
)

__all__ = [
    "METRICS",
    "Estimate",
    "bootstrap_mean",
    "chance_level",
    "compare",
    "evaluate",
    "expected_metrics",
    "holm",
    "paired_bootstrap",
    "rank_items",
    "ranking_metrics",
    "wilcoxon",
]
