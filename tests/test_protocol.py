"""From model and split to table: what is a candidate, what is compared, what is refused."""

import math
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsys_lab.data import Interactions, Split, holdout_per_user
from recsys_lab.evaluation import (
    METRICS,
    chance_level,
    chance_ratings,
    compare,
    evaluate,
    evaluate_ratings,
    evaluate_sampled,
    format_table,
    mae,
    rank_items,
    ranking_metrics,
    rmse,
)

N_USERS, N_ITEMS = 700, 60  # more users than one block holds


class Table:
    """A model that has its scores by heart, and remembers whom it was asked for."""

    def __init__(self, scores):
        self.scores, self.asked = scores, []

    def score(self, users):
        self.asked.append(len(users))
        return self.scores[users]

    def predict(self, users, items):
        return self.scores[users, items]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    popularity = np.linspace(0.4, 0.02, N_ITEMS)
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < popularity)
    return Interactions(
        users, items, ratings=rng.integers(1, 6, len(users)), user_ids=np.arange(N_USERS)
    )


@pytest.fixture(scope="module")
def split(data):
    return holdout_per_user(data, 0.3, 0.1)


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(1).random((N_USERS, N_ITEMS))


@pytest.fixture(scope="module")
def results(split, scores):
    popular = np.tile(split.train.counts("items").astype(float), (N_USERS, 1))
    oracle = split.test.matrix().toarray() + 0.9 * scores
    return {
        "oracle": evaluate(oracle, split),
        "popularity": evaluate(popular, split),
        "noise": evaluate(scores, split),
    }


# ---- evaluate ------------------------------------------------------------------------------


def test_it_is_ranking_metrics_without_seen_items(split, scores):
    seen = split.train.matrix() + split.validation.matrix()
    expected = ranking_metrics(scores, split.test.matrix(), 7, seen)
    pd.testing.assert_frame_equal(evaluate(Table(scores), split, 7), expected)
    expected = ranking_metrics(scores, split.validation.matrix(), 7, split.train.matrix())
    pd.testing.assert_frame_equal(evaluate(Table(scores), split, 7, part="validation"), expected)


def test_a_model_and_its_scores_give_the_same_in_bounded_blocks(split, scores):
    model = Table(scores)
    pd.testing.assert_frame_equal(evaluate(model, split), evaluate(scores, split))
    assert max(model.asked) <= 512 < sum(model.asked)


def test_users_are_graded_the_same_alone(split):
    flat = np.zeros((N_USERS, N_ITEMS))  # all ties: the keys must follow the user
    everyone, some = evaluate(flat, split), evaluate(flat, split, users=np.array([650, 3, 3]))
    assert list(some.index) == [3, 650]
    pd.testing.assert_frame_equal(some, everyone.loc[[3, 650]])
    mask = np.isin(np.arange(N_USERS), [3, 650])
    pd.testing.assert_frame_equal(evaluate(flat, split, users=mask), some)


def test_min_rating_decides_what_is_relevant(split, scores):
    relevant = split.test.matrix(min_rating=4)
    seen = split.train.matrix() + split.validation.matrix()
    table = evaluate(scores, split, min_rating=4)
    assert table.attrs["min_rating"] == 4
    expected = ranking_metrics(scores, relevant, 10, seen)
    pd.testing.assert_frame_equal(table, expected, check_flags=False)


def test_leaving_seen_items_in_is_the_reader_s_choice(split):
    memory = split.train.matrix().toarray() + 0.5 * split.test.matrix().toarray()
    assert evaluate(memory, split)["mrr"].eq(1).all()
    assert evaluate(memory, split, exclude_seen=False)["mrr"].max() < 1


def test_only_some_items_are_candidates(split, scores):
    items = np.arange(40, N_ITEMS)
    table = evaluate(scores, split, 5, items=items)
    part = sparse.csr_matrix(split.test.matrix()[:, items])
    seen = (split.train.matrix() + split.validation.matrix())[:, items]
    expected = ranking_metrics(scores[:, items], part, 5, seen)
    pd.testing.assert_frame_equal(table, expected)
    assert len(table) < N_USERS  # the others have no relevant item among them


