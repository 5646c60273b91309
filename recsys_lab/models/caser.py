"""Caser: convolutions over the last few items of a viewing history."""

import torch
from torch import nn
from torch.nn import functional

from recsys_lab.models.sequences import ItemEmbedding, SequenceModel


class Caser(SequenceModel):
    """Filters slide over the last ``n_last`` items, written as an image (n_last, d_model).

    Horizontal filters read several items in a row and keep their strongest response; vertical
    ones weigh the last items, each with its own weights. As the other sequence models it has no
    user vector: what it knows of a user is the window. Source: Tang and Wang (2018). Derived in
    chapters/3_transformer_layer/5_sequences.
    """

    def __init__(self, n_last: int = 8, n_horizontal: int = 16, n_vertical: int = 4, **settings):
        super().__init__(**settings)
        self.n_last = n_last
        self.n_horizontal = n_horizontal
        self.n_vertical = n_vertical

    def build(self, n_items: int) -> nn.Module:
        return CaserNetwork(
            n_items, self.d_model, self.n_last, self.n_horizontal, self.n_vertical, self.dropout
        )


class CaserNetwork(nn.Module):
    """items (B, T) -> hidden states (B, T, d_model); state t has read items t-n_last+1..t."""

    def __init__(
        self,
        n_items: int,
        d_model: int,
        n_last: int,
        n_horizontal: int,
        n_vertical: int,
        dropout: float,
    ):
        super().__init__()
        self.n_last = n_last
        self.items = ItemEmbedding(n_items, d_model)
        heights = range(1, n_last + 1)
        self.horizontal = nn.ModuleList(nn.Conv1d(d_model, n_horizontal, h) for h in heights)
        self.vertical = nn.Linear(n_last, n_vertical, bias=False)
        n_features = n_horizontal * n_last + n_vertical * d_model
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(n_features, d_model)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        x = self.items(items).transpose(1, 2)  # (B, d_model, T)
        x = functional.pad(x, (self.n_last - 1, 0))  # (B, d_model, T + n_last - 1)
        images = x.unfold(2, self.n_last, 1)  # (B, d_model, T, n_last)
        vertical = self.vertical(images).permute(0, 2, 1, 3).flatten(2)  # (B, T, d * n_vertical)
        horizontal = []
        for height, filters in enumerate(self.horizontal, start=1):
            responses = functional.relu(filters(x))  # (B, n_horizontal, T + n_last - height)
            strongest = responses.unfold(2, self.n_last - height + 1, 1).amax(3)
            horizontal.append(strongest.transpose(1, 2))  # (B, T, n_horizontal)
        features = torch.cat([*horizontal, vertical], dim=2)  # (B, T, n_features)
        return functional.relu(self.project(self.dropout(features)))

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.items.logits(hidden)  # (..., n_items)
