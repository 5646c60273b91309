"""The benchmark of the factor models: made-up data, workers, tables, exponents, the stored run.

No peer is needed: our own models stand in for them.
"""

from __future__ import annotations

import json
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_factor_models as bench
from benchmarks import data_sets, growth, pairs, report, worker
from benchmarks.environments import BenchError
from benchmarks.synthetic import MIN_ACTIVITY, SHAPES, Shape, activities, power_law, synthetic
from recsys_lab.data import holdout_per_user
from recsys_lab.evaluation import evaluate
from recsys_lab.models import ItemMean, Popularity, PureSVD

SMALL = Shape(400, 300, 20_000)


# ---- made-up data --------------------------------------------------------------------------
def test_a_made_up_set_has_its_shape() -> None:
    data = synthetic(SMALL, seed=1)
    assert (data.n_users, data.n_items, len(data)) == SMALL
    assert len(np.unique(data.users * data.n_items + data.items)) == len(data)  # no pair twice
    assert data.counts("users").min() >= MIN_ACTIVITY
    assert set(np.unique(data.ratings)) == {1, 2, 3, 4, 5}


def test_a_made_up_set_depends_on_its_seed_alone() -> None:
    first, same, other = (synthetic(SMALL, seed=seed) for seed in (0, 0, 1))
    for name in ("users", "items", "ratings"):
        np.testing.assert_array_equal(getattr(first, name), getattr(same, name))
    assert (first.items != other.items).any()


