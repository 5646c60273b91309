"""The stored scores of the section on zero-shot ranking: of the present lists, complete, true."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

SECTION = Path(__file__).parents[1] / "chapters" / "5_llm_finetuning"
sys.path.insert(0, str(SECTION))
import zero_shot_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored():
    return runs.load_runs()


def test_the_scores_are_of_these_lists_and_wordings() -> None:
    saved = json.loads(runs.STORE.read_text())
    assert saved["inputs"] == runs.fingerprint(), (
        f"{runs.STORE.name} is older than the lists, the wordings or the scoring: "
        f"run {Path(runs.__file__).name}, then make execute"
    )


def test_every_block_is_stored(stored) -> None:
    assert set(runs.keys()) == set(stored)


def test_nobody_is_in_two_groups() -> None:
    groups = [runs.users_of(group) for group in ("tuning", "seed 0", "seed 1", "seed 2")]
    users = np.concatenate(groups)
    assert len(np.unique(users)) == len(users) == runs.N_TUNING + 3 * runs.N_USERS


def test_the_wording_is_the_best_of_the_tuning_users(stored) -> None:
    quality = {
        name: runs.ranking.evaluate_lists(
            runs.gathered(stored, f"wording {name}"), runs.lists_of("tuning")
        )["ndcg"].mean()
        for name in runs.TITLE_NEXT
    }
    assert quality[runs.chosen(stored)] == max(quality.values())


@pytest.mark.parametrize("experiment", ["likelihood", "yes_no", "listwise", "stranger", "matched"])
def test_a_list_is_scored_again_as_it_is_stored(stored, experiment: str) -> None:
    group, row = "seed 0", 3
    how = "popular" if experiment == "matched" else "uniform"
    lists, titles = runs.lists_of(group, how), runs.movielens()[1]
    template = runs.TEMPLATES.get(experiment, runs.TITLE_NEXT[runs.chosen(stored)])
    if experiment == "likelihood":
        template = runs.TITLE_NEXT[runs.chosen(stored)]
    reader = lists.users[row + (experiment == "stranger")]
    history = runs.history_of(group, int(reader))
    found = runs.ranking.score(
        runs.language_model(), template, history, [titles[item] for item in lists.items[row]]
    )
    np.testing.assert_allclose(found, stored[f"{experiment}/{group}/0"][row], atol=2e-3)


def test_lists_and_scores_stand_in_one_order(stored) -> None:
    for experiment in ("likelihood", "yes_no", "stranger", "listwise", "pairwise"):
        lists, scores = runs.asked(experiment), runs.gathered(stored, experiment)
        assert lists.items.shape == scores.shape and len(set(lists.users)) == len(lists.users)
    assert runs.asked("matched", "popular").items.shape == runs.gathered(stored, "matched").shape
    for key in runs.keys_of("likelihood"):
        _, group, number = key.split("/")
        row = list(runs.asked("likelihood").users).index(
            runs.users_of(group)[runs.BLOCK * int(number)]
        )
        assert runs.gathered(stored, "likelihood")[row].tolist() == stored[key][0]


@pytest.mark.parametrize("name", sorted(runs.PROBES))
def test_a_probe_is_stored_with_its_questions_and_can_be_asked_again(stored, name: str) -> None:
    questions, saved = runs.probe(name), stored[f"memory {name}/all/0"]
    assert saved["questions"] == runs.digest(questions), "the questions have changed: run it again"
    assert len(saved["scores"]) == len(questions) >= 60
    assert all(len(set(one.options)) == len(one.options) for one in questions)
    again = runs.answer(runs.language_model(), questions[:2])
    np.testing.assert_allclose(again, saved["scores"][:2], atol=2e-3)


def test_held_out_ratings_were_not_in_the_history() -> None:
    pairs, split = runs.rated()
    assert (split.test.users[pairs[:, 1]] == pairs[:, 0]).all()
    assert not np.isin(pairs[:, 0], runs.users_of("tuning")).any()
    assert np.bincount(pairs[:, 0]).max() <= runs.N_RATED


def test_a_missing_store_names_the_remedy(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(runs, "STORE", tmp_path / "zero_shot_runs.json")
    with pytest.raises(FileNotFoundError, match=r"Make it: python zero_shot_runs\.py"):
        runs.load_runs()
