"""The benchmarks' own machinery: environments, the talk with RecBole, times and what is stored.

No peer is needed: a few lines of Python stand in for RecBole. The last test trains the real one on
20 users, where its environment has been made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import bench_sasrec, environments, run
from recsys_lab.data import Interactions, Split, leave_last_out, load_movielens

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = bench_sasrec.ENVIRONMENT

# Speaks as recbole_worker.py does: three checks, the validation event on top at the second only.
WORKER = """
import json, sys
import numpy as np
task = json.loads(sys.argv[1])
users, items = {validated}
print(json.dumps(dict(n_examples={n_examples}, validated=[users, items])), flush=True)
for check in range(3):
    scores = np.zeros((task["n_users"], task["n_items"]), dtype=np.float32)
    scores[users, items] = 1.0 if check == 1 else -1.0
    np.save(task["folder"] + f"/{{check}}.npy", scores)
    print(json.dumps(dict(epoch=check + 1, train=[10.0 * (check + 1), 20.0], evaluate=[1.0, 2.0],
          own_ndcg=0.1, scores=task["folder"] + f"/{{check}}.npy")), flush=True)
    {then}
    if sys.stdin.readline().strip() != "go on":
        break
"""


@pytest.fixture
def split() -> Split:
    """Six users, twelve items; two events of each user share the last second."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(12)[:7] for _ in range(6)])
    times = np.tile([5, 1, 9, 2, 9, 4, 3], 6)
    data = Interactions(
        users=np.repeat(np.arange(6), 7), items=items, timestamps=times, item_ids=np.arange(12)
    )
    return leave_last_out(data, seed=0)


