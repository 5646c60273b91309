"""The Transformer layer of 2017 and its pre-norm form, as an encoder or a decoder, and a stack.

Batch first everywhere: (n_sequences, n, d_model). Masks are boolean, True = may attend.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_lab.attention import MultiHeadAttention

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them, the same at every position.

    Derived in chapters/3_transformer_layer/1_one_layer.

    Args:
        d_model: width of the input and of the output.
        d_inner: width in between.
        activation: "relu" or "gelu" (the exact one, with the error function).
        dropout: share of inner values set to zero in training.

    Raises:
        ValueError: an unknown activation.
    """

    def __init__(self, d_model: int, d_inner: int, activation: str = "gelu", dropout: float = 0.0):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: choose from {', '.join(ACTIVATIONS)}.")
        self.inner = nn.Linear(d_model, d_inner)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(d_inner, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)"""
        return self.outer(self.dropout(self.activation(self.inner(x))))


class TransformerLayer(nn.Module):
    """Attention, then the feed-forward network, each with residual, normalisation and dropout.

    With ``norm_first`` (pre-norm) a sub-layer f adds ``x + f(norm(x))``; otherwise (post-norm, the
    order of the 2017 paper) it gives ``norm(x + f(x))``. Without ``cross`` it has
    4 d^2 + 4 d + 2 d d_inner + d_inner + d + 4 d parameters, d standing for d_model. Equal to
    ``torch.nn.TransformerEncoderLayer``, with ``cross`` to ``TransformerDecoderLayer``.
    Source: Vaswani et al. (2017). Derived in chapters/3_transformer_layer/1_one_layer.

    Args:
        d_model: width of the input and of the output.
        n_heads: number of attention heads; divides d_model.
        d_inner: width inside the feed-forward network; 4 * d_model if not given.
        dropout: share set to zero in training: of the attention weights, of the inner values
            and of what each sub-layer adds.
        norm_first: pre-norm (True) or post-norm (False).
        activation: "relu" or "gelu".
        cross: also attend to a second sequence, the context, as a decoder does.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_inner: int | None = None,
        dropout: float = 0.1,
        norm_first: bool = True,
        activation: str = "gelu",
        cross: bool = False,
    ):
        super().__init__()
        d_inner = 4 * d_model if d_inner is None else d_inner
        self.d_model, self.norm_first, self.cross = d_model, norm_first, cross
        self.attention = MultiHeadAttention(d_model, n_heads, dropout=dropout)
        self.attention_norm = nn.LayerNorm(d_model)
        if cross:
            self.cross_attention = MultiHeadAttention(d_model, n_heads, dropout=dropout)
            self.cross_norm = nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_inner, activation, dropout)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            x: (n_sequences, n, d_model).
            mask: which keys a position may attend to, (n_sequences, n, n); for padding
                (n_sequences, 1, n), which is ``padding_mask(lengths, n)[:, None]``; the first
                axis may be 1.
            is_causal: also forbid attention to later positions.
            context: the second sequence, (n_sequences, n_context, d_model); with ``cross`` only.
            context_mask: (n_sequences, n, n_context) or (n_sequences, 1, n_context).

        Returns:
            (n_sequences, n, d_model).

        Raises:
            ValueError: a shape that does not fit, a mask that is not boolean or has two axes, a
                context without ``cross`` or ``cross`` without a context.
        """
        self._check(x, mask, context, context_mask)

        def attend(y: Tensor) -> Tensor:
            return self.attention(y, mask=mask, is_causal=is_causal)

        x = self._add(x, attend, self.attention_norm)
        if self.cross:

            def attend_context(y: Tensor) -> Tensor:
                return self.cross_attention(y, context=context, mask=context_mask)

            x = self._add(x, attend_context, self.cross_norm)
        return self._add(x, self.feed_forward, self.feed_forward_norm)

    def _add(self, x: Tensor, sublayer, norm: nn.LayerNorm) -> Tensor:
        """The residual connection around one sub-layer, with its normalisation."""
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))

    def _check(self, x, mask, context, context_mask) -> None:
        _check_sequence("x", x, self.d_model)
        _check_mask("mask", mask, len(x), x.shape[1], x.shape[1])
        if self.cross != (context is not None):
            raise ValueError(
                "cross=True needs a context."
                if self.cross
                else "a context needs a layer with cross=True."
            )
        if context is None:
            if context_mask is not None:
                raise ValueError("context_mask without a context.")
            return
        _check_sequence("context", context, self.d_model)
        if len(context) != len(x):
            raise ValueError(
                f"context has {len(context)} sequences and x has {len(x)}; they must go in pairs."
            )
        _check_mask("context_mask", context_mask, len(x), x.shape[1], context.shape[1])


class Transformer(nn.Module):
    """A stack of layers. A pre-norm stack ends in a LayerNorm, since its residual is not bounded.

    Arguments and forward as in ``TransformerLayer``. There is no embedding, no position and no
    output head: those differ from model to model. Derived in
    chapters/3_transformer_layer/1_one_layer.
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_inner: int | None = None,
        dropout: float = 0.1,
        norm_first: bool = True,
        activation: str = "gelu",
        cross: bool = False,
    ):
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(d_model, n_heads, d_inner, dropout, norm_first, activation, cross)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model) if norm_first else nn.Identity()

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        """(n_sequences, n, d_model) -> (n_sequences, n, d_model)"""
        for layer in self.layers:
            x = layer(x, mask, is_causal, context, context_mask)
        return self.norm(x)


def _check_sequence(name: str, x: Tensor, d_model: int) -> None:
    if x.ndim != 3 or x.shape[-1] != d_model:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; expected (n_sequences, n, {d_model}), batch first."
        )


def _check_mask(name: str, mask: Tensor | None, n_sequences: int, n: int, n_keys: int) -> None:
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"{name} is {mask.dtype}; expected torch.bool, True = may attend.")
    if mask.ndim == 2:
        # Broadcasting would read (n_sequences, n) as (n, n) whenever the two are equal.
        raise ValueError(
            f"{name} has two axes, which can be read in two ways: pass {name}[:, None] if it is "
            f"padding (n_sequences, n_keys), {name}[None] if it is (n, n_keys) for all sequences."
        )
    fits = (
        mask.ndim == 3
        and mask.shape[0] in (1, n_sequences)
        and mask.shape[1] in (1, n)
        and mask.shape[2] == n_keys
    )
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)}; expected ({n_sequences}, {n}, {n_keys}) "
            f"or ({n_sequences}, 1, {n_keys})."
        )
