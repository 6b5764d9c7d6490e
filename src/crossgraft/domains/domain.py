"""A named set of examples. Whether it is the source or the target is said where it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from crossgraft.errors import CrossgraftError, Skipped
from crossgraft.tasks import classes_of, natural_order, spans, tags_of

Kind = Literal["image", "vector", "text", "sentence", "audio", "utterance"]
SEQUENCES: tuple[Kind, ...] = ("sentence", "utterance")  # kinds whose labels are sequences
SOUND: tuple[Kind, ...] = ("audio", "utterance")  # kinds that are clips
SPLITS = ("train", "val", "test", "unlabelled")


def plural(kind: str) -> str:
    """What examples of a kind are called: clips of either kind, else the kind with an s."""
    return "clips" if kind in SOUND else f"{kind}s"


class Unreadable(Exception):
    """One input cannot be read; `reason` is for the user. The rest goes on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, eq=False)
class Domain:
    """Inputs, labels (some or all may be missing) and splits; inputs are read one at a time.

    name    what messages and the report call it
    kind    "image": `read(i)` gives uint8 (H, W, 3) in RGB; "vector": float32 (D,); "text": a str, or a pair of them;
            "sentence": its words, a tuple of str; "audio": float32 (samples,) at 16 kHz;
            "utterance": the same, labelled with what is said
    inputs  N paths, arrays or texts, or anything that can be indexed
    labels  object array (N,) of str, of sentences tuples of tags in BIO, frozensets where an example has any number of
            classes (`label_sets.py`); None where missing
    names   (N,) str, unique: the path relative to the folder, or the row; used in messages and predictions
    splits  (N,) str, each "train", "val", "test", "unlabelled", or "" where the data give none
    skipped examples that were left out, with the reason
    notes   what is worth saying about the data (labels with stray blanks, ...)
    scaled_reader  as reader, and may give a smaller picture whose sides are no shorter than its second argument
    groups  (N,) str: whose each example is (speaker, patient), "" where unknown; those of one are not independent
    origin  (N,) int: which of several pooled domains each example is from; None where it is one
    more    label columns by name where an example has several labels, each as `labels`, which is the first of them
    columns  of vectors from a table: what their numbers are called
    """

    name: str
    kind: Kind
    inputs: Sequence[Any] | np.ndarray
    labels: np.ndarray
    names: np.ndarray
    splits: np.ndarray
    reader: Callable[[Any], Any]
    digester: Callable[[Any], bytes]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    scaled_reader: Callable[[Any, int], np.ndarray] | None = None
    groups: np.ndarray | None = None
    origin: np.ndarray | None = None
    more: Mapping[str, np.ndarray] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, i: int, at_least: int | None = None) -> Any:
        """Example i as an array or a text. Raises Unreadable with the reason.

        With `at_least`, a picture at least twice as large may come smaller, both sides no shorter than that: faster.
        """
        if at_least is not None and self.scaled_reader is not None:
            return self.scaled_reader(self.inputs[i], at_least)
        return self.reader(self.inputs[i])

    def digest(self, i: int) -> bytes:
        """20 bytes that stand for the content of example i, not for its name."""
        return self.digester(self.inputs[i])

    @property
    def width(self) -> int:
        """How many numbers a row of vectors has; 0 of other kinds."""
        return len(self.read(0)) if self.kind == "vector" and len(self) else 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, in natural order ("2" before "10"); of sentences O, and B- and I- of every type; of
        utterances the transcripts, whose symbols `transcripts.py` knows."""
        if self.kind == "sentence":
            return tags_of(t for y in self.labels if y is not None for _, _, t in spans(y))
        return natural_order({c for y in self.labels if y is not None for c in classes_of(y)})

    def labels_as(self, read: Callable[[Sequence[Any] | np.ndarray], Any]) -> Any:
        """The labels as a function of them has it; raises with the name of the example whose label is wrong."""
        try:
            return read(self.labels)
        except CrossgraftError:
            for name, label in zip(self.names, self.labels, strict=True):
                try:
                    read([label])
                except CrossgraftError as wrong:
                    raise CrossgraftError(f"{self.name}, {name}: {wrong.what}", wrong.remedy) from None
            raise

    def where(self, split: str) -> np.ndarray:
        """Indices of a split."""
        return np.flatnonzero(self.splits == split)

    def take(self, indices: np.ndarray | Sequence[int]) -> Domain:
        """The same domain with only these examples, in this order."""
        at = np.asarray(indices, dtype=np.int64)
        inputs = self.inputs[at] if isinstance(self.inputs, np.ndarray) else [self.inputs[i] for i in at]
        groups, origin = (None if each is None else each[at] for each in (self.groups, self.origin))
        more = {name: own[at] for name, own in self.more.items()}
        cut = replace(self, inputs=inputs, labels=self.labels[at], names=self.names[at], splits=self.splits[at])
        return replace(cut, groups=groups, origin=origin, more=more)

    def without(self, bad: Sequence[tuple[int, str]]) -> Domain:
        """The domain less the examples that could not be read, which go to `skipped`."""
        left_out = {i for i, _ in bad}
        rest = self.take([i for i in range(len(self)) if i not in left_out])
        return replace(rest, skipped=self.skipped + tuple(Skipped(str(self.names[i]), why) for i, why in bad))
