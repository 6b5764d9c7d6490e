"""Rows of tokens of different lengths, indexed like an array, filled up only where a batch of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from crossgraft.backbones.backbone import NO_TOKEN, TYPE_BITS, WORD_BIT

if TYPE_CHECKING:
    from torch import Tensor


class Ragged:
    """Rows of integers, tokens or labels, one after the other in `flat` (T,); row i ends before `ends[i]`.

    >>> rows = Ragged.of([np.array([1, 2]), np.array([3])])
    >>> rows[np.array([1, 0])].padded().tolist()
    [[3, -1], [1, 2]]
    """

    def __init__(self, flat: Int[np.ndarray, " T"], ends: Int[np.ndarray, " N"]) -> None:
        self.flat, self.ends = flat, ends
        self.lengths: Int[np.ndarray, " N"] = np.diff(ends, prepend=0)

    @classmethod
    def of(cls, rows: Sequence[Int[np.ndarray, " L"]]) -> Ragged:
        """Rows put together."""
        flat = np.concatenate(rows) if rows else np.empty(0, np.int32)
        return cls(
            flat if flat.dtype.kind in "iu" else flat.astype(np.int32),
            np.cumsum([len(r) for r in rows], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and tokens of all rows together."""
        return len(self), len(self.flat)

    @property
    def sound(self) -> bool:
        """Whether the rows are samples of clips: uint16, half the memory of other tokens."""
        return self.flat.dtype == np.uint16

    @property
    def words(self) -> Int[np.ndarray, " N"]:
        """How many words of each row are marked for a feature."""
        marks = (self.flat >= 0) & (self.flat & WORD_BIT != 0)
        counted: np.ndarray = np.diff(np.append(0, np.cumsum(marks))[self.ends], prepend=0)
        return counted

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens."""
        return int(self.flat.nbytes)

    def __getitem__(self, at: slice | np.ndarray) -> Ragged:
        rows = np.arange(len(self))[at]
        return Ragged.of([self.flat[self.ends[i] - self.lengths[i] : self.ends[i]] for i in rows])

    def padded(self, width: int = 1) -> Int[np.ndarray, "N L"]:
        """All rows as one array, filled up with NO_TOKEN; `width` is the least that it has."""
        out = np.full((len(self), int(self.lengths.max(initial=width))), NO_TOKEN, dtype=np.int32)
        out[np.arange(out.shape[1]) < self.lengths[:, None]] = self.flat
        return out

    def by_length(self) -> Int[np.ndarray, " N"]:
        """Rows in the order of their lengths, the longest first."""
        return np.argsort(-self.lengths, kind="stable")

    def counts(self, width: int) -> Float[np.ndarray, "N width"]:
        """Square roots of how often tokens come, hashed into `width` columns by their number; rows of length 1."""
        out = np.zeros((len(self), width), dtype=np.float32)
        there = self.flat >= 0
        rows = np.repeat(np.arange(len(self)), self.lengths)[there]
        # Knuth's multiplicative hash: neighbours in a vocabulary are often alike in frequency
        ids = (self.flat[there] & ((1 << TYPE_BITS) - 1)).astype(np.uint64) * np.uint64(2654435761) >> np.uint64(8)
        np.add.at(out, (rows, (ids % np.uint64(width)).astype(np.int64)), 1)
        out = np.sqrt(out)
        unit: np.ndarray = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1)
        return unit


def tensor(values: Shaped[np.ndarray, "N ..."] | Ragged) -> Tensor:
    """A batch as the layers take it."""
    import torch

    return torch.from_numpy(values.padded() if isinstance(values, Ragged) else np.ascontiguousarray(values))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Batches one below the other; tokens are filled up to the longest row."""
    import torch
    from torch.nn import functional as F

    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim == 2 and parts[0].dtype == torch.int32:
        width = max(part.shape[1] for part in parts)
        parts = [F.pad(part, (0, width - part.shape[1]), value=NO_TOKEN) for part in parts]
    return torch.cat(list(parts))
