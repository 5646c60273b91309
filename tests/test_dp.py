"""Differential privacy: counts that one person cannot move far, and clipped sums by other means."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap

from recsys_lab.data import Interactions
from recsys_lab.limits.dp import PrivateText, capped, clipped_linear, noisy_counts


@pytest.fixture(scope="module")
def data() -> Interactions:
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(40) for i in rng.choice(60, rng.integers(4, 30), replace=False)]
    users, items = map(np.array, zip(*rows))
    return Interactions(users, items, item_ids=np.arange(60))


VECTORS = np.random.default_rng(1).normal(size=(60, 5)) / np.sqrt(5)


def test_a_cap_bounds_what_a_person_adds(data):
    kept = capped(data, 7, np.random.default_rng(0))
    assert np.array_equal(kept.counts("users"), np.minimum(data.counts("users"), 7))
    pairs = set(zip(data.users.tolist(), data.items.tolist()))
    assert set(zip(kept.users.tolist(), kept.items.tolist())) <= pairs
    other = capped(data, 7, np.random.default_rng(1))
    assert not np.array_equal(kept.items, other.items)  # drawn, not the first ones
    with pytest.raises(ValueError, match="one rating at least"):
        capped(data, 0, np.random.default_rng(0))


def test_noise_of_the_counts_has_the_scale_that_the_cap_asks_for(data):
    """Mean absolute Laplace noise is cap / epsilon; no history is as long as the cap here."""
    for epsilon, cap in ((1.0, 60), (5.0, 100)):
        rng = np.random.default_rng(3)
        noise = [noisy_counts(data, epsilon, cap, rng) - data.counts("items") for _ in range(100)]
        assert np.mean(np.abs(noise)) == pytest.approx(cap / epsilon, rel=0.05)
        assert np.mean(noise) == pytest.approx(0, abs=0.06 * cap / epsilon)
    assert noisy_counts(data, math.inf, 99, rng).tolist() == data.counts("items").tolist()
    assert noisy_counts(data, math.inf, 2, rng).sum() == 80
    with pytest.raises(ValueError, match="above 0"):
        noisy_counts(data, 0.0, 5, rng)


def test_laplace_noise_keeps_its_promise():
    """Counts of two data sets that differ in one person: no output is e^epsilon times likelier."""
    with_her = Interactions([0, 1, 1], [0, 0, 1], user_ids=[0, 1], item_ids=[0, 1])
    without = with_her.select(with_her.users == 0)
    rng, n, epsilon = np.random.default_rng(0), 8_000, 1.0
    seen = [
        np.array([noisy_counts(d, epsilon, 2, rng)[0] for _ in range(n)])
        for d in (with_her, without)
    ]
    counts = [np.histogram(x, bins=np.arange(-1, 5))[0] for x in seen]
    ratio = np.abs(np.log(counts[0] / counts[1]))
    assert ratio.max() < epsilon + 4 / np.sqrt(np.min(counts))
    assert ratio.max() > epsilon / 4  # the film's count did change: the test can fail


@pytest.mark.parametrize("clip", [0.05, 0.5, math.inf])
def test_clipped_sum_equals_gradients_taken_user_by_user(clip):
    """torch.func takes each user's gradient; they are cut and added up by hand."""
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(5, 9), torch.randint(0, 2, (7, 9)).float() + 0.1
    inputs = torch.randn(7, 5)
    target = rows / rows.sum(1, keepdim=True)

    def loss(parameters, h, t):
        return -(functional_call(layer, parameters, (h,)).log_softmax(-1) * t).sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0))(dict(layer.named_parameters()), inputs, target)
    flat = torch.cat([each["weight"].flatten(1), each["bias"]], dim=1)
    expected = sum(g * min(1.0, clip / float(g.norm())) for g in flat.detach())
    errors = (layer(inputs).softmax(-1) - target).detach()
    total, lengths = clipped_linear(errors, torch.cat([inputs, torch.ones(7, 1)], dim=1), clip)
    assert torch.allclose(lengths, flat.detach().norm(dim=1), atol=1e-6)
    assert torch.allclose(total[:, :-1].flatten(), expected[:45], atol=1e-5)
    assert torch.allclose(total[:, -1], expected[45:], atol=1e-5)


