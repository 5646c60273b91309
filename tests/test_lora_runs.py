"""The stored runs of section 5.5: made by the present code, complete, and coherent."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.language import CausalLM, ranking
from recsys_lab.language.prompts import TEMPLATES

SECTION = Path(__file__).parents[1] / "chapters" / "5_llm_finetuning"
sys.path.insert(0, str(SECTION))
import lora_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture(scope="module")
def ranker() -> runs.Ranker:
    return runs.Ranker(CausalLM())


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    assert {run.method for run in wanted if run.group == "kin"} == set(runs.RATES) - {"lora"}
    for n in runs.EPOCHS:
        assert all(f"curve/lora/{n}/{seed}" in stored for seed in runs.seeds_of(n))


def test_the_rate_and_the_epoch_are_the_best_on_validation_users(stored):
    tried = [run for run in runs.runs(stored) if run.group == "tune"]
    best = {run.lr: min(stored[run.key]["validation"]) for run in tried}
    assert best[runs.best_rate(stored, "lora")] == min(best.values()) and len(best) > 1
    for run in filter(lambda run: run.looks, runs.runs(stored)):
        looks = stored[run.key]["validation"]
        assert stored[run.key]["kept"] == run.settings["every"] * (1 + int(np.argmin(looks)))


def test_scores_are_two_a_test_user(stored):
    n = len(runs.make_task().test)
    for key, run in stored.items():
        for name in {"scores", "last_scores"} & set(run):
            scores = np.array(run[name])
            assert scores.shape == (n, 2) and np.isfinite(scores).all(), key
        if "lists" in run:
            assert np.array(run["lists"]).shape == (runs.N_LISTS, 20), key


def test_lists_are_ranked_as_in_section_4_while_nothing_is_tuned():
    ranker = runs.Ranker(CausalLM())
    runs.prepare(ranker, "lora")  # B is zero
    runs.keep_half(ranker)  # which must not reach the model that ranks
    found = runs.rank_lists(ranker, "seed 1", 1)
    expected = runs.zero_shot.load_runs()["yes_no/seed 1/0"][:1]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_nobody_is_in_two_parts_and_no_question_is_counted():
    task = runs.make_task()
    users = [{one.user for one in part} for part in task[:3]]
    assert sum(map(len, users)) == len(set.union(*users))
    assert not (users[1] | users[2]) & set(task.known.users.tolist())
    listed = {int(u) for seed in runs.SEEDS for u in runs.zero_shot.users_of(f"seed {seed}")}
    assert not users[0] & listed and users[2] <= listed
    known = set(zip(task.known.users.tolist(), task.known.items.tolist()))
    for one in task.train:
        assert not known & {(one.user, one.liked), (one.user, one.disliked)}
    for one in task.train + task.validation + task.test:
        assert not {one.liked, one.disliked} & set(one.history.tolist())


def test_a_smaller_draw_is_part_of_a_larger():
    few, many = runs.shots(16, 1), runs.shots(64, 1)
    assert len(few) == 8 and len(many) == 32
    assert [one.user for one in few] == [one.user for one in many[:8]]
    assert [one.user for one in few] != [one.user for one in runs.shots(16, 2)]


def test_both_questions_in_one_pass_are_the_scores_of_the_package(ranker):
    asked = runs.make_task().test[:2]
    ranker.half = False
    ours = runs.score(ranker, asked)
    model = object.__new__(CausalLM)
    model.model, model.tokenizer = ranker.body, ranker.tokenizer
    for one, found in zip(asked, ours):
        history = [ranker.titles[i] for i in one.history]
        films = [ranker.titles[i] for i in (one.liked, one.disliked)]
        theirs = ranking.score(model, TEMPLATES["yes_no"], history, films)
        assert np.abs(found - theirs).max() < 1e-3


def test_an_adapter_starts_as_nothing():
    x = torch.randn(3, 6)
    assert torch.equal(runs.Bottleneck(6, 2)(x), x)


def test_auc_counts_pairs_of_users_and_half_a_tie():
    assert runs.auc(np.array([[3.0, 1.0], [2.0, 2.0]])) == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_an_unknown_method_is_named(ranker):
    with pytest.raises(ValueError, match="choose from lora, adalora"):
        runs.prepare(ranker, "magic")
