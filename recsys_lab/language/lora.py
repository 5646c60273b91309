"""Low-rank adaptation: leave the weights of a model alone, and learn a thin correction to some.

Source: Hu et al. (2022), LoRA. Derived in chapters/5_llm_finetuning/5_lora.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn


class LoRALinear(nn.Module):
    """A frozen linear layer W and a learnt correction of low rank: x W^T + alpha/r x A^T B^T.

    A (rank, d_in) starts at random, B (d_out, rank) at zero: at first nothing is changed, and the
    gradient of B is not zero. Derived in chapters/5_llm_finetuning/5_lora.

    Args:
        base: the layer to correct; its parameters are frozen here.
        rank: r, from 1 to the smaller side of W.
        alpha: how strongly the correction counts: its factor is alpha / rank.

    Raises:
        ValueError: a rank outside that range.
    """

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__()
        if not 1 <= rank <= min(base.weight.shape):
            raise ValueError(f"rank is {rank}: choose 1 to {min(base.weight.shape)}.")
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        self.lora_a = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))  # as in the authors' code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., d_in) -> (..., d_out)."""
        correction = x @ self.lora_a.T @ self.lora_b.T  # by way of (..., rank)
        return self.base(x) + self.alpha / self.rank * correction

    def delta(self) -> torch.Tensor:
        """What is added to W: (d_out, d_in)."""
        return self.alpha / self.rank * self.lora_b @ self.lora_a

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One plain layer that computes the same. W itself, which may be shared, stays as it is."""
        base = self.base
        layer = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
        layer.weight, layer.bias = nn.Parameter(base.weight + self.delta()), base.bias
        return layer


def add_lora(
    model: nn.Module,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] = ("q_proj", "v_proj"),
) -> nn.Module:
    """Freeze ``model`` and correct each linear layer named like one of ``targets``, in place.

    Derived in chapters/5_llm_finetuning/5_lora.

    Args:
        targets: last parts of layers' names, such as "q_proj". All layers so named are corrected.

    Returns:
        The same model; only the corrections' parameters still ask for gradients.

    Raises:
        ValueError: a target that names no linear layer; the message lists those that are there.
    """
    targets = [targets] if isinstance(targets, str) else list(targets)
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    ends = {name: name.rpartition(".")[2] for name in linear}
    if missing := sorted(set(targets) - set(ends.values())) or not targets:
        names = ", ".join(sorted(set(ends.values()))) or "none"
        raise ValueError(f"no linear layer is named {missing or targets}: the model has {names}.")
    model.requires_grad_(False)
    for name in linear:
        if ends[name] in targets:
            model.set_submodule(name, LoRALinear(model.get_submodule(name), rank, alpha))
    return model


def lora_parameters(model: nn.Module) -> nn.ParameterDict:
    """The corrections' parameters, not copied: a small module for `training.train`, whose optimizer
    and checkpoint then hold these alone. Names have / for the dots, as a ParameterDict wants."""
    return nn.ParameterDict(
        {
            name.replace(".", "/"): parameter
            for name, parameter in model.named_parameters()
            if name.endswith(("lora_a", "lora_b"))
        }
    )


def merge(model: nn.Module) -> nn.Module:
    """Put plain linear layers with the corrections added in the corrected layers' places: the same
    logits at the old speed, and nothing left to train. In place; returns the model."""
    for name, part in list(model.named_modules()):
        if isinstance(part, LoRALinear):
            model.set_submodule(name, part.merged())
    return model


def save_lora(model: nn.Module, path: str | Path) -> None:
    """Write the corrections, not the model, to a safetensors file; complete or not at all."""
    layers = {n: part for n, part in model.named_modules() if isinstance(part, LoRALinear)}
    if not layers:
        raise ValueError("the model has no LoRA layer to save: call add_lora first.")
    first = next(iter(layers.values()))
    about = {"rank": first.rank, "alpha": first.alpha}
    about["targets"] = sorted({name.rpartition(".")[2] for name in layers})
    weights = {name: parameter.data.cpu() for name, parameter in lora_parameters(model).items()}
    unfinished = Path(path).with_name(Path(path).name + ".part")
    save_file(weights, unfinished, {"lora": json.dumps(about)})
    os.replace(unfinished, path)


def load_lora(model: nn.Module, path: str | Path) -> nn.Module:
    """Add the corrections in a file of `save_lora` to a plain model of the same shapes, in place.

    Raises:
        ValueError: no such file, not written by `save_lora`, or made for another model.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["lora"])
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is no file written by save_lora ({error!r}).") from None
    shapes = {name: weight.shape for name, weight in weights.items()}
    own = lora_parameters(add_lora(model, **about))
    if {name: parameter.shape for name, parameter in own.items()} != shapes:
        raise ValueError(f"{path} was made for another model: its layers or their shapes differ.")
    own.load_state_dict(weights)
    return model
