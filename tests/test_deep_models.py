"""The deep recommenders: each part against an independent computation, then the whole models."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributions
from torch.nn import functional

from recsys_lab.data import Interactions, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate
from recsys_lab.models import NCF, Autoencoder, LightGCN, MultVAE, Popularity, TwoTower
from recsys_lab.models.implicit_base import SparseProduct, log_popularity, sparse_tensor
from recsys_lab.models.lightgcn import normalised_adjacency
from recsys_lab.models.mult_vae import kl_to_normal, reparametrise
from recsys_lab.models.two_tower import in_batch_loss, item_features, user_features

MODELS = {
    "NCF": lambda **s: NCF(**{"n_factors": 8, "n_epochs": 2, "batch_size": 32} | s),
    "GMF": lambda **s: NCF(interaction="gmf", **{"n_factors": 8, "n_epochs": 2} | s),
    "MLP": lambda **s: NCF(interaction="mlp", **{"n_factors": 8, "n_epochs": 2} | s),
    "dot": lambda **s: NCF(interaction="dot", **{"n_factors": 8, "n_epochs": 2} | s),
    "two towers": lambda **s: TwoTower(**{"n_factors": 8, "n_epochs": 2, "batch_size": 32} | s),
    "full": lambda **s: TwoTower(loss_kind="full", **{"n_factors": 8, "n_epochs": 2} | s),
    "plain": lambda **s: TwoTower(features=False, **{"n_factors": 8, "n_epochs": 2} | s),
    "DAE": lambda **s: Autoencoder(**{"n_factors": 8, "n_epochs": 2, "batch_size": 7} | s),
    "VAE": lambda **s: MultVAE(**{"n_factors": 4, "n_hidden": 8, "n_epochs": 2} | s),
    "LightGCN": lambda **s: LightGCN(**{"n_factors": 8, "n_epochs": 2, "batch_size": 32} | s),
}
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("RECSYS_LAB_DEVICE", "cpu")


@pytest.fixture(scope="module")
def small() -> Interactions:
    """20 users and 30 items; the last user and the last item have no event."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((19, 29)) < 0.3)
    people = {
        "user_id": np.arange(20),
        "age": rng.integers(18, 60, 20),
        "gender": rng.choice(["F", "M"], 20),
        "occupation": rng.choice(["writer", "student"], 20),
        "zip_code": "0",
    }
    films = {
        "item_id": np.arange(30),
        "title": "a film",
        "year": rng.integers(1950, 1998, 30),
        "genres": [("Drama", "War")[: 1 + j % 2] for j in range(30)],
    }
    return Interactions(
        users,
        items,
        user_ids=np.arange(20),
        item_ids=np.arange(30),
        user_table=pd.DataFrame(people),
        item_table=pd.DataFrame(films),
    )


@every_model
def test_scores_have_a_shape_and_take_any_users(small, name):
    model = MODELS[name]().fit(small)
    scores = model.score()
    assert scores.shape == (20, 30) and np.isfinite(scores).all()
    assert np.allclose(model.score(np.array([19, 3])), scores[[19, 3]], atol=1e-5)
    lists = model.recommend(k=5)
    assert not (small.matrix().toarray()[np.arange(20)[:, None], lists]).any()


@every_model
def test_every_parameter_gets_a_gradient(small, name):
    model = MODELS[name](dropout=0.0) if name != "LightGCN" else MODELS[name]()
    model.fit(small)
    model.network.train()
    for batch in model.batches(0):
        model.loss(batch).backward()
    for part, values in model.network.named_parameters():
        if values.requires_grad and values.numel():
            assert values.grad is not None and values.grad.abs().max() > 0, part


@every_model
def test_the_same_seed_gives_the_same_model_and_another_another(small, name):
    first, again = (MODELS[name](seed=3).fit(small).score() for _ in range(2))
    assert (first == again).all()
    assert not np.allclose(first, MODELS[name](seed=4).fit(small).score())