@pytest.fixture
def recbole(tmp_path: Path, split: Split, monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in where the worker is; it validates on what it is told."""

    def stand_in(then: str = "pass", validated=None, n_examples: int | None = None) -> None:
        events = [split.validation.users.tolist(), split.validation.items.tolist()]
        text = WORKER.format(
            validated=validated or events,
            n_examples=n_examples or len(split.train) - split.train.n_users,
            then=then,
        )
        (tmp_path / "recbole_worker.py").write_text(text)
        monkeypatch.setattr(bench_sasrec, "HERE", tmp_path)

    return stand_in


def theirs(split: Split, target: float | None = None):
    python, name = Path(sys.executable), next(iter(bench_sasrec.RUNS))
    return bench_sasrec.theirs(split, python, name, epochs=3, threads=1, target=target)


# ---- RecBole's half ------------------------------------------------------------------------
def test_the_file_for_recbole_holds_the_split(tmp_path: Path, split: Split) -> None:
    bench_sasrec.write_atomic(split, tmp_path)
    events = pd.read_csv(tmp_path / "movielens" / "movielens.inter", sep="\t")
    assert list(events) == ["user_id:token", "item_id:token", "timestamp:float"]
    places = events.groupby("user_id:token")["timestamp:float"]
    assert places.apply(list).tolist() == [list(range(7))] * 6  # no two of one time
    for part, place in ((split.validation, 5), (split.test, 6)):
        found = events[events["timestamp:float"] == place][["user_id:token", "item_id:token"]]
        assert sorted(map(tuple, found.to_numpy())) == sorted(zip(part.users, part.items))
    seconds = dict(zip(zip(split.train.users, split.train.items), split.train.timestamps))
    train = events[events["timestamp:float"] < 5]
    pairs = zip(train["user_id:token"], train["item_id:token"])
    times = pd.Series([seconds[pair] for pair in pairs], index=train["user_id:token"])
    assert times.groupby(level=0).is_monotonic_increasing.all()


def test_every_check_is_judged_by_our_evaluation(split: Split, recbole) -> None:
    recbole()
    checks, about = theirs(split)
    assert checks["epoch"].tolist() == [1, 2, 3]
    # Seven items are candidates, of which the held-out one is the last, the first, the last.
    assert checks["ndcg"].tolist() == pytest.approx([1 / np.log2(8), 1, 1 / np.log2(8)])
    assert checks["train_s"].tolist() == [10, 20, 30]
    assert (checks["total_s"] - checks["train_s"] == 1).all()
    assert (checks["total_cpu_s"] == 22).all()
    assert about["n_examples"] == 24


def test_recbole_is_stopped_at_the_target(split: Split, recbole) -> None:
    recbole()
    assert theirs(split, target=0.9)[0]["epoch"].tolist() == [1, 2]


@pytest.mark.parametrize("then", ["raise ValueError('no such thing')", "sys.exit('no such thing')"])
def test_recbole_that_breaks_is_quoted(split: Split, recbole, then: str) -> None:
    recbole(then)
    with pytest.raises(environments.BenchError, match=r"RecBole stopped(.|\n)*no such thing"):
        theirs(split)


def test_another_split_is_refused(split: Split, recbole) -> None:
    other = [split.validation.users.tolist(), split.test.items.tolist()]
    recbole(validated=other)
    with pytest.raises(environments.BenchError, match="other events"):
        theirs(split)
    recbole(n_examples=7)
    with pytest.raises(environments.BenchError, match="7 examples, expected are 24"):
        theirs(split)


# ---- times ---------------------------------------------------------------------------------
def curve(ndcg: list[float], seconds: float) -> pd.DataFrame:
    steps = range(1, len(ndcg) + 1)
    return pd.DataFrame(
        [
            bench_sasrec.row(n, (n * seconds, 2 * n * seconds), (n, n), score)
            for n, score in zip(steps, ndcg)
        ]
    )


def test_time_to_target_counts_our_evaluations_and_only_their_training() -> None:
    default, fast = bench_sasrec.RUNS
    curves = {
        default: curve([0.02, 0.04, 0.03], 100),
        "ours": curve([0.01, 0.02, 0.05, 0.06], 2),
        fast: curve([0.01, 0.01], 50),
    }
    table = bench_sasrec.summary(curves, target=0.04)
    assert table.loc[default, "training s"] == 200  # first reached, not the last epoch
    assert table.loc["ours", "with evaluation s"] == 3 * 2 + 3
    assert table.loc[default, "ours / theirs"] == pytest.approx(9 / 200)
    assert table.loc[default, "ours / theirs, CPU"] == pytest.approx((12 + 3) / 400)
    assert np.isnan(table.loc[fast, "training s"])  # it never got there
    assert table.loc[fast, "best nDCG@10"] == 0.01


def test_ours_is_timed_epoch_by_epoch(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(bench_sasrec.Watched):
        def __init__(self, seed: int):
            super().__init__(seed=seed, n_epochs=3, d_model=8, max_length=5)

    monkeypatch.setattr(bench_sasrec, "Watched", Small)
    before = bench_sasrec.torch.get_num_threads()
    checks, about = bench_sasrec.ours(split, threads=1, seed=0)
    bench_sasrec.torch.set_num_threads(before)
    assert checks["epoch"].tolist() == [1, 2, 3]
    assert checks["ndcg"].between(0, 1).all()
    for name in ("train_s", "total_s"):
        assert (checks[name].diff().dropna() > 0).all()
    assert (checks["total_s"] > checks["train_s"]).all()
    assert about["preparation"][0] > 0


# ---- what is stored ------------------------------------------------------------------------
def test_a_stored_result_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    bench_sasrec.store({"ratio": np.float64("nan"), "curves": {"ours": curve([0.5], 1)}}, path)
    stored = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert stored["ratio"] is None and stored["curves"]["ours"][0]["ndcg"] == 0.5
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


@pytest.mark.skipif(not bench_sasrec.RESULT.exists(), reason="no stored run of bench_sasrec")
def test_the_stored_run_agrees_with_its_curves() -> None:
    stored = json.loads(bench_sasrec.RESULT.read_text())
    curves = {name: pd.DataFrame(rows) for name, rows in stored["curves"].items()}
    default, fast = bench_sasrec.RUNS
    table = bench_sasrec.summary(curves, stored["target_ndcg10"] - 1e-9)
    assert stored["target_ndcg10"] == curves[default]["ndcg"].max()
    assert len(curves[default]) == 3 and stored["n_users"] == 943
    assert stored["ratio"] == pytest.approx(table.loc[default, "ours / theirs"], rel=1e-4)
    assert stored["ratio"] <= 1 / bench_sasrec.MIN_RATIO
    if stored["ratio_small_batches"] is not None:
        assert stored["ratio_small_batches"] == pytest.approx(
            table.loc[fast, "ours / theirs"], rel=1e-4
        )


# ---- environments --------------------------------------------------------------------------
@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A copy of the requirements, and a pip that installs nothing; what it was asked for."""
    for name in (*environments.REQUIREMENTS.values(), "requirements/lock.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "requirements" / "assets.txt").write_text("recbole==1 --hash=x\nother==2\n")
    asked = []

    def step(what: str, command: list[str]) -> None:
        asked.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "_step", step)
    return asked


def test_an_environment_is_made_once(project: list, tmp_path: Path) -> None:
    python = environments.python_of(ENVIRONMENT)
    assert python == tmp_path / ENVIRONMENT / "bin" / "python"
    assert len(project) == 3  # the environment, the data by hash, the rest
    assert "--require-hashes" in project[1]
    assert (tmp_path / ENVIRONMENT / "data.txt").read_text() == "recbole==1 --hash=x\n"
    environments.python_of(ENVIRONMENT, make=False)
    assert len(project) == 3
    (tmp_path / "requirements" / "lock.txt").write_text("numpy==3")
    with pytest.raises(environments.BenchError, match="out of date"):
        environments.python_of(ENVIRONMENT, make=False)
    environments.python_of(ENVIRONMENT)
    assert len(project) == 6


def test_an_interrupted_installation_goes_on(project: list, tmp_path: Path, monkeypatch) -> None:
    step = environments._step

    def interrupted(what: str, command: list[str]) -> None:
        step(what, command)
        if what == environments.REQUIREMENTS[ENVIRONMENT]:
            raise KeyboardInterrupt

    monkeypatch.setattr(environments, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environments.python_of(ENVIRONMENT)
    kept = tmp_path / ENVIRONMENT / "lib"
    kept.touch()
    with pytest.raises(environments.BenchError, match="not there"):
        environments.python_of(ENVIRONMENT, make=False)
    monkeypatch.setattr(environments, "_step", step)
    environments.python_of(ENVIRONMENT)
    assert kept.exists()
    assert sum("venv" in command for command in project) == 1


def test_a_failed_step_says_its_last_lines() -> None:
    code = "print('Collecting numpy'); print('no index'); raise SystemExit(1)"
    with pytest.raises(
        environments.BenchError, match=r"numpy failed(.|\n)*no index(.|\n)*index is"
    ):
        environments._step("numpy", [sys.executable, "-c", code])


def test_a_missing_environment_is_one_message(project: list, capsys: pytest.CaptureFixture) -> None:
    assert bench_sasrec.main(["--no-install"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"bench_sasrec: {ENVIRONMENT} is not there") and err.count("\n") == 1


# ---- the commands --------------------------------------------------------------------------
def test_the_runner_knows_its_benchmarks(capsys: pytest.CaptureFixture) -> None:
    assert set(run.available()) == {"factor_models", "knn_baseline", "metrics", "sasrec"}
    assert set(run.PEERS.values()) | {ENVIRONMENT} == set(environments.REQUIREMENTS)
    assert run.main(["nothing"]) == 2
    assert "there are: factor_models, knn_baseline, metrics, sasrec" in capsys.readouterr().out


def test_wrong_use_is_told(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        bench_sasrec.main(["--threads", "0"])
    assert "--threads is 0" in capsys.readouterr().err


def test_torch_is_the_same_on_both_sides() -> None:
    lines = [
        line.split("#")[0].split(";")[0].strip()
        for name in ("requirements/lock.txt", "benchmarks/requirements-recbole.txt")
        for line in (ROOT / name).read_text().splitlines()
    ]
    assert len([line for line in lines if line.startswith("torch==")]) == 2
    assert len({line for line in lines if line.startswith("torch==")}) == 1


@pytest.mark.slow
def test_a_trial_run_with_recbole() -> None:
    try:
        python = environments.python_of(ENVIRONMENT, make=False)
    except environments.BenchError as error:
        pytest.skip(str(error))
    movielens = load_movielens()
    data = movielens.select(movielens.users < 20)
    split = leave_last_out(data, seed=0)
    name = list(bench_sasrec.RUNS)[1]
    checks, about = bench_sasrec.theirs(split, python, name, epochs=1, threads=1, target=0.0)
    assert len(checks) == 1 and checks["train_s"].iloc[0] > 0
    assert about["settings"]["hidden_size"] == 64 and about["threads"] == 1
