"""Frames of clips of different lengths, one clip after the other, indexed by clip like an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int


class Frames:
    """Rows of floats in `flat` (F, D), of N clips; those of clip i end before `ends[i]`.

    >>> two = Frames.of([np.zeros((2, 3)), np.ones((1, 3))])
    >>> len(two), two.lengths.tolist(), two[np.array([1])].flat.tolist()
    (2, [2, 1], [[1.0, 1.0, 1.0]])
    """

    def __init__(self, flat: Float[np.ndarray, "F D"], ends: Int[np.ndarray, " N"]) -> None:
        self.flat, self.ends = flat, ends
        self.lengths: Int[np.ndarray, " N"] = np.diff(ends, prepend=0)

    @classmethod
    def of(cls, clips: Sequence[Float[np.ndarray, "L D"]]) -> Frames:
        """The frames of some clips put together."""
        return cls(np.concatenate(list(clips)), np.cumsum([len(x) for x in clips], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, at: slice | Int[np.ndarray, " n"]) -> Frames:
        rows = np.arange(len(self))[at]
        starts, lengths = (self.ends - self.lengths)[rows], self.lengths[rows]
        ends = np.cumsum(lengths)
        return Frames(self.flat[np.repeat(starts - (ends - lengths), lengths) + np.arange(lengths.sum())], ends)

    def clip(self, i: int) -> Float[np.ndarray, "L D"]:
        """The frames of one clip."""
        return self.flat[self.ends[i] - self.lengths[i] : self.ends[i]]

    def map(self, function: Callable[[Float[np.ndarray, "F D"]], Float[np.ndarray, "F K"]]) -> Frames:
        """The same clips with each row as the function has it."""
        return Frames(function(self.flat), self.ends)

    def means(self) -> Float[np.ndarray, "N D"]:
        """The mean over the frames of each clip; 0 where it has none.

        >>> Frames(np.array([[1.0], [3.0]]), np.array([2, 2])).means().tolist()
        [[2.0], [0.0]]
        """
        out = np.zeros((len(self), self.flat.shape[1]), dtype=self.flat.dtype)
        if (some := self.lengths > 0).any():
            sums = np.add.reduceat(self.flat, (self.ends - self.lengths)[some], axis=0)
            out[some] = sums / self.lengths[some, None]
        return out

    def places(self) -> Int[np.ndarray, "T N"]:
        """Where each frame of each clip lies in `flat`, time first; behind the end of a clip its last one.

        >>> Frames(np.zeros((3, 1)), np.array([2, 3])).places().tolist()
        [[0, 2], [1, 2]]
        """
        steps = np.arange(int(self.lengths.max(initial=1)))[:, None]
        found: np.ndarray = np.minimum(self.ends - self.lengths + steps, np.maximum(self.ends - 1, 0))
        return found


def each(function: Callable[[np.ndarray], np.ndarray], values: Any) -> Any:
    """What a function of rows gives for an array, or for `Frames`."""
    return values.map(function) if isinstance(values, Frames) else function(values)
