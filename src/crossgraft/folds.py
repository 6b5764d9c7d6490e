"""Held-out parts of a domain's labelled examples, each once, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from crossgraft.seeds import rng


def folds(labels: Int[np.ndarray, " n"], seed: int, use: str, most: int = 5) -> list[Int[np.ndarray, " m"]]:
    """Held-out rows of each of up to `most` folds; the examples of a class are spread over as many folds as there are.

    With one example a class a fold holds whole classes out: what is measured for them is the source.
    """
    order = rng(seed, use).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return [np.sort(order[i::most]) for i in range(min(most, len(labels)))]


def spread(sets: Int[np.ndarray, "n K"], shares: Sequence[float], draw: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The part of each example, so that each part has its share of the examples of every class: iterative
    stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011).

    sets  1 where a class holds

    The class with fewest examples left comes first, each of them to the part that lacks most of that class; at a tie to
    the part that lacks most examples, then by draw.

    >>> sets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> part = spread(sets, [0.5, 0.5], np.random.default_rng(0))
    >>> sets[part == 0].sum(axis=0).tolist(), sets[part == 1].sum(axis=0).tolist()
    ([1, 1], [1, 1])
    """
    share = np.asarray(shares, dtype=float) / np.sum(shares)
    holds = (sets == 1).astype(float)
    room, wanted = share * len(holds), share[:, None] * holds.sum(axis=0)
    part, order = np.full(len(holds), -1), draw.permutation(len(holds))
    while len(order):
        left = holds[order].sum(axis=0)
        rarest = int(np.where(left > 0, left, np.inf).argmin()) if left.any() else None
        here = np.ones(len(order), dtype=bool) if rarest is None else holds[order, rarest] > 0
        for i in order[here]:
            lacks = room if rarest is None else wanted[:, rarest]
            best = np.flatnonzero(lacks > lacks.max() - 1e-9)
            best = best[room[best] > room[best].max() - 1e-9]
            part[i] = p = best[draw.integers(len(best))]
            wanted[p] -= holds[i]
            room[p] -= 1
        order = order[~here]
    return part


def stratified(sets: Int[np.ndarray, "n K"], seed: int, use: str, most: int = 5) -> list[Int[np.ndarray, " m"]]:
    """Held-out rows of each of up to `most` folds, by `spread`."""
    most = min(most, len(sets))
    part = spread(sets, [1.0] * most, rng(seed, use))
    return [held for i in range(most) if len(held := np.flatnonzero(part == i))]


def whole_sequences(owner: Int[np.ndarray, " n"], seed: int, use: str, most: int = 5) -> list[Int[np.ndarray, " m"]]:
    """Held-out rows of each of up to `most` folds, of whole sequences; owner: the sequence of each row."""
    order = rng(seed, use).permutation(np.unique(owner))
    parts = [order[i::most] for i in range(min(most, len(order)))]
    return [np.flatnonzero(np.isin(owner, part)) for part in parts]


def whole_groups(groups: np.ndarray, seed: int, use: str, most: int = 5) -> list[Int[np.ndarray, " m"]]:
    """Held-out rows of each of up to `most` folds that tear no group apart: the largest group first, each to the fold
    that is smallest by then.

    >>> [held.tolist() for held in whole_groups(np.array(["a", "b", "a", "a"]), 0, "x")]
    [[0, 2, 3], [1]]
    """
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng(seed, use).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold, held = np.zeros(len(names), dtype=np.int64), np.zeros(min(most, len(names)), dtype=np.int64)
    for g in order:
        fold[g] = held.argmin()
        held[fold[g]] += sizes[g]
    return [np.flatnonzero(fold[place] == i) for i in range(len(held))]
