"""One seed per named use, so that a new option never moves another's draws."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(seed: int, use: str) -> int:
    """A 63-bit seed from the run's seed and the name of the use.

    >>> seed_for(0, "split") == seed_for(0, "split"), seed_for(0, "split") == seed_for(0, "order")
    (True, False)
    """
    digest = hashlib.blake2b(f"{seed}/{use}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def rng(seed: int, use: str) -> np.random.Generator:
    """A NumPy generator for one named use."""
    return np.random.default_rng(seed_for(seed, use))


class Passes:
    """Batches of n rows: every pass over them is a permutation of its own, and batches run on from one into the next.

    Which rows a batch has is a function of (seed, use, step) alone. With fewer than `size` rows a batch is all of them.

    >>> passes = Passes(5, 2)
    >>> sorted(row for t in range(5) for row in passes.rows(0, "target", t).tolist())
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, min(size, n)
        self._orders: dict[tuple[int, str, int], np.ndarray] = {}

    def rows(self, seed: int, use: str, step: int) -> np.ndarray:
        """The rows that step `step` (from 0) reads."""
        start = step * self.size
        epochs = range(start // self.n, (start + self.size - 1) // self.n + 1)
        joined = np.concatenate([self._order(seed, use, e) for e in epochs])
        return joined[start - epochs[0] * self.n :][: self.size]

    def _order(self, seed: int, use: str, epoch: int) -> np.ndarray:
        key = (seed, use, epoch)
        if key not in self._orders:
            while len(self._orders) >= 2:  # a step never looks further back than the epoch before
                del self._orders[next(iter(self._orders))]
            self._orders[key] = rng(seed, f"{use}/epoch{epoch}").permutation(self.n)
        return self._orders[key]
