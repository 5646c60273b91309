"""A LLaMA in one file: read it from top to bottom, then run SmolLM2's real weights in it.

A layer turns a position's vector by reading earlier positions (attention), then by itself
(feed-forward), and adds both to what was there. Against the layer of ``recsys_lab.transformer``
it has RMSNorm instead of LayerNorm, rotary positions, fewer key/value heads than query heads, a
gate in the feed-forward, and no biases. Sequences stand batch first. No dropout: the model is
here to be read and run.

Derived in chapters/3_transformer_layer/4_llama_opened. Sources: Touvron et al. (2023); for the
grouped heads Ainslie et al. (2023).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import silu

from recsys_lab import device
from recsys_lab.attention import (
    apply_rotary,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)

# ---- the model -------------------------------------------------------------------------------


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a LLaMA; those of SmolLM2-135M unless told otherwise."""

    vocab_size: int = 49_152
    d_model: int = 576
    n_layers: int = 30
    n_heads: int = 9  # of the queries
    n_kv_heads: int = 3  # of the keys and values; divides n_heads
    d_inner: int = 1_536
    norm_eps: float = 1e-5
    rope_base: float = 100_000.0

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads or self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"d_model = {self.d_model} must be a multiple of n_heads = {self.n_heads}, and "
                f"that a multiple of n_kv_heads = {self.n_kv_heads}"
            )

    @property
    def d_head(self) -> int:
        """Features of one head."""
        return self.d_model // self.n_heads

    @property
    def n_parameters(self) -> int:
        """Counted by hand; the embeddings count once, since the output uses them again."""
        d, d_kv = self.d_model, self.n_kv_heads * self.d_head
        layer = 2 * d * d + 2 * d * d_kv + 3 * d * self.d_inner + 2 * d
        return self.vocab_size * d + self.n_layers * layer + d


class RMSNorm(nn.Module):
    """Divide a vector by its root mean square, then scale each feature: (..., d) -> (..., d)."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # In half precision the squares would overflow: at least float32 here.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean_square = wide.square().mean(-1, keepdim=True)  # (..., 1)
        return self.weight * (wide * torch.rsqrt(mean_square + self.eps)).to(x.dtype)


class KeyValueCache:
    """The keys and values of the positions read so far, so that no position is read twice.

    For each layer two tensors (n_sequences, n_kv_heads, n, d_head). Keys are stored turned to
    their positions. Make a new cache for each text.
    """

    def __init__(self) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def length(self, layer: int = 0) -> int:
        """Positions that the layer has read."""
        return self.keys[layer].shape[-2] if layer in self.keys else 0

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of the new positions, and return those of all."""
        if layer in self.keys:
            key = torch.cat([self.keys[layer], key], dim=-2)
            value = torch.cat([self.values[layer], value], dim=-2)
        self.keys[layer], self.values[layer] = key, value
        return key, value

    @property
    def n_bytes(self) -> int:
        """Memory of all keys and values, in bytes."""
        return sum(x.nbytes for store in (self.keys, self.values) for x in store.values())


class GroupedQueryAttention(nn.Module):
    """Causal attention in which neighbouring query heads share one head of keys and values."""

    def __init__(self, config: LlamaConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        d_kv = config.n_kv_heads * config.d_head
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.key = nn.Linear(config.d_model, d_kv, bias=False)
        self.value = nn.Linear(config.d_model, d_kv, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        config = self.config
        query = split_heads(self.query(x), config.n_heads)  # (..., n_heads, n, d_head)
        key = split_heads(self.key(x), config.n_kv_heads)  # (..., n_kv_heads, n, d_head)
        value = split_heads(self.value(x), config.n_kv_heads)
        past = 0 if cache is None else cache.length(self.index)
        positions = torch.arange(past, past + x.shape[-2], device=x.device)  # goes on counting
        query = apply_rotary(query, positions, config.rope_base)
        key = apply_rotary(key, positions, config.rope_base)
        if cache is not None:
            key, value = cache.update(self.index, key, value)
        group = config.n_heads // config.n_kv_heads
        key = key.repeat_interleave(group, dim=-3)  # heads 0 0 0 1 1 1 2 2 2, not 0 1 2 0 1 2 ...
        value = value.repeat_interleave(group, dim=-3)  # (..., n_heads, past + n, d_head)
        return self.output(
            merge_heads(scaled_dot_product_attention(query, key, value, is_causal=True))
        )


class SwiGLU(nn.Module):
    """Feed-forward with a gate: one map says what, another how much of it; a third goes back."""

    def __init__(self, d_model: int, d_inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_inner, bias=False)
        self.up = nn.Linear(d_model, d_inner, bias=False)
        self.down = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))


class LlamaLayer(nn.Module):
    """Attention, then feed-forward; each reads a normalised copy and adds to the original."""

    def __init__(self, config: LlamaConfig, index: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = GroupedQueryAttention(config, index)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = SwiGLU(config.d_model, config.d_inner)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cache)  # (..., n, d_model)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(nn.Module):
    """Tokens in, the logits of each next token out; a new one has random weights."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)  # they are the output's weights too
        self.layers = nn.ModuleList(LlamaLayer(config, i) for i in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Read tokens, after those that the cache holds, if one is given.

        Args:
            tokens: (n_sequences, n) ids. Pad on the right: a causal model never looks there
                from a real token.
            cache: is filled with the keys and values of these tokens.

        Returns:
            (n_sequences, n, vocab_size): position t's logits are about the token at t + 1.
        """
        x = self.embedding(tokens)  # (n_sequences, n, d_model)
        for layer in self.layers:
            x = layer(x, cache)
        return self.norm(x) @ self.embedding.weight.T


