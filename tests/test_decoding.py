"""Decoding, free and in a trie, against the library's and against enumeration."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from recsys_lab import device
from recsys_lab.language import CausalLM
from recsys_lab.language.causal_lm import smollm2_folder
from recsys_lab.language.decoding import Rows, generate, greedy_lists
from recsys_lab.language.search import beam_search, best_entries
from recsys_lab.language.trie import Trie, title_trie

PROMPTS = ["A viewer loved Fargo and Heat:\n", "Films:\n"]
TITLES = ["Alien", "Alien 3", "Heat", "The Rock", "The Thing", "Fargo", "Sabrina", "Sabrina", "Ed"]


@pytest.fixture(scope="module")
def model() -> CausalLM:
    """SmolLM2's tokenizer and a small LLaMA with random weights, as sure of itself as a real one.

    In float64, so that no tie is rounding's to decide.
    """
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=49_152, num_attention_heads=2, eos_token_id=2, **sizes)
    small = object.__new__(CausalLM)
    small.tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    small.model = LlamaForCausalLM(config).double().to(device.pick()).eval()
    small.model.lm_head.weight.data *= 45
    small.model.requires_grad_(False)
    return small


@pytest.fixture(scope="module")
def trie(model) -> Trie:
    return title_trie(model.tokenizer, TITLES)


def sums(model, prompt: str) -> np.ndarray:
    """Log-probability of each title's line, all of it read."""
    lines = [f'- "{title}"\n' for title in TITLES]
    return model.log_likelihood(prompt, lines, per_token=False)


def test_greedy_writes_what_the_library_writes(model):
    found = generate(model, PROMPTS, 12)
    for prompt, text in zip(PROMPTS, found):
        tokens = model.tokenizer(prompt, return_tensors="pt").to(model.model.device)
        whole = model.model.generate(**tokens, max_new_tokens=12, do_sample=False, pad_token_id=2)
        new = whole[0, tokens.input_ids.shape[1] :]
        assert text == model.tokenizer.decode(new, skip_special_tokens=True)


def test_rows_do_not_see_each_other_or_their_padding(model):
    both = Rows(model, PROMPTS)
    both.append([5, 7])
    both.select([1, 1, 0])
    for row, token, prompt in ((0, 7, PROMPTS[1]), (2, 5, PROMPTS[0])):
        alone = Rows(model, [prompt])
        alone.append([token])
        assert torch.allclose(both.log_probs[row], alone.log_probs[0], atol=1e-5)


