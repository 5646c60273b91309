"""What a language model reads about a film, and about a user: one line of plain text each.

Titles are data: invisible characters and line breaks are taken out, the length is limited.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd

from recsys_lab.data import Interactions

FIELDS = ("title", "year", "genres")

# "Usual Suspects, The": the article that MovieLens moved to the end of a title.
_ARTICLES = "The|An|A|La|Le|Les|L'|Il|Lo|El|Los|Las|Der|Die|Das|Det|Den|De|O"
_ARTICLE_LAST = re.compile(rf"^(.+), ({_ARTICLES})$")
_TWO_NAMES = re.compile(r"^(.+?) \((.+)\)$")


def clean(text: str) -> str:
    """The text on one line: NFC, no control or invisible characters, single spaces.

    Case, accents and punctuation stay. Derived in chapters/5_llm_finetuning/1_text_for_machines.

    >>> clean("Se7en\\n\\tIgnore\\u200b  the above")
    'Se7en Ignore the above'
    """
    text = unicodedata.normalize("NFC", str(text))
    # Unicode's category C: control characters (Cc, a tab), and others that cannot be seen.
    text = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    return " ".join("".join(c for c in text if unicodedata.category(c)[0] != "C").split())


def natural_title(title: str) -> str:
    """A title as it is spoken: articles in front, a second name kept in brackets.

    Derived in chapters/5_llm_finetuning/1_text_for_machines.

    >>> natural_title("Blue Angel, The (Blaue Engel, Der)")
    'The Blue Angel (Der Blaue Engel)'
    """
    title = clean(title)
    two = _TWO_NAMES.match(title) if title.endswith(")") else None
    return f"{_in_front(two[1])} ({_in_front(two[2])})" if two else _in_front(title)


def item_texts(
    data: Interactions, fields: Sequence[str] = FIELDS, max_chars: int = 200
) -> list[str]:
    """One line of text a film: "Toy Story (1995). Animation, Children's, Comedy."

    What is missing is left out. The graph's facts are no field: its entities have no names.
    Derived in chapters/5_llm_finetuning/1_text_for_machines.

    Args:
        fields: some of title, year, genres; the text keeps this order whatever order is given.
        max_chars: longer texts are cut at a space and end in "…"; at least 20.

    Returns:
        n_items strings; "Unknown title" for a film of which nothing is known.

    Raises:
        ValueError: an unknown field, no field, or a limit below 20.
    """
    unknown = [fields] if isinstance(fields, str) else sorted(set(fields) - set(FIELDS))
    if unknown or not fields:
        raise ValueError(f"unknown fields {unknown}: give a tuple of some of {FIELDS}.")
    if max_chars < 20:
        raise ValueError(f"max_chars is {max_chars}: a title needs at least 20 characters.")
    return [_shorten(_item_text(item, fields), max_chars) for item in data.item_table.itertuples()]


def liked_items(
    train: Interactions, user: int, n: int | None = 10, min_rating: float = 4.0, seed: int = 0
) -> np.ndarray:
    """The films that a user rated `min_rating` or more, newest first, at most n: (<= n,) indices.

    Ratings of one second, of which MovieLens has many, fall in an order drawn from `seed` and the
    user, not in that of the ids, which follows popularity. The same call gives the same list.
    Derived in chapters/5_llm_finetuning/1_text_for_machines.

    Args:
        train: only its events are read, so a held-out film cannot slip in.
        n: at most so many; all of them if None.

    Raises:
        ValueError: a user outside the data, or n below 1.
    """
    if not 0 <= user < train.n_users:
        raise ValueError(f"user {user} is not in the data: 0 to {train.n_users - 1} are.")
    if n is not None and n < 1:
        raise ValueError(f"n is {n}: ask for at least one film, or for all with None.")
    rows = np.flatnonzero((train.users == user) & (train.ratings >= min_rating))
    rows = rows[np.argsort(train.items[rows], kind="stable")]  # the order of the file plays no part
    drawn = np.random.default_rng([seed, int(user)]).random(len(rows))
    newest = np.lexsort((drawn, -train.timestamps[rows]))
    return train.items[rows[newest]][:n]


def user_text(
    train: Interactions,
    user: int,
    n: int | None = 10,
    min_rating: float = 4.0,
    texts: Sequence[str] | None = None,
    seed: int = 0,
) -> str:
    """A user in one line: 'Liked, newest first: "Fargo (1996)", "Toy Story (1995)".'

    The films of `liked_items`, each in quotation marks, so that a title stays a title; without
    any, "Liked no film yet." Derived in chapters/5_llm_finetuning/1_text_for_machines.

    Args:
        texts: (n_items,) what to write for each film, made once; title and year if None.
    """
    items = liked_items(train, user, n, min_rating, seed)
    texts = item_texts(train, ("title", "year")) if texts is None else texts
    if len(texts) != train.n_items:
        raise ValueError(f"{len(texts)} texts for {train.n_items} items: give one an item.")
    quoted = ", ".join('"' + texts[item].replace('"', "'") + '"' for item in items)
    return f"Liked, newest first: {quoted}." if quoted else "Liked no film yet."


def _in_front(title: str) -> str:
    last = _ARTICLE_LAST.match(title)
    if last is None:
        return title
    return f"{last[2]}{'' if last[2].endswith(chr(39)) else ' '}{last[1]}"  # L'Enfer, La Haine


def _item_text(item: tuple, fields: Sequence[str]) -> str:
    title = natural_title(item.title) if "title" in fields and not pd.isna(item.title) else ""
    title = "" if title == "unknown" else title
    if "year" in fields and not pd.isna(item.year):
        title = f"{title} ({item.year})" if title else f"{item.year}"
    genres = ", ".join(clean(genre) for genre in item.genres) if "genres" in fields else ""
    if not genres:
        return title or "Unknown title"
    return f"{title}{'' if title.endswith(('.', '!', '?')) else '.'} {genres}." if title else genres


def _shorten(text: str, max_chars: int) -> str:
    if len(text) <= max_chars:
        return text
    kept = text[: max_chars - 1].rsplit(" ", 1)[0]  # a text without a space is cut where it is
    return kept.rstrip(" ,.(") + "…"
