"""Was this pair, or this person, in the training data? Attacks that look at scores alone.

Derived in chapters/7_limitations/4_private. An AUC of one half is a coin; 1 is certainty.
"""

import numpy as np
from scipy.stats import rankdata

from recsys_lab.data import Interactions


def half_split(data: Interactions, seed: int = 0) -> tuple[Interactions, Interactions]:
    """Each user's ratings in two halves by chance: fit a model on the first, attack both.

    Both halves come from the same person, so taste, popularity and activity are alike in them,
    and what tells them apart is the fit alone. Of an odd number the first half gets one more.
    """
    rng = np.random.default_rng([74, seed])
    order = np.lexsort((rng.random(len(data)), data.users))
    counts = data.counts("users")
    first = np.cumsum(counts) - counts
    place = np.empty(len(data), dtype=np.int64)
    place[order] = np.arange(len(data)) - first[data.users[order]]
    inside = place < (counts[data.users] + 1) // 2
    return data.select(inside), data.select(~inside)


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Chance that a member's value is above another's; ties count one half.

    Raises:
        ValueError: one side is empty, or a value is not finite.
    """
    members, others = (np.asarray(side, dtype=float).ravel() for side in (members, others))
    if not len(members) or not len(others):
        raise ValueError(f"an AUC needs both sides: {len(members)} members, {len(others)} others")
    values = np.concatenate([members, others])
    if not np.isfinite(values).all():
        raise ValueError("a score is nan or infinite: attack raw scores, with nothing masked")
    ranks = rankdata(values)[: len(members)].sum()
    return float((ranks / len(members) - (len(members) + 1) / 2) / len(others))


def membership_auc(scores: np.ndarray, members: Interactions, others: Interactions) -> np.ndarray:
    """How well a model's scores tell a user's training pairs from their other pairs.

    Args:
        scores: (n_users, n_items) raw scores, training pairs not masked; or the output of
            `calibrated`.
        members: the pairs that the model was fitted on, such as the first of `half_split`.
        others: pairs of the same users that it was not fitted on.

    Returns:
        (n_users,) AUC of each user, nan for a user without a pair on one of the sides. The mean
        over the others is the attack's AUC; bootstrap it over users.

    Raises:
        ValueError: other shapes, a pair on both sides, scores that are not finite.
    """
    scores = np.asarray(scores)
    shape = (members.n_users, members.n_items)
    if scores.shape != shape or (others.n_users, others.n_items) != shape:
        raise ValueError(f"scores have shape {scores.shape}: expected {shape}, as both sides have")
    inside, outside = members.matrix(), others.matrix()
    if inside.multiply(outside).nnz:
        raise ValueError("a pair is a member and not: the two sides must not overlap")
    found = np.full(len(scores), np.nan)
    for user in np.flatnonzero(np.diff(inside.indptr) * np.diff(outside.indptr)):
        found[user] = auc(scores[user, inside[user].indices], scores[user, outside[user].indices])
    return found


def calibrated(
    scores: np.ndarray, references: list[np.ndarray], taught: list[Interactions]
) -> np.ndarray:
    """Scores less what models without the pair give it: a high score alone proves nothing.

    A film that everybody likes scores high whether or not it was in the training data. Reference
    models, fitted on other draws, say how high. Source: Carlini et al. (2022), with the mean alone.

    Args:
        scores: (n_users, n_items) of the model under attack.
        references: the same of each reference model.
        taught: what each of them was fitted on.

    Returns:
        (n_users, n_items), nan where every reference model knew the pair.

    Raises:
        ValueError: no reference, or lists or shapes that do not match.
    """
    if not references or len(references) != len(taught):
        raise ValueError(f"{len(references)} references for {len(taught)} training sets")
    total, number = np.zeros(np.shape(scores)), np.zeros(np.shape(scores))
    for values, train in zip(references, taught):
        without = train.matrix().toarray() == 0
        if np.shape(values) != without.shape or without.shape != total.shape:
            raise ValueError(f"a reference has shape {np.shape(values)}, not {total.shape}")
        total += np.where(without, values, 0.0)
        number += without
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return np.asarray(scores, dtype=float) - mean
