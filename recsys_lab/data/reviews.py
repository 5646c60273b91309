"""Patient reviews with a sentiment label: the only free text by users in this course.

600 and 379 reviews of medicines, a sample of the UCI Drug Review data (research use; Gräßer,
Kallumadi, Malberg and Zaunseder 2018), read from the tables inside a pinned wheel. They are
material for reading sentiment, keywords and topics out of text. Nothing here says whether a
medicine helps, and no part of the course recommends one.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from recsys_lab.data.assets import drug_reviews_zip
from recsys_lab.data.files import Source, csv_table, require
from recsys_lab.data.interactions import DataError, _frozen

LABELS = ("negative", "neutral", "positive")
FILES = {"train": "drugsComTrain.tsv", "test": "drugsComTest.tsv"}
COLUMNS = ("drugName", "condition", "review", "rating")
AGAIN = "Run `make setup`, which installs requirements/assets.txt"


@dataclass(frozen=True, eq=False, repr=False)
class Reviews:
    """Reviews as read-only arrays of strings, all of shape (n,), position by position.

    Attributes:
        texts: what the patient wrote; HTML entities decoded, white space folded to one blank.
        labels: "negative", "neutral" or "positive", as published.
        items: the medicine reviewed.
        conditions: what it was taken for; "" where the table has none, or a scrap of a web page.
        parts: "train" or "test", as published.
    """

    texts: np.ndarray
    labels: np.ndarray
    items: np.ndarray
    conditions: np.ndarray
    parts: np.ndarray

    def __post_init__(self) -> None:
        for name, column in vars(self).items():
            object.__setattr__(self, name, _frozen(column, object))

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        counts = ", ".join(f"{(self.labels == label).sum()} {label}" for label in LABELS)
        return f"{len(self)} reviews: {counts}"

    def part(self, name: Literal["train", "test"]) -> Reviews:
        """The reviews of one part, in the order of its table."""
        if name not in FILES:
            raise ValueError(f"there is no part {name!r}; it must be 'train' or 'test'")
        return self.where(self.parts == name)

    def where(self, chosen: np.ndarray) -> Reviews:
        """The reviews picked by a boolean mask (n,) or by positions."""
        return Reviews(**{name: column[chosen] for name, column in vars(self).items()})

    def frame(self) -> pd.DataFrame:
        """A table of its own: columns text, label, item, condition, part."""
        columns = {name.removesuffix("s"): column.copy() for name, column in vars(self).items()}
        return pd.DataFrame(columns)


def load_reviews(path: str | Path | None = None, drop_shared: bool = True) -> Reviews:
    """The reviews of the pinned wheel, training part first.

    Derived in chapters/5_llm_finetuning/6_understanding_users.

    Args:
        path: a zip archive or folder that holds drugsComTrain.tsv and drugsComTest.tsv;
            the wheel's own if None.
        drop_shared: leave a training review out when its text, word for word, stands in the test
            part too. One does (under another name of the same medicine), so 599 + 379 remain.

    Raises:
        DataError: the wheel is missing, the archive is damaged, a file or column is not there,
            a review is blank, or a label is none of the three; with the remedy.
    """
    reviews = _read(drug_reviews_zip() if path is None else Path(path))
    if not drop_shared:
        return reviews
    in_test = set(map(fold, reviews.part("test").texts))
    keep = [
        part == "test" or fold(text) not in in_test
        for text, part in zip(reviews.texts, reviews.parts, strict=True)
    ]
    return reviews.where(np.array(keep))


def fold(text: str) -> str:
    """Letters and digits in lower case: two texts that differ in nothing else are one."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


@lru_cache(maxsize=2)
def _read(path: Path) -> Reviews:
    source, rows = Source(path, FILES["train"]), []
    for part, name in FILES.items():
        if source.find(name) != name:
            raise DataError(f"there is no {name} in it", AGAIN, path)
        shown, text = source.text(name)
        names, table = csv_table(shown, text, separator="\t")
        require(shown, names, COLUMNS, AGAIN)
        for row, cells in enumerate(zip(*(table.columns[c] for c in COLUMNS), strict=True)):
            item, condition, written, label = map(html.unescape, cells)
            written = " ".join(written.strip().strip('"').split())
            if label not in LABELS:
                problem = f"the label is {label!r}, not one of {', '.join(LABELS)}"
                raise table.error(row, problem, AGAIN)
            if not written:
                raise table.error(row, "the review is blank", AGAIN)
            # The published table holds bits of web pages here: `7</span> users found this ...`
            rows.append((written, label, item, "" if "</" in condition else condition, part))
    return Reviews(*zip(*rows, strict=True))
