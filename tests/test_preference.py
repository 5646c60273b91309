"""The DPO loss: its value, its slope, what it must refuse; answers' log-probabilities; adapters
off."""

import math
from fractions import Fraction as F
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from recsys_lab.language import CausalLM, lora
from recsys_lab.language.preference import answer_log_probs, dpo_loss, without_lora


def logs(*values):
    return torch.tensor([math.log(v) for v in values], dtype=torch.float64)


def test_with_beta_one_sigma_of_logs_of_fractions_is_a_fraction():
    chosen, rejected = [F(1, 4), F(1, 2)], [F(1, 8), F(1, 8)]
    of_chosen, of_rejected = [F(1, 6), F(1, 4)], [F(1, 4), F(1, 16)]
    wanted = 0.0
    for c, r, rc, rr in zip(chosen, rejected, of_chosen, of_rejected):
        odds = (c / rc) / (r / rr)
        wanted -= math.log(odds / (1 + odds)) / 2
    given = (logs(*part) for part in (chosen, rejected, of_chosen, of_rejected))
    assert dpo_loss(*given, beta=1.0).item() == pytest.approx(wanted, abs=1e-12)


def test_an_untuned_model_has_loss_ln_2_and_a_slope():
    chosen = logs(0.2, 0.1).requires_grad_()
    loss = dpo_loss(chosen, logs(0.3, 0.4), logs(0.2, 0.1), logs(0.3, 0.4), beta=0.3)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert chosen.grad.tolist() == pytest.approx([-0.3 / 2 / 2] * 2)


@pytest.mark.parametrize("beta", [0.05, 1.0, 20.0])
def test_the_slope_is_the_closed_form_and_the_numerical_one(beta):
    torch.manual_seed(0)
    parts = [torch.randn(5, dtype=torch.float64) for _ in range(4)]
    chosen, rejected = (part.requires_grad_() for part in parts[:2])
    dpo_loss(chosen, rejected, *parts[2:], beta=beta).backward()
    margin = (chosen - parts[2] - rejected + parts[3]).detach()
    closed = -beta * torch.sigmoid(-beta * margin) / 5
    assert torch.allclose(chosen.grad, closed, atol=1e-12)
    assert torch.allclose(rejected.grad, -closed, atol=1e-12)
    with torch.no_grad():
        step = torch.zeros(5, dtype=torch.float64)
        step[2] = 1e-6
        up, down = (dpo_loss(chosen + s, rejected, *parts[2:], beta=beta) for s in (step, -step))
    assert ((up - down) / 2e-6).item() == pytest.approx(closed[2].item(), abs=1e-7)


def test_a_huge_margin_neither_overflows_nor_pulls():
    far = torch.tensor([1e4], requires_grad=True)
    nought = torch.zeros(1)
    dpo_loss(far, nought, nought, nought, beta=1.0).backward()
    assert far.grad.item() == 0
    assert dpo_loss(-far, nought, nought, nought, beta=1.0).item() == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "beta is 0.0: at 0 the loss is ln 2"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"rejected": torch.zeros(3)}, "one number a pair"),
        ({"reference_chosen": torch.zeros(2, requires_grad=True)}, "torch.no_grad"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    given = {name: torch.zeros(2) for name in names} | change
    with pytest.raises(ValueError, match=message):
        dpo_loss(**given)


def small_model() -> CausalLM:
    """A LLaMA of random numbers that reads bytes."""
    torch.manual_seed(0)
    model = object.__new__(CausalLM)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=256, num_attention_heads=2, **sizes)
    model.model = LlamaForCausalLM(config).eval()

    def tokenizer(text, return_tensors=None, add_special_tokens=False):
        ids = list(text.encode())
        return SimpleNamespace(input_ids=torch.tensor([ids]) if return_tensors else ids)

    model.tokenizer = tokenizer
    return model


def test_answers_are_scored_as_by_the_class_and_have_slopes():
    model, answers = small_model(), [' "Heat"', ' "Toy Story"']
    ours = answer_log_probs(model, "Liked films:\n-", answers)
    theirs = model.log_likelihood("Liked films:\n-", answers, per_token=False)
    assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-4)
    ours.sum().backward()
    assert model.model.model.embed_tokens.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="at least one answer"):
        answer_log_probs(model, "Liked films:\n-", [])


def test_without_lora_is_the_model_as_it_was_and_afterwards_the_tuned_one():
    model = small_model()
    before = answer_log_probs(model, "a", ["b"]).item()
    lora.add_lora(model.model)
    for name, parameter in lora.lora_parameters(model.model).items():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter)
    tuned = answer_log_probs(model, "a", ["b"]).item()
    assert tuned != before
    with without_lora(model.model):
        assert answer_log_probs(model, "a", ["b"]).item() == before
    assert answer_log_probs(model, "a", ["b"]).item() == tuned
    with pytest.raises(RuntimeError, match="broken"), without_lora(model.model):
        raise RuntimeError("broken")
    assert answer_log_probs(model, "a", ["b"]).item() == tuned
    with pytest.raises(ValueError, match="call lora"), without_lora(nn.Linear(1, 1)):
        pass
