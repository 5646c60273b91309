"""BERT4Rec: a two-sided Transformer that fills gaps in a viewing history."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recsys_lab.attention import padding_mask
from recsys_lab.models.sequences import ItemEmbedding, SequenceModel
from recsys_lab.transformer import Transformer


class BERT4Rec(SequenceModel):
    """A Transformer that sees both sides of masked items and predicts what stood there.

    In training a share ``mask_fraction`` of each window is masked, in some windows the last item
    alone; to recommend, a mask is put after the history. Source: Sun et al. (2019). Derived in
    chapters/3_transformer_layer/5_sequences.
    """

    def __init__(
        self,
        n_layers: int = 1,
        n_heads: int = 2,
        mask_fraction: float = 0.3,
        last_only: float = 0.1,
        **settings,
    ):
        super().__init__(**settings)
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.mask_fraction = mask_fraction
        self.last_only = last_only  # share of windows with the mask at the end, as in use

    def build(self, n_items: int) -> nn.Module:
        return BERT4RecNetwork(
            n_items, self.max_length + 1, self.d_model, self.n_layers, self.n_heads, self.dropout
        )

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        real = batch != self.train.n_items  # (B, T)
        masked = (torch.rand(batch.shape, device=batch.device) < self.mask_fraction) & real
        at_end = torch.arange(batch.shape[1], device=batch.device) == real.sum(1, keepdim=True) - 1
        last_only = torch.rand(len(batch), 1, device=batch.device) < self.last_only
        # A window without any mask would teach nothing: it loses its last item, too.
        masked = torch.where(last_only | ~masked.any(1, keepdim=True), at_end, masked)
        hidden = self.network(batch.masked_fill(masked, self.train.n_items + 1))
        return functional.cross_entropy(self.network.output(hidden[masked]), batch[masked])

    def next_logits(self, window: torch.Tensor, lengths: np.ndarray) -> torch.Tensor:
        end = torch.as_tensor(lengths, device=window.device)[:, None]  # (B, 1)
        window = functional.pad(window, (0, 1), value=self.train.n_items)
        window = window.scatter(1, end, self.train.n_items + 1)
        return super().next_logits(window, lengths + 1)


class BERT4RecNetwork(nn.Module):
    """items (B, T) with masks -> hidden states (B, T, d_model), each with a view of both sides.

    Positions are counted from the end of the history, where the item to predict stands.
    """

    def __init__(
        self,
        n_items: int,
        max_length: int,
        d_model: int,
        n_layers: int,
        n_heads: int,
        dropout: float,
    ):
        super().__init__()
        self.items = ItemEmbedding(n_items, d_model, n_extra=2)
        self.positions = nn.Embedding(max_length, d_model)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = Transformer(n_layers, d_model, n_heads, d_inner=d_model, dropout=dropout)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        lengths = (items != self.items.n_items).sum(1)  # (B,)
        position = (lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)).clamp(
            min=0
        )
        x = self.dropout(self.items(items) + self.positions(position))  # (B, T, d_model)
        real = padding_mask(lengths, items.shape[1])[:, None]  # (B, 1, T)
        return self.layers(x, mask=real)

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.items.logits(hidden)  # (..., n_items)