@every_model
def test_a_resumed_run_is_the_same_run(small, name, tmp_path):
    whole = MODELS[name](n_epochs=4).fit(small).score()
    file = tmp_path / "run.pt"
    MODELS[name](n_epochs=2).fit(small, checkpoint=file)
    resumed = MODELS[name](n_epochs=4).fit(small, checkpoint=file)
    assert len(resumed.history) == 4
    assert np.allclose(resumed.score(), whole, atol=1e-5)


@every_model
def test_validation_keeps_the_best_epoch(name):
    split = holdout_per_user(load_movielens(), 0.25, 0.15, seed=0)
    model = MODELS[name](n_epochs=3, batch_size=2048).fit(
        split.train, validation=split.validation, patience=1
    )
    kept = evaluate(model, split, part="validation", metrics=["ndcg"])["ndcg"].mean()
    assert kept == pytest.approx(model.history["validation"].max(), abs=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NCF(n_factors=32, n_epochs=4),
        lambda: TwoTower(n_epochs=1),
        lambda: Autoencoder(n_epochs=6),
        lambda: MultVAE(n_epochs=8, anneal=4),
        lambda: LightGCN(n_factors=32, n_epochs=12),
    ],
)
def test_each_learns_more_than_popularity(make):
    split = holdout_per_user(load_movielens(), 0.25, seed=0)
    ndcg = {
        type(model).__name__: evaluate(model.fit(split.train), split, metrics=["ndcg"]).ndcg.mean()
        for model in (Popularity(), make())
    }
    popular = ndcg.pop("Popularity")
    assert next(iter(ndcg.values())) > popular + 0.03


