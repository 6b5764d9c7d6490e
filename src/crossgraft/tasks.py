"""What a label is: how it is encoded, its cross-entropy for each example, how an output is decoded.

The head's columns are the union of the classes of all domains; a domain sees the columns of its own
classes. Equal class sets share the whole head, overlapping ones the common columns, disjoint ones nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from crossgraft.chains import Chain, viterbi
from crossgraft.errors import CrossgraftError, UsageError, nearest

MISSING = -1
OUTSIDE = "O"


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
    def union(cls, *class_sets: Sequence[str]) -> Self:
        """The task whose columns are all classes of all domains, in the order of first appearance."""
        return cls(tuple(dict.fromkeys(c for classes in class_sets for c in classes)))

    def encode(self, labels: Iterable[str | None]) -> Int[np.ndarray, " N"]:
        """Column of each label; -1 where it is missing. Raises on a label that is no class."""
        column = {c: k for k, c in enumerate(self.classes)}
        try:
            return np.array([MISSING if y is None else column[y] for y in labels], dtype=np.int64)
        except KeyError as unknown:
            if isinstance(unknown.args[0], frozenset):
                what = "the labels are sets of classes, and one class an example is needed"
                raise CrossgraftError(what, "only crossgraft fit --task multilabel learns them") from None
            label = str(unknown.args[0])
            remedy = nearest(label, list(self.classes)) or f"the classes are {', '.join(self.classes[:10])}"
            raise CrossgraftError(f"label {label!r} is none of the {len(self.classes)} classes", remedy) from None

    def columns(self, classes: Sequence[str]) -> Int[np.ndarray, " k"]:
        """The columns of the head that a domain with these classes sees."""
        return self.encode(list(classes))

    def over(self, columns: Int[np.ndarray, " k"]) -> Self:
        """The same task over some of its columns."""
        return replace(self, classes=tuple(self.classes[c] for c in columns))

    def cross_entropy(
        self, log_probabilities: Float[np.ndarray, "N K"] | Chain, targets: Int[np.ndarray, " N"]
    ) -> Float[np.ndarray, " N"]:
        """-log p(y_i | x_i) in nats, for labelled examples; of a `Chain` its `losses`."""
        return row_losses(log_probabilities, targets)

    def says(self, logits: Float[np.ndarray, "N K"]) -> Any:
        """What logits say of the labels: log-probabilities of the classes."""
        return log_softmax(logits)

    def hits(
        self, log_probabilities: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"]
    ) -> Float[np.ndarray, " N"]:
        """1 where the most probable class is the label, else 0."""
        hits: np.ndarray = (log_probabilities.argmax(1) == targets).astype(np.float64)
        return hits

    def decode(
        self, log_probabilities: Float[np.ndarray, "N K"], lengths: Int[np.ndarray, " S"] | None = None
    ) -> list[str]:
        """The most probable class of each example. `lengths`, the words of each sentence, are for tags."""
        return [self.classes[k] for k in log_probabilities.argmax(1)]


@dataclass(frozen=True)
class Tag(Classify):
    """One tag a word in BIO: B-type where an entity begins, I-type where it goes on, O elsewhere.

    The classes are the tags, so that domains share the columns of the types that both have.

    crf  whether tags are learned as sequences, by a linear-chain CRF, rather than each for itself

    >>> task = Tag.of({"person"})
    >>> task.classes
    ('O', 'B-person', 'I-person')
    >>> task.decode(np.log([[0.2, 0.3, 0.5], [0.2, 0.1, 0.7]]))
    ['B-person', 'I-person']
    """

    crf: bool = False
    kind = "tag"

    @classmethod
    def of(cls, types: Iterable[str]) -> Tag:
        """The task of these types of entities, in natural order."""
        return cls(tags_of(types))

    @property
    def types(self) -> tuple[str, ...]:
        """The types of entities."""
        return tuple(dict.fromkeys(c[2:] for c in self.classes if c != OUTSIDE))

    @property
    def follows(self) -> Float[np.ndarray, "K K"]:
        """0 where tag j may follow tag i, else -inf: an I- follows nothing but B- and I- of its type."""
        out = np.zeros((len(self.classes),) * 2)
        for j, tag in enumerate(self.classes):
            if tag.startswith("I-"):
                out[[c[2:] != tag[2:] for c in self.classes], j] = -np.inf
        return out

    def decode(
        self, log_probabilities: Float[np.ndarray, "N K"] | Chain, lengths: Int[np.ndarray, " S"] | None = None
    ) -> list[str]:
        """The most probable tags of each sentence in which I- follows only B- or I- of its type (Viterbi 1967).

        lengths  words of each sentence, by default one of all
        """
        if isinstance(log_probabilities, Chain):
            return [self.classes[c] for c in log_probabilities.best]
        n = np.array([len(log_probabilities)]) if lengths is None else np.asarray(lengths)
        return [self.classes[c] for c in viterbi(log_probabilities, n, self.follows)]


def is_tag(tag: str) -> bool:
    """Whether a text is a tag of BIO, BIOES, BILOU or IOB1."""
    return tag == OUTSIDE or (len(tag) > 2 and tag[1] == "-" and tag[0] in "BIESLU" and bool(tag[2:].strip()))


def tags_of(types: Iterable[str]) -> tuple[str, ...]:
    """O, and B- and I- of each type, in natural order."""
    return (OUTSIDE, *(f"{letter}-{t}" for t in natural_order(set(types)) for letter in "BI"))


def spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The entities of a sentence in BIO: first word, one past the last, type.

    An I- that follows nothing of its type begins an entity, as conlleval has it (Tjong Kim Sang and Buchholz 2000).

    >>> spans(["B-x", "I-x", "B-x", "O", "I-y"])
    [(0, 2, 'x'), (2, 3, 'x'), (4, 5, 'y')]
    """
    found: list[tuple[int, int, str]] = []
    for i, tag in enumerate(tags):
        letter, _, kind = tag.partition("-")
        if letter == "I" and found and found[-1][1:] == (i, kind):
            found[-1] = (found[-1][0], i + 1, kind)
        elif kind:
            found.append((i, i + 1, kind))
    return found


