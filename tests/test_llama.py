"""Our LLaMA is transformers' LLaMA: with SmolLM2's weights, and with random ones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import LlamaConfig as TheirConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaRMSNorm

from recsys_lab import device
from recsys_lab.language.cache import quiet
from recsys_lab.language.causal_lm import smollm2_folder
from recsys_lab.llama import (
    KeyValueCache,
    Llama,
    LlamaConfig,
    RMSNorm,
    generate,
    load_llama,
    load_weights,
    read_config,
)

PROMPTS = [
    "Toy Story is a film for",
    "I love science fiction. My favourite film is",
    "Genres of Fargo (1996): Crime, Drama,",
    "The user liked Star Wars, Alien and Blade Runner. Next, the user will watch",
    "It was a dark and stormy night; the rain fell in torrents",
    "The capital of France is",
    "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer",
    "def dot(a, b):\n    return sum(x * y for x, y in zip(",
    "SELECT title, AVG(rating) FROM ratings GROUP BY",
    '{"user": 196, "item": 242, "rating": 3, "timestamp":',
    "3.14159265358979",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "user_id:token\titem_id:token\trating:float\n196\t242\t3",
    "我喜欢科幻电影。",
    "推荐系统是什么？推荐系统",
    "Ça coûte 12,50 €, n'est-ce pas ?",
    "🎬🍿",
    " ",
    "\n\n",
    "<|im_start|>user\nName a film.<|im_end|>\n<|im_start|>assistant\n",
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(smollm2_folder()))


@pytest.fixture(scope="module")
def ours() -> Llama:
    return load_llama()


@pytest.fixture(scope="module")
def theirs() -> LlamaForCausalLM:
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(str(smollm2_folder()), dtype=torch.float32)
    return model.to(device.pick()).eval()


def tiny(seed: int = 0, n_kv_heads: int = 2) -> tuple[Llama, LlamaForCausalLM]:
    """Both models with the same random weights, norms and all."""
    torch.manual_seed(seed)
    config = LlamaConfig(37, 24, 3, 4, n_kv_heads, 40, norm_eps=0.1, rope_base=500.0)
    described = TheirConfig(
        vocab_size=37,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=n_kv_heads,
        intermediate_size=40,
        rms_norm_eps=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=True,
    )
    theirs = LlamaForCausalLM(described).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    assert read_config(described.to_dict()) == config
    ours = Llama(config)
    load_weights(ours, weights_of(theirs))
    return ours, theirs


def weights_of(theirs: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone() for n, t in theirs.named_parameters()}


# ---- SmolLM2 ---------------------------------------------------------------------------------


@torch.inference_mode()
def test_logits_are_the_librarys(ours, theirs, tokenizer):
    assert len(PROMPTS) == 20
    for prompt in PROMPTS:
        tokens = tokenizer(prompt, return_tensors="pt").input_ids.to(device.pick())
        error = (ours(tokens) - theirs(tokens).logits).abs().max().item()
        assert error <= 1e-4, f"{prompt!r}: logits differ by {error:.2g}"


def test_greedy_text_is_the_librarys(ours, theirs, tokenizer, monkeypatch):
    # Ours takes equally long prompts only; the library pads.
    prompts = ["Toy Story is a film for", "def add(a, b):"]
    tokens = tokenizer(prompts, return_tensors="pt").to(device.pick())
    assert tokens.attention_mask.all()
    monkeypatch.setattr(theirs.generation_config, "eos_token_id", None)  # on, past the end
    expected = theirs.generate(**tokens, max_new_tokens=50, do_sample=False).tolist()
    assert len(expected[0]) == tokens.input_ids.shape[1] + 50
    for use_cache in (True, False):
        found = generate(ours, tokens.input_ids, 50, use_cache=use_cache)
        assert found.tolist() == expected, f"use_cache={use_cache}"


def test_number_of_parameters(ours, theirs):
    assert sum(p.numel() for p in ours.parameters()) == 134_515_008
    assert ours.config.n_parameters == theirs.num_parameters() == 134_515_008


# ---- any LLaMA -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_random_model_forward_and_backward(n_kv_heads):
    ours, theirs = tiny(seed=n_kv_heads, n_kv_heads=n_kv_heads)
    tokens = torch.randint(37, (3, 11))
    logits, expected = ours(tokens), theirs(tokens).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for model_logits in (logits, expected):
        loss = torch.nn.functional.cross_entropy(
            model_logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        )
        loss.backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters()}
    mirror = Llama(ours.config)
    load_weights(mirror, gradients)  # their gradients under our names
    for name, wanted in mirror.named_parameters():
        found = ours.get_parameter(name).grad
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, msg=name)
    assert sum(p.numel() for p in ours.parameters()) == ours.config.n_parameters


def test_the_future_leaks_nowhere():
    ours, _ = tiny()
    tokens = torch.randint(37, (2, 12))
    for t in range(1, 12):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % 37
        before, after = ours(tokens), ours(changed)
        torch.testing.assert_close(before[:, :t], after[:, :t], rtol=0, atol=0)
        assert not torch.equal(before[:, t], after[:, t])


@pytest.mark.parametrize("parts", [[1] * 9, [4, 5], [1, 7, 1], [9]])
def test_cache_read_in_any_parts(parts):
    ours, _ = tiny()
    tokens = torch.randint(37, (2, 9))
    cache = KeyValueCache()
    pieces = [ours(part, cache) for part in tokens.split(parts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), ours(tokens), rtol=1e-5, atol=1e-5)
    assert cache.length() == 9
    assert cache.n_bytes == 2 * 3 * (2 * 2 * 9 * 6) * 4  # keys and values, layers, numbers, bytes


def test_generation_stops_sequence_by_sequence():
    ours, _ = tiny()
    tokens = torch.randint(37, (4, 3))
    free = generate(ours, tokens, 8)
    stop = int(free[0, 5])
    stopped = generate(ours, tokens, 8, stop=stop)
    for row, plain in zip(stopped.tolist(), free.tolist()):
        new, expected = row[3:], plain[3 : len(row)]
        end = expected.index(stop) if stop in expected else len(expected)
        assert new == expected[:end] + [stop] * (len(new) - end)
    alone = generate(ours, tokens[:1], 8, stop=stop)
    assert alone.shape[1] == 4 + free[0, 3:].tolist().index(stop)
    assert torch.equal(free, generate(ours, tokens, 8, use_cache=False))


def test_rms_norm_is_the_librarys():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8)
    for dtype, tolerance in [(torch.float32, 1e-6), (torch.bfloat16, 0.0)]:
        ours, theirs = RMSNorm(8, eps=0.1).to(dtype), LlamaRMSNorm(8, eps=0.1).to(dtype)
        torch.testing.assert_close(
            ours(x.to(dtype)), theirs(x.to(dtype)), rtol=tolerance, atol=tolerance
        )
    wide = RMSNorm(8)(x.double())
    torch.testing.assert_close(wide, torch.nn.functional.rms_norm(x.double(), (8,), eps=1e-5))


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "breakage, message",
    [
        (lambda w: w.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda w: w.update({"lm_head.weight": torch.ones(2)}), "lm_head.weight is left over"),
        (lambda w: w.update({"model.norm.weight": torch.ones(23)}), r"\(23,\), not \(24,\)"),
        (lambda w: w.clear(), "and 26 more"),
    ],
)
def test_wrong_weights_are_one_clear_error(breakage, message):
    ours, theirs = tiny()
    weights = weights_of(theirs)
    breakage(weights)
    with pytest.raises(ValueError, match=message):
        load_weights(ours, weights)


def test_folder_of_ones_own(tmp_path: Path):
    _, theirs = tiny()
    with quiet():
        theirs.save_pretrained(tmp_path)
    tokens = torch.randint(37, (1, 5))
    loaded = load_llama(tmp_path)
    torch.testing.assert_close(
        loaded(tokens.to(device.pick())).cpu(), theirs(tokens).logits, rtol=1e-5, atol=1e-5
    )
    assert load_llama(tmp_path, torch.bfloat16).embedding.weight.dtype == torch.bfloat16

    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj\.weight is missing"):
        load_llama(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="cannot read a LLaMA here"):
        load_llama(tmp_path)
    with pytest.raises(ValueError, match="cannot read a LLaMA here"):
        load_llama(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "gpt2"}, "model_type"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_type"),
        ({"head_dim": 32}, "heads of 32 features"),
        ({"num_key_value_heads": 5}, "multiple of n_kv_heads"),
        ({"vocab_size": None}, "vocab_size"),
    ],
)
def test_another_architecture_is_refused(change, message):
    described = json.loads((smollm2_folder() / "config.json").read_text())
    described.update(change)
    if described["vocab_size"] is None:
        del described["vocab_size"]
    with pytest.raises(ValueError, match=message):
        read_config(described)


def test_older_config_files_are_read():
    described = json.loads((smollm2_folder() / "config.json").read_text())
    described["rope_theta"] = described.pop("rope_parameters")["rope_theta"]
    described["rope_scaling"] = None
    found = read_config(described)
    assert found.rope_base == 100_000.0
    assert (found.d_model, found.n_kv_heads, found.d_head) == (576, 3, 64)
