"""Fusion: the scores of several fitted models become one array of scores.

Arrays (n_users, n_items) go in, one comes out, so any model that has `score` takes part and
`evaluation.evaluate` reads the result. NaN stands for a film that a model does not know.
Derived in chapters/6_fusion/1_five_books and 2_one_scale.
"""

from recsys_lab.fusion.cascade import cascade
from recsys_lab.fusion.linear import linear
from recsys_lab.fusion.ranks import borda, comb_mnz, keep_top, ranks, reciprocal_rank
from recsys_lab.fusion.scales import candidates, scale
from recsys_lab.fusion.stacking import Stacking
from recsys_lab.fusion.weights import AlphaByHistory, AlphaChoice, choose_alpha

__all__ = [
    "AlphaByHistory",
    "AlphaChoice",
    "Stacking",
    "borda",
    "candidates",
    "cascade",
    "choose_alpha",
    "comb_mnz",
    "keep_top",
    "linear",
    "ranks",
    "reciprocal_rank",
    "scale",
]
