"""Preference tuning: from pairs "this title rather than that" to a model that ranks them so.

Source: Rafailov et al. (2023), Direct preference optimization. Derived in
chapters/5_llm_finetuning/8_from_feedback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from recsys_lab.language.lora import LoRALinear

if TYPE_CHECKING:
    from recsys_lab.language.causal_lm import CausalLM


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float = 0.1,
) -> torch.Tensor:
    """Mean over pairs of -log sigma(beta * margin), nats: a scalar, ln 2 for an untuned model.

    The margin is by how much the model has moved towards the chosen answer, less by how much it has
    moved towards the rejected one. Derived in chapters/5_llm_finetuning/8_from_feedback.

    Args:
        chosen, rejected: log-probabilities of the whole answers under the model that is tuned,
            (n_pairs,), nats, summed over an answer's tokens, the prompt's left out.
        reference_chosen, reference_rejected: the same under the frozen reference.
        beta: how dear it is to leave the reference, above 0. Small: far and fast.

    Raises:
        ValueError: beta not above 0, shapes that differ, or a reference that asks for gradients.
    """
    if not beta > 0:
        raise ValueError(f"beta is {beta}: at 0 the loss is ln 2 whatever the model says.")
    given = (chosen, rejected, reference_chosen, reference_rejected)
    if len({tuple(part.shape) for part in given}) > 1:
        raise ValueError(f"one number a pair in each: got {[tuple(p.shape) for p in given]}.")
    if reference_chosen.requires_grad or reference_rejected.requires_grad:
        raise ValueError("the reference asks for gradients: compute it under torch.no_grad().")
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -functional.logsigmoid(beta * margin).mean()


def answer_log_probs(model: CausalLM, prompt: str, answers: Sequence[str]) -> torch.Tensor:
    """Log-probability of each answer after the prompt, with gradients: (n_answers,), nats.

    Summed over the answer's tokens; the prompt's do not count. The plain way, which reads the
    prompt again with each answer. Derived in chapters/5_llm_finetuning/8_from_feedback.
    """
    if not prompt or not answers or "" in answers:
        raise ValueError("answer_log_probs needs a prompt and at least one answer, none empty.")
    n, found = len(model.tokenizer(prompt).input_ids), []
    for answer in answers:
        ids = model.tokenizer(prompt).input_ids
        ids = ids + model.tokenizer(answer, add_special_tokens=False).input_ids
        whole = torch.tensor([ids], device=model.model.device)
        log_probs = model.model(whole).logits[0, n - 1 : -1].float().log_softmax(-1)  # (T, V)
        found.append(log_probs.gather(1, whole[0, n:, None]).sum())
    return torch.stack(found)


@contextmanager
def without_lora(model: nn.Module) -> Iterator[nn.Module]:
    """The model as it was before `lora.add_lora`, for as long as the block lasts: the frozen
    reference, at no memory at all. Derived in chapters/5_llm_finetuning/8_from_feedback.

    Raises:
        ValueError: nothing to switch off.
    """
    layers = [part for part in model.modules() if isinstance(part, LoRALinear)]
    if not layers:
        raise ValueError("the model has no LoRA layer to switch off: call lora.add_lora first.")
    strengths = [layer.alpha for layer in layers]
    try:
        for layer in layers:
            layer.alpha = 0.0
        yield model
    finally:
        for layer, alpha in zip(layers, strengths):
            layer.alpha = alpha
