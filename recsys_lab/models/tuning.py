"""Choose a model's settings on the validation part, never on the test part."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from recsys_lab.data import Split
from recsys_lab.evaluation import evaluate
from recsys_lab.models.base import Recommender


def tune(
    make: Callable[..., Recommender],
    grid: Mapping[str, Sequence[Any]],
    split: Split,
    metric: str = "ndcg",
    k: int = 10,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit ``make(**settings)`` on ``split.train`` for each point of ``grid``, judge on validation.

    Returns the best settings, and a table with one row a point: its settings and the mean of
    ``metric`` over users, best first. Fit the winner again on all that may be trained on:
    ``holdout_per_user`` with the same seed and no validation part has the same test part.
    Derived in chapters/1_recsys_basics/2_sixty_years.
    """
    rows = []
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        model = make(**settings).fit(split.train)
        judged = evaluate(model, split, k=k, part="validation", metrics=[metric])
        rows.append(settings | {metric: judged[metric].mean()})
    order = sorted(range(len(rows)), key=lambda row: -rows[row][metric])
    best = {name: rows[order[0]][name] for name in grid}
    return best, pd.DataFrame([rows[row] for row in order])