@pytest.mark.parametrize(
    "make",
    [
        lambda: NCF(n_factors=0),
        lambda: NCF(interaction="concatenate"),
        lambda: NCF(n_negatives=0),
        lambda: NCF(dropout=1.0),
        lambda: TwoTower(loss_kind="sampled"),
        lambda: TwoTower(lr=0.0),
        lambda: Autoencoder(dropout=-0.1),
        lambda: Autoencoder(l2=-1.0),
        lambda: MultVAE(beta=-1.0),
        lambda: MultVAE(n_hidden=0),
        lambda: MultVAE(n_epochs=0),
        lambda: LightGCN(n_layers=-1),
        lambda: LightGCN(batch_size=0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match="="):
        make()


@pytest.mark.parametrize("name", ["DAE", "VAE"])
def test_without_a_history_an_autoencoder_ranks_as_for_anyone(small, name):
    model = MODELS[name]().fit(small)
    assert np.isfinite(model.score(np.array([19]))).all()
    start = MODELS[name](n_epochs=1, lr=1e-9).fit(small)  # the bias before any step
    if name == "DAE":
        bias = start.network[-1].bias.detach()
        assert torch.allclose(bias, log_popularity(small), atol=1e-5)


def test_log_popularity_by_hand():
    data = Interactions([0, 0, 1], [0, 1, 0], item_ids=np.arange(3), user_ids=np.arange(2))
    assert log_popularity(data).exp().tolist() == pytest.approx([2.5 / 4.5, 1.5 / 4.5, 0.5 / 4.5])


# ---- NCF -------------------------------------------------------------------------------------
def test_negatives_are_never_positives(small):
    model = MODELS["NCF"](n_negatives=6).fit(small)
    seen = small.matrix().toarray()
    for users, items in model.batches(0):
        assert seen[users.numpy(), items[:, :1].numpy()].all()
        assert not seen[users.numpy(), items[:, 1:].numpy()].any()


def test_neumf_is_the_formula_pair_by_pair(small):
    model = MODELS["NCF"]().fit(small)
    net, scores = model.network, model.score()
    first = net.rest[1], net.rest[3]
    with torch.no_grad():
        for user, item in [(0, 0), (7, 21), (19, 29)]:
            product = net.product_users[user] * net.product_items[item]
            both = torch.cat([net.mlp_users[user], net.mlp_items[item]])  # [p; q]
            weight = torch.cat([net.first_user.weight, net.first_item.weight], dim=1)
            hidden = torch.relu(weight @ both + net.first_user.bias)
            hidden = torch.relu(first[0](hidden))
            expected = net.bias[item] + product @ net.weight + first[1](hidden)[0]
            assert scores[user, item] == pytest.approx(expected.item(), abs=1e-5)


def test_dot_is_the_dot_product(small):
    model = MODELS["dot"]().fit(small)
    net = model.network
    assert (net.weight == 1).all()
    expected = net.product_users @ net.product_items.T + net.bias
    assert np.allclose(model.score(), expected.detach().numpy(), atol=1e-5)


# ---- two towers ------------------------------------------------------------------------------
def test_the_correction_turns_in_batch_into_the_full_softmax():
    """A batch in which film i stands m_i times: the corrected gradient is the full softmax's."""
    counts = torch.tensor([5, 3, 1, 1])
    items = torch.repeat_interleave(torch.arange(4), counts)
    share = counts / counts.sum()
    scores = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = in_batch_loss(scores[:, items], share.log()[items])
    (corrected,) = torch.autograd.grad(loss, scores)
    (full,) = torch.autograd.grad(functional.cross_entropy(scores, items), scores)
    (plain,) = torch.autograd.grad(in_batch_loss(scores[:, items], torch.zeros(10)), scores)
    assert torch.allclose(corrected, full, atol=1e-6)
    assert not torch.allclose(plain, full, atol=1e-2)


def test_a_hidden_column_is_no_negative():
    logits = torch.randn(3, 3, requires_grad=True)
    hidden = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    in_batch_loss(logits, torch.zeros(3), hidden).backward()
    assert logits.grad[0, 1] == 0 and (logits.grad[1] != 0).all()
    expected = functional.cross_entropy(logits[0, [0, 2]], torch.tensor(0))
    alone = in_batch_loss(logits[[0, 2]][:, [0, 2]], torch.zeros(2))
    row_2 = functional.cross_entropy(logits[2, [0, 2]], torch.tensor(1))
    assert alone.item() == pytest.approx(((expected + row_2) / 2).item())


def test_the_target_is_taken_out_of_the_history(small):
    model = MODELS["plain"]().fit(small)
    user = 0
    mine = small.items[small.users == user]
    without = model.user_vectors(torch.tensor([user]), without=torch.tensor(mine[:1].copy()))
    rows = (small.users != user) | (small.items != mine[0])
    thin = MODELS["plain"]().fit(small.select(rows))
    thin.network.load_state_dict(model.network.state_dict())
    expected = thin.user_vectors(torch.tensor([user]))
    assert torch.allclose(without, expected, atol=1e-6)


def test_features_are_finite_and_unknown_is_zero():
    data = load_movielens()
    users, items = user_features(data), item_features(data)
    assert users.shape == (943, 1 + 2 + 21) and items.shape == (1682, 1 + 19 - 1)
    assert np.isfinite(users).all() and np.isfinite(items).all()
    assert np.allclose(users[:, 1:].sum(axis=1), 2)  # one gender, one occupation
    bare = Interactions([0, 1], [1, 0])  # nothing is known of anyone
    assert not item_features(bare).any() and not user_features(bare).any()
    TwoTower(n_factors=2, n_epochs=1).fit(bare)


# ---- variational autoencoder -----------------------------------------------------------------
def test_kl_is_torchs():
    mu, log_variance = torch.randn(6, 3), torch.randn(6, 3)
    theirs = distributions.kl_divergence(
        distributions.Normal(mu, (log_variance / 2).exp()), distributions.Normal(0.0, 1.0)
    ).sum(dim=1)
    assert torch.allclose(kl_to_normal(mu, log_variance), theirs, atol=1e-5)
    assert (kl_to_normal(torch.zeros(2, 3), torch.zeros(2, 3)) == 0).all()


def test_a_draw_has_the_mean_the_variance_and_the_gradient():
    torch.manual_seed(0)
    n = 200_000
    mu = torch.tensor([1.5, -0.5], requires_grad=True)
    log_variance = torch.tensor([0.8, -1.0], requires_grad=True)
    z = reparametrise(mu.expand(n, 2), log_variance.expand(n, 2))
    assert torch.allclose(z.mean(dim=0), mu, atol=0.02)
    assert torch.allclose(z.var(dim=0), log_variance.exp(), rtol=0.02)
    (z**2).mean(dim=0).sum().backward()  # E z^2 = mu^2 + sigma^2
    assert torch.allclose(mu.grad, 2 * mu.detach(), atol=0.03)
    assert torch.allclose(log_variance.grad, log_variance.detach().exp(), rtol=0.03)


def test_the_kl_term_is_annealed(small):
    model = MODELS["VAE"](beta=0.4, anneal=4).fit(small)
    weights = [next(iter(model.batches(epoch)))[1] for epoch in range(7)]
    assert weights == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    at_once = MODELS["VAE"](beta=0.4, anneal=0).fit(small)
    assert next(iter(at_once.batches(0)))[1] == 0.4


def test_a_large_beta_leaves_the_prior(small):
    model = MODELS["VAE"](beta=200.0, anneal=0, n_epochs=200, lr=0.01).fit(small)
    with torch.no_grad():
        mu, log_variance = model.encode(model.rows(torch.arange(19)))
    assert mu.abs().max() < 0.1 and log_variance.abs().max() < 0.1


# ---- LightGCN --------------------------------------------------------------------------------
def test_the_adjacency_is_normalised(small):
    seen = small.matrix().toarray()
    whole = np.block([[np.zeros((20, 20)), seen], [seen.T, np.zeros((30, 30))]])
    degree = np.maximum(whole.sum(axis=1), 1)
    expected = whole / np.sqrt(np.outer(degree, degree))
    assert np.allclose(normalised_adjacency(small).to_dense().numpy(), expected, atol=1e-6)


def test_propagation_is_a_dense_product(small):
    model = LightGCN(n_factors=4, n_layers=3, n_epochs=1).fit(small)
    dense = model.adjacency.to_dense()
    start = model.network["vectors"].detach()
    layers = [torch.linalg.matrix_power(dense, power) @ start for power in range(4)]
    expected = torch.stack(layers).mean(dim=0)
    got = torch.cat(model.vectors())
    assert torch.allclose(got, expected, atol=1e-5)
    mean = sum(torch.linalg.matrix_power(dense, power) for power in range(4)) / 4
    start.requires_grad_()
    (expected_gradient,) = torch.autograd.grad((mean @ start).pow(2).sum(), start)
    (gradient,) = torch.autograd.grad(got.pow(2).sum(), model.network["vectors"])
    assert torch.allclose(gradient, expected_gradient, atol=1e-4)


def test_no_layer_is_plain_bpr(small):
    model = LightGCN(n_factors=4, n_layers=0, n_epochs=1).fit(small)
    users, items = model.network["vectors"].detach().split([20, 30])
    assert np.allclose(model.score(), (users @ items.T).numpy(), atol=1e-6)


def test_nobody_without_events_hears_anything(small):
    model = LightGCN(n_factors=4, n_layers=1, n_epochs=1).fit(small)
    start = model.network["vectors"].detach()
    assert torch.allclose(model.vectors()[0][19], start[19] / 2)  # its neighbours' mean is zero


def test_the_sparse_product_and_its_gradient(small):
    matrix = small.matrix()
    vectors = torch.randn(30, 3, requires_grad=True)
    dense = torch.as_tensor(matrix.toarray(), dtype=torch.float32)
    got = SparseProduct.apply(sparse_tensor(matrix), sparse_tensor(matrix.T), vectors)
    assert torch.allclose(got, dense @ vectors, atol=1e-5)
    (gradient,) = torch.autograd.grad(got.pow(2).sum(), vectors)
    (expected,) = torch.autograd.grad((dense @ vectors).pow(2).sum(), vectors)
    assert torch.allclose(gradient, expected, atol=1e-4)
