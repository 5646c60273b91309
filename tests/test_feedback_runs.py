"""The stored runs of section 5.8: made by the present code, complete, and coherent."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from recsys_lab import tracking
from recsys_lab.language import CausalLM, lora
from recsys_lab.language.causal_lm import smollm2_folder
from recsys_lab.language.preference import answer_log_probs

SECTION = Path(__file__).parents[1] / "chapters" / "5_llm_finetuning"
sys.path.insert(0, str(SECTION))
import feedback_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


def small_ranker() -> tuple[runs.Ranker, CausalLM]:
    """A LLaMA of random numbers that reads bytes, three layers, LoRA on the upper two."""
    torch.manual_seed(0)
    model = object.__new__(CausalLM)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3}
    config = LlamaConfig(vocab_size=256, num_attention_heads=2, **sizes)
    model.model = LlamaForCausalLM(config).eval()

    def tokenizer(text, return_tensors=None, add_special_tokens=False):
        return SimpleNamespace(input_ids=list(text.encode()))

    model.tokenizer = tokenizer
    return runs.Ranker(model, n_tuned=2, rank=2), model


def test_every_kind_of_run_is_stored(stored):
    wanted = list(runs.runs(stored))
    final = {(run.method, run.seed) for run in wanted if run.group == "final"}
    assert final == {(m, s) for m in (*runs.NEGATIVES, "likelihood") for s in runs.SEEDS}


def test_scores_are_there_for_every_list(stored):
    for key, run in stored.items():
        for name, values in run.items():
            if name.startswith(("uniform/", "popular/")):
                how, group = name.split("/")
                values = np.array(values)
                assert values.shape == runs.lists_of(group, how).items.shape, (key, name)
                assert (values < 0).all()


def test_the_untuned_scores_are_those_of_section_4(stored):
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    ids = SimpleNamespace(tokens=lambda text: tokenizer(text).input_ids)
    theirs = runs.zero_shot.load_runs()
    assert runs.zero_shot.chosen(theirs) == runs.WORDING
    lists = runs.zero_shot.asked("likelihood")
    found = runs.zero_shot.gathered(theirs, "likelihood")
    for seed in runs.SEEDS:
        group = f"seed {seed}"
        ours = np.array(stored["base/none/seed 0"][f"uniform/{group}"]) / runs.n_tokens(ids, group)
        row = {user: scores for user, scores in zip(lists.users, found)}
        wanted = [row[user] for user in runs.lists_of(group).users]
        np.testing.assert_allclose(ours, wanted, atol=2e-3)


def test_what_the_page_says_of_early_stopping_and_of_not_tuning_at_all(stored):
    epochs = {}
    for key, run in stored.items():
        group, method, _ = key.split("/")
        if group == "final":
            epochs.setdefault(method, []).append(int(np.argmax(run["validation"])) + 1)
    first = {method: kept.count(1) for method, kept in epochs.items()}
    assert first == {"likelihood": 0, "disliked": 3, "unseen": 2, "matched": 1}
    ends = [stored[f"final/unseen/seed {seed}"]["validation"][-1] for seed in runs.SEEDS]
    assert sum(-end < np.log(2) for end in ends) == 1
    assert -max(stored[runs.Run("final", "unseen", 0, 0.8).key]["validation"]) > np.log(2)
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    ids = SimpleNamespace(tokens=lambda text: tokenizer(text).input_ids)
    values = np.array(stored["base/none/seed 0"]["uniform/tuning"]) / runs.n_tokens(ids, "tuning")
    untuned = runs.ndcg(values, "tuning").mean()
    for beta in runs.BETAS:
        assert stored[runs.Run("tune", "unseen", 0, beta).key]["tuning_ndcg"] < untuned


def test_nobody_is_in_two_parts():
    groups = ["tuning", *(f"seed {seed}" for seed in runs.SEEDS)]
    listed = {int(u) for group in groups for u in runs.zero_shot.users_of(group)}
    for seed in runs.SEEDS:
        train = [one.user for one in runs.pairs(f"train {seed}")]
        assert len(set(train)) == len(train) == runs.N_TRAIN and not set(train) & listed
    assert {one.user for one in runs.pairs("tuning")} <= set(runs.zero_shot.users_of("tuning"))


def test_pairs_are_what_they_are_called():
    data, counts = runs.zero_shot.movielens()[0], runs.zero_shot.split_of(0).train.counts("items")
    gaps = []
    for one in runs.pairs("train 0"):
        rows = data.users == one.user
        rating = dict(zip(data.items[rows].tolist(), data.ratings[rows].tolist()))
        assert all(rating[film] >= 4 for film in one.chosen + one.history)
        assert not set(one.chosen) & set(one.history)
        assert all(rating[film] <= 3 for film in one.rejected["disliked"])
        for kind in ("unseen", "matched"):
            assert not set(one.rejected[kind]) & set(rating), kind
        for films in one.rejected.values():
            assert len(set(films)) == len(films) == len(one.chosen)
        gaps += np.abs(counts[list(one.chosen)] - counts[list(one.rejected["matched"])]).tolist()
    assert np.median(gaps) <= 2


def test_titles_in_one_pass_are_the_scores_of_the_plain_way():
    ranker, model = small_ranker()
    with torch.no_grad():
        for name, parameter in lora.lora_parameters(ranker.upper).items():
            if name.endswith("lora_b"):
                parameter.normal_()
    titles = [' "Heat"', ' "Toy Story"', ' "M"']
    ours = ranker(ranker.read("Liked films:\n-", titles))
    theirs = answer_log_probs(model, "Liked films:\n-", titles)
    assert torch.allclose(ours, theirs, atol=1e-4)
    with runs.frozen(ranker):
        assert not torch.allclose(ranker(ranker.read("Liked films:\n-", titles)), theirs, atol=1e-2)


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path):
    def weights(folder, kill_at=None):
        ranker, _ = small_ranker()
        some = runs.prepared(ranker, runs.pairs("train 0")[:8], "unseen")
        loss, calls = runs.dpo(ranker, 0.5), iter(range(1, 99))

        def may_die(pairs):
            if torch.is_grad_enabled() and next(calls) == kill_at:
                raise KeyboardInterrupt
            return loss(pairs)

        with tracking.Tracker(folder / "logs") as log:
            how = {"seed": 3, "lr": 1e-2, "checkpoint": folder / "run.pt", "log": log}
            runs.tune(ranker, may_die, some[:6], some[6:], **how)
        return lora.lora_parameters(ranker.upper).state_dict()

    whole = weights(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        weights(tmp_path / "parts", kill_at=10)  # in the second epoch
    parts = weights(tmp_path / "parts")
    assert any(value.abs().sum() > 0 for name, value in whole.items() if name.endswith("lora_b"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [tracking.read(tmp_path / part / "logs") for part in ("whole", "parts")]
    columns = ["name", "step", "value"]
    assert logs[0][columns].equals(logs[1][columns])
    assert {"loss", "validation", "chosen", "rejected", "ahead"} <= set(logs[0]["name"])
