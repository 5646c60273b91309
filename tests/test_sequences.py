"""The sequence models: windows, no leak from the future, and that each learns an order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lab.data import Interactions
from recsys_lab.evaluation import ranking_metrics
from recsys_lab.models import (
    EASE,
    BERT4Rec,
    Caser,
    GRU4Rec,
    Markov,
    MarkovEASE,
    RecencyEASE,
    SASRec,
)
from recsys_lab.models.sequences import Histories, gather

NETWORKS = [SASRec, GRU4Rec, Caser, BERT4Rec]
CAUSAL = [SASRec, GRU4Rec, Caser]
SMALL = {"d_model": 16, "max_length": 12, "dropout": 0.0}
# Gaps teach less in a pass than next films; a window of 7 and a gap are as long as in training.
TWO_SIDED = {"n_epochs": 120, "last_only": 0.5, "max_length": 7}


def events(histories: list[list[int]], tied: bool = False) -> Interactions:
    users = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    times = np.concatenate([np.zeros(len(h)) if tied else np.arange(len(h)) for h in histories])
    items = np.concatenate(histories).astype(int)
    times[-1] += tied  # one second everywhere would be no order at all
    return Interactions(users, items, np.ones(len(items)), times.astype(int))


def rounds(n_items: int = 12, n_users: int = 24, length: int = 8) -> Interactions:
    """Everybody walks round the same circle: after item i comes i + 1."""
    return events([[(u + step) % n_items for step in range(length)] for u in range(n_users)])


# ---- histories -------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    length=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_every_event_but_the_first_is_a_target_once(lengths, length, seed):
    lengths = [*lengths, 2]
    histories = Histories(events([list(range(n)) for n in lengths]))
    starts, ends = histories.windows(length, np.random.default_rng(seed))
    assert (ends - starts <= length + 1).all() and (ends - starts >= 2).all()
    targets = np.concatenate([np.arange(s + 1, e) for s, e in zip(starts, ends)] or [[]])
    first = histories.starts[:-1]
    wanted = np.setdiff1d(np.arange(sum(lengths)), first)
    assert sorted(targets) == sorted(wanted)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    assert (owner[starts] == owner[ends - 1]).all()  # no window holds two users


def test_cuts_differ_between_epochs():
    histories = Histories(events([list(range(40))]))
    cuts = {tuple(histories.windows(10, np.random.default_rng(s))[0]) for s in range(20)}
    assert len(cuts) > 3


def test_order_is_by_time_and_ties_are_drawn():
    data = events([[5, 3, 4], [2, 1, 0]])
    assert list(Histories(data).items(np.random.default_rng(0))) == [5, 3, 4, 2, 1, 0]
    tied = Histories(events([[5, 3, 4], [2, 1, 0], [6]], tied=True))
    orders = {tuple(tied.items(np.random.default_rng(s))) for s in range(60)}
    assert len(orders) > 20 and all(sorted(o[:3]) == [3, 4, 5] for o in orders)


def test_gather_pads_on_the_right():
    rows = gather(np.arange(10), np.array([0, 7, 4]), np.array([3, 8, 4]), pad=99)
    assert rows.tolist() == [[0, 1, 2], [7, 99, 99], [99, 99, 99]]


def test_data_without_timestamps_are_refused():
    data = Interactions(np.array([0, 0]), np.array([0, 1]), np.ones(2), None)
    with pytest.raises(ValueError, match="holds no order"):
        SASRec().fit(data)


# ---- networks --------------------------------------------------------------------------------
@pytest.mark.parametrize("make", CAUSAL)
def test_no_leak_from_the_future_or_from_padding(make):
    torch.manual_seed(0)
    network = make(**SMALL).build(n_items=20).eval()
    history = torch.randint(20, (1, 8))
    changed = history.clone()
    changed[:, 5:] = (changed[:, 5:] + 7) % 20
    padded = torch.cat([history, torch.full((1, 4), 20)], dim=1)
    hidden = network(history)
    assert torch.allclose(network(changed)[:, :5], hidden[:, :5], atol=1e-6)
    assert not torch.allclose(network(changed)[:, 5:], hidden[:, 5:], atol=1e-3)
    assert torch.allclose(network(padded)[:, :8], hidden, atol=1e-5)


def test_bert4rec_sees_both_sides_but_no_padding():
    torch.manual_seed(0)
    network = BERT4Rec(**SMALL).build(n_items=20).eval()
    history = torch.randint(20, (1, 8))
    changed = history.clone()
    changed[:, -1] = (changed[:, -1] + 7) % 20
    hidden = network(history)
    assert not torch.allclose(network(changed)[:, 0], hidden[:, 0], atol=1e-4)
    padded = torch.cat([history, torch.full((1, 4), 20)], dim=1)
    assert torch.allclose(network(padded)[:, :8], hidden, atol=1e-5)


def test_bert4rec_never_sees_what_it_predicts():
    model = BERT4Rec(**SMALL)
    model.train = events([list(range(8))] * 4)
    torch.manual_seed(0)
    model.network = model.build(8)
    seen = []
    model.network.items.vectors.register_forward_hook(lambda _m, given, _out: seen.append(given[0]))
    batch = torch.arange(8).repeat(64, 1)
    model.loss(batch)
    masked = seen[0] == 9
    assert masked.any(1).all()  # every window teaches something
    assert torch.equal(seen[0][~masked], batch[~masked])
    assert 0.2 < masked.float().mean() < 0.4
    last_alone = (masked.sum(1) == 1) & masked[:, -1]
    assert last_alone.any()


@pytest.mark.parametrize("make", NETWORKS)
def test_each_network_learns_what_comes_next(make):
    data = rounds()
    how = {"n_epochs": 60} if make in CAUSAL else TWO_SIDED
    model = make(**SMALL | {"lr": 0.01, "batch_size": 8, "seed": 1} | how).fit(data)
    nexts = (np.arange(24) + 8) % 12
    assert (model.score().argmax(axis=1) == nexts).mean() > 0.9
    assert len(model.history) == how["n_epochs"]


@pytest.mark.parametrize("make", NETWORKS)
def test_a_user_gets_the_same_scores_in_any_company(make):
    data = events([list(range(n)) for n in (3, 9, 20, 5)])
    model = make(n_epochs=1, **SMALL).fit(data)
    together = model.score()
    alone = np.vstack([model.score(np.array([u])) for u in range(4)])
    assert together.shape == (4, 20)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_same_seed_gives_the_same_model():
    first, again = (SASRec(n_epochs=3, seed=5, **SMALL).fit(rounds()).score() for _ in range(2))
    other = SASRec(n_epochs=3, seed=6, **SMALL).fit(rounds()).score()
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_validation_keeps_the_best_epoch():
    # Two places further than the circle goes: the better the circle is known, the worse the score.
    train, validation = rounds(), events([[(u + 10) % 12] for u in range(24)])
    model = SASRec(n_epochs=12, lr=0.02, batch_size=8, **SMALL)
    model.fit(train, validation=validation, every=3)
    judged = model.history.dropna()
    assert list(judged.epoch) == [3, 6, 9, 12]
    kept = ranking_metrics(model.score(), validation.matrix(), k=10, exclude=train.matrix())
    assert kept["ndcg"].mean() == pytest.approx(judged.validation.max())
    assert judged.validation.max() > judged.validation.iloc[-1] + 0.02


# ---- counting --------------------------------------------------------------------------------
def test_the_first_order_chain_by_hand():
    data = events([[0, 1, 2], [0, 1, 0], [3, 0]])
    model = Markov(n_last=1, n_lags=1, damping=0).fit(data)
    # After film 0 came 1, 1; after 1 came 2, 0; after 3 came 0; after 2 came nothing.
    wanted = [[0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(model.transitions, wanted)
    np.testing.assert_allclose(model.score(), [wanted[2], wanted[0], wanted[0]])


def test_lags_decay_and_damping_by_hand():
    data = events([[0, 1, 2]])
    model = Markov(n_last=2, n_lags=2, decay=0.5, damping=3).fit(data)
    # Film 0: follower 1 counts 1, follower 2 counts 1/2; each film adds 3 * 1/3.
    wanted = np.array([[1, 2, 1.5], [1, 1, 2], [1, 1, 1]])
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.transitions, wanted)
    np.testing.assert_allclose(model.score()[0], wanted[2] + 0.5 * wanted[1])


def test_recency_ease_without_decay_is_ease():
    data = rounds()
    np.testing.assert_allclose(
        RecencyEASE(l2=5, decay=1.0).fit(data).score(), EASE(l2=5).fit(data).score(), atol=1e-6
    )


def test_recency_ease_asks_the_last_film_most():
    data = events([[0, 1], [1, 0], [0, 2], [1, 3], [0, 2], [1, 3]])
    scores = RecencyEASE(l2=1, decay=0.1).fit(data).score()
    assert scores[1, 2] > scores[1, 3]  # 0 came last, and 2 goes with 0
    assert scores[0, 3] > scores[0, 2]


def test_markov_ease_is_the_weighted_sum():
    data = rounds()
    both = MarkovEASE(weight=1.0, n_last=1, n_lags=1).fit(data)
    alone = Markov(n_last=1, n_lags=1).fit(data)
    assert (both.score().argmax(1) == alone.score().argmax(1)).all()
