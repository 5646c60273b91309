"""SVD++: a user is also the sum of the films that they have rated at all."""

from __future__ import annotations

import numpy as np
import torch

from recsys_lab.data import Interactions
from recsys_lab.models.biased_mf import BiasedMF
from recsys_lab.models.sides import Side, one_side, products, weighted_sums


class SVDpp(BiasedMF):
    """r(u, i) = mean + b_u + b_i + q_i . (p_u + |N(u)|^-1/2 sum of y_j over j in N(u)).

    N(u) are the films that u has rated in training: *which* films one rates says something, before
    any star is read. `BiasedMF` with a further table y. The sum over N(u) is formed once a batch
    for everybody, where rating by rating it is formed again for each rating: that is the whole
    difference in speed. Source: Koren (2008). The defaults are Surprise's.
    Derived in chapters/4_matrix_factorization/3_real_ratings.
    """

    def __init__(
        self,
        n_factors: int = 20,
        l2: float = 0.02,
        n_epochs: int = 20,
        lr: float = 0.007,
        batch_size: int = 2048,
        patience: int | None = None,
        seed: int = 0,
    ):
        super().__init__(
            n_factors, l2, n_epochs, lr, batch_size=batch_size, patience=patience, seed=seed
        )

    def start(self, train: Interactions) -> dict[str, torch.Tensor]:
        weights = super().start(train)
        where = weights["users"].device
        counts = train.counts("users")
        root = 1 / np.sqrt(np.maximum(counts, 1))
        self.root = torch.from_numpy(root.astype(np.float32)).to(where)  # (n_users,)
        self.of_user = one_side(train.users, train.items, where)  # N(u)
        self.of_item = one_side(train.items, train.users, where)  # who has i in N(u)
        rng = np.random.default_rng([self.seed, 1])
        table = rng.normal(0, 0.1, weights["items"].shape)
        table[:, :2] = 0.0  # the biases have no implicit part
        weights["implicit"] = torch.from_numpy(table.astype(np.float32)).to(where)
        return weights

    def user_vectors(self) -> torch.Tensor:
        users = self.weights["users"].clone()
        total = weighted_sums(self.weights["implicit"], self.of_user)
        users[self.of_user.owners] += self.root[self.of_user.owners, None] * total
        return users  # (n_users, 2 + n_factors)

    def step(self, ratings: torch.Tensor, by_user: Side, by_item: Side) -> None:
        whole, users, items = self.user_vectors(), self.weights["users"], self.weights["items"]
        own, theirs = users[by_user.owners], items[by_item.owners]
        error = ratings - products(whole[by_user.owners], items, by_user)
        down_users = weighted_sums(items, by_user, error)
        down_items = weighted_sums(whole, by_item, error)
        # What the user's films share: the push on p_u / root, and the number of ratings for l2.
        push = torch.zeros_like(users)
        push[by_user.owners] = self.root[by_user.owners, None] * down_users
        push[by_user.owners, 0] = by_user.counts[:, 0]
        down_implicit = weighted_sums(push, self.of_item)
        seen = self.of_item.owners
        down_implicit -= self.l2 * down_implicit[:, :1] * self.weights["implicit"][seen]
        down_users.addcmul_(by_user.counts, own, value=-self.l2)
        down_items.addcmul_(by_item.counts, theirs, value=-self.l2)
        down_users[:, 1] = down_items[:, 0] = 0.0
        down_implicit[:, :2] = 0.0
        users.index_add_(0, by_user.owners, down_users, alpha=self.lr)
        items.index_add_(0, by_item.owners, down_items, alpha=self.lr)
        self.weights["implicit"].index_add_(0, seen, down_implicit, alpha=self.lr)