@pytest.mark.parametrize("name", SHAPES)
def test_activities_follow_the_law(name: str) -> None:
    shape = SHAPES[name]
    counts = activities(shape)
    assert counts.sum() == shape.n_ratings and counts.min() >= MIN_ACTIVITY
    assert (np.diff(counts) <= 1).all()  # falling, up to the rounding
    middle = slice(shape.n_users // 3, 2 * shape.n_users // 3)  # far from both ends
    expected = power_law(shape.n_users)[middle] * counts.sum()
    np.testing.assert_allclose(counts[middle] / expected, counts[middle][0] / expected[0], rtol=0.1)


def test_items_have_a_long_tail_and_tastes_are_behind_it() -> None:
    data = synthetic(SHAPES["ml-100k"])
    counts = np.sort(data.counts("items"))[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * len(data)  # a tenth has a third
    scores = {}
    for strength in (0.0, 2.0):
        split = holdout_per_user(synthetic(SHAPES["ml-100k"], strength=strength), 0.25)
        for model in (Popularity(), PureSVD(16)):
            table = evaluate(model.fit(split.train), split, metrics=("ndcg",))
            scores[type(model).__name__, strength] = table["ndcg"].mean()
    assert scores["PureSVD", 2.0] > 1.2 * scores["Popularity", 2.0]
    assert scores["PureSVD", 0.0] < scores["Popularity", 0.0]  # nothing but popularity to learn


@pytest.mark.parametrize("n_ratings", [100, 100_000])
def test_a_shape_that_cannot_be_is_refused(n_ratings: int) -> None:
    with pytest.raises(ValueError, match=f"not {n_ratings:,}"):
        synthetic(Shape(400, 300, n_ratings))


def test_active_users_are_drawn_to_the_end() -> None:
    """Users who rate more than half of the catalogue, which drawing again would take long for."""
    data = synthetic(Shape(50, 40, 50 * 22))
    assert len(np.unique(data.users * 40 + data.items)) == 50 * 22


# ---- what goes to the workers and comes back -------------------------------------------------
def test_parts_are_judged_as_the_book_judges(tmp_path: Path) -> None:
    part = data_sets.clicks(data_sets.tiny(), 1)[0]
    part.save(tmp_path / "part.npz")
    loaded = worker.load(str(tmp_path / "part.npz"))
    assert (loaded.n_users, loaded.n_items) == (80, 60)
    np.testing.assert_array_equal(loaded.users, part.split.train.users)
    model = Popularity().fit(part.split.train)
    expected = evaluate(model, part.split, k=10, metrics=("ndcg",))["ndcg"]
    found = part.quality(model.score())
    np.testing.assert_array_equal(found[:, 0], expected.index)
    np.testing.assert_allclose(found[:, 1], expected)
    some = data_sets.Part(part.split, "clicks", judged=np.array([3, 17, 40]))
    np.testing.assert_allclose(some.quality(model.score(some.users))[:, 1], expected[[3, 17, 40]])


def test_floors_are_chance_and_popularity() -> None:
    part = data_sets.stars(data_sets.tiny(), 1)[0]
    test, model = part.split.test, ItemMean().fit(part.split.train)
    error = test.ratings - model.predict(test.users, test.items)
    floors = data_sets.floors(part)
    assert floors["popularity"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert floors["chance"] > floors["popularity"]


@pytest.fixture(scope="module")
def a_bench(tmp_path_factory: pytest.TempPathFactory):
    """Both sides in the book's environment."""
    python = Path(sys.executable)
    found = bench.Bench({bench.OURS: python}, tmp_path_factory.mktemp("bench"), threads=1)
    yield found
    found.close()


class Twin(pairs.Pair):
    """A model against another one of ours."""

    module = property(lambda self: bench.OURS)
    contender = property(lambda self: self.theirs)


def test_a_pair_is_timed_in_turn_and_judged(a_bench) -> None:
    pair = Twin("Popularity", "tiny-clicks", "Popularity", "ItemKNN", {}, {"n_neighbors": 20})
    row = a_bench.row(pair, repeats=2)
    assert np.shape(row["fit_s"]) == np.shape(row["score_s"]) == (2, 2)
    assert (np.array(row["fit_s"]) > 0).all()
    part = a_bench.set("tiny-clicks")[0]
    expected = evaluate(Popularity().fit(part.split.train), part.split, metrics=("ndcg",))
    assert row["quality"]["ours"][0] == pytest.approx(expected["ndcg"].mean())
    assert row["quality"]["n"] == len(expected)
    for side in row["memory"]:
        assert side["imports_mb"] <= side["peak_mb"] < 2_000
    json.dumps(report.as_json(row))
    assert row["n_train"] == len(part.split.train)


def test_stars_are_judged_too(a_bench) -> None:
    pair = Twin("Baseline", "tiny-stars", "Baseline", "Baseline")
    row = a_bench.row(pair, repeats=1)
    assert row["metric"] == "RMSE" and row["quality"]["difference"] == [0, 0, 0]
    assert report.is_as_good(row)


def test_a_contender_that_fails_is_quoted(a_bench) -> None:
    a_bench.file("tiny-stars")
    ours = a_bench.worker(bench.OURS)
    ours.ask(do="load", data=a_bench.file("tiny-stars"))
    with pytest.raises(BenchError, match=r"benchmarks\.ours NMF failed: ValueError"):
        ours.ask(do="fit", contender="NMF", settings={"n_factors": 0})
    assert ours.ask(do="fit", contender="Baseline", settings={})["fit_s"][0] > 0  # and goes on


def test_memory_of_a_fit_is_its_peak() -> None:
    written = b"x" * 40_000_000
    worker.forget_peak()
    before, _ = worker.memory()
    block = mmap.mmap(-1, len(written))  # an array might be put where freed memory was kept
    block.write(written)
    _, peak = worker.memory()
    assert 35 < peak - before < 80  # MB
    if worker.STATUS.exists():
        block.close()
        after, peak = worker.memory()
        assert after < peak - 35
        worker.forget_peak()


# ---- tables and exponents ------------------------------------------------------------------
def test_an_exponent_is_found_again() -> None:
    sizes = [100, 200, 400, 800]
    seconds = [[1e-6 * n**2, 2e-6 * n**2, 1e-6 * n**2.2] for n in sizes]
    found = growth.exponent(sizes, seconds)
    assert found["low"] == pytest.approx(2.0) and found["high"] == pytest.approx(2.2)
    assert found["low"] <= found["value"] <= found["high"]
    constant = growth.exponent(sizes, [[0.5]] * 4)
    assert constant["value"] == pytest.approx(0, abs=1e-12)
    # A fixed cost hides the law from the whole line; the last step shows more of it.
    late = growth.exponent(sizes, [[0.1 + 1e-6 * n**2] for n in sizes])
    assert late["value"] < late["last"] < 2
    with pytest.raises(ValueError, match="4 sizes"):
        growth.exponent(sizes, [[1.0]] * 3)


def made_up(ours_s, theirs_s, gap=0.0, metric="nDCG@10", mb=(10, 20), **options) -> dict:
    rng = np.random.default_rng(0)
    values = rng.random(200)
    users = np.arange(200.0)
    sides = [[(0, np.column_stack([users, values + shift]))] for shift in (gap, 0.0)]
    pair = pairs.Pair("IALS", "100k-clicks", "IALS", "implicit.ALS", **options)
    return {
        "name": "IALS",
        "data": "ML-100K",
        "pair": pair.as_dict(),
        "metric": metric,
        "fit_s": [ours_s, theirs_s],
        "score_s": [[1.0] * len(ours_s)] * 2,
        "quality": report.quality(*sides, "clicks" if metric == "nDCG@10" else "stars"),
        "memory": [{"imports_mb": 100, "peak_mb": 100 + size} for size in mb],
    }


def test_a_row_sums_up_its_repeats() -> None:
    row = made_up([1.0, 2.0, 9.0], [2.0, 2.0, 3.0])
    found = report.summary(row)
    assert found["ours_s"] == 2 and found["theirs_s"] == 2
    assert (found["ratio_low"], found["ratio"], found["ratio_high"]) == (0.5, 1.0, 3.0)
    assert found["ratio_scored"] == pytest.approx(1.0)  # 2/3, 3/3, 10/4
    assert (found["ours_mb"], found["theirs_mb"]) == (10, 20)
    table = report.table([row])
    assert table.loc[("IALS", "ML-100K"), "ours / theirs"] == "1.000 [0.500, 3.000]"
    assert "ratio 1.000" in report.line(row)


def test_quality_counts_a_split_once_and_pairs_the_users() -> None:
    users = np.arange(50.0)
    ours = [(0, np.column_stack([users, users % 5])), (1, np.column_stack([users, users % 7]))]
    theirs = [(number, values + np.array([0, 0.5])) for number, values in ours]
    found = report.quality([*ours, ours[0]], [*theirs, theirs[0]], "clicks")
    assert found["n"] == 50
    assert found["difference"] == pytest.approx([-0.5] * 3)  # no spread is left in pairs
    assert found["ours"][0] == pytest.approx((2.0 + (users % 7).mean()) / 2)
    assert np.shape(found["by_repeat"]) == (2, 3)
    with pytest.raises(ValueError, match="other users"):
        report.quality(ours, [(0, theirs[0][1][::-1])], "clicks")


def test_broken_bounds_are_said_plainly() -> None:
    kept = {"max_ratio": 1.0, "max_seconds": 5.0}
    assert report.broken_bounds([made_up([1.0], [2.0], **kept)]) == []
    slow = report.broken_bounds([made_up([6.0], [2.0], **kept)])
    assert [word in " ".join(slow) for word in ("3.000 of the seconds", "6.00 s")] == [True, True]
    worse = report.broken_bounds([made_up([1.0], [2.0], gap=-0.1, **kept)])
    assert len(worse) == 1 and "nDCG@10" in worse[0]
    assert report.broken_bounds([made_up([1.0], [2.0], gap=0.1, **kept)]) == []
    stars = report.broken_bounds([made_up([1.0], [2.0], gap=0.1, metric="RMSE", **kept)])
    assert len(stars) == 1 and "RMSE" in stars[0]
    (heavy,) = report.broken_bounds([made_up([1.0], [2.0], mb=(30, 20), **kept)])
    assert "30 MB" in heavy
    assert report.broken_bounds([made_up([9.0], [2.0], mb=(30, 20))]) == []  # nothing was promised


# ---- the run -------------------------------------------------------------------------------
def test_the_pairs_are_all_different_and_known() -> None:
    found = [*pairs.pairs(), *pairs.large_pairs()]
    assert len({pair.key for pair in found}) == len(found)
    assert {pair.data for pair in found} <= set(data_sets.SETS)
    assert {pair.module for pair in found} == set(bench.ENVIRONMENTS)
    ours, theirs = pairs.ials("cg")
    assert theirs["alpha"] == 1 + ours["alpha"] and theirs["regularization"] == ours["l2"]


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "UNFINISHED", tmp_path / "new" / "part.json")
    options = bench.parse(["--repeats", "1"])
    state = bench.kept(options)
    assert state["rows"] == {}

    def never() -> dict:
        raise AssertionError("this was done before")

    bench.step(state, "rows", "a", lambda: {"seconds": np.float64(1.0)}, str)
    again = bench.kept(options)
    bench.step(again, "rows", "a", never, str)
    assert again["rows"]["a"] == {"seconds": 1.0} and again["seconds"] > 0
    assert bench.kept(bench.parse(["--repeats", "2"]))["rows"] == {}  # another run
    assert bench.kept(bench.parse(["--repeats", "1", "--fresh"]))["rows"] == {}
    bench.UNFINISHED.write_text("{half a")
    assert bench.kept(options)["rows"] == {}


def test_the_key_ignores_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "MODELS", ["model.py"])
    file = tmp_path / "recsys_lab" / "model.py"
    file.parent.mkdir()
    keys = []
    for text in ('"""Doc."""\nx = 1  # one\n', '"""Other."""\n\nx = 1\n', "x = 2\n"):
        file.write_text(text)
        keys.append(bench.models_key())
    assert keys[0] == keys[1] != keys[2]


def test_wrong_use_and_a_missing_environment_are_one_message(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, message in (
        (["--threads", "0"], "--threads is 0"),
        (["--only", "Nobody"], "no model Nobody"),
    ):
        with pytest.raises(SystemExit):
            bench.parse(arguments)
        assert message in capsys.readouterr().err

    def missing(folder: str, make: bool) -> Path:
        raise BenchError(f"{folder} is not there.")

    monkeypatch.setattr(bench, "python_of", missing)
    assert bench.main(["--no-install"]) == 2
    err = capsys.readouterr().err
    assert err == "bench_factor_models: .venv-bench is not there.\n"


@pytest.mark.skipif(not bench.RESULT.exists(), reason="no stored run of bench_factor_models")
def test_the_stored_run_is_whole_and_current() -> None:
    stored = json.loads(bench.RESULT.read_text(), parse_constant=pytest.fail)
    rows = {(row["name"], row["pair"]["data"]): row for row in stored["rows"]}
    assert set(rows) >= {(pair.name, pair.data) for pair in pairs.pairs()}
    for pair in pairs.pairs():
        row = rows[pair.name, pair.data]
        assert len(row["fit_s"][0]) == len(row["fit_s"][1]) >= min(2, pair.repeats)
        assert row["pair"] == json.loads(json.dumps(pair.as_dict())), "the settings have changed"
    assert stored["threads"] == 2 and set(stored["versions"]) == {bench.OURS, *bench.ENVIRONMENTS}
    assert {found["name"] for found in stored["growth"]} == {s.name for s in growth.sweeps()}
    for found in stored["growth"]:
        for side, expected in zip(found["seconds"], found["exponents"]):
            assert growth.exponent(found["sizes"], side) == pytest.approx(expected, abs=1e-4)
    assert stored["models_key"] == bench.models_key(), (
        "the models have changed since benchmarks/results/factor_models.json was made; "
        "run: .venv/bin/python -m benchmarks.run factor_models"
    )
