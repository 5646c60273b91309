"""KNNBaseline of Surprise against ours: the same five folds, the same errors, how much faster?

One thread each, fold by fold in turn, so that a busy machine slows both alike. A time is that of
fit and of predicting the held-out fold, without loading the data. Fails when ours is less than
four times as fast, or when the two differ in RMSE by more than a thousandth of a star.
"""

import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np
import pandas as pd
from surprise import Dataset, KNNBaseline, Reader

from recsys_lab.data import Interactions, Split, k_fold, load_movielens
from recsys_lab.evaluation import rmse
from recsys_lab.models import RatingKNN

MIN_RATIO = 4.0
MAX_RMSE_GAP = 0.001  # stars
MAX_GAP = 0.5  # stars, of a single prediction


def surprise_triples(part: Interactions) -> list[tuple[int, int, float, None]]:
    """Ratings as Surprise's raw tuples (user, item, rating, timestamp)."""
    columns = (part.users.tolist(), part.items.tolist(), part.ratings.tolist())
    return [(user, item, rating, None) for user, item, rating in zip(*columns)]


def theirs(data: Dataset, split: Split) -> tuple[np.ndarray, float]:
    """Surprise's predictions for the test part (n_test,), and seconds."""
    train = data.construct_trainset(surprise_triples(split.train))
    test = [triple[:3] for triple in surprise_triples(split.test)]
    start = time.perf_counter()
    model = KNNBaseline(verbose=False).fit(train)  # MSD, 40 neighbours, user-based: its defaults
    predicted = np.array([prediction.est for prediction in model.test(test)])
    return predicted, time.perf_counter() - start


def ours(split: Split) -> tuple[np.ndarray, float]:
    """Our predictions for the test part (n_test,), and seconds."""
    start = time.perf_counter()
    predicted = RatingKNN("baseline").fit(split.train).predict(split.test.users, split.test.items)
    return predicted, time.perf_counter() - start


def main() -> int:
    movielens = load_movielens()
    frame = pd.DataFrame(
        {"user": movielens.users, "item": movielens.items, "rating": movielens.ratings}
    )
    data = Dataset.load_from_df(frame, Reader(rating_scale=(1, 5)))
    rows, gaps = [], []
    for split in k_fold(movielens, n_folds=5, seed=0):
        predicted, seconds = theirs(data, split)
        our_predicted, our_seconds = ours(split)
        gaps.append(np.abs(predicted - our_predicted))
        rows.append(
            {
                "fold": split.name,
                "RMSE Surprise": rmse(split.test.ratings, predicted),
                "RMSE ours": rmse(split.test.ratings, our_predicted),
                "s Surprise": seconds,
                "s ours": our_seconds,
            }
        )
    table = pd.DataFrame(rows).set_index("fold")
    total = table.mean()
    total[["s Surprise", "s ours"]] = table[["s Surprise", "s ours"]].sum()
    table.loc["mean, sum of s"] = total
    table["times as fast"] = table["s Surprise"] / table["s ours"]
    print(table.round(4).to_string())

    ratio = float(table["times as fast"].iloc[-1])
    gap = float(abs(total["RMSE Surprise"] - total["RMSE ours"]))
    gaps = np.concatenate(gaps)
    print(
        f"\nKNNBaseline, ML-100K, 5 folds, {len(gaps):,} predictions, one thread: "
        f"ours is {ratio:.1f} times as fast; RMSE differs by {gap:.6f}, "
        f"single predictions by {gaps.max():.4f} at most, "
        f"{(gaps > 1e-4).mean():.2%} of them by more than 0.0001."
    )
    assert gap <= MAX_RMSE_GAP, f"RMSE differs by {gap:.5f}, at most {MAX_RMSE_GAP} is allowed"
    assert gaps.max() <= MAX_GAP, f"a prediction differs by {gaps.max():.3f} stars"
    assert ratio >= MIN_RATIO, f"ours is {ratio:.1f} times as fast, at least {MIN_RATIO} is due"
    return 0


if __name__ == "__main__":
    sys.exit(main())
