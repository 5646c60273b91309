"""The stored rounds of feedback of section 6.6: made by the present code, complete, and fair."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab import stored_runs
from recsys_lab.data import load_movielens

SECTION = Path(__file__).parents[1] / "chapters" / "6_fusion"
sys.path.insert(0, str(SECTION))
import online_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_each_user_is_a_newcomer_once(stored):
    for asker in (*runs.ASKERS, "clairvoyant"):
        users = np.concatenate([stored[f"final/{asker}/{g}"]["users"] for g in runs.GROUPS])
        assert sorted(users) == list(range(load_movielens().n_users))


@pytest.mark.parametrize("group", runs.GROUPS)
def test_no_newcomer_reaches_a_fit_or_a_choice(group):
    tune, final = runs.world("tune", group), runs.world("final", group)
    assert not np.isin(final.who, tune.who).any()
    for world in (tune, final):
        assert not np.isin(world.who, world.train.users).any()
    assert not np.isin(final.who, tune.train.users).any()
    assert not (final.exam.toarray() * final.answers).any()  # what is asked about is not examined


def test_pages_hold_each_film_once_and_answers_only_what_was_seen():
    world = runs.world("final", 0)
    played = runs.play(world, "clairvoyant", {"l2": 800, "half": 10}, seed=0)
    per_page = np.diff(played["known"], axis=0)
    assert (per_page <= runs.PAGE).all() and (per_page >= 0).all()
    can_answer = world.answers.sum(axis=1)
    assert (played["known"][-1] == np.minimum(can_answer, 10 * runs.PAGE)).all()


def test_the_script_resumes(tmp_path, stored, capsys):
    few = {run.key: stored[run.key] for run in list(runs.runs(stored))[1:]}
    store = tmp_path / "runs.json"
    stored_runs.save(store, few)
    done = []

    def perform(run, known):
        done.append(run.key)
        return {"ndcg": stored[run.key]["ndcg"]}

    work = {"wanted": runs.runs, "code": runs.code_hash, "perform": perform}
    assert stored_runs.work_through(store, **work) == 0
    assert done == [next(iter(runs.runs(stored))).key]
