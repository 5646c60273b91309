"""What SmolLM2 says of the twenty films that EASE retrieves, for section 2, Putting scores on one
scale. The scores stand in fusion_runs.json beside this file; the section reads them and asks for
some of them again.

    .venv/bin/python chapters/6_fusion/fusion_runs.py [--minutes 4] [--only test]

Three splits, other users in each. A user is asked about twice: with the films retrieved from the
training events, to choose the weight of the language model on validation events, and with those
retrieved from training and validation events, for the test. A block of users that is stored
already is not asked again, unless the code it depends on has changed since; stop it whenever you
like and start it again. All blocks take about six minutes of one core.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys_lab import stored_runs
from recsys_lab.data import Interactions, Split, holdout_per_user, load_movielens
from recsys_lab.language import CausalLM, ranking
from recsys_lab.language.prompts import Template
from recsys_lab.language.texts import item_texts, liked_items
from recsys_lab.models import EASE

STORE = Path(__file__).resolve().with_suffix(".json")
ROOT = Path(__file__).resolve().parents[2]
SPLITS = (0, 1, 2)
N_USERS, BLOCK = 80, 20  # users of a split, and of one run
N_RETRIEVED, N_HISTORY = 20, 8  # films re-ranked, liked films in a prompt
L2 = 450.0  # EASE's penalty, tuned in section 4.5
# The wording that won on the tuning users of section 5.4.
WORDING = Template(
    "likelihood", "MovieLens, films rated 5 stars by one user:\n{history}\n-", " {film}"
)


class Run(NamedTuple):
    """One block of users. ``part``: "validation", or "test"."""

    part: str
    split: int
    block: int

    @property
    def key(self) -> str:
        return f"{self.part}/{self.split}/{self.block}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"n_retrieved": N_RETRIEVED, "n_history": N_HISTORY, "wording": WORDING.prefix}


def runs(stored: dict[str, Any]) -> Iterator[Run]:
    for block in range(N_USERS // BLOCK):
        for part in ("validation", "test"):
            for split in SPLITS:
                yield Run(part, split, block)


@cache
def movielens() -> tuple[Interactions, list[str]]:
    data = load_movielens()
    return data, item_texts(data, ("title",))


@cache
def split_of(part: str, number: int) -> Split:
    """The split whose training events are known before ``part``. Both have the same test part."""
    share = 0.15 if part == "validation" else 0.0
    return holdout_per_user(movielens()[0], 0.25, share, seed=number)


def users_of(number: int) -> np.ndarray:
    """The users of a split, drawn once for all; nobody is in two splits."""
    order = np.random.default_rng(62).permutation(movielens()[0].n_users)
    return order[number * N_USERS : (number + 1) * N_USERS]


@cache
def retriever(part: str, number: int) -> EASE:
    return EASE(L2).fit(split_of(part, number).train)


def retrieved(part: str, number: int) -> np.ndarray:
    """EASE's best films that the user has not seen, best first: (n_users, 20)."""
    return retriever(part, number).recommend(users_of(number), k=N_RETRIEVED)


@cache
def language_model() -> CausalLM:
    return CausalLM()


def ask(run: Run) -> list[list[float]]:
    """Mean log-probability of a token of each retrieved title, after the titles of the films that
    the user liked last: a list of twenty for each user of the block."""
    train, titles = split_of(run.part, run.split).train, movielens()[1]
    block, found = slice(run.block * BLOCK, (run.block + 1) * BLOCK), []
    lists = retrieved(run.part, run.split)
    for user, items in zip(users_of(run.split)[block], lists[block], strict=True):
        history = [titles[item] for item in liked_items(train, int(user), N_HISTORY)[::-1]]
        films = [titles[item] for item in items]
        scores = ranking.score(language_model(), WORDING, history, films)
        found.append(np.round(scores, 4).tolist())
    return found


def gathered(stored: dict[str, Any], part: str, number: int) -> np.ndarray:
    """The scores of a split's users, in the order of `retrieved`: (n_users, 20), nats a token."""
    blocks = [Run(part, number, block).key for block in range(N_USERS // BLOCK)]
    return np.concatenate([np.array(stored[key]["scores"]) for key in blocks])


# ---- the store -------------------------------------------------------------------------------
FILES = ["data/splits", "models/ease", "language/texts", "language/prompts", "language/ranking"]


def code_hash(run: Run) -> str:
    """Of the code that the scores depend on."""
    digest = hashlib.sha256()
    for file in [*FILES, "language/causal_lm"]:
        digest.update((ROOT / "recsys_lab" / f"{file}.py").read_bytes())
    for part in (ask, users_of, split_of, retriever, retrieved):
        digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:16]


def perform(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    return {"scores": ask(run)}


def load_runs() -> dict[str, Any]:
    """The stored runs, by key; an error with the remedy if there are none."""
    return stored_runs.load(STORE, __file__)


def is_current(run: Run, stored: dict[str, Any]) -> bool:
    """Whether the run is stored, with these settings, by this code."""
    return stored_runs.is_current(run, stored, code_hash(run))


def main() -> int:
    return stored_runs.command(
        __doc__, "test/0", store=STORE, wanted=runs, code=code_hash, perform=perform
    )


if __name__ == "__main__":
    raise SystemExit(main())