def test_bad_input_of_evaluate_is_named(split, scores):
    with pytest.raises(ValueError, match=r"scores have shape \(700, 59\): expected \(700, 60\)"):
        evaluate(scores[:, 1:], split)
    with pytest.raises(ValueError, match=r"expected \(512, 60\)"):
        evaluate(Table(scores[:, 1:]), split)
    with pytest.raises(ValueError, match="nobody has a relevant item in test: check min_rating=6"):
        evaluate(scores, split, min_rating=6)
    with pytest.raises(ValueError, match="part is 'train'"):
        evaluate(scores, split, part="train")
    with pytest.raises(ValueError, match="no validation part"):
        evaluate(scores, Split(split.train, None, split.test, "two parts"), part="validation")
    with pytest.raises(ValueError, match="nan"):
        evaluate(np.full_like(scores, np.nan), split)


# ---- chance --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_rating": 4, "k": 3},
        {"part": "validation"},
        {"items": np.arange(30, 60)},
        {"exclude_seen": False},
        {"users": np.arange(100)},
    ],
    ids=str,
)
def test_chance_level_is_the_mean_of_random_scores(split, options):
    rng = np.random.default_rng(0)
    level = chance_level(split, **options)
    runs = [evaluate(rng.random((N_USERS, N_ITEMS)), split, **options) for _ in range(40)]
    assert (level.index == runs[0].index).all()
    assert list(level.columns) == list(METRICS)
    means = np.array([run.mean() for run in runs])  # (40, n_metrics)
    error = means.std(axis=0, ddof=1) / np.sqrt(40)
    assert (np.abs(means.mean(axis=0) - level.mean()) <= 4.5 * error + 1e-12).all()


@pytest.mark.parametrize("how", ["uniform", "popular"])
def test_sampled_chance_is_the_mean_of_random_scores(split, how):
    rng = np.random.default_rng(0)
    level = chance_level(split, 3, n_negatives=8)
    means = np.array(
        [
            evaluate_sampled(
                rng.random((N_USERS, N_ITEMS)), split, 3, n_negatives=8, how=how, seed=seed
            ).mean()
            for seed in range(30)
        ]
    )
    error = means.std(axis=0, ddof=1) / np.sqrt(30)
    assert (np.abs(means.mean(axis=0) - level.mean()) <= 4.5 * error + 1e-12).all()
    assert level["hit"].iloc[0] == pytest.approx(3 / 9)


# ---- evaluate_sampled ----------------------------------------------------------------------


def test_sampled_numbers_flatter(split, results):
    popular = np.tile(split.train.counts("items").astype(float), (N_USERS, 1))
    sampled = evaluate_sampled(popular, split, n_negatives=10)
    assert (sampled.index == results["popularity"].index).all()
    assert sampled["mrr"].mean() > chance_level(split, n_negatives=10)["mrr"].mean() + 0.05
    against_popular = evaluate_sampled(popular, split, n_negatives=10, how="popular")
    assert against_popular["auc"].mean() < sampled["auc"].mean() - 0.1


def test_with_all_negatives_sampling_is_the_full_ranking(data):
    """One relevant item each and every other item drawn: nothing is left to chance."""
    last = np.append(np.flatnonzero(np.diff(data.users)), len(data) - 1)  # one event per user
    train = data.select(np.setdiff1d(np.arange(len(data)), last))
    split = Split(train, None, data.select(last), "one each")
    scores = np.random.default_rng(2).random((N_USERS, N_ITEMS))
    sampled = evaluate_sampled(scores, split, n_negatives=1000)
    pd.testing.assert_frame_equal(sampled, evaluate(scores, split))


def test_negatives_are_neither_seen_nor_relevant(split):
    """All that a user knows scores 1, the rest 0: a known negative would tie with the target."""
    known = (split.train.matrix() + split.validation.matrix() + split.test.matrix()).toarray() > 0
    table = evaluate_sampled(known.astype(float), split, n_negatives=20)
    assert table["auc"].eq(1).all() and table["mrr"].eq(1).all()


def test_same_negatives_for_every_model_and_any_users(split, scores):
    table = evaluate_sampled(scores, split, seed=5, n_negatives=10)
    again = evaluate_sampled(Table(scores), split, seed=5, n_negatives=10, users=[3, 650])
    pd.testing.assert_frame_equal(table.loc[[3, 650]], again)
    assert not table.equals(evaluate_sampled(scores, split, seed=6, n_negatives=10))
    with pytest.raises(ValueError, match="how is 'zipf'"):
        evaluate_sampled(scores, split, how="zipf")


# ---- compare -------------------------------------------------------------------------------


