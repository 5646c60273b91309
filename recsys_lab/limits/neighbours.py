"""The k vectors with the largest inner products: exactly, and nearly, with an inverted file.

Derived in chapters/7_limitations/3_wider.
"""

from __future__ import annotations

from typing import Self

import numpy as np


def exact_top_k(queries: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """The k items of largest inner product, best first; of equal ones the lower index first.

    Derived in chapters/7_limitations/3_wider.

    Args:
        queries: (n_queries, d).
        items: (n_items, d).
        k: 1 to n_items.

    Returns:
        (n_queries, k) indices.

    Raises:
        ValueError: shapes that do not fit, k outside 1..n_items.
    """
    queries, items = _check(queries, items)
    if not 1 <= k <= len(items):
        raise ValueError(f"k is {k}: choose 1 to {len(items)}, the number of items")
    return np.array([best(items @ query, k) for query in queries]).reshape(-1, k)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k largest of (n,) scores, best first; of equal ones the lower index first."""
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    found = np.flatnonzero(scores >= least)
    return found[np.argsort(-scores[found], kind="stable")][:k]


class InvertedFile:
    """k-means cells, and for each the list of its items; a query looks into a few cells only.

    Items go to the cell whose centre is nearest (Euclid). A query goes to the cells that `probe`
    says: "ip", largest inner product with the centre; "l2", nearest centre, which is wrong for
    inner products unless all vectors are of like length. Inside a cell inner products are exact.
    Sources: Sivic and Zisserman (2003); Jégou, Douze and Schmid (2011). Derived in
    chapters/7_limitations/3_wider.

    Args:
        n_cells: number of cells; about the root of the number of items is usual.
        probe: "ip" or "l2".
        n_iterations: rounds of k-means.
        n_train: items that k-means sees, drawn at random; all if there are no more.
        seed: of the draws.
    """

    def __init__(
        self,
        n_cells: int,
        probe: str = "ip",
        n_iterations: int = 10,
        n_train: int = 50_000,
        seed: int = 0,
    ):
        if n_cells < 1 or n_iterations < 0 or probe not in ("ip", "l2"):
            raise ValueError(
                f"n_cells={n_cells}, n_iterations={n_iterations}, probe={probe!r}: cells start at "
                "1, rounds at 0, and probe is 'ip' or 'l2'"
            )
        self.n_cells, self.probe, self.n_iterations = n_cells, probe, n_iterations
        self.n_train, self.seed = n_train, seed

    def fit(self, items: np.ndarray, centres: np.ndarray | None = None) -> Self:
        """Make the cells of items (n_items, d), or take the `centres` (n_cells, d) given."""
        items = _check(items[:1], items)[1]
        if len(items) < self.n_cells:
            raise ValueError(f"{self.n_cells} cells for {len(items)} items: make fewer cells")
        if centres is None:
            rng = np.random.default_rng(self.seed)
            some = items[rng.permutation(len(items))[: max(self.n_train, self.n_cells)]]
            centres = some[: self.n_cells].copy()
            for _ in range(self.n_iterations):
                cell = nearest(some, centres)
                sums, sizes = np.zeros_like(centres), np.bincount(cell, minlength=self.n_cells)
                np.add.at(sums, cell, some)
                filled = sizes > 0  # an empty cell keeps its centre
                centres[filled] = sums[filled] / sizes[filled, None]
        self.items, self.centres = items, np.asarray(centres, items.dtype)
        self.cell = nearest(items, self.centres)  # (n_items,)
        order = np.argsort(self.cell, kind="stable")
        cuts = np.cumsum(np.bincount(self.cell, minlength=self.n_cells))[:-1]
        self.lists = np.split(order, cuts)  # the items of each cell, in ascending order
        self.rows = [items[one] for one in self.lists]  # their vectors, side by side in memory
        return self

    def cells(self, query: np.ndarray, n_probe: int) -> np.ndarray:
        """The cells that a query (d,) looks into, most promising first."""
        if not 1 <= n_probe <= self.n_cells:
            raise ValueError(f"n_probe is {n_probe}: choose 1 to {self.n_cells}")
        close = self.centres @ query
        if self.probe == "l2":
            close = close - (self.centres**2).sum(1) / 2  # the nearest has the largest
        return best(close, n_probe)

    def search(self, queries: np.ndarray, k: int, n_probe: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of the `n_probe` cells, and how many inner products each query took.

        Returns:
            (n_queries, k) indices, best first, -1 where the cells hold fewer than k;
            (n_queries,) inner products, centres included.
        """
        queries = _check(queries, self.items)[0]
        found, work = np.full((len(queries), k), -1), np.full(len(queries), self.n_cells)
        for row, query in enumerate(queries):
            chosen = self.cells(query, n_probe)
            items = np.concatenate([self.lists[cell] for cell in chosen])
            scores = np.concatenate([self.rows[cell] @ query for cell in chosen])
            order = best(scores, min(k, len(items))) if len(items) else items
            found[row, : len(order)] = items[order]
            work[row] += len(items)
        return found, work


def nearest(rows: np.ndarray, centres: np.ndarray, block: int = 20_000) -> np.ndarray:
    """The centre nearest to each row: (n,) indices; of equally near ones the lower."""
    half = (centres**2).sum(1) / 2
    parts = range(0, len(rows), block)
    return np.concatenate([(rows[i : i + block] @ centres.T - half).argmax(1) for i in parts])


def recall(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Share of each row of `true` (n, k) that stands in the same row of `found`: (n,)."""
    if len(found) != len(true):
        raise ValueError(f"found has {len(found)} rows, true {len(true)}")
    return np.array([np.isin(row, other).mean() for row, other in zip(true, found)])


def _check(queries: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    queries, items = np.asarray(queries), np.asarray(items)
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1] or not len(items):
        raise ValueError(f"expected (n, d) and (m, d), got {queries.shape} and {items.shape}")
    return queries, items
