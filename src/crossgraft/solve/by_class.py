"""Any number of classes an example: the convex problem falls apart into one of two classes for each column.

With logits (-z/2, z/2) the softmax of two is the logistic function of z, and a ridge of 2 r on both of them is one of r
on the weights of z: so two-class problems, their paths and their leave-one-out serve as they are. All columns share
lambda and ridge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.solve.convex import Head, Part, solve
from crossgraft.solve.pick import pick
from crossgraft.solve.rows import Array

if TYPE_CHECKING:
    from crossgraft.solve.path import Path

TWICE = 2.0  # the ridge of a pair of logits, of that of their difference


def of_column(part: Part, column: int) -> Part | None:
    """Whether one column of the head holds, as a part of two classes; None where the part does not have it."""
    place = np.flatnonzero(np.asarray(part.columns) == column)
    return replace(part, y=part.y[:, place[0]].astype(np.int64), columns=np.arange(2)) if len(place) else None


def joined(heads: Mapping[int, Head], n_columns: int) -> Head:
    """Two-class heads by column as one head; columns without one are zero."""
    first = next(iter(heads.values()))
    weight, bias = np.zeros((len(first.weight), n_columns)), np.zeros(n_columns)
    for column, head in heads.items():
        weight[:, column], bias[column] = head.weight[:, 1] - head.weight[:, 0], head.bias[1] - head.bias[0]
    all_of = heads.values()
    return Head(
        weight, bias, sum(h.objective for h in all_of), sum(h.gap for h in all_of), sum(h.iterations for h in all_of),
        sum(h.seconds for h in all_of), all(h.converged for h in all_of),
    )  # fmt: skip


def solve_sets(
    parts: Sequence[Part], n_columns: int, *, ridge: float, start: Head | None = None, tolerance: float = 1e-6
) -> Head:
    """`convex.solve` of sets of classes: the sum over columns of binary cross-entropies + ridge/2 (|W|^2 + |b|^2),
    each column to `tolerance`."""
    heads = {}
    for column in np.unique(np.concatenate([np.asarray(p.columns) for p in parts])).tolist():
        own = [p for part in parts if (p := of_column(part, column)) is not None]
        first = None if start is None else _pair(start, column)
        heads[column] = solve(own, 2, ridge=TWICE * ridge, start=first, tolerance=tolerance)
    return joined(heads, n_columns)


def _pair(head: Head, column: int) -> Head:
    half = np.array([-0.5, 0.5])
    return Head(head.weight[:, [column]] * half, head.bias[column] * half)


@dataclass(eq=False)
class Grids:
    """The paths of all columns of the target as one `grid.Grid`: an example's loss is the sum of its classes'.

    paths  by column, of the same lambdas and, doubled, ridges
    other  the source, for the columns that it alone has
    """

    paths: Mapping[int, Path]
    ridges: Float[np.ndarray, " R"]
    n_columns: int
    other: Part | None
    losses: Array = field(init=False)
    exact: Array = field(init=False)

    def __post_init__(self) -> None:
        all_of = list(self.paths.values())
        self.lams, self.rows = all_of[0].lams, all_of[0].rows
        self.losses, self.exact = np.zeros(all_of[0].losses.shape), np.zeros(all_of[0].exact.shape, dtype=bool)
        self.uniform = np.sum([p.uniform for p in all_of], axis=0)
        self.alone: Bool[np.ndarray, " n"] = np.zeros(len(self.rows), dtype=bool)  # that no class holds is a label too
        self.hits = np.all([p.hits for p in all_of], axis=0)
        self.reaches = any(p.reaches for p in all_of)
        self._add()

    def _add(self) -> None:
        """The sums again, in place: a `Path` holds them."""
        self.losses[:] = np.sum([p.losses for p in self.paths.values()], axis=0)
        self.exact[:] = np.all([p.exact for p in self.paths.values()], axis=0)

    def settle(self, rule: str, lam: float | None, ridge: float | None) -> tuple[int, int]:
        """The point that a rule chooses, once it is exact for every column and is chosen again."""
        before = (-1, -1)
        while True:
            i, j = pick(self.losses, self.uniform, self.lams, self.ridges, rule, lam, ridge, self.alone)
            if (i, j) == before or self.exact[i, j].all():
                return i, j
            before = (i, j)
            for p in self.paths.values():
                p.settle(float(p.lams[i]), float(p.ridges[j]))
            self._add()

    def head(self, i: int, j: int) -> Head:
        """The head of a point."""
        lam, ridge = float(self.lams[i]), float(self.ridges[j])
        heads = {c: p.head(lam, TWICE * ridge) for c, p in self.paths.items()}
        if self.other is not None and lam:
            own = replace(self.other, weight=lam * self.other.weight)
            for column in np.setdiff1d(self.other.columns, list(self.paths)).tolist():
                part = of_column(own, column)
                assert part is not None
                heads[column] = solve([part], 2, ridge=TWICE * ridge)
        return joined(heads, self.n_columns)


def grids(
    target: Part, source: Part | None, n_columns: int, lams: Array, ridges: Array, path: Callable[..., Path]
) -> Grids:
    """The path of each column of the target."""
    paths: dict[int, Path] = {}
    columns: Int[np.ndarray, " k"] = np.asarray(target.columns)
    for column in columns.tolist():
        own = of_column(target, column)
        beside = None if source is None else of_column(source, column)
        paths[column] = path(own, beside, 2, lams=lams, ridges=TWICE * ridges)
    return Grids(paths, ridges, n_columns, source)
