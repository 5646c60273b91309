"""SASRec: a causal Transformer over a viewing history."""

import torch
from torch import nn

from recsys_lab.models.sequences import ItemEmbedding, SequenceModel
from recsys_lab.transformer import Transformer


class SASRec(SequenceModel):
    """Self-attention over the last ``max_length`` items; each position predicts the next item.

    Trained with cross-entropy over the whole catalogue instead of the paper's one sampled
    negative. Source: Kang and McAuley (2018). Derived in
    chapters/3_transformer_layer/5_sequences.
    """

    def __init__(self, n_layers: int = 1, n_heads: int = 2, **settings):
        super().__init__(**settings)
        self.n_layers = n_layers
        self.n_heads = n_heads

    def build(self, n_items: int) -> nn.Module:
        return SASRecNetwork(
            n_items, self.max_length, self.d_model, self.n_layers, self.n_heads, self.dropout
        )


class SASRecNetwork(nn.Module):
    """items (B, T) -> hidden states (B, T, d_model); position t has read items 0..t only."""

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
        self.items = ItemEmbedding(n_items, d_model)
        self.positions = nn.Embedding(max_length, d_model)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = Transformer(n_layers, d_model, n_heads, d_inner=d_model, dropout=dropout)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        position = torch.arange(items.shape[1], device=items.device)
        x = self.dropout(self.items(items) + self.positions(position))  # (B, T, d_model)
        # Padding stands on the right, where a causal layer cannot see it from the items.
        return self.layers(x, is_causal=True)

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.items.logits(hidden)  # (..., n_items)
