"""Which example to label next, as a head on frozen features sees them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.asked import name_of
from crossgraft.between import see
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.labelling import LAMS, known_labels
from crossgraft.measure.acquisition import Batch, next_batch
from crossgraft.seeds import rng
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.left_out import left_out
from crossgraft.solve.path import scaling
from crossgraft.tasks import Classify, log_softmax

NUMBERS, MOST = 3e7, 2000  # memory of the posterior (examples squared times classes), and examples in any case
START = 1e-3  # ridge where too little is labelled to choose one


def label_next(
    target: Any,
    source: Any = None,
    *,
    n: int = 10,
    backbone: Any = "auto",
    weights: str | None = None,
    seed: int = 0,
    **columns: str | None,
) -> dict[str, Any]:
    """The n unlabelled target examples whose labels would lower the expected target cross-entropy most, as a batch.

    target, source  as in `fit`; unlabelled examples of a val or test part are left alone
    backbone        whose features the head sees; one with weights of its own
    columns         input, label and split of tables

    The head is solved on the labels there are, with the source where that lowers the left-out cross-entropy; the batch
    is then chosen by `measure.next_batch`, whose reductions are in nats. Of a pool too large for its memory a part is
    drawn by `seed`. Without any label the choice is by inputs alone. Raises CrossgraftError where a domain cannot be
    read or has no unlabelled example.

    >>> x = np.r_[np.linspace(-2, -1, 20), np.linspace(1, 2, 20)][:, None]
    >>> found = label_next((x, ["no"] + [None] * 38 + ["yes"]), n=2)
    >>> len(found["examples"]), found["n_labelled"]
    (2, 2)
    """
    began = time.perf_counter()
    if n < 1:
        raise UsageError(f"n is {n}", "ask for one example or more")
    sides = {"target": target} if source is None else {"target": target, "source": source}
    seen = see(sides, backbone, weights, columns)
    domain, y = seen.domains["target"], known_labels(seen.domains["target"])
    unknown = np.array([c is None for c in y], dtype=bool)
    pool = np.flatnonzero(unknown & ~np.isin(domain.splits, ("val", "test")))
    if len(pool) == 0:
        raise CrossgraftError("the target has no unlabelled example to choose from", "add unlabelled examples to it")
    known = np.flatnonzero(~unknown)
    labels_s = known_labels(seen.domains["source"]) if source is not None else np.empty(0, dtype=object)
    its = np.flatnonzero([c is not None for c in labels_s])
    task = Classify.union(domain.take(known).classes, seen.domains["source"].take(its).classes if len(its) else ())
    notes = []
    k = len(task.classes)
    if k < 2:
        notes.append(f"labels of {k} classes are known: the choice is by inputs alone")
    most = min(MOST, int(np.sqrt(NUMBERS / max(k, 2))))
    if len(pool) > most:
        notes.append(f"{most:,} of {len(pool):,} unlabelled examples, drawn by the seed, were looked at")
        pool = np.sort(rng(seed, "pool").permutation(pool)[:most])
    x = seen.values["target"].astype(np.float64)
    x_s = seen.values["source"][its].astype(np.float64) if len(its) else None
    # the pool too has its say in the scale: a few labelled rows would set it by chance
    scale = scaling(x[np.union1d(pool, known)]) if x_s is None else scaling(x[np.union1d(pool, known)], x_s)
    everywhere = np.arange(k)
    part = Part(scale.apply(x[known]), task.encode(y[known]), everywhere)
    other = None if x_s is None else Part(scale.apply(x_s), task.encode(labels_s[its]), everywhere)
    belief = believed(scale.apply(x[pool]), part, k, other=other, seed=seed)
    found, batch_p = belief.batch(n), belief.p
    examples: list[dict[str, Any]] = []
    for i, gain in zip(found.rows, found.reduction, strict=True):
        example = {"name": str(domain.names[pool[i]]), "reduction": float(gain)}
        if k >= 2:
            best = int(batch_p[i].argmax())
            example |= {"guess": task.classes[best], "probability": float(batch_p[i, best])}
        examples.append(example)
    return {
        **{side: name_of(what) for side, what in sides.items()},
        "backbone": seen.backbone,
        "n_labelled": len(known),
        "n_unlabelled": int(unknown.sum()),
        "excess": found.excess,
        "examples": examples,
        "notes": notes,
        "skipped": seen.skipped,
        "seconds": time.perf_counter() - began,
    }


@dataclass(frozen=True)
class Belief:
    """What the head says of the pool, and what it rests on: the labelled rows, and how much each counts.

    pool, p        rows without a label and their probabilities; `given`, `p_given` those with one
    precision      of the prior on the weights, in units of one label
    """

    pool: Float[np.ndarray, "M D"]
    p: Float[np.ndarray, "M K"]
    given: Float[np.ndarray, "L D"]
    p_given: Float[np.ndarray, "L K"]
    precision: float
    counts: Float[np.ndarray, " L"]

    def batch(self, n: int) -> Batch:
        """The n rows of the pool to label next."""
        x, given = (np.c_[rows, np.ones(len(rows))] for rows in (self.pool, self.given))
        return next_batch(x, self.p, given, self.p_given, n, precision=self.precision, weights=self.counts)


def believed(pool: Float[np.ndarray, "M D"], part: Part, k: int, *, other: Part | None = None, seed: int = 0) -> Belief:
    """The head of the labels there are, lambda and ridge by left-out cross-entropy, as it sees the pool.

    Below two classes every probability is a half: what is left is the choice by inputs alone.
    """
    if k < 2:
        rows = part.x if other is None else np.r_[part.x, other.x]
        half = np.full((len(pool) + len(rows), 2), 0.5)
        precision = START * max(len(rows), 1)
        return Belief(pool, half[: len(pool)], rows, half[len(pool) :], precision, np.ones(len(rows)))
    if len(part.y) == 0 and other is not None:
        part, other = other, None
    lam, ridge = 0.0, START
    if len(np.unique(part.x, axis=0)) > 1:
        chosen = left_out(part, k, other=other, lams=LAMS if other is not None else LAMS[:1], seed=seed)
        lam, ridge = chosen.lam, chosen.ridge
    parts = [part] if other is None or lam == 0 else [part, replace(other, weight=lam)]
    head = solve(parts, k, ridge=ridge)
    rows, n = np.concatenate([q.x for q in parts]), len(part.y)
    counts = np.concatenate([np.full(len(q.y), q.weight * n / len(q.y)) for q in parts])
    p = np.exp(log_softmax(np.r_[pool, rows] @ head.weight + head.bias))
    return Belief(pool, p[: len(pool)], rows, p[len(pool) :], ridge * n, counts)