def natural_order(labels: set[str]) -> tuple[str, ...]:
    """Sorted with runs of digits as numbers.

    >>> natural_order({"10", "2", "a"})
    ('2', '10', 'a')
    """
    import re

    def key(label: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", label)
        return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p]

    return tuple(sorted(labels, key=lambda y: (key(y), y)))


def shared_columns(classes: int | Sequence[str], source: Sequence[str] | None) -> tuple[int, list[int] | None, int]:
    """Of one head for two domains: how many classes the target has, which have the first columns; the source's columns,
    None where it has all in their order; and the number of all columns.

    >>> shared_columns(["ant", "bee"], ["bee", "cat"])
    (2, [1, 2], 3)
    """
    if isinstance(classes, int):
        if source is not None:
            raise UsageError(
                f"classes is the number {classes} and source_classes are names", "give the names of both, in the order "
                "of their labels",
            )  # fmt: skip
        if classes < 2:
            raise UsageError(f"classes is {classes}", "give the number of classes, 2 or more")
        return classes, None, classes
    own = [str(c) for c in classes]
    others = own if source is None else [str(c) for c in source]
    for names in (own, others):
        if len(set(names)) < len(names) or len(names) < 2:
            raise UsageError(f"the classes {', '.join(names)} are not two or more different ones", "name each once")
    task = Classify.union(own, others)
    columns = task.columns(others).tolist()
    n = len(task.classes)
    return len(own), None if columns == list(range(n)) else columns, n


def log_softmax(logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """log p = z - log sum exp z, stable. A column of -inf has probability zero."""
    shifted = logits - logits.max(1, keepdims=True)
    log_p: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_p


def row_losses(log_probabilities: Any, targets: Int[np.ndarray, "N ..."]) -> Float[np.ndarray, " N"]:
    """-log p(y_i | x_i) of each row, nats; of a CRF that of each word after the tag before it, of sets of classes the
    sum over classes (`multilabel.Bernoullis`)."""
    if not isinstance(log_probabilities, np.ndarray):
        losses: np.ndarray = log_probabilities.losses(targets)
        return losses
    losses = -log_probabilities[np.arange(len(targets)), targets]
    return losses


def classes_of(label: str | frozenset[str]) -> Collection[str]:
    """The classes that a label holds: of a set all of them, else itself.

    >>> classes_of("ant"), sorted(classes_of(frozenset({"ant", "bee"})))
    (('ant',), ['ant', 'bee'])
    """
    return label if isinstance(label, frozenset) else (label,)
