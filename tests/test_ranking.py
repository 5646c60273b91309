"""Lists of candidates, and their scores: the shared prefix gives what the plain loop gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from recsys_lab.data import Interactions, leave_last_out, load_movielens
from recsys_lab.evaluation import expected_metrics
from recsys_lab.language import CausalLM
from recsys_lab.language.causal_lm import smollm2_folder
from recsys_lab.language.prompts import KINDS, LETTERS, TEMPLATES
from recsys_lab.language.ranking import (
    candidates,
    evaluate_lists,
    log_odds,
    opponents,
    score,
)
from recsys_lab.language.texts import item_texts
from recsys_lab.models import Popularity

HISTORY = ["Fargo", "Heat", "Toy Story"]
TITLES = ["Alien", "Ace Ventura: When Nature Calls", "E.T.", 'A "B" C', "Se7en", "Fargo"] + [
    f"A title of {n} words " + "and more " * n for n in range(14)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    """A LLaMA of two thin layers with random weights: what it says is noise, but exact noise."""
    folder: Path = tmp_path_factory.mktemp("tiny_llama")
    tokenizer = AutoTokenizer.from_pretrained(str(smollm2_folder()))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,  # far from uniform answers
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return CausalLM(folder)


@pytest.fixture(scope="module")
def split():
    return leave_last_out(load_movielens(), seed=0, validation=False)


@torch.inference_mode()
def plain(model: CausalLM, prompt: str, text: str) -> np.ndarray:
    """(T, vocabulary) log-probabilities from one reading of everything, and the text's tokens."""
    whole = model.tokenizer(prompt + text, return_tensors="pt").input_ids
    n = model.tokenizer(prompt, return_tensors="pt").input_ids.shape[1]
    log_probs = model.model(whole.to(model.model.device)).logits[0].float().log_softmax(-1).cpu()
    return log_probs[n - 1 :].numpy(), whole[0, n:].numpy()


def token(model: CausalLM, text: str) -> int:
    (found,) = model.tokenizer(text, add_special_tokens=False).input_ids
    return found


def plain_score(model: CausalLM, kind: str, history: list[str], titles: list[str]) -> np.ndarray:
    template = TEMPLATES[kind]
    prefix = template.read(history)
    if kind == "likelihood":
        found = []
        for title in titles:
            log_probs, tokens = plain(model, prefix, template.about(title))
            found.append(log_probs[np.arange(len(tokens)), tokens].mean())
        return np.array(found)
    if kind == "listwise":
        last = plain(model, prefix, template.about(*titles))[0][-1]
        return np.array([last[token(model, f" {letter}")] for letter in LETTERS[: len(titles)]])
    first, second = (token(model, answer) for answer in template.answers)
    if kind == "yes_no":
        last = [plain(model, prefix, template.about(title))[0][-1] for title in titles]
        return np.array([row[first] - row[second] for row in last])
    n, total = len(titles), np.zeros(len(titles))
    for i in range(n):
        for j in ((i + 1) % n, (i + 2) % n):
            for a, b in ((i, j), (j, i)):
                last = plain(model, prefix, template.about(titles[a], titles[b]))[0][-1]
                total[a] += (last[first] - last[second]) / 8
                total[b] -= (last[first] - last[second]) / 8
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_shared_prefix_gives_the_plain_score(tiny: CausalLM, kind: str) -> None:
    found = score(tiny, TEMPLATES[kind], HISTORY, TITLES)
    expected = plain_score(tiny, kind, HISTORY, TITLES)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected.std() > 1e-2  # there was something to get wrong


@pytest.mark.parametrize("kind", ["likelihood", "yes_no", "listwise"])
def test_shared_prefix_gives_the_plain_score_of_smollm2(kind: str) -> None:
    model = CausalLM()
    found = score(model, TEMPLATES[kind], HISTORY, TITLES[:6])
    np.testing.assert_allclose(found, plain_score(model, kind, HISTORY, TITLES[:6]), atol=1e-4)


def test_the_sum_is_the_mean_times_the_tokens(tiny: CausalLM) -> None:
    mean = tiny.log_likelihood("A film:", TITLES)
    total = tiny.log_likelihood("A film:", TITLES, per_token=False)
    lengths = [len(tiny.tokenizer(text).input_ids) for text in TITLES]
    np.testing.assert_allclose(total, mean * lengths, rtol=1e-5)


def test_answers_are_probabilities_of_one_token(tiny: CausalLM) -> None:
    found = tiny.answer_log_probs(
        "A film:", ["\nGood?", "\nIs it a good one, then?"], [" yes", " no"]
    )
    assert found.shape == (2, 2) and (found < 0).all() and np.exp(found).sum(1).max() < 1
    np.testing.assert_allclose(log_odds(found), found[:, 0] - found[:, 1])
    with pytest.raises(ValueError, match="' not at all' is not one token"):
        tiny.answer_log_probs("A film:", ["Good?"], [" yes", " not at all"])
    with pytest.raises(ValueError, match="at least one question"):
        tiny.answer_log_probs("A film:", [], [" yes"])


