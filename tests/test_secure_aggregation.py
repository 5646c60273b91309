"""Secure aggregation: sums to the last bit, with devices lost, and nothing but sums."""

from itertools import combinations

import numpy as np
import pytest
import sympy

from recsys_lab.limits.secure_aggregation import (
    PRIME,
    decode,
    encode,
    expand,
    masked,
    new_device,
    pair_mask,
    reconstruct,
    share,
    unmask,
)


@pytest.fixture(scope="module")
def group():
    rng = np.random.default_rng(0)
    devices = {i: new_device(rng) for i in range(6)}
    values = {i: rng.normal(0, 3, (5, 4)) for i in devices}
    shares = {i: [share(s, 6, 4, rng) for s in device] for i, device in devices.items()}
    return devices, values, shares, {i: device.public for i, device in devices.items()}


def opened(group, lost, pieces=slice(0, 4)):
    devices, values, shares, publics = group
    alive = [i for i in devices if i not in lost]
    uploads = {i: masked(encode(values[i], 20, 6), devices[i], i, publics) for i in alive}
    own = {i: reconstruct(shares[i][1][pieces]) for i in alive}
    pairs = {i: reconstruct(shares[i][0][pieces]) for i in lost}
    return decode(unmask(uploads, own, pairs, publics))


@pytest.mark.parametrize("lost", [(), (0,), (5,), (2, 3)])
def test_the_sum_of_the_survivors_to_the_last_bit(group, lost):
    values = group[1]
    whole = sum(np.rint(values[i] * 2**20).astype(int) for i in values if i not in lost)
    assert np.array_equal(opened(group, lost), whole / 2**20)
    assert np.array_equal(opened(group, lost, slice(2, 6)), whole / 2**20)  # four other shares


def test_too_few_shares_open_nothing(group):
    values = group[1]
    found = opened(group, (2,), slice(0, 3))
    assert not np.isclose(found, sum(values[i] for i in values if i != 2), atol=1).any()


def test_an_upload_is_noise_and_a_pair_cancels(group):
    devices, _, _, publics = group
    nothing = np.zeros((200, 50), dtype=np.uint32)
    upload = masked(nothing, devices[1], 1, publics)
    assert abs((upload / 2**32).mean() - 0.5) < 0.02
    assert np.bincount(upload.ravel() >> 28, minlength=16).min() > 500  # of 625 expected
    two = {i: publics[i] for i in (0, 4)}
    pair = [pair_mask(devices[i].pair, i, two, (7,)) for i in (0, 4)]
    assert pair[0].any() and not (pair[0] + pair[1]).any()
    without_own = upload - expand(devices[1].own, nothing.shape)
    assert np.array_equal(without_own, pair_mask(devices[1].pair, 1, publics, nothing.shape))


def test_unmask_takes_one_secret_a_device_never_both(group):
    devices, values, _, publics = group
    uploads = {i: masked(encode(values[i]), devices[i], i, publics) for i in range(5)}
    own = {i: devices[i].own for i in range(5)}
    both = {5: devices[5].pair, 4: devices[4].pair}
    for given, pairs in ((own, both), (own, {}), ({}, {5: devices[5].pair})):
        with pytest.raises(ValueError, match="needed are own seeds of the survivors"):
            unmask(uploads, given, pairs, publics)


def test_fixed_point_goes_there_and_back():
    values = np.array([0.0, 1.5, -2.25, 1e-7, -1023.999])
    assert np.abs(decode(encode(values)) - values).max() <= 2.0**-21
    assert encode(values).dtype == np.uint32
    assert decode(encode(np.array([-3.0])) + encode(np.array([1.0])))[0] == -2.0


def test_fixed_point_refuses_what_would_wrap_around():
    fine = np.array([2000.0])
    encode(fine)
    with pytest.raises(ValueError, match="could wrap around"):
        encode(fine, n_devices=2)
    with pytest.raises(ValueError, match="nan or infinite"):
        encode(np.array([np.nan]))
    with pytest.raises(ValueError, match="encoded values"):
        masked(np.zeros(3), new_device(np.random.default_rng(0)), 0, {0: 3})


def test_shares_against_sympys_interpolation():
    z, rng = sympy.Symbol("z"), np.random.default_rng(1)
    for secret in (0, 5, 30):
        points = share(secret, 5, 3, rng, prime=31)
        for three in combinations(points, 3):
            value = sympy.interpolate(list(three), z).subs(z, 0)
            assert int(value.p) * pow(int(value.q), -1, 31) % 31 == secret
            assert reconstruct(three, 31) == secret
        possible = {reconstruct([*points[:2], (3, y)], 31) for y in range(31)}
        assert possible == set(range(31)), "two shares of three must leave every secret possible"


def test_large_secrets_and_bad_shares():
    rng = np.random.default_rng(2)
    secret = new_device(rng).pair
    points = share(secret, 40, 27, rng)
    assert reconstruct(points[13:]) == secret != reconstruct(points[14:])
    for bad in ([], [(1, 2), (1, 3)]):
        with pytest.raises(ValueError, match="different devices"):
            reconstruct(bad)
    for secret, n, threshold in ((PRIME, 3, 2), (-1, 3, 2), (1, 3, 4), (1, 3, 0)):
        with pytest.raises(ValueError, match="below the prime"):
            share(secret, n, threshold, rng)
