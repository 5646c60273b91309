"""Many small ridge regressions at once, one a user (or one a film), over a sparse table.

Row u has the normal equations A_u x_u = sum_i targets_ui q_i, with

    A_u = gram + sum_i weights_ui q_i q_i^T + ridge_u I,

i running over the entries of row u, and q_i a row of ``factors``. ``gram`` is shared by all rows.
"""

import warnings
from functools import cache, cached_property

import torch
from scipy.sparse import csr_matrix

CHUNK = 2**17  # gathered factors a batch, to bound the memory


@cache
def _has_sampled_product(device: torch.device | str) -> bool:
    """Whether torch can multiply dense matrices at chosen cells only (it needs MKL or CUDA)."""
    one = torch.ones(1, 1, device=device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.sparse.sampled_addmm(one.to_sparse_csr(), one, one)
    except (RuntimeError, NotImplementedError):
        return False
    return True


class Observed:
    """The entries of a sparse table (n_rows, n_columns), in CSR order, where torch computes."""

    def __init__(self, matrix: csr_matrix, device: torch.device | str = "cpu"):
        # int32, else torch would convert the indices again in each product.
        index = {"dtype": torch.int32, "device": device}
        self.shape = matrix.shape
        self.starts = torch.tensor(matrix.indptr, **index)  # (n_rows + 1,)
        self.columns = torch.tensor(matrix.indices, **index)  # (n_events,)
        self.values = torch.tensor(matrix.data, dtype=torch.float32, device=device)
        self.counts = self.starts.diff()  # (n_rows,)
        self.sampled = _has_sampled_product(device)

    @cached_property
    def rows(self) -> torch.Tensor:
        """The row of each entry: (n_events,)."""
        return torch.arange(self.shape[0], device=self.counts.device).repeat_interleave(self.counts)

    def table(self, values: torch.Tensor) -> torch.Tensor:
        """The sparse CSR matrix that holds ``values`` (n_events,)."""
        with warnings.catch_warnings():  # "sparse CSR is in beta"
            warnings.simplefilter("ignore")
            return torch.sparse_csr_tensor(
                self.starts, self.columns, values, self.shape, check_invariants=False
            )

    def products(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """left[row] . right[column] at every entry: (n_events,)."""
        if self.sampled:
            cells = self.table(left.new_zeros(len(self.columns)))
            return torch.sparse.sampled_addmm(cells, left, right.T, beta=0.0).values()
        return torch.cat(
            [
                (left.index_select(0, rows) * right.index_select(0, columns)).sum(1)
                for rows, columns in zip(self.rows.split(CHUNK), self.columns.split(CHUNK))
            ]
        )

    def sums(self, values: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """sum of values * right[column] over each row's entries: (n_rows, d)."""
        if self.sampled:
            return self.table(values) @ right
        total = right.new_zeros(self.shape[0], right.shape[1])
        parts = zip(self.rows.split(CHUNK), self.columns.split(CHUNK), values.split(CHUNK))
        for rows, columns, part in parts:
            total.index_add_(0, rows, part[:, None] * right.index_select(0, columns))
        return total


def solve_cholesky(
    observed: Observed,
    factors: torch.Tensor,
    weights: torch.Tensor,
    targets: torch.Tensor,
    ridge: torch.Tensor,
    gram: torch.Tensor | None = None,
) -> torch.Tensor:
    """The exact solutions: (n_rows, d). Rows of similar length share a batch.

    Args:
        observed: which entries each row has.
        factors: (n_columns, d).
        weights, targets: (n_events,), in the order of ``observed``.
        ridge: (n_rows,), positive.
        gram: (d, d), symmetric; zero if None.

    Derived in chapters/4_matrix_factorization/4_clicks.
    """
    d = factors.shape[1]
    solution = factors.new_zeros(observed.shape[0], d)
    eye = torch.eye(d, dtype=factors.dtype, device=factors.device)
    by_length = torch.argsort(observed.counts, stable=True)
    lengths = observed.counts[by_length].tolist()
    start = 0
    while start < len(lengths):
        if not lengths[start]:  # no entry: the solution is 0
            start += 1
            continue
        stop = start + 1  # a batch ends where the padding would pass a half, or the chunk is full
        while (
            stop < len(lengths)
            and lengths[stop] <= 1.5 * lengths[start] + 8
            and (stop + 1 - start) * max(lengths[stop], d) <= CHUNK
        ):
            stop += 1
        rows = by_length[start:stop]  # (b,)
        place = torch.arange(lengths[stop - 1], device=factors.device)  # (longest,)
        inside = place < observed.counts[rows][:, None]  # (b, longest)
        event = torch.where(inside, observed.starts[rows][:, None] + place, 0)
        chosen = factors[observed.columns[event]]  # (b, longest, d)
        weighted = chosen * (weights[event] * inside)[:, :, None]
        system = chosen.mT @ weighted + ridge[rows][:, None, None] * eye  # (b, d, d)
        if gram is not None:
            system += gram
        right = chosen.mT @ (targets[event] * inside)[:, :, None]  # (b, d, 1)
        solution[rows] = torch.cholesky_solve(right, torch.linalg.cholesky(system))[:, :, 0]
        start = stop
    return solution


def solve_cg(
    observed: Observed,
    factors: torch.Tensor,
    weights: torch.Tensor,
    targets: torch.Tensor,
    ridge: torch.Tensor,
    gram: torch.Tensor,
    start: torch.Tensor,
    n_steps: int = 3,
) -> torch.Tensor:
    """The same by ``n_steps`` of conjugate gradients from ``start`` (n_rows, d), all rows at once.

    No matrix A_u is ever built: A_u x = gram x + ridge_u x + sum_i weights_ui (q_i . x) q_i.
    The arguments are those of ``solve_cholesky``. Source: Takacs, Pilaszy and Tikk (2011).
    Derived in chapters/4_matrix_factorization/4_clicks.
    """
    ridge = ridge[:, None]
    x = start
    fit = targets - weights * observed.products(x, factors)
    residual = observed.sums(fit, factors) - x @ gram - ridge * x  # (n_rows, d)
    direction = residual
    size = (residual * residual).sum(1, keepdim=True)  # (n_rows, 1)
    for _ in range(n_steps):
        seen = weights * observed.products(direction, factors)
        image = observed.sums(seen, factors) + direction @ gram + ridge * direction
        step = size / (direction * image).sum(1, keepdim=True).clamp_min(1e-20)
        x = x + step * direction
        residual = residual - step * image
        size, last = (residual * residual).sum(1, keepdim=True), size
        direction = residual + size / last.clamp_min(1e-20) * direction
    return x
