"""Who runs against whom: on which data, with which settings, how often, and what must hold.

`settings` of both contenders stand side by side. What has no counterpart in the other library is
named in `note`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

PEERS = "benchmarks.peers"
RECBOLE = "benchmarks.peers_recbole"
MODULES = {"implicit": PEERS, "surprise": PEERS, "sklearn": PEERS, "myfm": PEERS}


@dataclass(frozen=True)
class Pair:
    """One row of the table.

    Args:
        name: of the row.
        ours, ours_settings: class in `recsys_lab.models` and its arguments.
        theirs, theirs_settings: "library.Class" and its arguments.
        data: key of `data_sets.SETS`.
        repeats: fits of each contender.
        max_ratio: our seconds of fit over theirs must not be above this; None promises nothing.
        max_seconds: our median seconds must not be above this.
        note: what is not the same on both sides.
    """

    name: str
    data: str
    ours: str
    theirs: str
    ours_settings: dict = field(default_factory=dict)
    theirs_settings: dict = field(default_factory=dict)
    repeats: int = 3
    max_ratio: float | None = None
    max_seconds: float | None = None
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.name}, {self.data}"

    @property
    def module(self) -> str:
        """Where the other contender lives."""
        return MODULES.get(self.theirs.split(".")[0], RECBOLE)

    @property
    def contender(self) -> str:
        """Its name there."""
        return self.theirs if self.module == PEERS else self.theirs.split(".")[1]

    def as_dict(self) -> dict:
        return asdict(self)


def ials(solver: str, d: int = 64, n_epochs: int = 15) -> tuple[dict, dict]:
    """Hu, Koren and Volinsky's objective with the same weights: implicit's alpha is 1 + ours."""
    ours = {"n_factors": d, "alpha": 2.0, "l2": 30.0, "nu": 0.0, "n_epochs": n_epochs}
    theirs = {"factors": d, "alpha": 3.0, "regularization": 30.0, "iterations": n_epochs}
    return (
        ours | {"solver": solver, "seed": 0},
        theirs | {"use_cg": solver == "cg", "random_state": 0},
    )


def bpr(n_epochs: int) -> tuple[dict, dict]:
    return (
        {"n_factors": 64, "n_epochs": n_epochs, "lr": 0.005, "l2": 0.01, "seed": 0},
        {"factors": 64, "iterations": n_epochs, "learning_rate": 0.01, "regularization": 0.01}
        | {"verify_negative_samples": True, "random_state": 0},
    )


# More ridge than Surprise's defaults have: both do better, and the order in which an epoch takes
# the ratings, which is not the same, matters less.
SVD = (
    {"n_factors": 100, "l2": 0.08, "n_epochs": 32, "lr": 0.005, "seed": 0},
    {"n_factors": 100, "reg_all": 0.08, "n_epochs": 32, "lr_all": 0.005, "random_state": 0},
)
SVDPP = (
    {"n_factors": 20, "l2": 0.04, "n_epochs": 20, "lr": 0.007, "seed": 0},
    {"n_factors": 20, "reg_all": 0.04, "n_epochs": 20, "lr_all": 0.007, "random_state": 0},
)
BPR_NOTE = (
    "each with its own optimiser and learning rate: AdamW on batches, stochastic gradient descent "
    "pair by pair; same factors, epochs, and negatives that are never positives"
)
NETWORK_NOTE = "same layers, batch, learning rate and number of epochs; no validation is run"


def pairs() -> list[Pair]:
    """The rows of the table, in its order."""
    found = []

    def add(name: str, data: str, ours: str, theirs: str, settings: tuple[dict, dict], **options):
        found.append(Pair(name, data, ours, theirs, *settings, **options))

    add("Baseline", "100k-stars", "Baseline", "surprise.BaselineOnly", ({}, {}), repeats=5)
    add("BiasedMF", "100k-stars", "BiasedMF", "surprise.SVD", SVD, repeats=5, max_ratio=1.0)
    add("SVDpp", "100k-stars", "SVDpp", "surprise.SVDpp", SVDPP, repeats=5, max_ratio=0.1)
    add("NMF", "100k-stars", "NMF", "surprise.NMF",
        ({"seed": 0}, {"random_state": 0}), repeats=5,
        note="both multiply; theirs goes through factors one after the other")  # fmt: skip
    add("RatingKNN", "100k-stars", "RatingKNN", "surprise.KNNBaseline",
        ({"kind": "baseline"}, {}), repeats=5)  # fmt: skip
    add("SlopeOne", "100k-stars", "SlopeOne", "surprise.SlopeOne", ({}, {}), repeats=5)
    myfm = {"rank": 16, "n_iter": 100, "n_kept_samples": 80, "random_seed": 0}
    add("BayesianMF", "100k-stars", "BayesianMF", "myfm.FM",
        ({"n_factors": 16, "n_epochs": 100, "burn_in": 20, "seed": 0}, myfm), repeats=3,
        note="theirs draws the factors one coordinate after the other, ours a row at once"
    )  # fmt: skip
    add("FM", "100k-stars", "FM", "myfm.FM",
        ({"n_factors": 16, "features": (), "seed": 0}, myfm), repeats=3,
        note="one machine, fitted by gradient descent here and by Gibbs sampling there; "
        "users and films only, no other features"
    )  # fmt: skip

    add("PureSVD", "100k-clicks", "PureSVD", "sklearn.TruncatedSVD",
        ({"n_factors": 32}, {"n_components": 32, "algorithm": "randomized", "random_state": 0}),
        repeats=5, note="ours by Lanczos, theirs randomised: both their defaults")  # fmt: skip
    knn = ({"n_neighbors": 300}, {"K": 300})
    add("ItemKNN", "100k-clicks", "ItemKNN", "implicit.Cosine", knn, repeats=5,
        note="theirs keeps the neighbours of the item seen, ours of the candidate")  # fmt: skip
    add("EASE", "100k-clicks", "EASE", "recbole.EASE",
        ({"l2": 200.0}, {"reg_weight": 200.0}), repeats=5, max_seconds=0.5)  # fmt: skip
    add("IALS", "100k-clicks", "IALS", "implicit.ALS", ials("cg"), repeats=7, max_ratio=1.0)
    add("IALS, Cholesky", "100k-clicks", "IALS", "implicit.ALS", ials("cholesky"), repeats=3)
    add("BPR", "100k-clicks", "BPR", "implicit.BPR", bpr(60), repeats=3, note=BPR_NOTE)
    add("NCF", "100k-clicks", "NCF", "recbole.NeuMF",
        ({"n_factors": 32, "n_negatives": 4, "n_epochs": 10, "lr": 0.005, "dropout": 0.2,
          "batch_size": 4096, "seed": 0},
         {"mf_embedding_size": 32, "mlp_embedding_size": 32, "mlp_hidden_size": [32, 16],
          "train_neg_sample_args": {"distribution": "uniform", "sample_num": 4, "alpha": 1.0,
                                    "dynamic": False, "candidate_num": 0},
          "epochs": 10, "learning_rate": 0.005, "dropout_prob": 0.2, "train_batch_size": 20480}),
        repeats=2, note=f"{NETWORK_NOTE}; ours has weight decay and an item bias")  # fmt: skip
    add("MultVAE", "100k-clicks", "MultVAE", "recbole.MultiVAE",
        ({"n_factors": 64, "n_hidden": 600, "dropout": 0.5, "beta": 0.2, "anneal": 0,
          "n_epochs": 20, "lr": 0.001, "batch_size": 64, "seed": 0},
         {"latent_dimension": 128, "mlp_hidden_size": [600], "dropout_prob": 0.5,
          "anneal_cap": 0.2, "total_anneal_steps": 0, "epochs": 20, "learning_rate": 0.001,
          "train_batch_size": 64}),
        repeats=2, note=f"{NETWORK_NOTE}; theirs draws z with a hundredth of the spread"
    )  # fmt: skip
    add("LightGCN", "100k-clicks", "LightGCN", "recbole.LightGCN",
        ({"n_factors": 64, "n_layers": 2, "n_epochs": 10, "lr": 0.005, "l2": 0.0,
          "batch_size": 2048, "seed": 0},
         {"embedding_size": 64, "n_layers": 2, "epochs": 10, "learning_rate": 0.005,
          "reg_weight": 0.0, "train_batch_size": 2048}),
        repeats=2, note=NETWORK_NOTE)  # fmt: skip

    add("BiasedMF", "1m-stars", "BiasedMF", "surprise.SVD", SVD, repeats=2)
    add("ItemKNN", "1m-clicks", "ItemKNN", "implicit.Cosine", knn, repeats=3)
    add("EASE", "1m-clicks", "EASE", "recbole.EASE",
        ({"l2": 500.0}, {"reg_weight": 500.0}), repeats=2)  # fmt: skip
    add("IALS", "1m-clicks", "IALS", "implicit.ALS", ials("cg"), repeats=5, max_ratio=1.0)
    add("IALS, Cholesky", "1m-clicks", "IALS", "implicit.ALS", ials("cholesky"), repeats=1)
    add("BPR", "1m-clicks", "BPR", "implicit.BPR", bpr(5), repeats=2, note=BPR_NOTE)
    return found


def large_pairs() -> list[Pair]:
    """What scales so far: rows of ML-20M's shape, with fewer epochs."""
    return [
        Pair("IALS", "20m-clicks", "IALS", "implicit.ALS", *ials("cg", n_epochs=3), repeats=2),
        Pair("BPR", "20m-clicks", "BPR", "implicit.BPR", *bpr(1), repeats=1, note=BPR_NOTE),
    ]
