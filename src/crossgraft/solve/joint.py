"""The joint head on features that stand still: lambda and ridge by the leave-one-out cross-entropy of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from crossgraft.seeds import rng
from crossgraft.solve.convex import Head, Part, losses, solve
from crossgraft.solve.path import Path, Point, path

PATH_ROWS = 2000  # source examples that choosing lambda looks at
SOURCE_RIDGES = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, eq=False)
class Joint:
    """A head for the features it was solved on, at the lambda and ridge that the path chose."""

    head: Head
    lam: float | None
    ridge: float
    path: Path | None = None
    point: Point | None = None


def solve_joint(
    target: Part,
    source: Part | None,
    n_columns: int,
    seed: int,
    *,
    lam: float | None = None,
    ridge: float | None = None,
    prior: Head | None = None,
    judged: bool = True,
    rule: str = "posterior",
    ridges: Sequence[float] | None = None,
) -> Joint:
    """Minimise CE_target + lam CE_source + ridge/2 |W - W0|^2 at the lambda and ridge of the best path.

    lam, ridge  hold one of them; None takes it from the path
    prior       W0, by default zero
    judged      whether leave-one-out is wanted where both are held
    rule        `Path.choose`: posterior, one_se or min
    ridges      the grid, by default the path's own

    Features have mean squared norm 1 (`scaling`). The path reads at most 2,000 source rows drawn by `seed`: their mean
    stands for that of all, which the head is solved from.
    """
    few = None if source is None else drawn(source, PATH_ROWS, seed)
    solved = point = None
    if judged or lam is None or ridge is None:
        lams = np.zeros(1) if few is None else None if lam is None else np.array([lam])
        grid = ridges if ridge is None else np.array([ridge])
        solved = path(target, few, n_columns, lams=lams, ridges=grid, prior=prior)
        point = solved.choose(rule)
        lam, ridge = point.lam, point.ridge
    assert ridge is not None
    if point is not None and few is source:
        head = point.head
    else:
        parts = [target] if source is None or not lam else [target, replace(source, weight=lam)]
        head = solve(parts, n_columns, ridge=ridge, prior=prior)
    return Joint(head, lam if source is not None else None, ridge, solved, point)


def drawn(part: Part, most: int, seed: int) -> Part:
    """A part, or `most` of its rows drawn by `seed`: what choosing looks at."""
    if len(part.x) <= most:
        return part
    rows = np.sort(rng(seed, "path").permutation(len(part.x))[:most])
    weights = None if part.sample_weight is None else part.sample_weight[rows]
    return replace(part, x=part.x[rows], y=part.y[rows], sample_weight=weights)


def solve_alone(
    part: Part, n_columns: int, seed: int, *, prior: Head | None = None, held: Int[np.ndarray, " m"] | None = None
) -> Joint:
    """One domain's own head; its ridge by the cross-entropy of the rows `held`, by default a fifth drawn by `seed`."""
    order = rng(seed, "source_head").permutation(len(part.y))
    held, rest = np.split(order, [len(order) // 5]) if held is None else (held, np.setdiff1d(order, held))

    def at(rows: np.ndarray) -> Part:
        weights = None if part.sample_weight is None else part.sample_weight[rows]
        return replace(part, x=part.x[rows], y=part.y[rows], sample_weight=weights)

    def held_out(ridge: float) -> float:
        found = losses(solve([at(rest)], n_columns, ridge=ridge, prior=prior), at(held))
        return float(
            found.mean() if part.sample_weight is None else np.average(found, weights=part.sample_weight[held])
        )

    ridge = min(SOURCE_RIDGES, key=held_out) if len(held) else SOURCE_RIDGES[len(SOURCE_RIDGES) // 2]
    return Joint(solve([part], n_columns, ridge=ridge, prior=prior), None, ridge)
