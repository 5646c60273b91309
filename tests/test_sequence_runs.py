"""The stored runs of the sequence section: made by the present code, complete, and coherent."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.data import leave_last_out, load_movielens
from recsys_lab.models import Popularity, SASRec
from recsys_lab.models.sequences import Histories

SECTION = Path(__file__).parents[1] / "chapters" / "3_transformer_layer"
sys.path.insert(0, str(SECTION))
import sequence_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_the_stored_runs_are_of_this_code():
    saved = json.loads(runs.STORE.read_text())
    assert saved["code"] == runs.code_hash(), (
        f"{runs.STORE.name} is older than the code: run {runs.__file__}, then make execute"
    )


def test_every_run_is_stored_with_its_settings(stored):
    wanted = {run.key: run.settings for run in runs.runs(stored)}
    assert wanted == {key: run["settings"] for key, run in stored.items()}
    groups = {key.split("/")[0] for key in wanted}
    assert groups == {"curve", "test", "loss-tune", "loss", "ablation-tune", "ablation"}


def test_ranks_are_places_among_unseen_films(stored):
    data = load_movielens()
    split = leave_last_out(data, seed=0, validation=False)
    most = data.n_items - split.train.counts("users")
    for key, run in stored.items():
        if "rank" in run:
            rank = np.array(run["rank"])
            assert rank.shape == (data.n_users,), key
            assert rank.min() >= 1 and (rank <= most).all(), key


def test_ranks_by_hand():
    split = leave_last_out(load_movielens(), seed=0, validation=False)
    scores = Popularity().fit(split.train).score()
    ranks = runs.ranks(scores, split.train, split.test)
    user = 7
    (film,) = split.test.items[split.test.users == user]
    seen = set(split.train.items[split.train.users == user])
    better = [i for i in range(scores.shape[1]) if scores[user, i] > scores[user, film]]
    assert ranks[user] == 1 + len([i for i in better if i not in seen])


def test_a_missing_store_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "STORE", tmp_path / "sequence_runs.json")
    with pytest.raises(FileNotFoundError, match=r"Make it: python sequence_runs\.py"):
        runs.load_runs()


@pytest.mark.parametrize(
    "without", ["", "feed-forward", "attention", "residual", "norm", "positions"]
)
def test_what_is_taken_out_is_out(without):
    import torch

    torch.manual_seed(0)
    settings = {"d_model": 8, "max_length": 6, "n_layers": 2, "dropout": 0.0}
    network = runs.AblatedSASRec(without, **settings).build(20).eval()
    torch.manual_seed(0)
    whole = SASRec(**settings).build(20).eval()
    items = torch.randint(20, (3, 6))
    assert torch.allclose(network(items), whole(items)) == (without == "")
    if without == "attention":  # nobody hears anybody
        moved = items.clone()
        moved[:, 0] = (moved[:, 0] + 1) % 20
        assert torch.allclose(network(moved)[:, 1:], network(items)[:, 1:], atol=1e-6)
    if without == "positions":
        assert not network.positions.weight.any()


@pytest.fixture(scope="module")
def train():
    return leave_last_out(load_movielens(), seed=0, validation=False).train


def in_order(events, user):
    mine = np.flatnonzero(events.users == user)
    return events.items[mine[np.argsort(events.timestamps[mine])]].tolist()


def test_only_the_last_events_are_shown(train):
    last = runs.last_events(train, 5)
    assert (last.counts("users") == np.minimum(train.counts("users"), 5)).all()
    histories = Histories(train)
    read = histories.items(np.random.default_rng(0))  # as a model with seed 0 reads them
    for user in (0, 400, 942):
        end = histories.starts[user + 1]
        assert in_order(last, user) == read[end - 5 : end].tolist()


def test_only_the_last_of_a_view_are_shuffled(train):
    plain, mixed = runs.last_events(train, 50, seed=3), runs.last_events(train, 50, 3, n_shuffled=5)
    moved = 0
    for user in range(0, train.n_users, 50):
        before, after = in_order(plain, user), in_order(mixed, user)
        assert before[:-5] == after[:-5]
        assert sorted(before[-5:]) == sorted(after[-5:])
        moved += before != after
    assert moved > 10
