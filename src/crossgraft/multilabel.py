"""Several classes an example, or none: each class is a yes or no of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from crossgraft.tasks import MISSING, Classify

SEPARATOR = ";"


@dataclass(frozen=True, eq=False)
class Bernoullis:
    """What a model says of N examples: of each of K classes whether it holds, independently given the input.

    z  logits; p_k = 1 / (1 + e^-z_k)

    >>> two = Bernoullis(np.array([[0.0, 0.0], [np.log(3), 0.0]]))
    >>> two.probabilities.tolist()
    [[0.5, 0.5], [0.75, 0.5]]
    >>> two.losses(np.array([[1, 0], [1, 1]])).round(4).tolist()
    [1.3863, 0.9808]
    """

    z: Float[np.ndarray, "N K"]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: slice | Int[np.ndarray, " n"]) -> Bernoullis:
        """The same of some examples."""
        return Bernoullis(self.z[rows])

    @cached_property
    def probabilities(self) -> Float[np.ndarray, "N K"]:
        """p_k of each example."""
        return np.asarray(np.exp(-np.logaddexp(0.0, -self.z)))

    def losses(self, sets: Int[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
        """-log p(set | x) of each example, nats: the sum of its classes' losses."""
        return np.asarray(self.class_losses(sets).sum(axis=1))

    def class_losses(self, sets: Int[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
        """-y log p - (1 - y) log(1 - p) of each class, nats; 0 where y is -1, missing."""
        losses = np.logaddexp(0.0, np.where(sets == 1, -self.z, self.z).astype(np.float64))
        return np.asarray(np.where(sets == MISSING, 0.0, losses))


@dataclass(frozen=True)
class MultiLabel(Classify):
    """Any number of classes an example. The cross-entropy is that of K independent Bernoulli variables: the sum over
    classes of -log p(y_k | x), nats an example.

    >>> task = MultiLabel(("big", "red"))
    >>> task.sets([frozenset({"red"}), frozenset(), None]).tolist()
    [[0, 1], [0, 0], [-1, -1]]
    >>> task.names(Bernoullis(np.array([[-1.0, 2.0], [-1.0, -2.0]])))
    [['red'], []]
    """

    kind = "multilabel"

    def sets(self, labels: Iterable[frozenset[str] | None]) -> Int[np.ndarray, "N K"]:
        """1 where a class holds, 0 where it does not, -1 where the label is missing. Raises on what is no class."""
        rows = [None if y is None else self.encode(sorted(y)) for y in labels]
        out = np.zeros((len(rows), len(self.classes)), dtype=np.int8)
        for row, columns in zip(out, rows, strict=True):
            row[slice(None) if columns is None else columns] = MISSING if columns is None else 1
        return out

    def says(self, logits: Float[np.ndarray, "N K"]) -> Bernoullis:
        """What logits say of each class."""
        return Bernoullis(logits)

    def names(self, said: Bernoullis) -> list[list[str]]:
        """The classes of each example that are more probable than not."""
        return self.named(said.z > 0)

    def named(self, holds: Int[np.ndarray, "N K"]) -> list[list[str]]:
        """The classes of each row of 0 and 1."""
        return [[self.classes[k] for k in np.flatnonzero(row == 1)] for row in holds]


def joined(classes: Sequence[str], separator: str = SEPARATOR) -> str:
    """A set of classes as a cell of a table; the empty one is the separator alone.

    >>> joined(["a", "b"]), joined([])
    ('a;b', ';')
    """
    return separator.join(classes) or separator
