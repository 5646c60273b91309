"""The language models: what the shortcuts return is what the plain way returns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from recsys_lab.data.assets import encoder_folder
from recsys_lab.language import CausalLM, Encoder
from recsys_lab.language.cache import cache_folder, cached_array
from recsys_lab.language.causal_lm import smollm2_folder

PROMPT = "I love science fiction. My favourite film is"


@pytest.fixture(scope="module")
def language_model() -> CausalLM:
    return CausalLM()


@pytest.mark.parametrize(
    "texts",
    [
        [" The Matrix (1999)", " Toy Story", " xyz"],
        [" the", " a"],
        [" one" + " more" * (7 * i % 10) for i in range(19)],  # batches, neither full nor in order
    ],
)
@torch.inference_mode()
def test_shared_prefix_gives_the_plain_likelihood(
    language_model: CausalLM, texts: list[str]
) -> None:
    found = language_model.log_likelihood(PROMPT, texts)
    tokenizer, model = language_model.tokenizer, language_model.model
    prompt = tokenizer(PROMPT, return_tensors="pt").input_ids
    for text, value in zip(texts, found, strict=True):
        end = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        whole = torch.cat([prompt, end], 1).to(model.device)
        log_probs = model(whole).logits.log_softmax(-1)[0, prompt.shape[1] - 1 : -1]
        plain = log_probs.gather(1, end[0].to(model.device)[:, None]).mean().item()
        assert value == pytest.approx(plain, abs=1e-4)


def test_likelihood_needs_text(language_model: CausalLM) -> None:
    with pytest.raises(ValueError, match="prompt and at least one"):
        language_model.log_likelihood(PROMPT, [])


def test_embeddings_are_of_unit_length_and_know_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_LAB_CACHE", str(tmp_path))
    texts = ["a film about space travel", "a movie set among the stars", "a cookery book"]
    vectors = Encoder(batch_size=2).encode(texts)
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    with pytest.raises(ValueError, match="at least one text"):
        Encoder().encode([])


def test_an_encoder_can_be_trained_after_it_has_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are first loaded inside inference mode would refuse a gradient."""
    monkeypatch.setenv("RECSYS_LAB_CACHE", str(tmp_path))
    encoder = Encoder()
    encoder.encode(["a film"])
    batch = encoder.tokenizer(["a film"], return_tensors="pt").to(encoder.model.device)
    encoder.model(**batch).last_hidden_state.sum().backward()
    assert all(not weight.is_inference() for weight in encoder.model.parameters())


def test_cache_survives_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_LAB_CACHE", str(tmp_path))
    calls = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(6.0).reshape(2, 3).T  # not contiguous

    expected = np.arange(6.0).reshape(2, 3).T
    for _ in range(2):
        np.testing.assert_array_equal(cached_array(("a", "b"), compute), expected)
    assert len(calls) == 1
    (file,) = cache_folder().iterdir()
    file.write_bytes(file.read_bytes()[:20])  # a run that was cut off
    np.testing.assert_array_equal(cached_array(("a", "b"), compute), expected)
    assert len(calls) == 2


def test_another_encoder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any model of `transformers`, by its folder: its own width, and vectors of its own."""
    monkeypatch.setenv("RECSYS_LAB_CACHE", str(tmp_path / "cache"))
    tokenizer, folder = AutoTokenizer.from_pretrained(encoder_folder()), tmp_path / "other"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "vocab_size": len(tokenizer)}
    BertModel(BertConfig(**sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    first = Encoder(folder).encode(["a film"])
    assert first.shape == (1, 32)
    assert Encoder().encode(["a film"]).shape == (1, 384), "the cache must tell the two apart"
    torch.manual_seed(1)  # another model in the same folder is another model
    BertModel(BertConfig(**sizes)).save_pretrained(folder)
    assert not np.allclose(Encoder(folder).encode(["a film"]), first, atol=1e-3)


def test_another_causal_model_is_a_folder(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "vocab_size": len(tokenizer)}
    config = LlamaConfig(**sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = CausalLM(tmp_path).log_likelihood(PROMPT, [" Alien", " Heat"])
    assert np.allclose(found, -np.log(len(tokenizer)), atol=0.5)  # untrained: nearly even
