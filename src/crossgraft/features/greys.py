"""Small greys of pictures, by which near duplicates are found, kept beside the features."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Int

from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.domains.leaks import SIDE, read_greys
from crossgraft.features.store import Store


def kept_greys(domain: Domain, at: Int[np.ndarray, " n"], store: Store | None = None) -> Float[np.ndarray, "n 32 32"]:
    """`read_greys` through the store: a picture is decoded for it once. Zero where unreadable."""
    store = store if store is not None else Store()

    def key(i: int) -> bytes | None:
        try:
            return blake2b(domain.digest(i) + b"small greys", digest_size=20).digest()
        except Unreadable:
            return None

    keys = [key(i) for i in at.tolist()]
    held = store.get([k for k in keys if k is not None])
    out = np.zeros((len(at), SIDE, SIDE), dtype=np.float32)
    new = np.array([k is not None and k not in held for k in keys], dtype=bool)
    out[new] = read_greys(domain, at[new])
    store.put({k: g.ravel() for k, g, n in zip(keys, out, new, strict=True) if k is not None and n and g.any()})
    for row, k in enumerate(keys):
        if k in held:
            out[row] = held[k].reshape(SIDE, SIDE)
    return out
