"""Test examples that training has already seen: the same content, nearly the same text, or the same picture resized or
encoded again.

Near duplicates are found with a difference hash (Krawetz 2013): the picture's centre square as 9 x 8 and 8 x 9 greys,
one bit for each neighbour brighter by more than one grey level, 128 bits. A pair within NEAR_BITS is confirmed by the
correlation of its 32 x 32 greys, at least NEAR_CORRELATION, and by the size of both pictures, at least NEAR_SIDE
pixels: digits and icons are naturally alike. Both limits lie between copies and different pictures: among 398 and 840
photographs no two are nearer than 22 bits or correlate above 0.83, while copies at half size and JPEG quality 30 mostly
stay within 12 bits and above 0.95. A copy that was cropped is not found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num, UInt64

from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.domains.text_leaks import near_texts

NEAR_BITS = 20
NEAR_CORRELATION = 0.95
NEAR_SIDE = 64
SIDE = 32  # of the greys that are compared
BLOCK = 512
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


Greys = Callable[[Domain, np.ndarray], np.ndarray]  # (domain, rows) to their small greys (n, 32, 32)


@dataclass(frozen=True)
class Leak:
    """A test example and its nearest training example; distance in differing bits of 128, of texts in per cent of the
    runs of words that only one of them has, 0 where exact."""

    train: str
    test: str
    kind: Literal["exact", "near"]
    distance: int


def leaks(train: Domain, test: Domain, *, greys: Greys | None = None) -> list[Leak]:
    """One Leak for each test example that training holds too; vectors count where they are equal.

    greys  reads pictures as `small_greys`, by default from the domain; unreadable ones are passed over

    >>> from crossgraft.domains import open_domain
    >>> a, b = open_domain((np.eye(3), None), "a"), open_domain((np.eye(3)[1:2], None), "b")
    >>> leaks(a, b)
    [Leak(train='[1]', test='[0]', kind='exact', distance=0)]
    """
    greys = greys or read_greys
    known: dict[bytes, int] = {}
    for i, key in _digests(train):
        known.setdefault(key, i)
    exact = {j: known[key] for j, key in _digests(test) if key in known}
    found = {j: Leak(str(train.names[i]), str(test.names[j]), "exact", 0) for j, i in exact.items()}
    if train.kind == test.kind == "text":
        rest = np.setdiff1d(np.arange(len(test)), list(exact))
        for i, j, distance in near_texts(train, test, np.array(sorted(known.values()), dtype=np.int64), rest):
            found[j] = Leak(str(train.names[i]), str(test.names[j]), "near", distance)
    if train.kind == "image" and test.kind == "image" and _large(train) and _large(test):
        rest = np.setdiff1d(np.arange(len(test)), list(exact))
        once = np.array(sorted(known.values()), dtype=np.int64)  # a picture that comes twice is compared once
        a, b = greys(train, once), greys(test, rest)
        for row, column, bits in _near(a, b):
            i, j = int(once[row]), int(rest[column])
            nearer = j not in found or bits < found[j].distance
            if nearer and _side(train, i) >= NEAR_SIDE and _side(test, j) >= NEAR_SIDE:
                found[j] = Leak(str(train.names[i]), str(test.names[j]), "near", bits)
    return [found[j] for j in sorted(found)]


def difference_hash(greys: Float[np.ndarray, "N S S"]) -> UInt64[np.ndarray, "N 2"]:
    """128 bits a picture: where the right, and the lower, of two neighbouring greys is brighter."""
    nine, eight = _boxes(greys.shape[1], 9), _boxes(greys.shape[1], 8)
    across = np.diff(eight @ greys @ nine.T, axis=2) > 1
    down = np.diff(nine @ greys @ eight.T, axis=1) > 1
    bits = np.concatenate([across.reshape(-1, 64), down.reshape(-1, 64)], 1)
    out: np.ndarray = np.packbits(bits, axis=1).view(np.uint64)
    return out


def small_greys(pixels: Num[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N 32 32"]:
    """Luminance (ITU-R 601) of pictures of 1 or 3 channels, averaged over a 32 x 32 grid on the centre square."""
    side = min(pixels.shape[1:3])
    top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
    square = pixels[:, top : top + side, left : left + side]
    grey = square[..., 0].astype(np.float32) if square.shape[3] == 1 else square @ LUMINANCE
    boxes = _boxes(side, SIDE)
    out: np.ndarray = boxes @ grey @ boxes.T
    return out


def _near(a: Float[np.ndarray, "N 32 32"], b: Float[np.ndarray, "M 32 32"]) -> Iterator[tuple[int, int, int]]:
    """(i, j, bits) of pictures that are near by hash and by correlation."""
    unit_a, unit_b = _unit(a), _unit(b)
    at_a, at_b = np.flatnonzero(unit_a.any(1)), np.flatnonzero(unit_b.any(1))
    hash_a, hash_b = difference_hash(a[at_a]), difference_hash(b[at_b])
    for top in range(0, len(at_b), BLOCK):
        for left in range(0, len(at_a), 16 * BLOCK):
            x, y = hash_a[left : left + 16 * BLOCK], hash_b[top : top + BLOCK]
            rows, columns = np.nonzero(np.bitwise_count(y[:, None, 0] ^ x[None, :, 0]) <= NEAR_BITS)
            bits = np.bitwise_count(y[rows] ^ x[columns]).sum(1)
            near = np.flatnonzero(bits <= NEAR_BITS)
            for some in np.array_split(near, len(near) // 4096 + 1):
                i, j = at_a[left + columns[some]], at_b[top + rows[some]]
                sure = np.einsum("nd,nd->n", unit_a[i], unit_b[j]) >= NEAR_CORRELATION
                yield from zip(i[sure].tolist(), j[sure].tolist(), bits[some][sure].tolist(), strict=True)


def _unit(greys: Float[np.ndarray, "N 32 32"]) -> Float[np.ndarray, "N 1024"]:
    """Centred and of length 1; zero where there is next to no contrast, so that blank pictures are near nothing."""
    flat = greys.reshape(len(greys), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: np.ndarray = np.where(length > 2 * SIDE, flat / np.maximum(length, 1), np.float32(0))
    return unit


def _boxes(size: int, parts: int) -> Float[np.ndarray, "parts size"]:
    """Weights that average `size` pixels into `parts` equal boxes."""
    edges = np.linspace(0, size, parts + 1)
    pixel = np.arange(size)
    overlap: np.ndarray = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: np.ndarray = (np.maximum(overlap, 0) * (parts / size)).astype(np.float32)
    return weights


def read_greys(domain: Domain, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 32 32"]:
    """Small greys of some pictures of a domain; zero where unreadable."""
    out = np.zeros((len(at), SIDE, SIDE), dtype=np.float32)

    def one(i: int) -> Float[np.ndarray, "32 32"] | None:
        try:
            grey: np.ndarray = small_greys(domain.read(i, at_least=NEAR_SIDE)[None])[0]
            return grey
        except Unreadable:
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders leave the interpreter free for each other
        for row, grey in enumerate(pool.map(one, at.tolist())):
            if grey is not None:
                out[row] = grey
    return out


def _digests(domain: Domain) -> Iterator[tuple[int, bytes]]:
    for i in range(len(domain)):
        try:
            yield i, domain.digest(i)
        except Unreadable:
            continue


def _large(domain: Domain, tried: int = 15) -> bool:
    """Whether most pictures of a sample are large enough for near duplicates to mean anything."""
    at = np.linspace(0, len(domain) - 1, min(tried, len(domain))).astype(int).tolist()
    return bool(at) and float(np.median([_side(domain, i) for i in at])) >= NEAR_SIDE


def _side(domain: Domain, i: int) -> int:
    try:
        height, width = domain.read(i, at_least=NEAR_SIDE).shape[:2]
        return int(min(height, width))
    except Unreadable:
        return 0


def leak_note(found: list[Leak]) -> tuple[str, ...]:
    """What is worth saying of leaks, where there are any."""
    if not found:
        return ()
    who = (
        "1 test example is a copy or near copy"
        if len(found) == 1
        else f"{len(found)} test examples are copies or near copies"
    )
    return (f"{who} of training examples: the scores may be too good",)
