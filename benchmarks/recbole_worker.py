"""RecBole's SASRec under a stopwatch. `bench_sasrec.py` starts this in .venv-bench-recbole.

    python recbole_worker.py '{"folder": ..., "epochs": 3, "threads": 2, "settings": {...}}'

The folder holds `movielens/movielens.inter`, with raw ids "0", "1", ... and each event's place in
its user's history as its time. After each epoch (and every ``check_every`` batches, if that is
given) the scores of all users are written to a file in the book's own order, a line of JSON says
how long training and evaluation took so far, and a line on standard input says whether to go on.
All that happens while the watches stand still.
"""

# ruff: noqa: E402  (RecBole reads the command line and numpy's names when it is imported)
import json
import os
import platform
import sys
import time
import warnings
from pathlib import Path

TASK = json.loads(sys.argv.pop(1))  # taken off the command line, which RecBole would read as well
os.chdir(TASK["folder"])  # RecBole writes logs where it runs
CHANNEL, sys.stdout = sys.stdout, sys.stderr  # what RecBole prints must not mix with the lines

import numpy as np

# Python 3.13 has wheels of numpy 2 only, which dropped three names that RecBole's Config reads.
for old, new in {"float_": "float64", "complex_": "complex128", "unicode_": "str_"}.items():
    if old not in np.__dict__:
        setattr(np, old, getattr(np, new))
warnings.filterwarnings("ignore")  # deprecations in pandas and torch: RecBole's, not the reader's

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

DEFAULTS = {
    "data_path": TASK["folder"],
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},  # no ratings: SASRec reads none
    "train_neg_sample_args": None,  # RecBole insists on it for the loss that SASRec has by default
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 6,
    "gpu_id": "",  # the CPU
}


class Stopwatch:
    """Wall seconds, and processor seconds of all threads of this process, while it runs."""

    def __init__(self) -> None:
        self.seconds = np.zeros(2)

    def start(self) -> None:
        self.since = np.array([time.perf_counter(), time.process_time()])

    def stop(self) -> None:
        self.seconds += np.array([time.perf_counter(), time.process_time()]) - self.since


class Stopped(Exception):
    """The benchmark has seen enough."""


class WatchedTrainer(Trainer):
    """RecBole's trainer, unchanged but for the watches and the checks."""

    def __init__(self, config, model, valid_data) -> None:
        super().__init__(config, model)
        self.valid_data = valid_data
        self.training, self.evaluating = Stopwatch(), Stopwatch()
        self.n_epochs, self.n_batches, self.n_checks = 0, 0, 0

    def _train_epoch(self, train_data, epoch_idx, **options):
        self.n_batches, self.epoch_length = 0, len(train_data)
        self.training.start()
        total = super()._train_epoch(train_data, epoch_idx, loss_func=self._loss, **options)
        self.training.stop()
        self.n_epochs += 1
        return total

    def _loss(self, interaction):
        every = TASK.get("check_every")
        if every and self.n_batches and self.n_batches % every == 0:
            self.training.stop()
            self.evaluating.start()
            scores = self.all_scores()
            self.evaluating.stop()
            self.report(scores, self.n_epochs + self.n_batches / self.epoch_length)
            self.model.train()
            self.training.start()
        self.n_batches += 1
        return self.model.calculate_loss(interaction)

    def _valid_epoch(self, valid_data, show_progress=False):
        self.evaluating.start()
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.evaluating.stop()
        self.report(self.all_scores(), float(self.n_epochs), own_ndcg=float(score))
        return score, result

    @torch.no_grad()
    def all_scores(self) -> torch.Tensor:
        """(n_validated, n_tokens), the rows and columns in RecBole's order."""
        self.model.eval()
        return torch.cat(
            [self.model.full_sort_predict(batch[0].to(self.device)) for batch in self.valid_data]
        )

    def report(self, scores: torch.Tensor, epoch: float, own_ndcg: float | None = None) -> None:
        dataset = self.valid_data._dataset
        users = raw(dataset, "user_id", dataset.inter_feat["user_id"])
        items = raw(dataset, "item_id", np.arange(1, dataset.item_num))  # token 0 is the padding
        # An item that RecBole never met has no score, and is never recommended.
        ours = np.full((TASK["n_users"], TASK["n_items"]), -np.inf, dtype=np.float32)
        ours[np.ix_(users, items)] = scores[:, 1:].numpy()
        self.n_checks += 1
        file = Path(TASK["folder"]) / f"scores-{self.n_checks}.npy"
        np.save(file, ours)
        tell(
            epoch=epoch,
            train=self.training.seconds.tolist(),
            evaluate=self.evaluating.seconds.tolist(),
            own_ndcg=own_ndcg,
            scores=str(file),
        )
        if sys.stdin.readline().strip() != "go on":
            raise Stopped


def raw(dataset, field: str, ids) -> np.ndarray:
    """RecBole's numbers of users or items as those of the book."""
    return dataset.id2token(field, np.asarray(ids)).astype(np.int64)


def tell(**line) -> None:
    print(json.dumps(line), file=CHANNEL, flush=True)


def main() -> None:
    torch.set_num_threads(TASK["threads"])
    preparation = Stopwatch()
    preparation.start()
    settings = DEFAULTS | {"epochs": TASK["epochs"]} | TASK["settings"]
    config = Config(model="SASRec", dataset="movielens", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = SASRec(config, train_data._dataset).to(config["device"])
    preparation.stop()
    held_out = valid_data._dataset
    tell(
        preparation=preparation.seconds.tolist(),
        n_examples=len(train_data._dataset),
        validated=[
            raw(held_out, "user_id", held_out.inter_feat["user_id"]).tolist(),
            raw(held_out, "item_id", held_out.inter_feat["item_id"]).tolist(),
        ],
        settings={
            name: config[name]
            for name in "n_layers n_heads hidden_size inner_size hidden_dropout_prob loss_type "
            "MAX_ITEM_LIST_LENGTH train_batch_size learning_rate learner seed".split()
        },
        threads=torch.get_num_threads(),
        versions={
            "python": platform.python_version(),
            "recbole": __import__("recbole").__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    )
    trainer = WatchedTrainer(config, model, valid_data)
    try:
        trainer.fit(train_data, valid_data, verbose=False, saved=False, show_progress=False)
    except Stopped:
        pass


if __name__ == "__main__":
    main()
