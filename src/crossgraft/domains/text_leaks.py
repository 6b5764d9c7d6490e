"""Texts that say nearly the same: equal but for case, blanks and marks, or most of their runs of words in common."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from zlib import crc32

import numpy as np
from jaxtyping import UInt64

from crossgraft.domains.domain import Domain, Unreadable

RUN = 3  # words
SKETCH = 16  # smallest hashes of a text's runs (bottom-k sketch, Broder 1997)
SHARED = 8  # of them that two texts share before they are compared
NEAR = 0.8  # share of all runs of both that both have
MOST = 200_000  # texts above which only copies are looked for
WORD = re.compile(r"\w+")


def near_texts(
    train: Domain, test: Domain, train_rows: np.ndarray, test_rows: np.ndarray
) -> Iterator[tuple[int, int, int]]:
    """(train row, test row, per cent of their runs of words that only one has), the nearest of each test row."""
    if len(train_rows) + len(test_rows) > MOST:
        return
    held: dict[int, UInt64[np.ndarray, " r"]] = {}
    places: dict[int, list[int]] = defaultdict(list)
    for i in train_rows.tolist():
        held[i] = _runs(train, i)
        for h in held[i][:SKETCH].tolist():
            places[h].append(i)
    for j in test_rows.tolist():
        runs = _runs(test, j)
        shared = Counter(i for h in runs[:SKETCH].tolist() for i in places.get(h, ()))
        enough = min(SHARED, len(runs))
        found = [(_distance(held[i], runs), i) for i, n in shared.items() if n >= enough]
        if found and (nearest := min(found))[0] <= 100 * (1 - NEAR):
            yield nearest[1], j, round(nearest[0])


def _runs(domain: Domain, i: int) -> UInt64[np.ndarray, " r"]:
    """The hashes of all runs of words in a text, sorted; of the whole text where it is shorter than a run."""
    try:
        text = domain.read(i)
    except Unreadable:
        return np.empty(0, dtype=np.uint64)
    words = WORD.findall((text if isinstance(text, str) else "\n".join(text)).casefold())
    hashes = np.array([crc32(w.encode()) for w in words], dtype=np.uint64)
    n = min(RUN, len(hashes))
    if n == 0:
        return np.empty(0, dtype=np.uint64)
    mixed = np.zeros(len(hashes) - n + 1, dtype=np.uint64)
    for k in range(n):
        mixed = (mixed ^ hashes[k : len(hashes) - n + 1 + k]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


def _distance(a: UInt64[np.ndarray, " r"], b: UInt64[np.ndarray, " s"]) -> float:
    common = len(np.intersect1d(a, b, assume_unique=True))
    return 100 * (1 - common / (len(a) + len(b) - common))
