"""One domain as the solvers see it: rows with labels as columns of one head, read and computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft import features
from crossgraft.alignments import a_symbol, cross_entropy
from crossgraft.backbones.backbone import Backbone
from crossgraft.chains import Chain
from crossgraft.domains.domain import Domain
from crossgraft.domains.sentences import with_lengths
from crossgraft.domains.splits import groups_apart, tolerate
from crossgraft.features.frames import each
from crossgraft.features.ragged import Ragged
from crossgraft.folds import folds, stratified, whole_groups, whole_sequences
from crossgraft.multilabel import Bernoullis, MultiLabel
from crossgraft.tasks import MISSING, Classify, Tag, log_softmax, row_losses
from crossgraft.transcripts import Transcribe

ENOUGH = 500  # examples of which a tenth can be held out

Rows = Int[np.ndarray, " n"]


@dataclass(eq=False)
class Side:
    """One domain as the solvers see it. A row is an example, of sentences a word; sets of rows hold whole sentences.

    columns  columns of the head that its softmax runs over, (k,)
    labels   column of each row's label within `columns`, -1 where missing, (N,)
    kept     what has been read or computed, by what it is; aligned with the rows
    notes    what is worth saying about how they were read
    free     whether the input of each example may be learned from without its label, bool
    lengths  words of each sentence; None where examples are rows
    weights  of the rows, of mean 1, where they do not weigh the same in the domain's cross-entropy
    follows  where tags are learned as sequences (a CRF): 0 where one of the head may follow another, else -inf, (U, U)
    sets     of sets of classes: 1 where one of `columns` holds, else 0, -1 where missing, (N, k); labels as of truth
    truth    of utterances: columns of each transcript's symbols, none where it is missing; labels are 0 or missing then
    """

    domain: Domain
    columns: Int[np.ndarray, " k"]
    labels: Int[np.ndarray, " N"]
    kept: dict[object, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    free: np.ndarray | None = None
    lengths: Int[np.ndarray, " S"] | None = None
    truth: Ragged | None = None
    sets: Int[np.ndarray, "N k"] | None = None
    follows: Float[np.ndarray, "U U"] | None = None
    weights: Float[np.ndarray, " N"] | None = None

    @classmethod
    def of(cls, domain: Domain, task: Classify, classes: Sequence[str]) -> Side:
        """A domain whose labels are among `classes`, as columns of the task's head; of utterances all domains see the
        whole head, whatever has been said in each."""
        if isinstance(task, Transcribe):
            return cls._of_utterances(domain, task)
        own = type(task)(tuple(classes))
        if isinstance(own, MultiLabel):
            sets = domain.labels_as(own.sets)
            return cls(domain, task.columns(classes), np.where((sets < 0).any(axis=1), MISSING, 0), sets=sets)
        if domain.kind != "sentence":
            return cls(domain, task.columns(classes), own.encode(domain.labels))
        total = len(domain)
        domain, lengths = with_lengths(domain)
        tolerate(domain.skipped, total, domain.name)
        tags = [t for y, n in zip(domain.labels, lengths, strict=True) for t in (y or [None] * n)]
        follows = task.follows if isinstance(task, Tag) and task.crf else None
        return cls(domain, task.columns(classes), own.encode(tags), lengths=lengths, follows=follows)

    @classmethod
    def _of_utterances(cls, domain: Domain, task: Transcribe) -> Side:
        rows = domain.labels_as(lambda texts: [task.symbols(text or "") for text in texts])
        labels = np.array([MISSING if y is None else 0 for y in domain.labels], dtype=np.int64)
        return cls(domain, np.arange(len(task.classes)), labels, truth=Ragged.of(rows))

    def over(self, columns: Int[np.ndarray, " k"]) -> Side:
        """The same inputs, read once for both, with other columns and without labels."""
        n = len(self.labels)
        none = None if self.truth is None else Ragged.of([np.arange(0)] * n)
        sets = None if self.sets is None else np.full((n, len(columns)), MISSING, dtype=np.int8)
        return replace(self, columns=columns, labels=np.full(n, MISSING), truth=none, sets=sets)

    @property
    def plain(self) -> bool:
        """Whether each example is a row with one class for its label."""
        return self.lengths is None and self.truth is None and self.sets is None

    @property
    def blind(self) -> float:
        """The cross-entropy of a guess without looking, nats: ln k, of sets ln 2 a class."""
        return float(np.log(len(self.columns)) if self.sets is None else np.log(2) * len(self.columns))

    @cached_property
    def owner(self) -> Int[np.ndarray, " N"]:
        """The example that each row is of."""
        n = self.lengths
        return np.arange(len(self.labels)) if n is None else np.repeat(np.arange(len(n)), n)

    def examples(self, rows: Rows) -> Int[np.ndarray, " m"]:
        """The examples that rows are of, each once."""
        return rows if self.lengths is None else np.unique(self.owner[rows])

    def rows_of(self, examples: Int[np.ndarray, " m"]) -> Rows:
        """The rows of some examples."""
        return examples if self.lengths is None else np.flatnonzero(np.isin(self.owner, examples))

    def words(self, rows: Rows) -> Int[np.ndarray, " m"] | None:
        """How many words each sentence of some rows has; None where examples are rows."""
        return None if self.lengths is None else self.lengths[self.examples(rows)]

    def rows(self, split: str) -> Rows:
        """The labelled rows of a split."""
        return np.flatnonzero((self.domain.splits == split)[self.owner] & (self.labels >= 0))

    def unlabelled(self) -> Int[np.ndarray, " m"]:
        """The examples whose inputs may be learned from without their labels."""
        return np.flatnonzero(np.isin(self.domain.splits, ("train", "unlabelled")) if self.free is None else self.free)

    def targets(self, rows: Rows) -> Any:
        """Columns of the labels of some rows, or of the symbols of their transcripts, or which columns hold, (n, k)."""
        return next(own for own in (self.truth, self.sets, self.labels) if own is not None)[rows]

    def answers(self, rows: Rows | slice = slice(None)) -> Int[np.ndarray, "n ..."]:
        """Labels of some rows as the convex solvers take them: columns of the head, or which of the domain's hold."""
        return self.columns[self.labels[rows]] if self.sets is None else self.sets[rows]

    def losses(self, log_p: Any, rows: Rows) -> Float[np.ndarray, " m"]:
        """-log p(label) of some rows, nats, one an example; their mean is that over labelled elements: rows, words, or
        symbols of transcripts. log_p: (n, k), of utterances `Frames` of it, of a CRF a `Chain`."""
        return self.by_example(self.row_losses(log_p, rows), rows)

    def row_losses(self, log_p: Any, rows: Rows) -> Float[np.ndarray, " n"]:
        """The same, one a row."""
        if self.truth is None:
            return row_losses(log_p, self.targets(rows))
        own = self.truth[rows]
        return cross_entropy(log_p.flat, log_p.lengths, own.flat, own.lengths)

    def says(self, z: Any, rows: Rows | None = None, transitions: Float[np.ndarray, "U U"] | None = None) -> Any:
        """What logits of some rows, by default all, say of their labels: log p over the columns, (n, k), of utterances
        `Frames` of it, of a CRF a `Chain`, of sets of classes `Bernoullis`."""
        if self.sets is not None:
            return Bernoullis(z)
        log_p = each(log_softmax, z)
        if transitions is None:
            return log_p
        lengths = self.lengths if rows is None else self.words(rows)
        assert lengths is not None
        return Chain(log_p, transitions[np.ix_(self.columns, self.columns)], lengths)

    def loss(self, log_p: Any, rows: Rows) -> float:
        """The cross-entropy of some rows as they weigh, nats."""
        weights = None if self.weights is None else self.weights[rows]
        return float(np.average(self.losses(log_p, rows), weights=weights))

    def known(self, rows: Rows) -> dict[str, Float[np.ndarray, " n"]]:
        """What a stream of these rows knows of each: its weight, where they differ."""
        return {} if self.weights is None else {"weight": self.weights[rows].astype(np.float32)}

    def by_example(self, losses: Float[np.ndarray, " n"], rows: Rows) -> Float[np.ndarray, " m"]:
        """Losses of rows as one an example, of the mean over labelled elements: words of a sentence depend on each
        other."""
        if self.truth is not None:
            return a_symbol(losses, self.truth[rows].lengths)
        if (words := self.words(rows)) is None:
            return losses
        return np.add.reduceat(losses, np.cumsum(words) - words) * (len(words) / len(rows))

    def independent(self, losses: Float[np.ndarray, " m"], rows: Rows) -> Float[np.ndarray, " g"]:
        """Losses of the examples of some rows as one a group, where there are any, of the same mean."""
        if (groups := self.groups(rows)) is None:
            return losses
        place = np.unique(groups, return_inverse=True)[1]
        return np.asarray(np.bincount(place, losses) * ((place.max() + 1) / len(losses)))

    def folds(self, rows: Rows, seed: int, use: str, most: int = 5) -> list[Int[np.ndarray, " m"]]:
        """Places within `rows` of what each of up to `most` folds holds out; a sentence is in one fold, and a group,
        where the test part is of others."""
        if (groups := self.groups(rows)) is not None:
            examples = self.examples(rows)
            parts = [examples[held] for held in whole_groups(groups, seed, use, most)]
            return [np.flatnonzero(np.isin(self.owner[rows], part)) for part in parts]
        return self._folds(rows, seed, use, most)

    def _folds(self, rows: Rows, seed: int, use: str, most: int) -> list[Int[np.ndarray, " m"]]:
        if self.sets is not None:
            return stratified(self.sets[rows], seed, use, most)
        if self.lengths is None:
            return folds(self.labels[rows], seed, use, most)
        return whole_sequences(self.owner[rows], seed, use, most)

    def held_tenth(self, rows: Rows, seed: int, use: str) -> Int[np.ndarray, " m"]:
        """Places within `rows` that stop the training of a network from nothing: a tenth, none where there is not
        enough."""
        enough = len(self.examples(rows)) >= ENOUGH
        return self._folds(rows, seed, f"{use}/held", most=10)[0] if enough else np.arange(0)

    def groups(self, rows: Rows) -> np.ndarray | None:
        """The group of each example of some rows, where what is held out must be of whole ones (`groups_apart`)."""
        return groups_apart(self.domain, self.examples(rows))

    def batches(self, backbone: Backbone, rows: Rows) -> tuple[Any, Int[np.ndarray, " n"] | Ragged]:
        """Inputs and labels of some rows as the gradient loop reads them; of sentences and utterances one
        row of labels each."""
        values = self.pixels(backbone)[self.examples(rows)]
        words = self.words(rows)
        return values, self.targets(rows) if words is None else Ragged(self.labels[rows], np.cumsum(words))

    def pixels(self, backbone: Backbone) -> Any:
        """Inputs as the backbone takes them, one an example: (N, S, S, C) uint8, (N, D) float32 or rows of tokens; read
        once."""
        return self._reading(("pixels", backbone.preprocess or backbone.tokens), backbone)

    def features(self, backbone: Backbone) -> Any:
        """Features of a backbone, one a row, float32 (N, D), of utterances `Frames`; computed once."""
        return self._reading(("features", backbone.revision), backbone)

    def _reading(self, key: tuple[str, object], backbone: Backbone) -> Any:
        if key not in self.kept:
            read = features.pixels if key[0] == "pixels" else features.features
            prepared = read(self.domain, backbone)
            values = prepared.values
            self.notes += [note for note in prepared.notes if note not in self.notes]
            if prepared.failures:  # found once: what is left reads without failures from here on
                self.kept[key] = values
                self.leave_out(prepared.failures)
                return self.kept[key]
            self.kept[key] = values
        return self.kept[key]

    def leave_out(self, bad: Sequence[tuple[int, str]]) -> None:
        """Go on without some examples, (row, reason); raises where they are too many."""
        total = len(self.domain)
        good = np.setdiff1d(np.arange(total), [i for i, _ in bad])
        self.domain = self.domain.without(bad)
        tolerate(self.domain.skipped, total, self.domain.name)
        self.__dict__.pop("owner", None)
        for name in ("labels", "truth", "sets", "free", "weights"):
            if (own := getattr(self, name)) is not None:
                setattr(self, name, own[good])
        self.kept = {k: v[good] for k, v in self.kept.items()}