def test_clipped_sum_equals_opacus():
    """Its layer-wise samples and its optimizer, with zero noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        torch.manual_seed(1)
        module = GradSampleModule(torch.nn.Linear(5, 9))
        inputs, rows = torch.randn(8, 5), torch.randint(0, 2, (8, 9)).float() + 0.1
        target = rows / rows.sum(1, keepdim=True)
        loss = -(module(inputs).log_softmax(-1) * target).sum(1).mean()
        loss.backward()
        sgd = torch.optim.SGD(module.parameters(), lr=0.0)
        optimizer = DPOptimizer(sgd, noise_multiplier=0.0, max_grad_norm=0.2, expected_batch_size=8)
        optimizer.pre_step()
    errors = (module(inputs).softmax(-1) - target).detach()
    total, lengths = clipped_linear(errors, torch.cat([inputs, torch.ones(8, 1)], dim=1), 0.2)
    assert (lengths > 0.2).any()
    layer = module._module
    assert torch.allclose(total[:, :-1] / 8, layer.weight.grad, atol=1e-5)
    assert torch.allclose(total[:, -1] / 8, layer.bias.grad, atol=1e-5)


def test_one_person_moves_a_step_by_the_clip_at_most(data):
    """One step of the whole data, with and without a person: the sums differ by the clip."""
    kept = data.select(data.users != 3)
    how = {"cap": 99, "clip": 0.05, "rate": 1.0, "steps": 1, "lr": 1.0}
    models = [PrivateText(VECTORS, **how).fit(part) for part in (data, kept)]
    sums = []
    for model, n in zip(models, (40, 39)):
        start = np.log1p(np.maximum(model.train.counts("items"), 1))
        bias = model.layer.bias.detach().numpy() - start
        sums.append(n * np.hstack([model.layer.weight.detach().numpy(), bias[:, None]]))
    # the starting bias differs a little too, and with it each gradient's direction
    assert np.linalg.norm(sums[0] - sums[1]) < 0.05 * 1.5
    assert np.linalg.norm(sums[0]) > 0.05 * 3


def test_without_noise_it_learns_and_the_seed_decides(data):
    free = {"clip": math.inf, "steps": 60, "lr": 2.0}
    rows = torch.tensor(data.matrix().toarray(), dtype=torch.float32)

    def mean_loss(model: PrivateText) -> float:
        given = dict(model.layer.named_parameters())
        return float(model.loss(given, model.encode(rows), rows).mean().detach())

    start = PrivateText(VECTORS, steps=0).fit(data)
    learnt = PrivateText(VECTORS, **free).fit(data)
    assert mean_loss(learnt) < mean_loss(start) - 0.05
    same, other = (PrivateText(VECTORS, **free, seed=seed).fit(data) for seed in (0, 1))
    assert np.array_equal(same.score(), learnt.score())
    assert not np.array_equal(other.score(), learnt.score())


def test_noise_adds_what_it_says(data):
    """Noise of one step: standard deviation noise * clip * lr / (rate * n) in each weight."""
    how = {"rate": 1.0, "steps": 1, "lr": 3.0, "clip": 0.2}
    quiet = PrivateText(VECTORS, **how).fit(data).layer.weight
    loud = PrivateText(VECTORS, **how, noise=2.0).fit(data).layer.weight
    expected = 2.0 * 0.2 * 3.0 / 40
    assert float((loud - quiet).detach().std()) == pytest.approx(expected, rel=0.1)


def test_people_enter_a_step_by_coins_and_the_mean_step_is_that_of_all(data):
    """Poisson sampling: another batch for each seed, divided by the number expected in it."""
    how = {"cap": 99, "clip": math.inf, "steps": 1, "lr": 1.0}  # nothing else is drawn
    whole = PrivateText(VECTORS, **how, rate=1.0).fit(data).layer.weight.detach()
    steps = [
        PrivateText(VECTORS, **how, rate=0.5, seed=seed).fit(data).layer.weight.detach()
        for seed in range(150)
    ]
    assert not torch.allclose(steps[0], steps[1], atol=1e-4)
    away = (torch.stack(steps).mean(0) - whole).norm() / whole.norm()
    assert away < 0.3 < (steps[0] - whole).norm() / whole.norm()


def test_histories_of_strangers_can_be_scored(data):
    model = PrivateText(VECTORS, steps=3).fit(data.select(data.users < 20))
    assert model.score([5], data=data).shape == (1, 60)
    assert np.allclose(model.score([5], data=data), model.score([5]))
    assert not np.allclose(model.score([30], data=data), model.score([31], data=data))


@pytest.mark.parametrize(
    "bad", [{"noise": 1.0, "clip": math.inf}, {"rate": 0.0}, {"rate": 1.5}, {"clip": 0.0}]
)
def test_settings_that_promise_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="finite clip"):
        PrivateText(VECTORS, **bad)
