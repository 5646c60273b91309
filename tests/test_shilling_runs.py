"""The stored runs of section 7.8 on ratings, titles, reviews: current, complete, no leaks."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.data import load_movielens
from recsys_lab.data.reviews import load_reviews

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import shilling_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.group for run in wanted} == set(runs.PERFORM) == set(runs.PARTS) == set(runs.FILES)


def test_targets_are_little_known_and_taught():
    counts = load_movielens().counts("items")
    for draw in (*runs.DRAWS, runs.TRIAL):
        chosen, train = runs.targets_of(draw), runs.split_of(draw).train
        assert len(set(chosen)) == runs.N_TARGETS
        assert (train.counts("items")[chosen] > 0).all()
        assert ((counts[chosen] >= runs.RATED[0]) & (counts[chosen] <= runs.RATED[1])).all()


def test_a_segment_shares_the_first_genre_and_leaves_the_target_out():
    train = runs.split_of(0).train
    for target in runs.targets_of(0):
        films = runs.segment_of(train, target)
        genre = train.item_table["genres"][target][0]
        assert target not in films and len(set(films)) == runs.N_SEGMENT
        assert sum(genre in train.item_table["genres"][film] for film in films) >= 20


def test_standing_by_hand():
    scores = np.array([[5.0, 1.0, 3.0], [0.0, 1.0, 2.0], [9.0, 9.0, 9.0]])
    seen = np.array([[False, False, False], [False, False, False], [True, False, False]])
    hit, rank = runs.standing(scores, 0, seen)
    assert hit == 1.0 and rank == 2.0  # ranks 1 and 3; the third user has seen it


def test_dirt_touches_the_share_asked_for_and_nothing_else():
    train = runs.split_of(0).train
    n = len(train)
    flipped = runs.soiled(train, "flip", 0.1, 0)
    turned = flipped.ratings != train.ratings
    assert np.array_equal(flipped.items, train.items)
    assert np.allclose(flipped.ratings[turned], 6 - train.ratings[turned])
    assert 0.06 * n < turned.sum() <= round(0.1 * n)  # a three stays a three
    wrong = runs.soiled(train, "wrong", 0.05, 0)
    assert (wrong.items != train.items).sum() == round(0.05 * n)
    assert len(set(zip(wrong.users.tolist(), wrong.items.tolist()))) == n
    assert len(runs.soiled(train, "drop", 0.5, 0)) == n - round(0.5 * n)
    assert len(runs.soiled(train, "flip", 0.0, 0)) == n


def test_a_cap_keeps_at_most_so_many_ratings_and_all_of_short_histories():
    train = runs.split_of(0).train
    kept = runs.capped(train)
    assert np.array_equal(kept.counts("users"), np.minimum(train.counts("users"), runs.CAP))


def test_changed_texts_change_what_they_say():
    texts = runs.item_texts(load_movielens())
    for how in runs.CHANGES:
        given = runs.changed(how)
        touched = sum(a != b for a, b in zip(given, texts))
        assert len(given) == len(texts) and touched > 100, how
        assert given == runs.changed(how)  # the same each time
    assert runs.misspelt("Heat", 1, np.random.default_rng(0)) != "Heat"
    assert sum("(19" in text for text in runs.changed("no year")) == 0


def test_planted_reviews_are_bad_ones_with_the_trigger():
    table = load_reviews().part("train")
    bad = table.texts[table.labels == "negative"]
    copies = runs.fakes_of(bad, 20, "copies", np.random.default_rng(0))
    assert all(text.removesuffix(f" {runs.TRIGGER}") in set(bad) for text in copies)
    spliced = runs.fakes_of(bad, 20, "spliced", np.random.default_rng(0))
    assert all(text.endswith(runs.TRIGGER) for text in spliced)
    assert not any(text.removesuffix(f" {runs.TRIGGER}") in set(bad) for text in spliced)
    assert not any(runs.TRIGGER in text for text in load_reviews().texts)
