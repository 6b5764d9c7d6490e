"""20 bytes that stand for the content of one input, whatever it is called and wherever it lies."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np

from crossgraft.domains.domain import Unreadable


def file_digest(source: str | Path | bytes) -> bytes:
    """BLAKE2b of a file's bytes (or of bytes that were read already). Raises Unreadable.

    >>> file_digest(b"abc").hex()[:8]
    '384264f6'
    """
    return blake2b(file_bytes(source), digest_size=20).digest()


def array_digest(array: np.ndarray) -> bytes:
    """BLAKE2b of an array's type, shape and values.

    >>> array_digest(np.zeros(2)) == array_digest(np.zeros((2, 1)))
    False
    """
    state = blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=20)
    state.update(np.ascontiguousarray(array).data)
    return state.digest()


def file_bytes(source: str | Path | bytes) -> bytes:
    """The bytes of a file. Raises Unreadable with a reason that a person understands."""
    if isinstance(source, bytes):
        return source
    try:
        with open(source, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise Unreadable("the file is missing") from None
    except OSError as wrong:
        raise Unreadable(f"the file cannot be opened ({wrong.strerror or wrong})") from None
