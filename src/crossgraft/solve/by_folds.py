"""Lambda and ridge of the joint head by folds, where rows come in groups that leaving one row out would tear apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from crossgraft.progress import bar
from crossgraft.solve.convex import Head, Part, losses, solve
from crossgraft.solve.joint import SOURCE_RIDGES, drawn
from crossgraft.solve.pick import nearest_to_one

LAMS = (0.0, 0.1, 0.3, 1.0, 3.0)
SOURCE_ROWS = 4000  # that choosing looks at


def by_folds(
    target: Part,
    source: Part | None,
    n_columns: int,
    seed: int,
    folds: Sequence[Int[np.ndarray, " m"]],
    sums: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " g"]],
    *,
    lam: float | None = None,
    ridge: float | None = None,
) -> tuple[float, float]:
    """Lambda and ridge of CE(target) + lam CE(source) + ridge/2 |W|^2 by the target's held-out cross-entropy.

    folds       rows that each leaves out
    sums        losses of rows to those of independent groups, of the same mean
    lam, ridge  hold one of them

    As `searching` has it. Rows have mean squared norm 1 (`path.scaling`).
    """
    few = None if source is None else drawn(source, SOURCE_ROWS, seed)
    starts: dict[int, Head] = {}

    @cache
    def held_out(lam: float, ridge: float) -> Float[np.ndarray, " g"]:
        found = np.empty(len(target.y))
        for i, held in enumerate(folds):
            rest = np.setdiff1d(np.arange(len(target.y)), held)
            parts = [replace(target, x=target.x[rest], y=target.y[rest])]
            if few is not None and lam:
                parts.append(replace(few, weight=lam))
            starts[i] = head = solve(parts, n_columns, ridge=ridge, start=starts.get(i))
            found[held] = losses(head, replace(target, x=target.x[held], y=target.y[held]))
            advance(1)
        return sums(found)

    with searching(len(folds), few is not None, lam, ridge, SOURCE_RIDGES) as (advance, search):
        return search(held_out)


Losses = Callable[[float, float], Float[np.ndarray, " g"]]


@contextmanager
def searching(
    n_folds: int, with_source: bool, lam: float | None, ridge: float | None, ridges: Sequence[float]
) -> Iterator[tuple[Callable[[int], object], Callable[[Losses], tuple[float, float]]]]:
    """A bar's advance, a step a fold, and the search itself: held-out losses of a lambda and a ridge to the two.

    First the ridge, of the least loss at lambda 1, then lambda at that ridge: the one nearest to 1 within a standard
    error of the best, `pick.nearest_to_one`. What is given is held.
    """
    first = lam if lam is not None else 1.0 if with_source else 0.0
    both = lam is None and with_source
    tried, lams = tuple(ridges) if ridge is None else (), LAMS if both else ()
    points = len(tried) + len(lams) - bool(tried and lams)  # lambda 1 at the chosen ridge is solved already

    def search(losses: Losses) -> tuple[float, float]:
        found = ridge if ridge is not None else min(tried, key=lambda r: float(losses(first, r).mean()))
        if not both:
            return first, found
        table = np.stack([losses(each, found) for each in LAMS])
        return nearest_to_one(np.array(LAMS), table, table.mean(1)), found

    with bar("lambda and ridge by folds", points * n_folds) as advance:
        yield advance, search