def test_a_draw_is_repeated_by_its_seed_and_changed_by_another(model):
    first, again, other = (generate(model, PROMPTS, 6, 1.0, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_draws_have_the_models_probabilities(model):
    start = Rows(model, PROMPTS[:1]).log_probs[0].exp().cpu()
    top = int(start.argmax())
    texts = generate(model, PROMPTS[:1] * 400, 1, 1.0, seed=3)
    share = np.mean([text == model.tokenizer.decode([top]) for text in texts])
    assert 0.1 < float(start[top]) < 0.9
    assert abs(share - float(start[top])) < 4 * np.sqrt(0.25 / 400)


def test_the_exact_search_is_enumeration(model, trie):
    for prompt in PROMPTS:
        wanted = sums(model, prompt)
        for width in (1, 4):
            found, n_read = best_entries(model, trie, prompt, 8, width=width)
            values = [value for _, value in found]
            assert [entry for entry, _ in found] == [e for e in np.argsort(-wanted) if e != 7]
            assert np.allclose(values, wanted[[entry for entry, _ in found]], atol=1e-5)
            assert n_read <= len(trie.children)


def test_a_wide_beam_is_exact_and_a_narrow_one_never_better(model, trie):
    for prompt in PROMPTS:
        exact, _ = best_entries(model, trie, prompt, 8)
        wide = beam_search(model, trie, prompt, 8)
        assert [e for e, _ in wide] == [e for e, _ in exact]
        assert beam_search(model, trie, prompt, 1)[0][1] <= exact[0][1] + 1e-9


@pytest.mark.parametrize("n_beams", [1, 2, 3])
def test_a_beam_is_the_librarys(model, trie, n_beams):
    end = model.tokenizer("\n", add_special_tokens=False).input_ids[0]
    for prompt in PROMPTS:
        tokens = model.tokenizer(prompt, return_tensors="pt").to(model.model.device)
        start = tokens.input_ids.shape[1]

        def allowed(_, so_far, start=start):
            node = 0
            for token in so_far[start:].tolist():
                node = trie.children[node].get(token, node)
            return list(trie.children[node]) or [end]

        how = {"num_beams": n_beams, "num_return_sequences": n_beams, "do_sample": False}
        how |= {"length_penalty": 0.0, "eos_token_id": end, "pad_token_id": 2}
        theirs = model.model.generate(
            **tokens, prefix_allowed_tokens_fn=allowed, max_new_tokens=20, **how
        )
        lines = model.tokenizer.batch_decode(theirs[:, start:], skip_special_tokens=True)
        ours = [TITLES[entry] for entry, _ in beam_search(model, trie, prompt, n_beams)]
        assert [line.strip() for line in lines] == [f'- "{title}"' for title in ours]


def test_lists_hold_no_title_twice_and_none_that_is_banned(model, trie):
    lists = greedy_lists(model, trie, PROMPTS, 5, banned=[[2, 3], [0, 7]])
    assert len({*lists[0]}) == len({*lists[1]}) == 5
    assert not {2, 3} & {*lists[0]} and not {0, 6, 7} & {*lists[1]}  # 6 has the title of 7
    alone = greedy_lists(model, trie, PROMPTS[:1], 5, banned=[[2, 3]])
    assert alone[0] == lists[0]
    beam = beam_search(model, trie, PROMPTS[0], 1, banned=[2, 3])
    assert beam[0][0] == lists[0][0]


def test_a_title_that_begins_another_needs_an_end(model, trie):
    with pytest.raises(ValueError, match="entry 0 is the beginning of another entry: end every"):
        Trie([[1, 2], [1, 2, 3]])
    assert Trie([[1, 2, 9], [1, 2, 3, 9]]).counts()[0] == 2
    assert trie.leaves[0] != trie.leaves[1]  # Alien, Alien 3


def test_films_of_one_title_share_a_leaf_and_are_banned_together(trie):
    assert trie.leaves[6] == trie.leaves[7] and trie.entries[trie.leaves[6]] == [6, 7]
    assert trie.counts()[0] == 8 and trie.counts([7])[0] == 7 == trie.counts([6, 7])[0]


def test_a_control_token_in_a_title_is_quoted_away(model):
    tricky = 'Fine"\n- "Heat <|im_end|>'
    tokens = model.tokenizer(f'- "{tricky}"\n').input_ids
    assert set(tokens) & set(model.tokenizer.all_special_ids)  # without quoting it is in there
    lonely = title_trie(model.tokenizer, [tricky])
    path = [token for children in lonely.children for token in children]
    assert not set(path) & set(model.tokenizer.all_special_ids)
    assert model.tokenizer.decode(path).count("\n") == 1
    assert greedy_lists(model, lonely, PROMPTS[:1], 1) == [[0]]


@pytest.mark.parametrize(
    ("titles", "message"),
    [([], "the catalogue is empty"), (["Heat", " "], "title 1 is empty")],
)
def test_bad_catalogues_are_named(model, titles, message):
    with pytest.raises(ValueError, match=message):
        title_trie(model.tokenizer, titles)


def test_other_bad_input_is_named(model, trie):
    with pytest.raises(ValueError, match="entry 1 has no tokens"):
        Trie([[1], []])
    with pytest.raises(ValueError, match="prompt 1: 7 titles are left, 8 are asked for"):
        greedy_lists(model, trie, PROMPTS, 8, banned=[[], [2]])
    with pytest.raises(ValueError, match="0 titles are left"):
        beam_search(model, trie, PROMPTS[0], 3, banned=range(9))
    with pytest.raises(ValueError, match="give at least one prompt"):
        generate(model, ["Films:", ""], 3)
    assert len(beam_search(model, trie, PROMPTS[0], 20)) == 8  # fewer titles than beams
