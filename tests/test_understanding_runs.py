"""The stored runs of section 5.6: made by the present code from the present texts, complete."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lab.data.reviews import load_reviews
from recsys_lab.language import CausalLM

SECTION = Path(__file__).parents[1] / "chapters" / "5_llm_finetuning"
sys.path.insert(0, str(SECTION))
import understanding_runs as runs  # noqa: E402  it stands beside its page, not in a package


@pytest.fixture(scope="module")
def stored() -> dict:
    return runs.load_runs()


@pytest.fixture(scope="module")
def lm() -> CausalLM:
    return CausalLM()


def test_every_run_is_stored_by_this_code_from_these_texts(stored):
    wanted = {run.key: run.code for run in runs.runs()}
    old = [key for key, code in wanted.items() if stored.get(key, {}).get("code") != code]
    assert not old, f"{runs.STORE.name} is older than the code: run {runs.__file__}: {old[:5]}"
    assert set(wanted) == set(stored)


def test_scores_and_states_are_there_for_every_review(stored):
    n = len(load_reviews())
    scores = runs.stored_scores(stored)
    assert scores.shape == (n, len(runs.WORDINGS), 3) and (scores < 0).all()
    assert (np.exp(scores).sum(-1) <= 1).all()  # parts of one distribution
    for kind in ("mean", "last"):
        states = runs.load_states(kind)
        assert states.shape == (n, 576) and np.isfinite(states).all()


def test_nothing_that_is_reported_chose_a_prompt():
    reviews = load_reviews()
    train, test = reviews.part("train"), reviews.part("test")
    by_key = {run.key: run for run in runs.runs()}
    examples = "".join(by_key[f"shots/pilot/{d}"].reads[0] for d in range(runs.N_DRAWS))
    assert not any(text in examples for text in test.texts if len(text) > 60)
    read = {t for d in range(runs.N_DRAWS) for t in by_key[f"shots/pilot/{d}"].reads[1]}
    assert read <= set(train.texts)
    pilot, final = (
        {p for key, run in by_key.items() if key.startswith(start) for p in run.reads[0]}
        for start in ("profile/pilot/themes", "profile/final/themes")
    )
    assert len(pilot) == runs.N_PILOT and len(final) == runs.N_USERS and not pilot & final


def test_a_review_read_once_for_all_wordings_scores_as_each_prompt_read_whole(lm):
    text = "It took a week, then the cough was gone. " * 3
    found = runs.read_reviews(lm, [text])
    for w, (end, words) in enumerate(runs.WORDINGS.values()):
        whole = lm.log_likelihood(runs.TEXT.format(text) + end, list(words))
        assert np.allclose(found["scores"][0, w], whole, atol=1e-4)
    tokens = lm.tokenizer(runs.TEXT.format(text), return_tensors="pt").input_ids
    with torch.inference_mode():
        states = lm.model.model(tokens.to(lm.model.device)).last_hidden_state[0]
    assert np.allclose(found["mean"][0], states.mean(0).cpu().numpy(), atol=1e-3)


def test_examples_before_a_review_score_as_one_prompt(lm):
    end, words = runs.WORDINGS[runs.STATE_OF]
    examples = f"{runs.TEXT.format('No help at all.')}{end} negative"
    texts = ["A great relief.", "It did nothing for me, and it cost a lot of money."]
    found = runs.read_after(lm, examples, texts)["scores"]
    for row, text in zip(found, texts, strict=True):
        whole = lm.log_likelihood(f"{examples}\n\n{runs.TEXT.format(text)}{end}", list(words))
        assert np.allclose(row, whole, atol=1e-4)


def test_a_batch_writes_what_each_prompt_writes_alone(lm):
    prompts = [
        runs.KEYWORDS["example"].format(t) for t in ("It itches.", "My sleep came back soon.")
    ]
    together = runs.write(lm, prompts, 8)
    assert together == [runs.write(lm, [prompt], 8)[0] for prompt in prompts]


def test_halves_are_the_whole():
    assert runs.first_half("a b c d e") == "a b" and runs.second_half("a b c d e") == "c d e"
