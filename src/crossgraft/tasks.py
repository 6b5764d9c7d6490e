"""What a label is: how it is encoded, its cross-entropy for each example, how an output is decoded.

The head's columns are the union of the classes of all domains; a domain sees the columns of its own
classes. Equal class sets share the whole head, overlapping ones the common columns, disjoint ones nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError, nearest

MISSING = -1


@dataclass(frozen=True)
class Classify:
    """One class an example.

    >>> task = Classify(("ant", "bee"))
    >>> task.encode(["bee", None]).tolist()
    [1, -1]
    """

    classes: tuple[str, ...]
    kind = "classify"

    @classmethod
    def union(cls, *class_sets: Sequence[str]) -> Classify:
        """The task whose columns are all classes of all domains, in the order of first appearance."""
        return cls(tuple(dict.fromkeys(c for classes in class_sets for c in classes)))

    def encode(self, labels: Iterable[str | None]) -> Int[np.ndarray, " N"]:
        """Column of each label; -1 where it is missing. Raises on a label that is no class."""
        column = {c: k for k, c in enumerate(self.classes)}
        try:
            return np.array([MISSING if y is None else column[y] for y in labels], dtype=np.int64)
        except KeyError as unknown:
            label = str(unknown.args[0])
            remedy = nearest(label, list(self.classes)) or f"the classes are {', '.join(self.classes[:10])}"
            raise CrossgraftError(f"label {label!r} is none of the {len(self.classes)} classes", remedy) from None

    def columns(self, classes: Sequence[str]) -> Int[np.ndarray, " k"]:
        """The columns of the head that a domain with these classes sees."""
        return self.encode(list(classes))

    def cross_entropy(
        self, log_probabilities: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"]
    ) -> Float[np.ndarray, " N"]:
        """-log p(y_i | x_i) in nats, for labelled examples."""
        losses: np.ndarray = -log_probabilities[np.arange(len(targets)), targets]
        return losses

    def hits(
        self, log_probabilities: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"]
    ) -> Float[np.ndarray, " N"]:
        """1 where the most probable class is the label, else 0."""
        hits: np.ndarray = (log_probabilities.argmax(1) == targets).astype(np.float64)
        return hits

    def decode(self, log_probabilities: Float[np.ndarray, "N K"]) -> list[str]:
        """The most probable class of each example."""
        return [self.classes[k] for k in log_probabilities.argmax(1)]


def log_softmax(logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """log p = z - log sum exp z, stable. A column of -inf has probability zero."""
    shifted = logits - logits.max(1, keepdims=True)
    log_p: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_p
