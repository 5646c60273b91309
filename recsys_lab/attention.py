"""Attention, from the formula to many heads. Read it from top to bottom.

Every mask is boolean and says who may be read: True = may attend. Sequences stand batch first.
Importable without the rest of the package; torch is all it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# ---- the formula -----------------------------------------------------------------------------


def softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """``exp(logits)`` divided by its sum along ``dim``, at any size of the logits.

    Subtracting a constant from a row does not change its softmax. Subtracting the row's maximum
    makes the largest power ``exp(0) = 1``, so nothing overflows and the sum is at least 1.

    Args:
        logits: any shape. -inf stands for a forbidden entry and gets weight 0. A row that is
            -inf throughout gives zeros, not NaN, and passes no gradient.

    Returns:
        A tensor of the same shape; along ``dim`` it sums to 1, or to 0 where all is forbidden.

    Derived in chapters/2_self_attention/2_why_the_root.
    """
    if logits.shape[dim] == 0:
        return logits  # nothing to weigh
    top = logits.detach().amax(dim, keepdim=True)  # a shift: no gradient passes through it
    top = top.masked_fill(top == -math.inf, 0.0)  # -inf minus -inf would be NaN
    powers = torch.exp(logits - top)
    total = powers.sum(dim, keepdim=True)
    return powers / total.masked_fill(total == 0, 1.0)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """``softmax(query @ key.T * scale) @ value``: each query's own average of the values.

    Args:
        query: (..., n_queries, d_k).
        key: (..., n_keys, d_k).
        value: (..., n_keys, d_v).
        mask: boolean, broadcastable to (..., n_queries, n_keys); True = may attend.
        is_causal: forbid the future too, as ``causal_mask`` does: aligned at the end. torch's
            function aligns at the start; the two agree where n_queries = n_keys.
        scale: 1/sqrt(d_k) if None.
        dropout: share of the weights set to 0 at random, always when above 0.
        return_weights: also return the weights as they were before dropout.

    Returns:
        (..., n_queries, d_v), and the weights (..., n_queries, n_keys) if asked for. A query
        that may attend to nothing gets zeros.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the shapes do not fit together.

    Derived in chapters/2_self_attention/1_four_words; masks in
    chapters/2_self_attention/3_masks_order_heads. Source: Vaswani et al. (2017), section 3.2.1.
    """
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query {_shape(query)} and key {_shape(key)} meet in a dot product: give them the "
            "same last axis, d_k"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"key {_shape(key)} and value {_shape(value)} come in pairs: give them the same "
            "n_keys, the last axis but one"
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query * scale @ key.mT  # (..., n_queries, n_keys)
    if mask is not None:
        check_mask(mask, scores.shape)
        scores = scores.masked_fill(~mask, -math.inf)  # before the softmax: exp(-inf) = 0
    if is_causal:
        future = ~causal_mask(*scores.shape[-2:], device=scores.device)
        scores = scores.masked_fill(future, -math.inf)
    weights = softmax(scores)  # each row sums to 1
    kept = nn.functional.dropout(weights, dropout) if dropout else weights
    output = kept @ value  # (..., n_queries, d_v)
    return (output, weights) if return_weights else output


# ---- masks -----------------------------------------------------------------------------------


def causal_mask(
    n_queries: int, n_keys: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """(n_queries, n_keys), True where the key does not lie in the query's future.

    Aligned at the end: the last query sees every key. With more keys than queries this is what
    a cache needs, whose new queries come after the keys it holds. ``n_keys`` = n_queries if None.

    Derived in chapters/2_self_attention/3_masks_order_heads.
    """
    n_keys = n_queries if n_keys is None else n_keys
    queries = torch.arange(n_queries, device=device) + n_keys - n_queries
    return torch.arange(n_keys, device=device) <= queries[:, None]


def padding_mask(lengths: Tensor | Sequence[int], n: int) -> Tensor:
    """(n_sequences, n), True at the first ``lengths[s]`` positions of sequence s, the real ones.

    As a mask of keys it needs an axis for the queries: ``padding_mask(lengths, n)[:, None, :]``.
    For sequences padded on the left, ``.flip(-1)``.

    Args:
        lengths: (n_sequences,) whole numbers from 0 to n.
        n: positions a sequence has after padding.

    Raises:
        ValueError: a length outside 0 to n, or not one length a sequence.

    Derived in chapters/2_self_attention/3_masks_order_heads.
    """
    lengths = torch.as_tensor(lengths)
    if lengths.ndim != 1:
        raise ValueError(f"lengths has shape {_shape(lengths)}: give one number a sequence")
    if lengths.numel() and (lengths.is_floating_point() or lengths.dtype == torch.bool):
        raise ValueError(f"lengths is {lengths.dtype}: give whole numbers, how many films each has")
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= n:
        raise ValueError(
            f"lengths run from {int(lengths.min())} to {int(lengths.max())}, the padded "
            f"sequences have {n} positions: cut each history to its last {n}, or raise n"
        )
    return torch.arange(n, device=lengths.device) < lengths[:, None]


def check_mask(mask: Tensor, shape: Sequence[int]) -> None:
    """Raise unless the mask is boolean and broadcasts to ``shape``, (..., n_queries, n_keys).

    What it cannot see: a padding mask (n_sequences, n) without its axis for the queries, when
    n_sequences happens to be n.
    """
    if mask.dtype != torch.bool:
        raise TypeError(
            f"the mask is {mask.dtype}: make it boolean, True = may attend (of a mask to be "
            "added, with 0 and -inf: mask == 0)"
        )
    try:
        fits = torch.broadcast_shapes(mask.shape, shape) == torch.Size(shape)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"a mask of shape {_shape(mask)} does not fit (..., n_queries, n_keys) = "
            f"{tuple(shape)}; a padding mask (n_sequences, n) needs an axis for the queries: "
            "mask[:, None, :]"
        )


def _shape(x: Tensor) -> tuple[int, ...]:
    """For messages: (2, 3) instead of torch.Size([2, 3])."""
    return tuple(x.shape)


# ---- order -----------------------------------------------------------------------------------


def sinusoidal_positions(n_positions: int, d_model: int, base: float = 10_000.0) -> Tensor:
    """(n_positions, d_model): column 2i is sin(p / base**(2i/d_model)), column 2i+1 its cosine.

    Added to the embeddings, once, before the first layer.

    Raises:
        ValueError: d_model is odd.

    Derived in chapters/2_self_attention/3_masks_order_heads. Source: Vaswani et al. (2017),
    section 3.5.
    """
    if d_model % 2:
        raise ValueError(f"sines come with cosines: make d_model even, got {d_model}")
    # In float64: at position 10,000 a float32 angle is wrong in the third decimal.
    positions = torch.arange(n_positions, dtype=torch.float64)
    angles = positions[:, None] * _frequencies(d_model, base, positions)  # (n, d_model / 2)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (n, d_model / 2, 2)
    return waves.flatten(-2).to(torch.get_default_dtype())


def apply_rotary(x: Tensor, positions: Tensor | Sequence[int], base: float = 10_000.0) -> Tensor:
    """Turn each pair of features by an angle proportional to the position.

    The dot product of a turned query and a turned key depends on their distance only. Applied
    to queries and keys, in every layer, after ``split_heads``; never to values. The pairs are
    (x[i], x[i + d_head/2]), the half-split layout of LLaMA in ``transformers``.

    Args:
        x: (..., n, d_head).
        positions: (n,), or (..., n) broadcastable to x without its last axis: for x with heads
            (n_sequences, n_heads, n, d_head) and positions of one's own for each sequence,
            ``positions[:, None, :]``.

    Returns:
        The shape and type of x; each vector keeps its length.

    Raises:
        ValueError: d_head is odd, or there is not one position for each vector.

    Derived in chapters/2_self_attention/3_masks_order_heads. Source: Su et al. (2021).
    """
    if x.shape[-1] % 2:
        raise ValueError(f"features are turned in pairs: make d_head even, got {x.shape[-1]}")
    positions = torch.as_tensor(positions, device=x.device)
    try:
        fits = torch.broadcast_shapes(positions.shape, x.shape[:-1]) == x.shape[:-1]
    except RuntimeError:
        fits = False
    # One row for all, or an axis for each of x's: (n_sequences, n) would be taken for (n_heads, n).
    if not fits or positions.shape[-1:] != x.shape[-2:-1] or positions.ndim not in (1, x.ndim - 1):
        raise ValueError(
            f"positions of shape {_shape(positions)} for x of shape {_shape(x)}: give one "
            f"position for each of its {x.shape[-2]} vectors, for x with heads "
            "positions[:, None, :]"
        )
    positions = positions.to(torch.promote_types(x.dtype, torch.float32))
    angles = positions[..., None] * _frequencies(x.shape[-1], base, positions)  # (..., n, d/2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)  # (..., n, d_head / 2) each
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _frequencies(d: int, base: float, like: Tensor) -> Tensor:
    """(d / 2,), from 1 downwards: base**(-2i/d), in the type and on the device of ``like``."""
    return 1.0 / base ** (torch.arange(0, d, 2, dtype=like.dtype, device=like.device) / d)


# ---- heads -----------------------------------------------------------------------------------


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(..., n, d) -> (..., n_heads, n, d_head), where d = n_heads * d_head.

    Raises:
        ValueError: d is not divisible by n_heads.

    Derived in chapters/2_self_attention/3_masks_order_heads.
    """
    _check_heads(x.shape[-1], n_heads)
    return x.unflatten(-1, (n_heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """(..., n_heads, n, d_head) -> (..., n, n_heads * d_head): undoes ``split_heads``.

    Derived in chapters/2_self_attention/3_masks_order_heads.
    """
    return x.transpose(-3, -2).flatten(-2)


def _check_heads(d: int, n_heads: int) -> None:
    if n_heads < 1 or d % n_heads:
        divisors = [n for n in range(1, d + 1) if d % n == 0]
        raise ValueError(
            f"{d} features cannot be shared out among {n_heads} heads: take n_heads from "
            f"{', '.join(map(str, divisors))}, or another d_model"
        )


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its own share of the features.

    Args:
        d_model: features of a position, in and out.
        n_heads: divides d_model; each head works with d_model / n_heads features.
        bias: whether the four linear maps add one.
        dropout: share of the weights set to 0 at random while training.

    Derived in chapters/2_self_attention/3_masks_order_heads. Source: Vaswani et al. (2017),
    section 3.2.2.
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        _check_heads(d_model, n_heads)
        self.n_heads = n_heads
        self.dropout = dropout
        self.query = nn.Linear(d_model, d_model, bias)
        self.key = nn.Linear(d_model, d_model, bias)
        self.value = nn.Linear(d_model, d_model, bias)
        self.output = nn.Linear(d_model, d_model, bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Let each position of ``x`` read from ``context``.

        Args:
            x: (..., n_queries, d_model), batch first.
            context: (..., n_keys, d_model); None = x itself (self-attention), else
                cross-attention.
            mask: boolean, broadcastable to (..., n_queries, n_keys), without an axis for heads;
                True = may attend.
            is_causal: forbid the future too.
            return_weights: also return every head's weights.

        Returns:
            (..., n_queries, d_model), and (..., n_heads, n_queries, n_keys) if asked for.
        """
        context = x if context is None else context
        if mask is not None:
            check_mask(mask, (*x.shape[:-1], context.shape[-2]))
            mask = torch.atleast_2d(mask)[..., None, :, :]  # the same for every head
        heads, weights = scaled_dot_product_attention(
            split_heads(self.query(x), self.n_heads),  # (..., n_heads, n_queries, d_head)
            split_heads(self.key(context), self.n_heads),
            split_heads(self.value(context), self.n_heads),
            mask,
            is_causal,
            dropout=self.dropout if self.training else 0.0,
            return_weights=True,
        )
        output = self.output(merge_heads(heads))  # (..., n_queries, d_model)
        return (output, weights) if return_weights else output
