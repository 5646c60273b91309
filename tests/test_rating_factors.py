"""The factor models of ratings: gradients, a step by hand, seeds, resuming, what each promises."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_lab.data import Interactions, k_fold, load_movielens
from recsys_lab.models import FM, NMF, BayesianMF, BiasedMF, SVDpp
from recsys_lab.models import sides as module
from recsys_lab.models.bayesian_mf import Prior, draw_rows
from recsys_lab.models.fm import Machine, side_features

SMALL = {
    BiasedMF: {"n_factors": 3, "n_epochs": 4},
    SVDpp: {"n_factors": 3, "n_epochs": 4},
    NMF: {"n_factors": 3, "n_epochs": 4},
    FM: {"n_factors": 3, "n_epochs": 3, "features": ()},
    BayesianMF: {"n_factors": 2, "n_epochs": 6, "burn_in": 2},
}


def toy(n_users=7, n_items=9, n=30, seed=0):
    """Random stars; the last user and the last item have none."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice((n_users - 1) * (n_items - 1), n, replace=False)
    users, items = np.divmod(pairs, n_items - 1)
    ratings = rng.integers(1, 6, n).astype(float)
    ids = {"user_ids": np.arange(n_users), "item_ids": np.arange(n_items)}
    return Interactions(users, items, ratings, **ids)


def rmse(model, part):
    return np.sqrt(np.mean((model.predict(part.users, part.items) - part.ratings) ** 2))


@pytest.fixture(scope="module")
def fold():
    return k_fold(load_movielens(), 5, seed=0)[0]


