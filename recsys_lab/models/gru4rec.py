"""GRU4Rec: a recurrent network over a viewing history."""

import torch
from torch import nn

from recsys_lab.models.sequences import ItemEmbedding, SequenceModel


class GRU4Rec(SequenceModel):
    """A gated recurrent unit reads item after item; its state predicts the next one.

    Trained with cross-entropy over the whole catalogue. Source: Hidasi et al. (2016). Derived in
    chapters/3_transformer_layer/5_sequences.
    """

    def build(self, n_items: int) -> nn.Module:
        return GRU4RecNetwork(n_items, self.d_model, self.dropout)


class GRU4RecNetwork(nn.Module):
    """items (B, T) -> states (B, T, d_model); state t has read items 0..t only."""

    def __init__(self, n_items: int, d_model: int, dropout: float):
        super().__init__()
        self.items = ItemEmbedding(n_items, d_model)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(d_model, d_model, batch_first=True)
        self.project = nn.Linear(d_model, d_model)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.dropout(self.items(items)))  # (B, T, d_model)
        return self.project(self.dropout(states))

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.items.logits(hidden)  # (..., n_items)
