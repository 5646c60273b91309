"""Twenty candidates a user, and a causal language model that puts them in order.

Derived in chapters/5_llm_finetuning/4_zero_shot.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_lab.data import Split
from recsys_lab.evaluation import ranking_metrics
from recsys_lab.language.causal_lm import CausalLM
from recsys_lab.language.prompts import LETTERS, Template


class Candidates(NamedTuple):
    """What is to be ranked: one list a user, one film of it held out from that user's events."""

    users: np.ndarray  # (n_users,) indices
    items: np.ndarray  # (n_users, n) indices, in the order in which they are shown
    place: np.ndarray  # (n_users,) of the held-out film, 0..n-1


def candidates(
    split: Split, users: Sequence[int], n: int = 20, seed: int = 0, how: str = "uniform"
) -> Candidates:
    """Each user's held-out film among n - 1 that the user has never rated, in random order.

    A list depends on the seed and its user only, not on which other users are asked for.

    Args:
        split: with one test event for each user, as from `leave_last_out`.
        how: the others are drawn "uniform" from the films with a training rating, or are those
            with the number of ratings closest to the held-out film's ("popular": popularity then
            has next to nothing to say; ties by chance).

    Raises:
        ValueError: a user without exactly one test event, too few unseen films, unknown `how`.
    """
    if how not in ("uniform", "popular"):
        raise ValueError(f'how is {how!r}: choose "uniform" or "popular".')
    users = np.asarray(users, dtype=np.int64)
    counts = split.train.counts("items")
    parts = [part for part in (split.train, split.validation, split.test) if part is not None]
    rated = sum(part.matrix() for part in parts).tocsr()
    held_out = split.test.matrix().tocsr()
    lists, place = np.empty((len(users), n), dtype=np.int64), np.empty(len(users), dtype=np.int64)
    for row, user in enumerate(users):
        positive = held_out[user].indices
        unseen = np.setdiff1d(np.flatnonzero(counts), rated[user].indices)
        if len(positive) != 1 or len(unseen) < n - 1:
            raise ValueError(
                f"user {user} has {len(positive)} test events and {len(unseen)} unseen films: "
                f"one and at least {n - 1} are needed. Split with leave_last_out."
            )
        rng = np.random.default_rng([seed, int(user)])
        order = rng.permutation(unseen)
        if how == "popular":
            distance = np.abs(counts[order] - counts[positive[0]])
            order = order[np.argsort(distance, kind="stable")]
        shown = rng.permutation(n)  # place 0 before the shuffle is the held-out film's
        lists[row] = np.append(positive, order[: n - 1])[shown]
        place[row] = np.flatnonzero(shown == 0)[0]
    return Candidates(users, lists, place)


def evaluate_lists(
    scores: np.ndarray, lists: Candidates, k: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Metrics of each user's list, as from `evaluation.evaluate`; equal scores fall by chance.

    Args:
        scores: (n_users, n), the higher the better, in the order of `lists.items`.
    """
    relevant = np.arange(lists.items.shape[1]) == lists.place[:, None]
    table = ranking_metrics(scores, relevant, k, seed=seed, users=lists.users)
    table.attrs |= {"n_negatives": lists.items.shape[1] - 1}
    return table


def score(
    model: CausalLM, template: Template, history: Sequence[str], titles: Sequence[str]
) -> np.ndarray:
    """How high the model puts each title for a viewer of `history`: (n,), higher is better.

    likelihood: mean log-probability of a token of the quoted title. yes_no: log-odds of yes.
    pairwise: mean log-odds against the next two titles in the list, each asked in both orders.
    listwise: log-probability of the title's letter. The history is read once.

    Args:
        history: titles in the order of viewing; may be empty.
        titles: the candidates, in the order in which a list shows them.
    """
    prefix, n = template.read(history), len(titles)
    if template.kind == "likelihood":
        return model.log_likelihood(prefix, [template.about(title) for title in titles])
    if template.kind == "listwise":
        answers = [f" {letter}" for letter in LETTERS[:n]]
        return model.answer_log_probs(prefix, [template.about(*titles)], answers)[0]
    if template.kind == "yes_no":
        asked = [template.about(title) for title in titles]
        return log_odds(model.answer_log_probs(prefix, asked, template.answers))
    pairs = opponents(n)
    asked = [template.about(titles[i], titles[j]) for i, j in pairs]
    odds = log_odds(model.answer_log_probs(prefix, asked, template.answers))  # of the first
    total = np.bincount(pairs[:, 0], odds, n) - np.bincount(pairs[:, 1], odds, n)
    return total / np.bincount(pairs.ravel(), minlength=n)


def log_odds(log_probs: np.ndarray) -> np.ndarray:
    """Of the first answer against the second: (n, 2) log-probabilities -> (n,) nats."""
    return log_probs[:, 0] - log_probs[:, 1]


def opponents(n: int, n_steps: int = 2) -> np.ndarray:
    """Who meets whom: each with the next `n_steps` in a circle, in both orders; (n_pairs, 2)."""
    n_steps = min(n_steps, n - 1)
    first = np.repeat(np.arange(n), n_steps)
    second = (first + np.tile(np.arange(1, n_steps + 1), n)) % n
    pairs = np.column_stack([first, second])
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
