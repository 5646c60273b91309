"""Load ratings and split them. Derived in chapters/1_recsys_basics/1_data and 5_measuring."""

from recsys_lab.data.interactions import DataError, Interactions
from recsys_lab.data.loaders import load_csv, load_grouplens, load_movielens, load_recbole
from recsys_lab.data.splits import (
    Split,
    cold_items,
    cold_users,
    holdout_per_user,
    k_fold,
    last_fraction_per_user,
    leave_last_out,
    time_split,
)

__all__ = [
    "DataError",
    "Interactions",
    "Split",
    "cold_items",
    "cold_users",
    "holdout_per_user",
    "k_fold",
    "last_fraction_per_user",
    "leave_last_out",
    "load_csv",
    "load_grouplens",
    "load_movielens",
    "load_recbole",
    "time_split",
]
