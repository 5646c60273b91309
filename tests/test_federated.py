"""Federated averaging: devices by hand, gradients by automatic differentiation, unequal weights."""

import numpy as np
import pytest
import torch

from recsys_lab.data import Interactions
from recsys_lab.limits.federated import (
    FederatedMF,
    aggregate,
    clients_of,
    fit_users,
    local_updates,
)


@pytest.fixture(scope="module")
def data() -> Interactions:
    """Thirty devices with 3 to 25 of forty films; nobody has rated the last film."""
    rng = np.random.default_rng(0)
    held = [rng.choice(39, n, replace=False) for n in rng.integers(3, 26, 30)]
    users = np.repeat(np.arange(30), [len(own) for own in held])
    items = np.concatenate(held)
    ratings = rng.integers(1, 6, len(items))
    return Interactions(users, items, ratings, item_ids=np.arange(40))


@pytest.fixture(scope="module")
def table(data) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.3, (40, 4))


def test_devices_hold_each_rating_once_and_stand_one_after_the_other(data):
    devices = clients_of(data)
    assert devices.counts.sum() == len(data) and np.array_equal(devices.ids, np.arange(30))
    assert np.array_equal(devices.counts, data.counts("users"))
    assert np.array_equal(devices.users[devices.starts], devices.ids)
    few = devices.of([4, 2])
    assert few.ids.tolist() == [2, 4] and few.counts.sum() == len(few.items)
    assert np.array_equal(few.items[: few.counts[0]], np.sort(data.items[data.users == 2]))


def test_a_round_without_devices_is_refused(data):
    with pytest.raises(ValueError, match="at least one"):
        clients_of(data).of([77])


def test_own_vectors_are_ridge_regressions(data, table):
    """Against least squares on rows with the ridge appended, device by device."""
    devices = clients_of(data)
    found = fit_users(table[devices.items], devices, 0.3)
    for u, start, n in zip(devices.ids, devices.starts, devices.counts):
        films = devices.items[start : start + n]
        features = np.column_stack([np.ones(n), table[films, 1:]])
        ridge = np.vstack([features, np.sqrt(0.3 * n) * np.eye(4)])
        left = np.append(devices.targets[start : start + n] - table[films, 0], np.zeros(4))
        assert np.allclose(found[u], np.linalg.lstsq(ridge, left)[0], atol=1e-5)


def test_one_step_of_all_by_rating_is_central_gradient_descent(data, table):
    devices = clients_of(data)
    own = fit_users(table[devices.items], devices, 0.2)[devices.users]
    rows, p = torch.tensor(table, requires_grad=True), torch.tensor(own)
    mine = rows[devices.items]
    error = torch.tensor(devices.targets) - p[:, 0] - mine[:, 0] - (p[:, 1:] * mine[:, 1:]).sum(1)
    ((error**2).sum() / 2 + 0.1 * (mine**2).sum()).backward()
    central = -0.4 * rows.grad.numpy() / len(data)
    updates = local_updates(table, devices, 0.4, 0.2)
    assert np.abs(aggregate(updates, devices, 40) - central).max() < 1e-6
    for by in ("client", "rating twice"):
        assert np.abs(aggregate(updates, devices, 40, by) - central).max() > 1e-4


def test_local_steps_device_by_device(data, table):
    """A loop over devices, which refits the own vector before each step."""
    devices = clients_of(data)
    updates = local_updates(table, devices, 0.1, 0.2, n_steps=3)
    for start, n in zip(devices.starts, devices.counts):
        films, y = devices.items[start : start + n], devices.targets[start : start + n]
        rows = table[films].copy()
        for _ in range(3):
            x = np.column_stack([np.ones(n), rows[:, 1:]])
            own = np.linalg.solve(x.T @ x + 0.2 * n * np.eye(4), x.T @ (y - rows[:, 0]))
            error = y - rows[:, 0] - x @ own
            rows += 0.1 * (np.outer(error, [1, *own[1:]]) - 0.2 * rows)
        assert np.allclose(updates[start : start + n], rows - table[films], atol=1e-5)


def test_a_device_moves_the_same_in_any_company(data, table):
    devices = clients_of(data)
    whole, few = local_updates(table, devices, 0.1, 0.2, 2), devices.of([3, 9])
    alone = local_updates(table, few, 0.1, 0.2, 2)
    assert np.allclose(alone, whole[np.isin(devices.users, [3, 9])])


def test_weights_by_hand():
    """Ann has one rating, Bob three; both have rated film 0."""
    devices = clients_of(Interactions([0, 1, 1, 1], [0, 0, 1, 2], [5, 1, 1, 1]))
    updates = np.array([[4.0], [8.0], [8.0], [8.0]])

    def of(**options):
        return aggregate(updates, devices, 4, **options)[:, 0].tolist()

    assert of() == [3.0, 2.0, 2.0, 0.0]  # sums over four ratings
    assert of(by="client") == pytest.approx([(4 + 8 / 3) / 2, 4 / 3, 4 / 3, 0])
    assert of(by="rating twice") == pytest.approx([2.8, 2.4, 2.4, 0])
    assert of(per_film=True) == [6.0, 8.0, 8.0, 0.0]
    assert of(by="client", per_film=True) == pytest.approx([5.0, 8.0, 8.0, 0.0])


def test_bad_input_is_named(data, table):
    devices = clients_of(data)
    with pytest.raises(ValueError, match="choose one of 'rating'"):
        aggregate(np.zeros((len(data), 4)), devices, 40, by="user")
    for bad in ({"n_steps": 0}, {"lr": 0.0}, {"l2": 0.0}):
        with pytest.raises(ValueError, match="at least one step"):
            local_updates(table, devices, **({"lr": 0.1, "l2": 0.1} | bad))


def test_training_learns_and_leaves_unrated_films_alone(data):
    model = FederatedMF(3, 0.1, n_rounds=40, server_lr=100.0, every=10).fit(data, data)
    assert len(model.history) == 4 and model.history[-1] < model.history[0] - 0.02
    start = model.start(data)
    assert np.array_equal(model.table[39], start[39]) and not np.allclose(model.table, start)
    stars = model.score()
    assert stars.shape == (30, 40) and stars.min() >= 1 and stars.max() <= 5


def test_who_takes_part_comes_from_the_seed(data):
    def after(**options):
        settings = {"n_rounds": 3, "n_clients": 2, "server_lr": 20.0} | options
        return FederatedMF(3, 0.1, **settings).fit(data).table

    assert np.array_equal(after(seed=1), after(seed=1))
    moved = (after(n_rounds=1) != FederatedMF(3).start(data)).any(axis=1)
    assert 0 < moved.sum() < 39  # only the films of two devices
    assert np.array_equal(after(n_rounds=0), FederatedMF(3).start(data))