def test_table_holds_means_paired_differences_and_users(split, results):
    chance = chance_level(split)
    table = compare(results, chance=chance)
    assert list(table.index) == ["chance", "popularity", "oracle", "noise"]
    assert list(table.columns) == ["mean", "low", "high", "diff", "diff_low", "diff_high", "n"]
    for name, frame in {**results, "chance": chance}.items():
        assert table.loc[name, "mean"] == pytest.approx(frame["ndcg"].mean())
    assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()
    assert (table.loc["popularity", ["diff", "diff_low", "diff_high"]] == 0).all()
    assert table.loc["oracle", "diff_low"] > 0 > table.loc["noise", "diff_high"]
    assert table["n"].eq(len(results["noise"])).all()
    low, high = table.loc["noise", ["low", "high"]]
    assert low <= chance["ndcg"].mean() <= high


def test_intervals_are_those_of_stats(split, results):
    from recsys_lab.evaluation import bootstrap_mean, paired_bootstrap

    table = compare(results, "map", "noise", chance_level(split), n_boot=2000, seed=4)
    alone = bootstrap_mean(results["oracle"]["map"], n_boot=2000, seed=4)
    assert tuple(table.loc["oracle", ["mean", "low", "high"]]) == pytest.approx(alone[:3])
    paired = paired_bootstrap(results["oracle"]["map"], results["noise"]["map"], 2000, 4)
    assert tuple(table.loc["oracle", ["diff", "diff_low", "diff_high"]]) == pytest.approx(
        paired[:3]
    )


def test_order_of_rows_does_not_matter(split, results):
    shuffled = dict(results, noise=results["noise"].sample(frac=1, random_state=0))
    chance = chance_level(split)
    pd.testing.assert_frame_equal(compare(shuffled, chance=chance), compare(results, chance=chance))


def test_users_with_an_undefined_auc_are_left_out_for_all(split, results):
    holed = {name: frame.copy() for name, frame in results.items()}
    holed["noise"].iloc[:5, holed["noise"].columns.get_loc("auc")] = math.nan
    table = compare(holed, "auc", chance=chance_level(split))
    assert table["n"].eq(len(results["noise"]) - 5).all()
    assert table.loc["oracle", "mean"] == pytest.approx(results["oracle"]["auc"].iloc[5:].mean())


