"""Secure aggregation: the server learns the sum of the devices' updates, and no update.

Numbers become whole numbers modulo 2^32. Each pair of devices agrees on a mask, which one adds and
the other subtracts, so that all cancel in the sum. Each device adds a mask of its own as well.
Both kinds of secret are shared out in pieces (Shamir 1979): for a device that drops out the others
give back its pair secret, for the rest their own masks, never both for one device. Secrets serve
one round: masks used twice cancel in the difference. A simplified Bonawitz et al. (2017) for a
server that is curious but follows the rules, and has fewer friends than the threshold; a toy: the
generator is not made for cryptography, the prime is small, and shares travel unencrypted and
unsigned. Derived in chapters/7_limitations/4_private.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

PRIME = 2**127 - 1  # of the toy key agreement and of the shares
BASE = 3


class Device(NamedTuple):
    """What a device keeps to itself: ``pair``, for the masks with others; ``own``, its own seed."""

    pair: int
    own: int

    @property
    def public(self) -> int:
        return pow(BASE, self.pair, PRIME)


def new_device(rng: np.random.Generator) -> Device:
    """A device with two secrets of 120 bits, drawn from ``rng`` so that a page can be repeated."""
    return Device(*(int.from_bytes(rng.bytes(15), "big") for _ in range(2)))


def encode(values: np.ndarray, bits: int = 20, n_devices: int = 1) -> np.ndarray:
    """Fixed point: round(values * 2^bits) modulo 2^32, as uint32.

    Raises:
        ValueError: not finite, or so large that the sum over ``n_devices`` could wrap around.
    """
    whole = np.rint(np.asarray(values, dtype=np.float64) * 2.0**bits)
    if not np.isfinite(whole).all():
        raise ValueError("an update holds nan or infinite numbers: look at the learning rate.")
    if np.abs(whole).max(initial=0) * n_devices >= 2**31:
        what = f"the sum over {n_devices} devices could wrap around at {bits} bits after the point"
        raise ValueError(f"{what}: clip the updates, or use fewer bits.")
    return whole.astype(np.int64).astype(np.uint32)


def decode(total: np.ndarray, bits: int = 20) -> np.ndarray:
    """The sum as float64; numbers in the upper half of 0..2^32 stand for negative ones."""
    return total.astype(np.uint32).view(np.int32) / 2.0**bits


def expand(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """The mask that a seed stands for: uniform uint32."""
    return np.random.Generator(np.random.SFC64(seed)).integers(0, 2**32, shape, dtype=np.uint32)


def pair_mask(pair: int, i: int, publics: Mapping[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """All masks of device ``i`` with others, from its secret: added for later ones, else less."""
    total = np.zeros(shape, dtype=np.uint32)
    for j, public in publics.items():
        if j != i:
            mask = expand(pow(public, pair, PRIME), shape)
            total = total + mask if i < j else total - mask
    return total


def masked(values: np.ndarray, device: Device, i: int, publics: Mapping[int, int]) -> np.ndarray:
    """What device ``i`` uploads: encoded ``values``, its own mask, and all its pair masks.

    Raises:
        ValueError: ``values`` are not uint32, or ``i`` has no public key.
    """
    if values.dtype != np.uint32 or i not in publics:
        raise ValueError("give encoded values (uint32), and the public keys of all, its own too.")
    own = expand(device.own, values.shape)
    return values + own + pair_mask(device.pair, i, publics, values.shape)


def unmask(
    uploads: Mapping[int, np.ndarray],
    own: Mapping[int, int],
    pairs: Mapping[int, int],
    publics: Mapping[int, int],
) -> np.ndarray:
    """The sum of what the survivors encoded, modulo 2^32.

    Args:
        uploads, own: of each survivor, its upload and its own seed, rebuilt from shares.
        pairs, publics: the pair secrets of the lost, rebuilt too; the public keys of all.

    Raises:
        ValueError: a device for which both secrets, or neither, or the wrong one was given.
    """
    alive, gone = set(uploads), set(publics) - set(uploads)
    if set(own) != alive or set(pairs) != gone:
        needed = f"own seeds of the survivors {sorted(alive)} and pair secrets of {sorted(gone)}"
        given = f"own seeds of {sorted(own)} and pair secrets of {sorted(pairs)}"
        raise ValueError(f"{given} were given; needed are {needed}.")
    total = np.zeros_like(next(iter(uploads.values())))
    for i, upload in uploads.items():
        total = total + upload - expand(own[i], upload.shape)
    survivors = {i: publics[i] for i in alive}
    for i, pair in pairs.items():  # what the survivors hold against the lost device
        total = total + pair_mask(pair, i, survivors, total.shape)
    return total


def share(
    secret: int, n: int, threshold: int, rng: np.random.Generator, prime: int = PRIME
) -> list[tuple[int, int]]:
    """Shamir's shares (x, y), x = 1..n: a polynomial, the secret at 0, of degree threshold - 1.

    Raises:
        ValueError: a secret or a number of shares outside the field, a threshold outside 1..n.
    """
    if not (0 <= secret < prime and 1 <= threshold <= n < prime):
        wanted = f"secret and shares must lie below the prime {prime}, the threshold in 1..{n}"
        raise ValueError(f"{wanted}; got {secret=}, {threshold=}.")
    drawn = [int.from_bytes(rng.bytes(40), "big") % prime for _ in range(threshold - 1)]
    powers = list(enumerate([secret, *drawn]))
    return [(x, sum(c * pow(x, k, prime) for k, c in powers) % prime) for x in range(1, n + 1)]


def reconstruct(shares: Sequence[tuple[int, int]], prime: int = PRIME) -> int:
    """The value at 0 of the polynomial through the shares (Lagrange), modulo ``prime``.

    With fewer shares than the threshold it is some number, which nothing tells from a right one.

    Raises:
        ValueError: no share, or two at one place.
    """
    places = [x for x, _ in shares]
    if not shares or len(set(places)) < len(places):
        raise ValueError("give shares of different devices, at least one.")
    total = 0
    for x, y in shares:
        top = bottom = 1
        for other in places:
            if other != x:
                top, bottom = top * -other % prime, bottom * (x - other) % prime
        total += y * top * pow(bottom, -1, prime)
    return total % prime
