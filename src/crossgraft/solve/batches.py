"""What a step reads: a pure function of (seed, use, step), so that a checkpoint needs no random state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Generator, Tensor
from torch.nn import functional as F

from crossgraft.errors import UsageError
from crossgraft.features.ragged import Ragged, tensor
from crossgraft.seeds import Passes, rng, seed_for
from crossgraft.tasks import MISSING

Augment = Callable[[Tensor, Generator], Tensor]
Hide = Callable[[Tensor, Generator], tuple[Tensor, Tensor]]


class TaskLabels(NamedTuple):
    """One task's labels of a batch: of examples (B,), or of the elements of all sequences, `lengths` (B,) of each.

    known    whether each example has a label, bool (B,)
    aligned  whether they are symbols of transcripts, of which a frame has none of its own
    """

    labels: Tensor
    known: Tensor
    lengths: Tensor | None = None
    aligned: bool = False


@dataclass(frozen=True)
class TaskRows:
    """The same of all examples of a stream: labels (N,), or rows of them."""

    labels: Int[np.ndarray, " N"] | Ragged
    known: np.ndarray
    aligned: bool = False

    @property
    def flat(self) -> Int[np.ndarray, " n"]:
        """All labels, of sequences those of all elements."""
        return self.labels.flat if isinstance(self.labels, Ragged) else self.labels

    def take(self, rows: Int[np.ndarray, " B"]) -> TaskLabels:
        """Those of a batch."""
        own, known = self.labels[rows], torch.from_numpy(self.known[rows])
        if isinstance(own, Ragged):
            flat = torch.from_numpy(own.flat.astype(np.int64))
            return TaskLabels(flat, known, torch.from_numpy(own.lengths), self.aligned)
        return TaskLabels(torch.from_numpy(own), known)


@dataclass(frozen=True)
class Batch:
    """values as the net takes them, labels (B,) long, soft (B, k) with mixup.

    strong  the same examples under the strong augmentation
    tasks   labels of several tasks, by name, in place of `labels`
    known   weights of the rows, their places in the stream as "at", and how many "symbols" each transcript has
    """

    values: Tensor
    labels: Tensor
    soft: Tensor | None = None
    strong: Tensor | None = None
    known: Mapping[str, Tensor] = field(default_factory=dict)
    tasks: Mapping[str, TaskLabels] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        if device.type == "cpu":
            return self

        def moved(t: Tensor | None) -> Any:
            return None if t is None else t.to(device, non_blocking=True)

        known = {k: moved(t) for k, t in self.known.items()}
        tasks = {
            k: TaskLabels(moved(t.labels), moved(t.known), moved(t.lengths), t.aligned) for k, t in self.tasks.items()
        }
        return Batch(moved(self.values), moved(self.labels), moved(self.soft), moved(self.strong), known, tasks)


@dataclass(eq=False)
class Stream:
    """The training examples of one domain.

    values      (N, H, W, C) uint8, (N, D) float32, or rows of tokens
    labels      (N,) positions within the domain's own classes, -1 where missing; of sentences rows of them, one a word,
                of utterances those of their symbols; of sets of classes (N, k), 1 where one holds, else 0
    batch_size  of all processes together; with fewer examples a batch is the whole set once
    augment     a batch and a generator to a batch
    strong      the same for the second view of terms that ask for one
    known       weights of the rows, (N,), by name
    tasks       labels of several tasks by name; `labels` are not read then
    hide        a batch of tokens to the same with some of its words hidden, and those words, which are its labels then

    Every epoch is a permutation of its own, and batches run on from one epoch into the next.

    >>> stream = Stream(np.zeros((5, 2), np.float32), np.arange(5), 2)
    >>> sorted(np.concatenate([stream.rows(0, "target", t) for t in range(5)]).tolist())
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """

    values: Shaped[np.ndarray, "N ..."] | Ragged
    labels: Int[np.ndarray, "N ..."] | Ragged
    batch_size: int
    augment: Augment | None = None
    strong: Augment | None = None
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    tasks: Mapping[str, TaskRows] = field(default_factory=dict)
    hide: Hide | None = None

    def rows(self, seed: int, use: str, step: int) -> Int[np.ndarray, " B"]:
        """The rows that step `step` (from 0) reads."""
        return self._passes.rows(seed, use, step)

    @cached_property
    def _passes(self) -> Passes:
        return Passes(len(self.labels), self.batch_size)

    def batch(
        self,
        seed: int,
        use: str,
        step: int,
        classes: int,
        *,
        mixup: float = 0.0,
        rank: int = 0,
        ranks: int = 1,
        two_views: bool = False,
    ) -> Batch:
        """The batch of a step; one process of several takes every `ranks`-th row of it, from row `rank`.

        mixup  alpha: x = m x_i + (1 - m) x_j and the same of the labels, m from Beta(alpha, alpha) for each example and
               j another row of the batch (Zhang et al., ICLR 2018); where one of the two has no label, neither has x
        """
        rows = self.rows(seed, use, step)
        if len(rows) >= ranks > 1:
            rows = rows[rank::ranks]
        own = self.labels[rows]
        values, labels = tensor(self.values[rows]), torch.from_numpy(own.flat if isinstance(own, Ragged) else own)
        use = f"{use}/{rank}" if rank else use
        second = None
        if two_views and self.strong is not None:
            second = self.strong(values, Generator().manual_seed(seed_for(seed, f"{use}/strong{step}")))
        if self.augment is not None:
            values = self.augment(values, Generator().manual_seed(seed_for(seed, f"{use}/augment{step}")))
        if self.hide is not None:
            values, labels = self.hide(values, Generator().manual_seed(seed_for(seed, f"{use}/hide{step}")))
        known = {name: torch.from_numpy(w[rows]) for name, w in self.known.items()} | {"at": torch.from_numpy(rows)}
        if isinstance(own, Ragged) and isinstance(self.values, Ragged) and self.values.sound:
            known["symbols"] = torch.from_numpy(own.lengths)
        batch = Batch(values, labels, None, second, known, {k: t.take(rows) for k, t in self.tasks.items()})
        if mixup <= 0 or not (self.flat != MISSING).any():
            return batch
        if isinstance(self.values, Ragged):
            raise UsageError("mixup mixes inputs, and texts cannot be mixed", "leave out --mixup")
        draw = rng(seed, f"{use}/mixup{step}")
        m = torch.from_numpy(draw.beta(mixup, mixup, len(rows)).astype(np.float32))
        other = torch.from_numpy(draw.permutation(len(rows)))
        wide = m.view(-1, *[1] * (values.ndim - 1))
        one_hot = F.one_hot(labels.clamp(min=0), classes).float()
        return replace(
            batch,
            values=wide * values + (1 - wide) * values[other],
            labels=torch.where(labels[other] == MISSING, MISSING, labels),
            soft=m[:, None] * one_hot + (1 - m[:, None]) * one_hot[other],
        )

    @property
    def flat(self) -> Int[np.ndarray, " n"]:
        """All labels, of sentences those of all words, of several tasks those of one after the other."""
        if self.tasks:
            return np.concatenate([t.flat.ravel() for t in self.tasks.values()])
        return self.labels.flat if isinstance(self.labels, Ragged) else self.labels


def class_weights(labels: Int[np.ndarray, " n"], classes: int) -> Tensor:
    """w_c = n / (k n_c) over the k classes that have an example, 0 for the others."""
    counts = np.bincount(labels[labels != MISSING], minlength=classes)
    present = max(int((counts > 0).sum()), 1)
    weights = np.divide(counts.sum(), present * counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights.astype(np.float32))