def test_a_likelihood_reads_each_token_once(tiny: CausalLM) -> None:
    """Prefix once, and of each title all but the last token; nothing else but padding."""
    read = []
    table = tiny.model.get_input_embeddings()
    hook = table.register_forward_hook(lambda _, tokens, __: read.append(tokens[0].numel()))
    titles = ["Alien"] * 3  # of equal length: no padding
    score(tiny, TEMPLATES["likelihood"], HISTORY, titles)
    hook.remove()
    prefix = len(tiny.tokenizer(TEMPLATES["likelihood"].read(HISTORY)).input_ids)
    assert sum(read) == prefix + 3 * (len(tiny.tokenizer(' "Alien"').input_ids) - 1)


@pytest.mark.parametrize("n", [2, 3, 20])
def test_everybody_meets_as_many(n: int) -> None:
    pairs = opponents(n)
    assert (pairs[:, 0] != pairs[:, 1]).all() and len(np.unique(pairs, axis=0)) == len(pairs)
    assert {tuple(pair) for pair in pairs} == {tuple(pair) for pair in pairs[:, ::-1]}
    assert len(set(np.bincount(pairs.ravel(), minlength=n))) == 1


@pytest.mark.parametrize("how", ["uniform", "popular"])
def test_one_held_out_film_among_unseen_ones(split, how: str) -> None:
    lists = candidates(split, range(0, 943, 9), seed=3, how=how)
    assert lists.items.shape == (105, 20)
    truth = {u: i for u, i in zip(split.test.users, split.test.items, strict=True)}
    seen = split.train.matrix().tocsr()
    for user, items, place in zip(*lists, strict=True):
        assert items[place] == truth[user] and len(set(items)) == 20
        assert not set(items) & set(seen[user].indices)
        assert (split.train.counts("items")[np.delete(items, place)] > 0).all()
    assert np.bincount(lists.place, minlength=20).max() < 20  # all places, none favoured
    few = candidates(split, [90, 9], seed=3, how=how)
    np.testing.assert_array_equal(few.items, lists.items[[10, 1]])
    assert (candidates(split, [90, 9], seed=4, how=how).items != few.items).any()


def test_equal_popularity_leaves_popularity_little(split) -> None:
    counts = split.train.counts("items")
    spread = {}
    for how in ("uniform", "popular"):
        lists = candidates(split, range(400), how=how)
        own = counts[np.take_along_axis(lists.items, lists.place[:, None], 1)]
        spread[how] = np.abs(np.log1p(counts[lists.items]) - np.log1p(own)).mean()
        scores = np.take_along_axis(
            Popularity().fit(split.train).score(lists.users), lists.items, 1
        )
        table = evaluate_lists(scores, lists)
        spread[how, "ndcg"] = table["ndcg"].mean()
    assert spread["popular"] < 0.1 * spread["uniform"]
    assert spread["uniform", "ndcg"] > 0.45 and abs(spread["popular", "ndcg"] - 0.227) < 0.06


def test_a_random_order_scores_chance(split) -> None:
    lists = candidates(split, range(943))
    rng = np.random.default_rng(0)
    table = evaluate_lists(rng.random(lists.items.shape), lists)
    chance = expected_metrics(np.array([20]), np.array([1]))["ndcg"].item()
    assert table["ndcg"].mean() == pytest.approx(chance, abs=0.03)
    assert list(table.index) == list(range(943)) and table.attrs["n_negatives"] == 19
    best = evaluate_lists(np.arange(20) == lists.place[:, None], lists)
    assert (best["ndcg"] == 1).all()


def test_lists_that_cannot_be_made_say_why(split) -> None:
    with pytest.raises(ValueError, match='choose "uniform" or "popular"'):
        candidates(split, [0], how="hard")
    small = Interactions([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], timestamps=range(5))
    with pytest.raises(ValueError, match="user 0 has 1 test events and 0 unseen films"):
        candidates(leave_last_out(small, validation=False), [0])


def test_titles_of_the_data_are_tokenised_alike_alone_and_after_the_prompt(tiny) -> None:
    """A token never spans the seam between the prompt and a title."""
    titles = item_texts(load_movielens(), ("title",))[::40]
    for kind in ("likelihood", "yes_no"):
        template = TEMPLATES[kind]
        prefix = template.read(titles[:5])
        for title in titles:
            ask = template.about(title)
            joint = tiny.tokenizer(prefix + ask).input_ids
            assert joint == tiny.tokenizer(prefix).input_ids + tiny.tokenizer(ask).input_ids
