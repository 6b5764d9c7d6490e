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
