"""Who rated what, when: one immutable object that every model and every metric takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp


class DataError(ValueError):
    """Data that cannot be used: one message that names the file, the line and the remedy.

    Shown in chapters/1_recsys_basics/1_data.

    Attributes:
        problem: what is wrong.
        path: the file or folder, as it was given; None where no file is involved.
        line: line in that file, counted from 1 (the header is line 1); None where no line applies.
        remedy: what to do about it.
    """

    def __init__(
        self, problem: str, remedy: str, path: object = None, line: int | None = None
    ) -> None:
        path = None if path is None else str(path)
        if len(problem) > 400:  # a damaged file can be one long line
            problem = problem[:397] + "..."
        super().__init__(problem, remedy, path, line)
        self.problem, self.remedy, self.path, self.line = problem, remedy, path, line

    def __str__(self) -> str:
        where = "" if self.path is None else self.path
        if self.line is not None:
            where += f", line {self.line}"
        return f"{where}{': ' if where else ''}{self.problem}. {self.remedy}."


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Ratings (or other events) of users on items. Derived in chapters/1_recsys_basics/1_data.

    Users and items are counted from 0; `user_ids` and `item_ids` give the raw id of each index.
    Everything but `users` and `items` may be left out, so a worked example is two short lists:

    >>> Interactions(users=[0, 0, 1], items=[0, 2, 1])
    Interactions('example', 2 users, 3 items, 3 ratings, density 0.500)

    Args:
        users: (n,) user index of each event, 0..n_users-1.
        items: (n,) item index of each event, 0..n_items-1.
        ratings: (n,) float64 on the data's own scale; 1.0 everywhere if left out.
        timestamps: (n,) int64 seconds since 1970-01-01 UTC; 0 everywhere if left out.
        user_ids: (n_users,) raw ids in index order; 0..max(users) if left out.
        item_ids: (n_items,) raw ids in index order; 0..max(items) if left out.
        user_table: one row a user: user_id, age, gender, occupation, zip_code (NA if unknown).
        item_table: one row an item: item_id, title ("unknown" if the source has none), year (Int64,
            NA if unknown), genres (tuple of str, empty if unknown).
        name: what the data is called in tables and figures.

    The arrays are read-only. Events keep the order of the file that they came from. The tables are
    this object's own: changing one changes no other `Interactions`.

    Raises:
        DataError: arrays of unequal length, an index that is no whole number or outside its range,
            a table of another length, a rating that is not finite.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray | None = None
    timestamps: np.ndarray | None = None
    user_ids: np.ndarray | None = None
    item_ids: np.ndarray | None = None
    user_table: pd.DataFrame | None = None
    item_table: pd.DataFrame | None = None
    name: str = "example"
    load_graph: Callable[[], pd.DataFrame] | None = field(default=None)

    def __post_init__(self) -> None:
        n = len(self.users)
        columns = {
            "users": _frozen(self.users, np.int64),
            "items": _frozen(self.items, np.int64),
            "ratings": _frozen(np.ones(n) if self.ratings is None else self.ratings, np.float64),
            "timestamps": _frozen(
                np.zeros(n) if self.timestamps is None else self.timestamps, np.int64
            ),
        }
        for key, values in columns.items():
            if values.shape != (n,):
                raise DataError(
                    f"{key} has shape {values.shape}, users has shape ({n},)",
                    "Give one entry an event in each of users, items, ratings and timestamps",
                )
        for kind in ("user", "item"):
            index, ids = columns[f"{kind}s"], getattr(self, f"{kind}_ids")
            ids = _frozen(np.arange(index.max(initial=-1) + 1) if ids is None else ids)
            if n and not (index.min() >= 0 and index.max() < len(ids)):
                raise DataError(
                    f"{kind}s holds the index {index.min() if index.min() < 0 else index.max()}, "
                    f"but there are {len(ids)} {kind}s, counted from 0",
                    f"Give {kind} indices, not raw ids; load_csv turns raw ids into indices",
                )
            table = getattr(self, f"{kind}_table")
            # A shallow copy: pandas copies on write, so a reader's change stays in this object.
            table = _blank_table(kind, ids) if table is None else table.copy(deep=False)
            if len(table) != len(ids):
                raise DataError(
                    f"{kind}_table has {len(table)} rows for {len(ids)} {kind}s",
                    f"Give one row a {kind}, in the order of {kind}_ids",
                )
            columns |= {f"{kind}_ids": ids, f"{kind}_table": table}
        if not np.isfinite(columns["ratings"]).all():
            raise DataError("a rating is NaN or infinite", "Leave out events without a rating")
        for key, values in columns.items():
            object.__setattr__(self, key, values)

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return (
            f"Interactions({self.name!r}, {self.n_users:,} users, {self.n_items:,} items, "
            f"{len(self):,} ratings, density {self.density:.3f})"
        )

    @property
    def n_users(self) -> int:
        """Number of users, those without an event in this selection included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items, those without an event in this selection included."""
        return len(self.item_ids)

    @property
    def density(self) -> float:
        """Share of the user-item pairs that hold an event: n / (n_users * n_items)."""
        return len(self) / max(self.n_users * self.n_items, 1)

    @cached_property
    def knowledge_graph(self) -> pd.DataFrame:
        """Facts about the items, one triple a row, read from disk when first asked for.

        Columns: head, relation, tail (the graph's own ids) and item: the index of the item that is
        the head, else of the item that is the tail, else -1. Used in
        chapters/1_recsys_basics/1_data.

        Raises:
            DataError: this data has no knowledge graph.
        """
        if self.load_graph is None:
            raise DataError(
                f"{self.name!r} has no knowledge graph",
                "Use load_movielens(), or load_recbole() on a folder with .kg and .link files",
            )
        return self.load_graph().copy(deep=False)

    def matrix(
        self, kind: Literal["binary", "ratings"] = "binary", min_rating: float | None = None
    ) -> sp.csr_matrix:
        """The events as a sparse float64 matrix. Derived in chapters/1_recsys_basics/1_data.

        Args:
            kind: "binary" holds 1.0 where there is an event, "ratings" the rating itself.
            min_rating: keep only events rated at least this; all of them if None.

        Returns:
            csr_matrix (n_users, n_items), indices sorted, at most one entry a pair.

        Raises:
            ValueError: an unknown kind, or ratings asked for where a pair occurs twice.
        """
        if kind not in ("binary", "ratings"):
            raise ValueError(f"kind is {kind!r}; it must be 'binary' or 'ratings'")
        keep = slice(None) if min_rating is None else self.ratings >= min_rating
        values = self.ratings[keep]
        matrix = sp.coo_matrix(
            (
                values if kind == "ratings" else np.ones(len(values)),
                (self.users[keep], self.items[keep]),
            ),
            shape=(self.n_users, self.n_items),
        ).tocsr()
        if matrix.nnz < len(values) and kind == "ratings":
            raise ValueError(
                "a user-item pair occurs twice, and its ratings would be added up; "
                "keep one of them, or use kind='binary'"
            )
        if kind == "binary":
            matrix.data[:] = 1.0
        return matrix

    def select(self, rows: np.ndarray, name: str | None = None) -> Interactions:
        """Some of the events, with the same users, items and tables.

        Used in chapters/1_recsys_basics/5_measuring.

        Args:
            rows: boolean mask (n,) or integer positions; the order given is kept.
            name: a new name; the old one if None.

        Raises:
            ValueError: rows is neither a mask of length n nor integer positions.
        """
        rows = np.asarray(rows)
        if rows.size == 0:
            rows = rows.astype(np.int64) if rows.dtype != bool else rows
        if rows.dtype == bool and rows.shape != (len(self),):
            raise ValueError(f"the mask has shape {rows.shape}; it must be ({len(self)},)")
        if rows.dtype != bool and not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(f"rows has type {rows.dtype}; give a boolean mask or positions")
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            ratings=self.ratings[rows],
            timestamps=self.timestamps[rows],
            name=self.name if name is None else name,
        )

    def counts(self, of: Literal["items", "users"]) -> np.ndarray:
        """Events per item, int64 (n_items,), or per user, int64 (n_users,).

        Derived in chapters/1_recsys_basics/1_data: the long tail.
        """
        if of not in ("items", "users"):
            raise ValueError(f"counts of {of!r}; it must be 'items' or 'users'")
        index, size = (self.items, self.n_items) if of == "items" else (self.users, self.n_users)
        return np.bincount(index, minlength=size)


def _frozen(values: object, dtype: type | None = None) -> np.ndarray:
    array = np.array(values)
    if dtype is np.int64 and array.dtype.kind not in "iu":
        # An empty list counts as float, and so may seconds: whole values pass.
        if array.dtype.kind != "f" or not (np.isfinite(array) & (array == np.floor(array))).all():
            raise DataError(
                f"whole numbers were expected, not {array.ravel()[:3].tolist()}",
                "Give indices counted from 0 (load_csv turns raw ids into indices), and seconds",
            )
    array = array if dtype is None else array.astype(dtype)
    array.setflags(write=False)
    return array


def _blank_table(kind: str, ids: np.ndarray) -> pd.DataFrame:
    if kind == "user":
        return pd.DataFrame(
            {"user_id": ids, "age": pd.array([pd.NA] * len(ids), dtype="Int64")}
        ).assign(gender=pd.NA, occupation=pd.NA, zip_code=pd.NA)
    return pd.DataFrame(
        {
            "item_id": ids,
            "title": ["unknown"] * len(ids),
            "year": pd.array([pd.NA] * len(ids), dtype="Int64"),
            "genres": [()] * len(ids),
        }
    )
