"""ALS, iALS and BPR: against solutions user by user, stored factors of `implicit`, autograd."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.data import Interactions, holdout_per_user, load_movielens
from recsys_lab.evaluation import evaluate, rmse
from recsys_lab.models import ALS, BPR, EASE, EDLAE, IALS, Baseline, Popularity, least_squares
from recsys_lab.models.least_squares import Observed, solve_cg, solve_cholesky

FIXTURE = Path(__file__).parent / "data" / "implicit_factors.npz"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("RECSYS_LAB_DEVICE", "cpu")


@pytest.fixture(scope="module")
def split():
    return holdout_per_user(load_movielens(), 0.25, 0.1, seed=0)


def small(n_users=12, n_items=9, n=45, seed=0, empty=True) -> Interactions:
    """Random ratings; user 0 and item 0 have none, user 1 has one."""
    rng = np.random.default_rng(seed)
    first = 2 if empty else 0
    cells = (n_users - first) * (n_items - (first > 0))
    cell = rng.choice(cells, n, replace=False)
    users, items = np.divmod(cell, n_items - (first > 0))
    users, items = users + first, items + (first > 0)
    if empty:
        users, items = np.append(users, 1), np.append(items, 3)
    return Interactions(
        users=users,
        items=items,
        ratings=rng.integers(1, 6, len(users)).astype(float),
        user_ids=np.arange(n_users),
        item_ids=np.arange(n_items),
    )


def system(seed=0, n_rows=30, n_columns=20, d=5, dtype=torch.float64):
    """A random table, its factors, weights, targets, ridge and Gram matrix."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = Interactions(
        users=np.repeat(np.arange(1, n_rows), 4),
        items=np.concatenate([rng.choice(n_columns, 4, replace=False) for _ in range(n_rows - 1)]),
        user_ids=np.arange(n_rows),
        item_ids=np.arange(n_columns),
    )
    extra = rng.choice(n_rows * n_columns, 150, replace=False)  # rows of unequal length
    matrix = data.matrix().tolil()
    matrix[1 + extra // n_columns % (n_rows - 1), extra % n_columns] = 1.0
    observed = Observed(matrix.tocsr())
    n = len(observed.columns)
    factors = torch.randn(n_columns, d, generator=generator, dtype=dtype)
    weights = torch.rand(n, generator=generator, dtype=dtype) + 0.5
    targets = torch.rand(n, generator=generator, dtype=dtype) * 3
    ridge = torch.rand(n_rows, generator=generator, dtype=dtype) + 0.1
    gram = 0.2 * factors.T @ factors
    return observed, factors, weights, targets, ridge, gram


def one_by_one(observed, factors, weights, targets, ridge, gram):
    """numpy.linalg.solve, row by row."""
    q, c, y = (x.numpy() for x in (factors, weights, targets))
    rows, columns = observed.rows.numpy(), observed.columns.numpy()
    solutions = []
    for row in range(observed.shape[0]):
        mine = q[columns[rows == row]]  # (n_row, d)
        a = gram.numpy() + ridge[row].item() * np.eye(q.shape[1])
        a = a + (mine * c[rows == row, None]).T @ mine
        solutions.append(np.linalg.solve(a, mine.T @ y[rows == row]))
    return np.array(solutions)


# --- the shared solvers ---------------------------------------------------------------------


def test_cholesky_solves_each_row():
    parts = system()
    np.testing.assert_allclose(solve_cholesky(*parts), one_by_one(*parts), atol=1e-10)
    no_gram = (*parts[:5], torch.zeros_like(parts[5]))
    np.testing.assert_allclose(solve_cholesky(*parts[:5]), one_by_one(*no_gram), atol=1e-10)


def test_batches_of_any_size_give_the_same(monkeypatch):
    parts = system()
    monkeypatch.setattr(least_squares, "CHUNK", 7)
    np.testing.assert_allclose(solve_cholesky(*parts), one_by_one(*parts), atol=1e-10)


def test_conjugate_gradients_reach_cholesky():
    parts = system()
    exact = solve_cholesky(*parts)
    start = torch.zeros_like(exact)
    errors = [float((solve_cg(*parts, start, n) - exact).abs().max()) for n in (1, 3, 5, 10)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9  # d = 5: five steps suffice
    assert errors[3] < 1e-9  # and more steps do no harm


def test_both_ways_to_multiply_at_chosen_cells_agree(monkeypatch):
    observed, *parts = system(dtype=torch.float32)
    start = torch.zeros(observed.shape[0], 5)
    if not observed.sampled:
        pytest.skip("this torch has no sampled product")
    fast = solve_cg(observed, *parts, start, 3)
    observed.sampled = False
    monkeypatch.setattr(least_squares, "CHUNK", 31)
    slow = solve_cg(observed, *parts, start, 3)
    np.testing.assert_allclose(fast, slow, atol=1e-4)


# --- iALS -----------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"alpha0": 0.3, "nu": 0.5}, {"alpha": 4.0, "nu": 0.0}])
def test_ials_half_sweep_is_weighted_least_squares_over_all_cells(settings):
    data = small()
    model = IALS(3, l2=0.2, n_epochs=2, solver="cholesky", **settings).fit(data)
    x = data.matrix().toarray()
    p = model.half_sweep(Observed(data.matrix()), model.q, None).numpy()
    q = model.item_factors.astype(float)
    if "alpha" in settings:
        confidence, wanted, alpha0 = 1 + 4.0 * x, x, 1.0
    else:  # an event's cell counts once as an event and alpha0 times as a cell
        confidence, alpha0 = 0.3 + x, 0.3
        wanted = x / confidence
    n = x.sum(1)
    for user in range(data.n_users):
        ridge = 0.2 * (n[user] + alpha0 * data.n_items) ** settings["nu"]
        a = (q * confidence[user][:, None]).T @ q + ridge * np.eye(3)
        np.testing.assert_allclose(
            p[user], np.linalg.solve(a, q.T @ (confidence[user] * wanted[user])), atol=1e-4
        )


@pytest.mark.parametrize("settings", [{"alpha0": 0.1}, {"alpha": 10.0, "nu": 0.0, "l2": 1.0}])
def test_ials_objective_never_rises(split, settings):
    losses = [
        IALS(8, n_epochs=n, solver="cholesky", **settings).fit(split.train).loss()
        for n in (0, 1, 2, 4, 8)
    ]
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_ials_loss_is_the_sum_over_all_cells():
    data = small()
    x = data.matrix().toarray()
    model = IALS(3, alpha0=0.3, l2=0.2, nu=0.5, n_epochs=2).fit(data)
    scores = model.score().astype(float)
    ridge = 0.2 * (
        (x.sum(1) + 0.3 * data.n_items) ** 0.5 @ (model.user_factors.astype(float) ** 2).sum(1)
        + (x.sum(0) + 0.3 * data.n_users) ** 0.5 @ (model.item_factors.astype(float) ** 2).sum(1)
    )
    naive = (x * (scores - 1) ** 2).sum() + 0.3 * (scores**2).sum() + ridge
    assert model.loss() + x.sum() == pytest.approx(naive, rel=1e-5)


def test_ials_conjugate_gradients_approach_cholesky(split):
    exact = IALS(16, n_epochs=6, l2=0.01, solver="cholesky").fit(split.train)
    gaps = [
        np.abs(IALS(16, n_epochs=6, l2=0.01, cg_steps=n).fit(split.train).score() - exact.score())
        for n in (1, 4, 16)
    ]
    means = [gap.mean() for gap in gaps]
    assert means[0] > means[1] > means[2]
    assert means[2] < 1e-3


def test_ials_is_what_implicit_computes():
    """Factors of implicit 0.7.3 on `small()`, from a stored start, for both of its solvers.

    AlternatingLeastSquares(4, regularization=0.5, alpha=5.0, iterations=5, use_cg=...), its
    user_factors and item_factors set to the start before fit(small().matrix()).
    """
    stored = np.load(FIXTURE)
    data, start = small(), (stored["start_users"], stored["start_items"])
    for solver in ("cg", "cholesky"):
        model = IALS(4, alpha=4.0, l2=0.5, nu=0.0, n_epochs=5, solver=solver)
        model.fit(data, start=start)
        seen = data.counts("users") > 0
        np.testing.assert_allclose(
            model.user_factors[seen], stored[f"{solver}_users"][seen], atol=2e-3
        )
        rated = data.counts("items") > 0
        np.testing.assert_allclose(
            model.item_factors[rated], stored[f"{solver}_items"][rated], atol=2e-3
        )


def test_hu_and_rendle_are_one_family():
    """alpha0 = 1/alpha and l2/(1+alpha): the same rankings, factors scaled by one number."""
    data = small()
    alpha, l2 = 4.0, 0.5
    hu = IALS(3, alpha=alpha, l2=l2, nu=0.0, n_epochs=40, solver="cholesky").fit(data)
    target = 1 + 1 / alpha
    start = (hu.user_factors / target**0.5, hu.item_factors / target**0.5)
    rendle = IALS(3, alpha0=1 / alpha, l2=l2 / (1 + alpha), nu=0.0, n_epochs=1, solver="cholesky")
    np.testing.assert_allclose(
        rendle.fit(data, start=start).score() * target, hu.score(), atol=2e-3
    )


def test_ials_fold_in_repeats_a_known_user(split):
    model = IALS(8, n_epochs=3, solver="cholesky").fit(split.train)
    p = model.half_sweep(Observed(split.train.matrix()), model.q, None).numpy()
    history = split.train.items[split.train.users == 7]
    np.testing.assert_allclose(model.fold_in(history), p[7], atol=1e-4)


def test_ials_ranks(split):
    model = IALS(64, alpha0=0.1, l2=0.01, n_epochs=15).fit(split.train)
    popularity = Popularity().fit(split.train)
    assert evaluate(model, split).ndcg.mean() > evaluate(popularity, split).ndcg.mean() + 0.1


def test_ials_seeds():
    data = small()
    a, b, c = (IALS(3, seed=seed, n_epochs=2).fit(data).score() for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_user_without_events_scores_nothing():
    data = small()
    for solver in ("cg", "cholesky"):
        scores = IALS(3, n_epochs=30, solver=solver).fit(data).score([0, 1])
        assert np.abs(scores[0]).max() < 1e-3  # nothing known: every film alike
        assert scores[1].argmax() == 3  # the one event


# --- ALS on ratings -------------------------------------------------------------------------


def als_loss(model: ALS, data: Interactions) -> float:
    p, q = (x.double().numpy() for x in (model.user_factors, model.item_factors))
    error = data.ratings - model.predict(data.users, data.items)
    ridge = data.counts("users") ** model.nu @ (p**2).sum(1)
    return float((error**2).sum() + model.l2 * (ridge + data.counts("items") @ (q**2).sum(1)))


def test_als_half_sweep_is_ridge_regression_with_a_bias():
    data = small(empty=False)
    model = ALS(3, l2=0.3, nu=1.0, n_epochs=3).fit(data)
    matrix = data.matrix("ratings")
    matrix.data -= model.mean
    p = model.half_sweep(Observed(matrix), model.item_factors).numpy()
    q = model.item_factors.numpy()
    for user in range(data.n_users):
        items = data.items[data.users == user]
        z = np.column_stack([q[items, :3], np.ones(len(items))])
        y = data.ratings[data.users == user] - model.mean - q[items, 3]
        a = z.T @ z + 0.3 * max(len(items), 1) * np.eye(4)
        np.testing.assert_allclose(p[user], np.linalg.solve(a, z.T @ y), atol=1e-4)


def test_als_objective_never_rises(split):
    losses = [als_loss(ALS(8, 0.1, n_epochs=n).fit(split.train), split.train) for n in (1, 2, 4, 8)]
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_als_beats_the_biases(split):
    test = split.test
    model = ALS(20, l2=0.1).fit(split.train, split.validation)
    baseline = Baseline().fit(split.train)
    assert rmse(test.ratings, model.predict(test.users, test.items)) < (
        rmse(test.ratings, baseline.predict(test.users, test.items)) - 0.002
    )


def test_als_keeps_the_best_sweep(split):
    model = ALS(10, l2=5.0, nu=0.0, n_epochs=20).fit(split.train, split.validation, patience=2)
    assert len(model.history) == 5  # the third is the best
    held_out = split.validation
    best = rmse(held_out.ratings, model.predict(held_out.users, held_out.items))
    assert best == pytest.approx(min(model.history), abs=1e-6)


def test_als_fold_in_repeats_a_known_user(split):
    model = ALS(8, n_epochs=3).fit(split.train)
    matrix = split.train.matrix("ratings")
    matrix.data -= model.mean
    known = model._predict(
        model.half_sweep(Observed(matrix), model.item_factors)[[7]], model.item_factors
    )[0]
    mine = split.train.users == 7
    new = model.fold_in(split.train.items[mine], split.train.ratings[mine])
    np.testing.assert_allclose(new, known, atol=1e-3)


def test_als_without_biases_or_factors(split):
    plain = ALS(4, biases=False, n_epochs=4).fit(split.train)
    assert float(plain.user_factors[:, -1].abs().max()) == 0
    assert float(plain.item_factors[:, -1].abs().max()) == 0
    biases = ALS(0, l2=5.0, nu=0.0).fit(split.train)
    scores = biases.score([0, 1])
    assert np.allclose(scores[0] - scores[1], scores[0, 0] - scores[1, 0], atol=1e-5)


def test_als_user_without_ratings_gets_the_films_mean():
    model = ALS(2, n_epochs=3).fit(small())
    q = model.item_factors.numpy()
    np.testing.assert_allclose(model.score([0])[0], model.mean + q[:, -1], atol=1e-5)
    assert model.score([1]).shape == (1, 9)


# --- BPR ------------------------------------------------------------------------------------


def test_bpr_gradient_is_the_one_on_paper():
    data = small()
    model = BPR(3, l2=0.1, n_epochs=1).fit(data)
    batch = (torch.tensor([5]), torch.tensor([2]), torch.tensor([7]))
    model.network.zero_grad()
    model.loss(batch).backward()
    p, q, b = (
        table.weight.detach().double().numpy()
        for table in (model.network.users, model.network.items, model.network.biases)
    )
    margin = p[5] @ (q[2] - q[7]) + b[2, 0] - b[7, 0]
    pull = 1 / (1 + np.exp(margin))  # sigmoid(-margin)
    gradient = model.network.items.weight.grad.numpy()
    np.testing.assert_allclose(
        model.network.users.weight.grad[5], -pull * (q[2] - q[7]) + 0.1 * p[5], atol=1e-6
    )
    np.testing.assert_allclose(gradient[2], -pull * p[5] + 0.1 * q[2], atol=1e-6)
    np.testing.assert_allclose(gradient[7], pull * p[5] + 0.1 * q[7], atol=1e-6)
    np.testing.assert_allclose(
        model.network.biases.weight.grad[[2, 7], 0],
        [-pull + 0.1 * b[2, 0], pull + 0.1 * b[7, 0]],
        atol=1e-6,
    )


def test_bpr_negatives_are_never_positives(split):
    model = BPR(2, n_epochs=1).fit(split.train)
    seen = split.train.matrix().toarray()
    for epoch in range(2):
        users, positives, negatives = (torch.cat(x) for x in zip(*model.batches(epoch)))
        assert len(users) == len(split.train)
        assert (seen[users, positives] == 1).all()
        assert (seen[users, negatives] == 0).all()
        assert len(np.unique(users * split.train.n_items + positives)) == len(split.train)


def test_bpr_stops_early_and_keeps_the_best(split):
    model = BPR(16, l2=0.0, lr=0.05, n_epochs=40).fit(
        split.train, split.validation, every=1, patience=2
    )
    scores = model.history.validation
    assert len(scores) < 40
    assert evaluate(model, split, part="validation").ndcg.mean() == pytest.approx(scores.max())


def test_bpr_resumes(tmp_path):
    data = small()
    whole = BPR(3, n_epochs=6, lr=0.05).fit(data)
    path = tmp_path / "bpr.pt"
    half = BPR(3, n_epochs=6, lr=0.05)
    cut = half.batches

    def until_the_third(epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return cut(epoch)

    half.batches = until_the_third
    with pytest.raises(KeyboardInterrupt):
        half.fit(data, checkpoint=path)
    resumed = BPR(3, n_epochs=6, lr=0.05).fit(data, checkpoint=path)
    assert len(resumed.history) == 6
    np.testing.assert_allclose(resumed.score(), whole.score(), atol=1e-6)


def test_bpr_seeds():
    data = small()
    a, b, c = (BPR(3, seed=seed, n_epochs=2).fit(data).score() for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_bpr_learns(split):
    model = BPR(16, n_epochs=8, lr=0.02).fit(split.train)
    popularity = Popularity().fit(split.train)
    assert evaluate(model, split).ndcg.mean() > evaluate(popularity, split).ndcg.mean() + 0.05
    assert np.isfinite(BPR(3, n_epochs=2).fit(small()).score([0, 1])).all()  # no or one event


# --- EDLAE ----------------------------------------------------------------------------------


def test_edlae_without_extras_is_ease(split):
    ease, same = EASE(300.0).fit(split.train), EDLAE(300.0).fit(split.train)
    np.testing.assert_allclose(same.score(), ease.score(), atol=1e-5)


def test_edlae_is_a_ridge_regression_for_each_film():
    data = small()
    model = EDLAE(0.7, dropout=0.3, stars=0.5, user_power=0.4, item_power=0.2).fit(data)
    ratings = data.matrix("ratings").toarray()
    x = np.where(ratings > 0, 1 + 0.5 * (ratings / data.ratings.mean() - 1), 0)
    n = data.counts("users")
    w = np.maximum(n, 1) ** -0.4
    w *= len(data) / (w @ n)
    for film in range(data.n_items):
        others = np.arange(data.n_items) != film
        z = x[:, others]
        gram = z.T @ (w[:, None] * z)
        a = gram + 0.7 * np.eye(len(gram)) + 0.3 / 0.7 * np.diag(np.diag(gram))
        b = np.linalg.solve(a, z.T @ (w * x[:, film]))
        scale = max(data.counts("items")[film], 1) ** 0.2
        np.testing.assert_allclose(model.weights[others, film], b / scale, atol=1e-5)


def test_edlae_penalty_is_the_mean_of_dropout():
    """E |x - sum_i d_i / (1 - p) x_i b_i|^2 = |x - Xb|^2 + p / (1 - p) sum_i |x_i|^2 b_i^2."""
    rng = np.random.default_rng(0)
    x, y, b, p = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=4), 0.3
    drawn = rng.random((200_000, 6, 4)) > p
    losses = ((y - (drawn / (1 - p) * x) @ b) ** 2).sum(1)
    exact = ((y - x @ b) ** 2).sum() + p / (1 - p) * ((x**2).sum(0) @ b**2)
    assert losses.mean() == pytest.approx(exact, abs=5 * losses.std() / 200_000**0.5)


# --- bad settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IALS(0), "start at 1"),
        (lambda: IALS(l2=0.0), "must be positive"),
        (lambda: IALS(alpha0=-1.0), "must be positive"),
        (lambda: IALS(solver="lu"), "choose"),
        (lambda: IALS(cg_steps=0), "start at 1"),
        (lambda: ALS(l2=0.0), "must be positive"),
        (lambda: ALS(-1), "start at 0"),
        (lambda: ALS(0, biases=False), "nothing"),
        (lambda: BPR(0), "start at 1"),
        (lambda: BPR(l2=-0.1), "negative"),
        (lambda: BPR(lr=0.0), "positive"),
        (lambda: EDLAE(l2=0.0), "positive"),
        (lambda: EDLAE(dropout=1.0), "dropout"),
        (lambda: IALS().score([0]), "not fitted"),
        (lambda: ALS().score([0]), "not fitted"),
        (lambda: BPR().score([0]), "not fitted"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        make()
