"""Neural collaborative filtering: a product of two vectors, a network on top of both, or both."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

from recsys_lab.data import Interactions
from recsys_lab.models.implicit_base import ImplicitModel, log_popularity
from recsys_lab.models.negatives import NegativeSampler

INTERACTIONS = ("neumf", "gmf", "mlp", "dot")


class NCF(ImplicitModel):
    """A yes-or-no question for each pair: did this user rate this film, or is it a random other?

    ``interaction`` says how a user meets a film: "gmf" w . (p * q), "dot" p . q (the same with
    w = 1), "mlp" two hidden layers on [p; q], "neumf" gmf + mlp, each with vectors of its
    own. An item bias, which the paper has not, starts at the item's popularity. Source: He et al.
    (2017). Derived in chapters/4_matrix_factorization/5_additive_trap.

    Args:
        n_factors: length of each vector, and width of the first hidden layer.
        interaction: "neumf", "gmf", "mlp" or "dot".
        n_negatives: films drawn for each positive one, never one that the user has rated.
        dropout: share of each vector's entries that a batch does not see.
        n_epochs, lr, l2, batch_size, seed: as in `ImplicitModel`; a batch is so many positives.
    """

    def __init__(
        self,
        n_factors: int = 32,
        interaction: str = "neumf",
        n_negatives: int = 4,
        dropout: float = 0.2,
        n_epochs: int = 20,
        lr: float = 5e-3,
        l2: float = 0.1,
        batch_size: int = 4096,
        seed: int = 0,
    ):
        super().__init__(n_factors, n_epochs, lr, l2, batch_size, seed)
        if interaction not in INTERACTIONS or n_negatives < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"interaction={interaction!r}, n_negatives={n_negatives}, dropout={dropout}: the "
                f"first is one of {INTERACTIONS}, the second at least 1, the third in [0, 1)."
            )
        self.interaction, self.n_negatives, self.dropout = interaction, n_negatives, dropout

    def build(self, train: Interactions) -> nn.Module:
        self.negatives = NegativeSampler(train, self.device)
        network = _Pairs(
            train.n_users, train.n_items, self.n_factors, self.interaction, self.dropout
        )
        # The log of the odds that a pair is the true one, for a user of whom nothing is known.
        odds = log_popularity(train) + torch.log(torch.tensor(train.n_items / self.n_negatives))
        with torch.no_grad():
            network.bias.copy_(odds)
        return network

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = self.generator(epoch)
        for rows in self.shuffled(len(self.users), generator):
            users = self.users[rows, None]  # (B, 1)
            drawn = self.negatives.draw(users.repeat(1, self.n_negatives), generator)
            yield users, torch.cat([self.items[rows, None], drawn], dim=1)  # (B, 1 + n_negatives)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logits = self.network(*batch)
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1
        return functional.binary_cross_entropy_with_logits(logits, labels)

    def logits(self, users: torch.Tensor) -> torch.Tensor:
        films = torch.arange(self.train.n_items, device=self.device)
        blocks = [self.network(block[:, None], films) for block in users.split(32)]
        return torch.cat(blocks)  # (n_selected, n_items)


class _Pairs(nn.Module):
    """Logits of pairs; ``users`` and ``items`` may be of any shapes that broadcast."""

    def __init__(
        self, n_users: int, n_items: int, n_factors: int, interaction: str, dropout: float
    ):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.dropout = nn.Dropout(dropout)
        self.has_product, self.has_mlp = interaction != "mlp", interaction in ("neumf", "mlp")
        if self.has_product:
            self.product_users = _vectors(n_users, n_factors)
            self.product_items = _vectors(n_items, n_factors)
            # "dot": weights of one that are not learnt.
            self.weight = nn.Parameter(torch.ones(n_factors), requires_grad=interaction != "dot")
        if self.has_mlp:
            self.mlp_users, self.mlp_items = (
                _vectors(n_users, n_factors),
                _vectors(n_items, n_factors),
            )
            # W [p; q] = W_u p + W_i q: taken once for each user and film, not for each pair.
            self.first_user = nn.Linear(n_factors, n_factors)
            self.first_item = nn.Linear(n_factors, n_factors, bias=False)
            half = max(1, n_factors // 2)
            self.rest = nn.Sequential(
                nn.ReLU(), nn.Linear(n_factors, half), nn.ReLU(), nn.Linear(half, 1, bias=False)
            )

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        pick, thin = functional.embedding, self.dropout
        logits = pick(items, self.bias[:, None])[..., 0]
        if self.has_product:
            of_user = pick(users, thin(self.product_users) * self.weight)
            logits = logits + (of_user * pick(items, thin(self.product_items))).sum(dim=-1)
        if self.has_mlp:
            of_user = pick(users, self.first_user(thin(self.mlp_users)))
            of_item = pick(items, self.first_item(thin(self.mlp_items)))
            logits = logits + self.rest(of_user + of_item)[..., 0]
        return logits


def _vectors(n: int, n_factors: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n, n_factors) * 0.1)
