"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

from recsys_lab.data import Interactions
from recsys_lab.models.autoencoder import multinomial_loss
from recsys_lab.models.implicit_base import ImplicitModel, log_popularity


class MultVAE(ImplicitModel):
    """A history x gives a Gaussian over z; a draw of z gives a softmax over the catalogue.

    z = mu(x) + sigma(x) * eps with eps ~ N(0, I), so that gradients reach mu and sigma. The loss is
    the cross-entropy of softmax(decoder(z)) with x, plus beta KL(N(mu, sigma^2) | N(0, I)); the
    weight of the second term grows in a straight line over the first ``anneal`` epochs. Scores use
    z = mu(x). Source: Liang et al. (2018), Kingma and Welling (2014). Derived in
    chapters/4_matrix_factorization/5_additive_trap.

    Args:
        n_factors: length of z.
        n_hidden: width of the hidden layer of the encoder, and of the decoder.
        dropout: share of the history that is hidden in training.
        beta: final weight of the KL term.
        anneal: epochs until that weight is reached; 0 starts with it.
        n_epochs, lr, l2, batch_size, seed: as in `ImplicitModel`; a batch is so many users.
    """

    def __init__(
        self,
        n_factors: int = 64,
        n_hidden: int = 256,
        dropout: float = 0.5,
        beta: float = 0.2,
        anneal: int = 20,
        n_epochs: int = 60,
        lr: float = 1e-3,
        l2: float = 0.0,
        batch_size: int = 64,
        seed: int = 0,
    ):
        super().__init__(n_factors, n_epochs, lr, l2, batch_size, seed)
        if not 0 <= dropout < 1 or beta < 0 or anneal < 0 or n_hidden < 1:
            raise ValueError(
                f"dropout={dropout}, beta={beta}, anneal={anneal}, n_hidden={n_hidden}: dropout "
                "lies from 0 to below 1, beta and anneal are not negative, n_hidden starts at 1."
            )
        self.n_hidden, self.dropout, self.beta, self.anneal = n_hidden, dropout, beta, anneal

    def build(self, train: Interactions) -> nn.Module:
        decoder_output = nn.Linear(self.n_hidden, train.n_items)
        with torch.no_grad():
            decoder_output.bias.copy_(log_popularity(train))
        encoder = nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(train.n_items, self.n_hidden),
            nn.Tanh(),
            nn.Linear(self.n_hidden, 2 * self.n_factors),  # mu and log sigma^2
        )
        decoder = nn.Sequential(nn.Linear(self.n_factors, self.n_hidden), nn.Tanh(), decoder_output)
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def encode(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """mu and log sigma^2 of the histories, both (n_users, n_factors)."""
        return self.network["encoder"](functional.normalize(rows)).chunk(2, dim=1)

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, float]]:
        beta = self.beta * min(1.0, epoch / self.anneal if self.anneal else 1.0)
        users = self.users.unique()  # those with a history
        for picked in self.shuffled(len(users), self.generator(epoch)):
            yield self.rows(users[picked]), beta

    def loss(self, batch: tuple[torch.Tensor, float]) -> torch.Tensor:
        rows, beta = batch
        mu, log_variance = self.encode(rows)
        logits = self.network["decoder"](reparametrise(mu, log_variance))  # (n_users, n_items)
        return multinomial_loss(logits, rows) + beta * kl_to_normal(mu, log_variance).mean()

    def logits(self, users: torch.Tensor) -> torch.Tensor:
        return self.network["decoder"](self.encode(self.rows(users))[0])


def reparametrise(mu: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A draw z = mu + sigma * eps of N(mu, sigma^2), through which gradients flow to both."""
    return mu + (log_variance / 2).exp() * torch.randn_like(mu)


def kl_to_normal(mu: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, sigma^2) | N(0, I)) = -1/2 sum(1 + log sigma^2 - mu^2 - sigma^2): (n,)."""
    return -0.5 * (1 + log_variance - mu**2 - log_variance.exp()).sum(dim=1)