def test_chance_may_cover_more_users_and_may_be_the_reference(split, scores):
    users = np.arange(50)
    tables = {"popularity": evaluate(scores, split, users=users)}
    table = compare(tables, reference="chance", chance=chance_level(split))
    assert table["n"].eq(50).all() and table.loc["chance", "diff"] == 0


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda r, s: compare(r), r"pass chance=chance_level\(split, \.\.\.\)$"),
        (
            lambda r, s: compare({"noise": r["noise"]}),
            "cannot be read: pass chance=.* and a table named 'popularity'",
        ),
        (
            lambda r, s: compare(r, reference="BPR", chance=chance_level(s)),
            "no results for the reference 'BPR'",
        ),
        (lambda r, s: compare(r, "dcg", chance=chance_level(s)), "has no column 'dcg'"),
        (
            lambda r, s: compare(dict(r, x=r["noise"].iloc[1:]), chance=chance_level(s)),
            "'x' was evaluated on 699 users, others on 700",
        ),
        (
            lambda r, s: compare(r, chance=chance_level(s, 5)),
            "'chance' was evaluated with k=5, others with k=10",
        ),
        (
            lambda r, s: compare(r, chance=chance_level(s, n_negatives=100)),
            "n_negatives=100, others with n_negatives=None",
        ),
        (
            lambda r, s: compare(dict(r, x=pd.concat([r["noise"]] * 2)), chance=chance_level(s)),
            "several rows for one user",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(split, results, change, message):
    results = {name: frame[frame.index < 700] for name, frame in results.items()}
    assert all(len(frame) == 700 for frame in results.values())
    with pytest.raises(ValueError, match=message):
        change(results, split)


# ---- ratings -------------------------------------------------------------------------------


def test_errors_of_ratings_are_those_of_rating_metrics(split, scores):
    table = evaluate_ratings(Table(5 * scores), split)
    truth = split.test.ratings
    predicted = 5 * scores[split.test.users, split.test.items]
    assert table["squared_error"].mean() ** 0.5 == pytest.approx(rmse(truth, predicted))
    assert table["absolute_error"].mean() == pytest.approx(mae(truth, predicted))
    with pytest.raises(ValueError, match="predict gave shape"):
        evaluate_ratings(Table(np.full_like(scores, np.nan)), split)


def test_chance_of_ratings_is_the_mean_over_guesses(split):
    rng = np.random.default_rng(0)
    level = chance_ratings(split)
    guesses = rng.choice(split.train.ratings, size=(400, len(split.test)))
    error = split.test.ratings - guesses
    assert level["squared_error"].mean() == pytest.approx((error**2).mean(), rel=0.005)
    assert level["absolute_error"].mean() == pytest.approx(np.abs(error).mean(), rel=0.005)


def test_rmse_with_intervals_over_users(split, scores):
    level = np.full_like(scores, split.train.ratings.mean())
    tables = {
        "item mean": evaluate_ratings(Table(level), split),
        "noise": evaluate_ratings(Table(1 + 4 * scores), split),
    }
    table = compare(
        tables,
        "squared_error",
        reference="item mean",
        chance=chance_ratings(split),
        popularity="item mean",
        clusters="user",
        transform=np.sqrt,
    )
    assert table.loc["noise", "mean"] == pytest.approx(
        rmse(split.test.ratings, tables["noise"]["predicted"])
    )
    assert table.loc["noise", "diff_low"] > 0
    assert (table["low"] < table["mean"]).all() and (table["mean"] < table["high"]).all()


# ---- format_table --------------------------------------------------------------------------


class Cells(HTMLParser):
    """Tags with their attributes, and the text of every cell."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            self.text.append(data.strip())


def test_formatted_table_is_readable_and_accessible():
    table = pd.DataFrame(
        [
            (0.1, 0.05, 0.15, -0.2, -0.3, -0.00001, 943),
            (0.3, 0.25, 0.3456, 0, 0, 0, 943),
            (0.5, 0.4, 0.6, 0.2, 0.1, 0.3, 12345),
        ],
        columns=["mean", "low", "high", "diff", "diff_low", "diff_high", "n"],
        index=["chance", "popularity", "a<b"],
    )
    table.attrs = {"metric": "ndcg", "reference": "popularity", "level": 0.95, "k": 10}
    shown = format_table(table)
    assert repr(shown).splitlines() == [
        "ndcg@10: mean, paired difference to popularity, 95 % bootstrap intervals",
        "model       ndcg@10               difference to popularity  n",
        "chance      0.100 [0.050, 0.150]  -0.200 [-0.300, +0.000]   943",
        "popularity  0.300 [0.250, 0.346]  reference                 943",
        "a<b         0.500 [0.400, 0.600]  +0.200 [+0.100, +0.300]   12,345",
    ]
    html = Cells(shown._repr_html_())
    assert html.tags[1][0] == "caption"
    assert [a.get("scope") for tag, a in html.tags if tag == "th"] == ["col"] * 4 + ["row"] * 3
    assert "a<b" in html.text and "0.300 [0.250, 0.346]" in html.text
    assert "a<b" not in shown.html
    assert format_table(table).html == shown.html
    other = format_table(table, digits=1, caption="A table", label="RMSE")
    assert other.text.startswith("A table\nmodel       RMSE")
    assert "0.5 [0.4, 0.6]" in other.text


def test_formatted_table_of_a_whole_list_metric_has_no_k(split, results):
    for metric, head in [("auc", "auc:"), ("mrr", "mrr:"), ("mrr_at_k", "mrr@10:")]:
        table = compare(results, metric, chance=chance_level(split), n_boot=50)
        assert format_table(table).text.startswith(head)


def test_lists_of_the_package_and_of_evaluation_agree(split):
    """Ties and all, hits counted from rank_items are those that evaluate reports."""
    popular = np.tile(split.train.counts("items").astype(float), (N_USERS, 1))
    seen = split.train.matrix() + split.validation.matrix()
    top = rank_items(popular, seen, 10)
    truth = split.test.matrix().toarray()
    table = evaluate(popular, split)
    hits = [truth[u, top[u][top[u] >= 0]].sum() for u in table.index]
    assert table["precision"].to_numpy() == pytest.approx(np.array(hits) / 10)


def test_tables_of_ratings_in_another_order_are_refused() -> None:
    table = pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 0], "squared_error": [1.0, 0.0, 4.0]})
    turned = table.iloc[::-1].reset_index(drop=True)
    tables = {"chance": table, "popularity": table, "model": turned}
    with pytest.raises(ValueError, match="'model' holds other ratings"):
        compare(tables, "squared_error", n_boot=10)
