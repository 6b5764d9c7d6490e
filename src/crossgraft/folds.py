"""Held-out parts of a domain's labelled examples, each once, drawn by a seed."""

from __future__ import annotations

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
