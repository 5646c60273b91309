"""Pruned weights: which stay, against torch's own pruning; what they take on disk."""

import io

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.utils import prune

from recsys_lab.limits.pruning import keep_masks, stored_bytes


@pytest.fixture(scope="module")
def matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "wide": rng.standard_normal((8, 50)).astype(np.float32),
        "small": (0.1 * rng.standard_normal((20, 10))).astype(np.float32),
    }


def test_on_paper():
    rows = {"w": np.array([[3.0, -1.0], [0.5, -2.0]])}
    assert keep_masks(rows, 0.5)["w"].tolist() == [[True, False], [False, True]]
    assert keep_masks(rows, 0.25)["w"].sum() == 3 and keep_masks(rows, 0)["w"].all()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_torch_prunes_the_same_weights(matrices, share):
    layers = {name: torch.nn.Linear(*m.shape[::-1], bias=False) for name, m in matrices.items()}
    for name, layer in layers.items():
        layer.weight.data = torch.from_numpy(matrices[name].copy())
    pairs = [(layer, "weight") for layer in layers.values()]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=share)
    ours = keep_masks(matrices, share)
    for name, layer in layers.items():
        assert (layer.weight_mask.numpy() == ours[name]).all()
    one = torch.nn.Linear(50, 8, bias=False)
    one.weight.data = torch.from_numpy(matrices["wide"].copy())
    prune.l1_unstructured(one, "weight", amount=share)
    assert (one.weight_mask.numpy() == keep_masks(matrices, share, together=False)["wide"]).all()


def test_one_threshold_spares_the_matrix_of_large_weights(matrices):
    together, alone = keep_masks(matrices, 0.5), keep_masks(matrices, 0.5, together=False)
    assert together["wide"].mean() > 0.65 and together["small"].mean() < 0.25
    assert all(mask.mean() == 0.5 for mask in alone.values())
    assert sum(mask.sum() for mask in together.values()) == 300


def test_random_pruning_does_not_look_at_the_weights(matrices):
    masks = keep_masks(matrices, 0.5, "random", seed=3)
    other = {name: matrix[::-1] * 7 for name, matrix in matrices.items()}
    again = keep_masks(other, 0.5, "random", seed=3)
    assert all((masks[name] == again[name]).all() for name in masks)
    another = keep_masks(matrices, 0.5, "random", seed=4)
    assert any((masks[name] != another[name]).any() for name in masks)


def test_bytes_are_those_of_real_files():
    matrix = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
    matrix *= keep_masks({"m": matrix}, 0.75)["m"]
    csr = sparse.csr_matrix(matrix)
    assert stored_bytes(matrix, "csr") == csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes
    bitmap = np.packbits(matrix != 0).nbytes + matrix[matrix != 0].nbytes
    assert stored_bytes(matrix, "bitmap") == bitmap
    file = io.BytesIO()
    np.save(file, matrix)
    assert 0 < file.tell() - stored_bytes(matrix, "dense") < 200  # zeros take as much as numbers


@pytest.mark.parametrize("share", [-0.1, 1, np.nan])
def test_a_bad_share_is_named(matrices, share):
    with pytest.raises(ValueError, match="share"):
        keep_masks(matrices, share)


def test_bad_input_is_named(matrices):
    with pytest.raises(ValueError, match="0 matrices"):
        keep_masks({}, 0.5)
    with pytest.raises(ValueError, match='"magnitude" or "random"'):
        keep_masks(matrices, 0.5, "smallest")
    with pytest.raises(ValueError, match="'zip'"):
        stored_bytes(matrices["wide"], "zip")
    with pytest.raises(ValueError, match="1 axes"):
        stored_bytes(np.ones(3), "csr")