@torch.inference_mode()
def generate(
    model: Llama, tokens: Tensor, n_new: int, use_cache: bool = True, stop: int | None = None
) -> Tensor:
    """Append the most probable next token, n_new times.

    Args:
        model: a ``Llama``.
        tokens: (n_sequences, n) ids of equally long prompts.
        n_new: how many tokens to append.
        use_cache: read each token once; without, the whole text again for every new token.
        stop: id of the end-of-text token. A sequence that has reached it goes on with it, and
            once all have, generation ends early.

    Returns:
        (n_sequences, n + n_new), or shorter if stopped: prompts and continuations.
    """
    cache = KeyValueCache() if use_cache else None
    done = torch.zeros(len(tokens), 1, dtype=torch.bool, device=tokens.device)
    for _ in range(n_new):
        unread = tokens if cache is None else tokens[:, cache.length() :]
        new = model(unread, cache)[:, -1:].argmax(-1)  # (n_sequences, 1)
        if stop is not None:
            new = new.masked_fill(done, stop)
            done |= new == stop
        tokens = torch.cat([tokens, new], dim=1)
        if done.all():
            break
    return tokens


# ---- the weights -----------------------------------------------------------------------------

# What the files call the parts of layer i, and what they are called here.
LAYER_NAMES = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "attention.query",
    "self_attn.k_proj": "attention.key",
    "self_attn.v_proj": "attention.value",
    "self_attn.o_proj": "attention.output",
    "post_attention_layernorm": "feed_forward_norm",
    "mlp.gate_proj": "feed_forward.gate",
    "mlp.up_proj": "feed_forward.up",
    "mlp.down_proj": "feed_forward.down",
}


def load_llama(folder: str | Path | None = None, dtype: torch.dtype = torch.float32) -> Llama:
    """The model of a folder with ``config.json`` and ``model.safetensors``: SmolLM2 if None.

    Returns:
        A ``Llama`` in ``dtype``, on the device that ``device.pick`` chooses.

    Raises:
        ValueError: the folder lacks a file, describes another architecture, or its tensors are
            not exactly those of the model; the message says which.
    """
    if folder is None:
        from recsys_lab.language.causal_lm import smollm2_folder  # needs transformers, this not

        folder = smollm2_folder()
    folder = Path(folder)
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"{folder}: cannot read a LLaMA here ({error}); give a folder with config.json and "
            "one model.safetensors"
        ) from error
    with torch.device("meta"):  # no numbers yet: they come from the file
        model = Llama(read_config(described))
    load_weights(model, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    return model.to(device.pick()).eval()


def read_config(described: Mapping) -> LlamaConfig:
    """Our sizes out of the content of a ``config.json``.

    Raises:
        ValueError: a size is missing, or the model differs from a plain LLaMA with tied
            embeddings.
    """
    rope = described.get("rope_parameters") or {**(described.get("rope_scaling") or {})}
    plain = {
        "model_type": described.get("model_type") == "llama",
        "hidden_act": described.get("hidden_act") == "silu",
        "tie_word_embeddings": bool(described.get("tie_word_embeddings")),
        "attention_bias": not described.get("attention_bias"),
        "mlp_bias": not described.get("mlp_bias"),
        "rope_type": rope.get("rope_type", "default") == "default",
    }
    if not all(plain.values()):
        odd = ", ".join(name for name, fine in plain.items() if not fine)
        raise ValueError(
            f"not a plain LLaMA, it differs in {odd}: load it with transformers' "
            "AutoModelForCausalLM"
        )
    try:
        config = LlamaConfig(
            vocab_size=described["vocab_size"],
            d_model=described["hidden_size"],
            n_layers=described["num_hidden_layers"],
            n_heads=described["num_attention_heads"],
            n_kv_heads=described.get("num_key_value_heads") or described["num_attention_heads"],
            d_inner=described["intermediate_size"],
            norm_eps=described["rms_norm_eps"],
            rope_base=rope.get("rope_theta") or described.get("rope_theta", 10_000.0),
        )
    except KeyError as error:
        raise ValueError(f"config.json does not say {error}; take the model's own file") from error
    if described.get("head_dim") not in (None, config.d_head):
        raise ValueError(
            f"heads of {described['head_dim']} features, where d_model / n_heads is "
            f"{config.d_head}: load it with transformers' AutoModelForCausalLM"
        )
    return config


def load_weights(model: Llama, tensors: Mapping[str, Tensor]) -> None:
    """Give the model the tensors of a file, named as ``transformers`` names them.

    Raises:
        ValueError: a tensor is missing, left over, or of the wrong shape.
    """
    names = {"model.embed_tokens.weight": "embedding.weight", "model.norm.weight": "norm.weight"}
    for i in range(model.config.n_layers):
        for theirs, ours in LAYER_NAMES.items():
            names[f"model.layers.{i}.{theirs}.weight"] = f"layers.{i}.{ours}.weight"
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in names if name not in tensors]
    problems += [f"{name} is left over" for name in tensors if name not in names]
    for name, tensor in tensors.items():
        if name in names and tensor.shape != wanted[names[name]].shape:
            shapes = tuple(tensor.shape), tuple(wanted[names[name]].shape)
            problems.append(f"{name} is {shapes[0]}, not {shapes[1]}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"these weights are not those of this model: {'; '.join(problems[:3])}{more}; check "
            "that config.json and the weights belong together"
        )
    model.load_state_dict({names[name]: t for name, t in tensors.items()}, assign=True)
