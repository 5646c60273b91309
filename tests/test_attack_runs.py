"""The stored runs of section 7.8 on the language model: current, complete, resumable."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lab.limits.injection import ATTACKS

SECTION = Path(__file__).parents[1] / "chapters" / "7_limitations"
sys.path.insert(0, str(SECTION))
import attack_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.experiment for run in wanted} == set(runs.PERFORM) == set(runs.PARTS)


def test_nobody_is_in_two_groups_and_no_target_is_the_held_out_film():
    groups = [*runs.TUNING, *runs.TEST]
    users = np.concatenate([runs.lists_of(group).users for group in groups])
    assert len(users) == len(set(users.tolist())) == runs.BLOCK * len(groups)
    for place in range(20):
        chosen = runs.targets(place)
        assert place not in chosen and len(set(chosen)) == len(runs.STEPS)


def test_the_answers_are_whole(stored):
    for key, run in stored.items():
        experiment = key.split("/")[0]
        assert len(run["users"]) == runs.BLOCK, key
        for row in run["users"]:
            if experiment in ("likelihood", "yes_no"):
                assert len(row["attacked"]) == runs.N_TARGETS[experiment]
                names = {*ATTACKS, *(f"words for {name}" for name in runs.CONTROLLED)}
                assert all(set(one) == names for one in row["attacked"])
            if "clean" in row:
                assert len(row["clean"]) == 20 and np.isfinite(row["clean"]).all()


def test_a_history_holds_no_candidate_and_no_held_out_film():
    titles = runs.movielens()[1]
    for group in runs.TEST:
        split = runs.split_of(group)
        for user, items, place in zip(*runs.lists_of(group)):
            rated = split.train.items[split.train.users == user]
            assert not np.isin(items, rated).any()
            assert items[place] in split.test.items[split.test.users == user]
            assert set(runs.history_of(group, int(user))) <= {titles[item] for item in rated}


class Words:
    """Stands for the language model: a token a word."""

    class Tokens(list):
        @property
        def input_ids(self):
            return self

    def tokenizer(self, text):
        return self.Tokens(text.split())


def test_a_control_has_as_many_tokens_as_its_attack():
    for attack in runs.CONTROLLED:
        for seed in range(5):
            text = runs.control(Words(), "Heat", attack, (seed,))
            assert text.startswith("Heat:")
            assert len(text.split()) == len(runs.planted("Heat", attack).split())
    again = [runs.control(Words(), "Heat", "order", (3,)) for _ in range(2)]
    assert again[0] == again[1] != runs.control(Words(), "Heat", "order", (4,))
