"""Quantised weights: bit for bit those of the gguf library, no further off than half a step."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants

from recsys_lab.limits.quantisation import pack, quantise, unpack


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    rng = np.random.default_rng(0)
    found = rng.standard_t(3, (48, 320)).astype(np.float32)  # heavy tails: outliers
    found[5, :32] = 0.25  # a block of equal weights
    return found


def test_on_paper():
    small = quantise(np.array([-1, 0, 2 / 3, 2]), bits=4, block=4)
    assert small.codes.tolist() == [[0, 5, 8, 15]]
    back = [Fraction(-1) + Fraction(1, 5) * int(code) for code in small.codes[0]]
    assert back == [-1, 0, Fraction(3, 5), 2]
    assert np.allclose(small.dequantise(), [float(b) for b in back], atol=1e-3)
    outlier = quantise(np.array([-1, 0, 2 / 3, 14]), bits=4, block=4)
    assert outlier.codes.tolist() == [[0, 1, 2, 15]]


@pytest.mark.parametrize(("kind", "bits", "symmetric"), [("Q4_1", 4, False), ("Q8_0", 8, True)])
def test_the_gguf_library_agrees_to_the_last_bit(weights, kind, bits, symmetric):
    theirs = GGMLQuantizationType[kind]
    packed = quants.quantize(weights, theirs)
    ours = quantise(weights, bits, 32, symmetric)
    assert np.array_equal(ours.dequantise(), quants.dequantize(packed, theirs))
    assert ours.n_bytes == packed.nbytes


def test_torch_agrees(weights):
    row = torch.from_numpy(weights[0])
    scale = float((row.max() - row.min()) / 255)
    zero_point = round(float(-row.min()) / scale)
    theirs = torch.fake_quantize_per_tensor_affine(row, scale, zero_point, 0, 255)
    ours = quantise(weights[0], 8, None).dequantise()
    assert np.abs(ours - theirs.numpy()).max() < 1.01 * scale  # its levels are shifted


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", range(2, 9))
def test_no_weight_moves_by_more_than_half_a_step(weights, bits, symmetric):
    small = quantise(weights, bits, 32, symmetric)
    error = np.abs(small.dequantise() - weights).reshape(-1, 32)
    largest = np.abs(weights).reshape(-1, 32).max(1, keepdims=True)
    assert (error <= 0.5 * small.scale.astype(float) + largest / 512).all()  # float16's share
    assert error.max() > 0.4 * small.scale.astype(float).min()


def test_a_bit_more_is_a_quarter_of_the_squared_error(weights):
    errors = [((quantise(weights, b).dequantise() - weights) ** 2).mean() for b in (3, 4, 5, 6)]
    ratios = np.divide(errors[:-1], errors[1:])
    assert (ratios > 3.5).all() and (ratios < 5.2).all()


def test_an_outlier_spoils_its_own_block_only(weights):
    plain = np.tile(np.linspace(-1, 1, 32, dtype=np.float32), 10)
    spoilt = plain.copy()
    spoilt[0] = 500.0
    by_block = np.abs(quantise(spoilt).dequantise() - spoilt)[32:]
    assert np.array_equal(by_block, np.abs(quantise(plain).dequantise() - plain)[32:])
    assert np.abs(quantise(spoilt, 4, None).dequantise() - spoilt)[32:].max() > 0.9


def test_what_is_on_a_level_stays_there(weights):
    for bits, symmetric in ((4, False), (8, True), (2, False)):
        once = quantise(weights, bits, 32, symmetric).dequantise()
        twice = quantise(once, bits, 32, symmetric).dequantise()
        # But for the top of a block, which the float16 of scale and lowest value moves a little.
        assert np.abs(once - twice).max() < 0.01 * np.abs(once).max()


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [False, True])
def test_codes_are_packed_without_a_gap(weights, bits, symmetric):
    small = quantise(weights, bits, 32, symmetric)
    packed = pack(small.codes, bits)
    assert len(packed) == weights.size * bits // 8
    assert len(packed) + small.scale.nbytes * (1 if symmetric else 2) == small.n_bytes
    shift = 2 ** (bits - 1) if symmetric else 0
    assert (unpack(packed, bits, weights.size) == small.codes.ravel().astype(int) + shift).all()


def test_equal_weights_stay_equal():
    for symmetric in (False, True):
        small = quantise(np.full(64, 0.5), 4, 32, symmetric)
        assert np.allclose(small.dequantise(), 0.5, atol=1e-3)
    assert not quantise(np.zeros((2, 32))).dequantise().any()


@pytest.mark.parametrize(
    ("given", "how", "said"),
    [
        ([], {}, "empty"),
        ([1.0, np.nan], {"block": 2}, "nan"),
        (np.ones(32), {"bits": 1}, "bits is 1"),
        (np.ones(32), {"bits": 9}, "bits is 9"),
        (np.ones((4, 30)), {}, r"blocks of 32 .* \(4, 30\)"),
        (np.float32(1), {}, "blocks of 32"),
    ],
)
def test_bad_input_is_named(given, how, said):
    with pytest.raises(ValueError, match=said):
        quantise(given, **how)


def test_bad_codes_are_named():
    with pytest.raises(ValueError, match="4 bits are too few"):
        pack(np.array([3, 16]), 4)
    with pytest.raises(ValueError, match="3 bytes do not hold 4 codes"):
        unpack(np.zeros(3, np.uint8), 4, 4)