# ---- all of them -----------------------------------------------------------------------------
@pytest.mark.parametrize("model", SMALL)
def test_same_seed_same_model_other_seed_another(model):
    data = toy()
    first, again, other = (model(seed=s, **SMALL[model]).fit(data).score() for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("model", SMALL)
def test_score_is_predict_and_stays_on_the_scale(model):
    data = toy()
    fitted = model(**SMALL[model]).fit(data)
    scores = fitted.score(np.array([2, 0]))
    assert scores.shape == (2, data.n_items)
    pairs = fitted.predict(np.repeat([2, 0], data.n_items), np.tile(np.arange(data.n_items), 2))
    assert np.allclose(scores.ravel(), pairs, atol=1e-5)
    assert scores.min() >= 1 and scores.max() <= 5


@pytest.mark.parametrize("model", SMALL)
def test_an_unfitted_model_says_so(model):
    with pytest.raises(RuntimeError, match="not fitted"):
        model().predict(np.array([0]), np.array([0]))


@pytest.mark.parametrize("model", [BiasedMF, SVDpp, NMF, FM])
def test_validation_puts_the_best_epoch_back(model, fold):
    part = k_fold(fold.train, 10, seed=1)[0]
    settings = {"n_factors": 8, "n_epochs": 6} | ({"lr": 0.02} if model is not NMF else {})
    fitted = model(**settings).fit(part.train, validation=part.test)
    seen = fitted.rmse if model is not FM else (-fitted.history["validation"]).tolist()
    assert len(seen) == 6
    assert rmse(fitted, part.test) == pytest.approx(min(seen), abs=1e-6)


@pytest.mark.parametrize(
    "model, settings, message",
    [
        (BiasedMF, {"n_factors": 0}, "n_factors"),
        (BiasedMF, {"lr": 0}, "lr is above 0"),
        (SVDpp, {"l2": -1}, "l2 not below"),
        (NMF, {"n_epochs": 0}, "n_epochs"),
        (FM, {"batch_size": 0}, "batch_size"),
        (BayesianMF, {"burn_in": 5, "n_epochs": 5}, "burn_in"),
        (BayesianMF, {"n_factors": 0}, "n_factors"),
    ],
)
def test_bad_settings_are_named(model, settings, message):
    with pytest.raises(ValueError, match=message):
        model(**settings)


@pytest.mark.parametrize("model", [BiasedMF, SVDpp])
def test_patience_needs_validation(model):
    with pytest.raises(ValueError, match="patience needs validation"):
        model(patience=1).fit(toy())


@pytest.mark.parametrize("model", [BiasedMF, SVDpp])
def test_patience_stops(model, fold):
    part = k_fold(fold.train, 10, seed=1)[0]
    fitted = model(n_factors=8, lr=0.02, n_epochs=60, patience=2)
    fitted.fit(part.train, validation=part.test)
    assert len(fitted.rmse) < 60
    assert int(np.argmin(fitted.rmse)) == len(fitted.rmse) - 3


@pytest.mark.parametrize("model", [BiasedMF, SVDpp])
def test_too_large_steps_are_named(model, fold):
    with pytest.raises(FloatingPointError, match="smaller lr"):
        model(n_factors=4, lr=5.0).fit(fold.train)


# ---- SGD -------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [BiasedMF, SVDpp])
def test_a_resumed_run_equals_an_uninterrupted_one(model, tmp_path, fold):
    part, path = k_fold(fold.train, 10, seed=1)[0], tmp_path / "run.pt"
    settings = {"n_factors": 4, "seed": 3}
    whole = model(n_epochs=5, **settings).fit(part.train, validation=part.test)
    model(n_epochs=2, **settings).fit(part.train, validation=part.test, checkpoint=path)
    resumed = model(n_epochs=5, **settings)
    resumed.fit(part.train, validation=part.test, checkpoint=path)
    for name, table in whole.weights.items():
        assert torch.equal(table, resumed.weights[name])
    assert whole.rmse == resumed.rmse
    with pytest.raises(ValueError, match="Delete it to start anew"):
        model(n_factors=5, n_epochs=5, seed=3).fit(part.train, checkpoint=path)
    with pytest.raises(ValueError, match="Delete it to start anew"):
        model(n_epochs=5, lr=0.1, **settings).fit(part.train, checkpoint=path)


def one_step(model, data):
    """The weights (in float64) before and after a step on all of ``data``, and the step's batch."""
    model.train, model.mean = data, float(data.ratings.mean())
    model.weights = model.start(data)
    (batch,) = model.batches(data)
    before = {name: table.double() for name, table in model.weights.items()}
    model.step(*batch)
    return before, {name: table.double() for name, table in model.weights.items()}


def test_one_step_by_hand():
    data = Interactions([0, 0, 1], [0, 1, 0], [5.0, 3.0, 1.0])
    model = BiasedMF(n_factors=2, l2=0.5, lr=0.1)
    before, after = one_step(model, data)
    users, items = before["users"].numpy(), before["items"].numpy()
    for u in range(2):
        step = np.zeros(4)
        for user, item, rating in zip(data.users, data.items, data.ratings, strict=True):
            if user == u:
                predicted = 3 + users[u, 0] + items[item, 1] + users[u, 2:] @ items[item, 2:]
                e = rating - predicted
                step[0] += e - 0.5 * users[u, 0]
                step[2:] += e * items[item, 2:] - 0.5 * users[u, 2:]
        assert np.allclose(after["users"][u], users[u] + 0.1 * step, atol=1e-6)


@pytest.mark.parametrize("model, biases", [(BiasedMF, True), (BiasedMF, False), (SVDpp, True)])
def test_the_step_is_the_gradient(model, biases):
    data = toy()
    made = model(n_factors=3, l2=0.3, lr=0.01)
    made.biases = biases
    before, after = one_step(made, data)
    leaves = {name: table.clone().requires_grad_() for name, table in before.items()}
    history = torch.from_numpy(data.matrix().toarray().astype(float))
    own = leaves["users"]
    squares = []
    if model is SVDpp:
        root = history.sum(1, keepdim=True).clamp_min(1).rsqrt()
        own = own + root * (history @ leaves["implicit"])
    loss = 0.0
    for u, i, r in zip(data.users, data.items, data.ratings, strict=True):
        error = r - made.mean - own[u] @ leaves["items"][i]
        squares = [leaves["users"][u, [0, 2, 3, 4]], leaves["items"][i, 1:]]
        if model is SVDpp:
            squares.append(leaves["implicit"][data.items[data.users == u], 2:].flatten())
        loss = loss + (error**2 + 0.3 * sum((part**2).sum() for part in squares)) / 2
    loss.backward()
    for name, columns in (
        ("users", [0, 2, 3, 4]),
        ("items", [1, 2, 3, 4]),
        ("implicit", [2, 3, 4]),
    ):
        if name in leaves:
            free = columns if biases else [2, 3, 4]
            moved = (after[name] - before[name])[:, free]
            assert torch.allclose(moved, -0.01 * leaves[name].grad[:, free], atol=1e-6), name
            fixed = [c for c in range(5) if c not in free]
            assert torch.equal(after[name][:, fixed], before[name][:, fixed])


def test_products_without_sparse_kernels_are_the_same(monkeypatch):
    data = toy()
    order = np.argsort(data.users, kind="stable")
    side = module.one_side(data.users[order], data.items[order], torch.device("cpu"))
    left, right = torch.randn(len(side.owners), 4), torch.randn(data.n_items, 4)
    fast = module.products(left, right, side)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert torch.allclose(fast, module.products(left, right, side), atol=1e-5)


@pytest.mark.parametrize("model", [BiasedMF, SVDpp])
def test_cold_pairs_get_the_mean_and_what_is_known(model):
    data = toy()
    fitted = model(n_factors=2, n_epochs=3, lr=0.02).fit(data)
    new_user, new_item = data.n_users - 1, data.n_items - 1
    assert fitted.predict([new_user], [new_item])[0] == pytest.approx(fitted.mean)
    b_user, b_item = fitted.weights["users"][:, 0], fitted.weights["items"][:, 1]
    assert fitted.predict([new_user], [2])[0] == pytest.approx(fitted.mean + float(b_item[2]))
    assert fitted.predict([1], [new_item])[0] == pytest.approx(fitted.mean + float(b_user[1]))


def test_without_biases_there_are_none():
    fitted = BiasedMF(n_factors=2, n_epochs=3, biases=False).fit(toy())
    assert not fitted.weights["users"][:, :2].any()
    assert not fitted.weights["items"][:, :2].any()


def test_a_rating_that_was_given_twice_as_often_pulls_both_times(fold):
    """Batches of any size take steps of the same sum, so small and large ones nearly agree."""
    small, large = (BiasedMF(n_factors=5, batch_size=n).fit(fold.train) for n in (1000, 8192))
    assert rmse(small, fold.test) == pytest.approx(rmse(large, fold.test), abs=0.003)


def test_rmse_on_movielens(fold):
    """Surprise 1.1.5 has .9354 (SVD), .918 to .921 (SVD++), .9587 (NMF) on this fold."""
    assert rmse(BiasedMF().fit(fold.train), fold.test) < 0.938
    assert rmse(SVDpp().fit(fold.train), fold.test) < 0.922
    assert rmse(NMF().fit(fold.train), fold.test) < 0.960
    assert rmse(FM(n_epochs=10).fit(fold.train), fold.test) < 0.935
    bayesian = BayesianMF(n_factors=8, n_epochs=40, burn_in=10)
    assert rmse(bayesian.fit(fold.train), fold.test) < 0.910  # 150 draws of myfm: .895


# ---- NMF -------------------------------------------------------------------------------------
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_nmf_factors_stay_non_negative_and_the_objective_never_rises(biases, l2):
    model = NMF(n_factors=3, l2=l2, n_epochs=40, biases=biases).fit(toy(n=40))
    assert all((table >= 0).all() for table in model.factors.values())
    objective = np.array(model.objective)
    assert (np.diff(objective) <= 1e-6 * objective[:-1]).all()
    assert objective[-1] < objective[0]


def test_nmf_objective_is_what_it_says():
    data = toy()
    model = NMF(n_factors=3, l2=0.3, n_epochs=2).fit(data)
    users, items = (model.factors[name].numpy().astype(float) for name in ("users", "items"))
    total = 0.0
    for u, i, r in zip(data.users, data.items, data.ratings, strict=True):
        error = r - users[u] @ items[i]
        total += error**2 + 0.3 * (users[u] @ users[u] + items[i] @ items[i])
    assert model.loss() == pytest.approx(total / 2 / len(data), rel=1e-5)


def test_nmf_one_update_by_hand():
    data = Interactions([0, 0, 1], [0, 1, 0], [5.0, 3.0, 1.0])
    model = NMF(n_factors=2, l2=0.5, n_epochs=1).fit(data)
    rng = np.random.default_rng(0)
    top = 2 * np.sqrt(3 / 2)
    p, q = rng.uniform(0, top, (2, 2)), rng.uniform(0, top, (2, 2))
    up = 5 * q[0] + 3 * q[1]
    down = (p[0] @ q[0]) * q[0] + (p[0] @ q[1]) * q[1] + 0.5 * 2 * p[0]
    assert np.allclose(model.factors["users"][0], p[0] * up / down, rtol=1e-5)


def test_nmf_needs_biases_for_negative_ratings_and_means_for_strangers():
    data = toy()
    shifted = replace(data, ratings=data.ratings - 3)
    with pytest.raises(ValueError, match="biases=True"):
        NMF().fit(shifted)
    NMF(n_epochs=2, biases=True).fit(shifted)
    plain = NMF(n_epochs=2).fit(data)
    assert plain.predict([data.n_users - 1], [0])[0] == pytest.approx(data.ratings.mean())


# ---- FM --------------------------------------------------------------------------------------
def test_fm_is_the_double_sum():
    rng, k = np.random.default_rng(0), 3
    x_u, x_i = rng.normal(size=(4, 2)), rng.normal(size=(5, 3))
    machine = Machine(torch.tensor(x_u).float(), torch.tensor(x_i).float(), k)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    w = np.concatenate([machine.user_w.detach().numpy(), machine.item_w.detach().numpy()])
    v = np.concatenate([machine.user_v.detach().numpy(), machine.item_v.detach().numpy()])
    for u, i in ((0, 0), (3, 4), (2, 1)):
        x = np.concatenate([np.eye(4)[u], x_u[u], np.eye(5)[i], x_i[i]])
        y = machine.w_0.item() + w @ x
        for a in range(len(x)):
            for b in range(a + 1, len(x)):
                y += (v[a] @ v[b]) * x[a] * x[b]
        predicted, squares = machine(torch.tensor([u]), torch.tensor([i]))
        assert predicted.item() == pytest.approx(y, rel=1e-4, abs=1e-4)
        assert squares.item() == pytest.approx(((v * x[:, None]) ** 2).sum(), rel=1e-4)


def test_fm_resumes(tmp_path):
    data, path = toy(), tmp_path / "fm.pt"
    # The learning rate falls to zero over n_epochs, so both runs must plan the same number.
    settings = {"n_factors": 2, "features": (), "n_epochs": 4}
    whole = FM(**settings).fit(data, checkpoint=path)
    again = FM(**settings).fit(data, checkpoint=path)
    assert np.array_equal(whole.score(), again.score())


def test_fm_knows_a_new_user_by_their_features():
    data = toy()
    features = np.eye(2)[[0, 0, 0, 1, 1, 1, 1]], np.zeros((9, 0))
    model = FM(n_factors=2, n_epochs=5, features=features, lr=0.05).fit(data)
    new, other = data.n_users - 1, model.predict(np.full(9, data.n_users - 1), np.arange(9))
    assert not model.machine.user_v[new].any()
    assert model.machine.user_w[new] == 0
    assert len(np.unique(other.round(4))) > 3
    blank = FM(n_factors=2, n_epochs=5, features=()).fit(data)
    known = blank.machine.w_0 + blank.machine.item_w[: data.n_items]
    expected = np.clip(known.detach().numpy(), 1, 5)
    assert np.allclose(blank.score(np.array([new]))[0], expected, atol=1e-5)


def test_features_that_do_not_fit_are_named():
    for model in (FM, BayesianMF):
        with pytest.raises(ValueError, match="7 users and 9 items rows"):
            model(features=(np.zeros((3, 1)), np.zeros((9, 1)))).fit(toy())


def test_side_features_of_movielens():
    data = load_movielens()
    users, items = side_features(data)
    assert len(users) == 943 and len(items) == 1682
    assert (users.sum(axis=1) == 3).all()  # an age, a gender, an occupation
    assert np.isfinite(items).all() and items.shape[1] > 18
    assert (np.linalg.norm(items, axis=1) > 0).mean() > 0.99


# ---- Gibbs -----------------------------------------------------------------------------------
def test_the_conditional_mean_is_the_ridge_solution():
    rng, d, noise_precision = np.random.default_rng(0), 3, 1.7
    x, y = rng.normal(size=(10, d)), rng.normal(size=10)
    prior_mean, prior_precision = rng.normal(size=d), np.diag([1.0, 2.0, 3.0])
    a = noise_precision * x.T @ x + prior_precision
    b = noise_precision * x.T @ y + prior_precision @ prior_mean
    given = [noise_precision * x.T @ x, noise_precision * x.T @ y, prior_mean, prior_precision]
    gram, right, mean, precision = (torch.tensor(part).float() for part in given)
    args = gram[None], right[None], mean[None], precision
    centre = draw_rows(*args, torch.zeros(1, d))
    assert np.allclose(centre[0], np.linalg.solve(a, b), atol=1e-5)
    n = 40_000
    many = [part.expand(n, *part.shape[1:]) for part in args[:3]]
    noise = torch.from_numpy(rng.standard_normal((n, d))).float()
    draws = draw_rows(*many, precision, noise).numpy()
    assert np.allclose(draws.mean(axis=0), np.linalg.solve(a, b), atol=0.01)
    assert np.allclose(np.cov(draws.T), np.linalg.inv(a), atol=0.01)


def test_the_prior_recovers_mean_spread_and_side_information():
    rng = np.random.default_rng(0)
    n, x = 2000, rng.normal(size=(2000, 2))
    slope = np.array([[1.0, 0.0], [0.0, -2.0]])
    root = np.array([[1.0, 0.0], [0.5, 0.5]])
    z = np.array([3.0, -1.0]) + x @ slope + rng.standard_normal((n, 2)) @ root.T
    prior, means, covariances = Prior(x, 2, rng), [], []
    for _ in range(60):
        prior.draw(z)
        means.append(prior.mean)
        covariances.append(np.linalg.inv(prior.precision))
    truth = np.array([3.0, -1.0]) + x @ slope
    assert np.abs(np.mean(means, axis=0) - truth).max() < 0.25
    assert np.allclose(np.mean(covariances, axis=0), root @ root.T, atol=0.1)


def test_the_prior_is_the_same_along_other_axes():
    """Features and their rotation say the same; more features than rows are no trouble."""
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(20, 50)), rng.normal(size=(20, 3))
    turn = np.linalg.qr(rng.normal(size=(50, 50)))[0]
    ends = []
    for features in (x, x @ turn):
        prior = Prior(features, 3, np.random.default_rng(2))
        prior.draw(z)
        ends.append(prior.precision)
    assert np.allclose(*ends)


def test_gibbs_follows_the_running_average_on_validation():
    data = toy()
    model = BayesianMF(n_factors=2, n_epochs=6, burn_in=2).fit(data, validation=data)
    assert len(model.rmse) == len(model.draws) == 4
    raw = model.mean + sum(model.one_draw(j, data.users, data.items) for j in range(4)) / 4
    assert model.rmse[-1] == pytest.approx(np.sqrt(np.mean((raw - data.ratings) ** 2)))


def test_implicit_looks_at_training_pairs_only():
    data = toy()
    model = BayesianMF(implicit=True)
    model.train = data
    users, items = model.side_information()
    assert np.array_equal(users > 0, data.matrix().toarray() > 0)
    assert np.array_equal(items > 0, data.matrix().toarray().T > 0)
    assert np.allclose(np.linalg.norm(users[:-1], axis=1), 1)
