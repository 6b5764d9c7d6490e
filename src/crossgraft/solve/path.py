"""The whole path: every lambda and every ridge, with the leave-one-out cross-entropy of the target at each point."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.solve.by_class import Grids, grids
from crossgraft.solve.convex import Head, Part
from crossgraft.solve.grid import Grid
from crossgraft.solve.pick import RULES
from crossgraft.solve.rows import Array
from crossgraft.solve.threads import threads_for

MOST = 400  # target rows that are left out in turn; their standard error is small enough


@dataclass(frozen=True)
class Scaling:
    """x -> (x - centre) / scale: one centre and one scale for every domain and every feature."""

    centre: Float[np.ndarray, " D"]
    scale: float

    def apply(self, x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
        """Features with mean squared norm 1."""
        return np.asarray((x - self.centre) / self.scale)

    def fold(self, head: Head) -> Head:
        """The same head for features as they were before `apply`."""
        weight = head.weight / self.scale
        return replace(head, weight=weight, bias=head.bias - self.centre @ weight)

    def unfold(self, weight: Float[np.ndarray, "D U"], bias: Float[np.ndarray, " U"]) -> Head:
        """A head of features as they were, for those of `apply`."""
        return Head(weight * self.scale, bias + self.centre @ weight)


def scaling(*xs: Float[np.ndarray, "n D"]) -> Scaling:
    """Centre and root mean squared norm over all rows, each domain weighing the same."""
    centre = np.mean([np.asarray(x).mean(axis=0, dtype=float) for x in xs], axis=0)
    scale = float(np.sqrt(np.mean([((x - centre) ** 2).sum(axis=1).mean() for x in xs])))
    return Scaling(centre, scale or 1.0)


@dataclass(frozen=True)
class Point:
    """One point of the path: leave-one-out cross-entropy `loo` with its standard error, nats; the head of all rows."""

    lam: float
    ridge: float
    loo: float
    se: float
    losses: Float[np.ndarray, " n_t"]
    head: Head


@dataclass(frozen=True)
class Path:
    """Leave-one-out cross-entropy of the target, nats, at every lambda and ridge.

    `rows` are the target rows that were left out in turn: all labelled ones, or 400 evenly spaced. `exact` says
    where a number comes from solving again. `uniform` is the cross-entropy of an example whose label is unknown. A
    row that is `alone` is the only labelled one of its class: left out, nothing in the target speaks for that class, so
    its loss is pessimistic, most at lambda 0. Where source and target share no column (`reaches` is False) lambda
    changes nothing in the target's columns.
    """

    lams: Float[np.ndarray, " L"]
    ridges: Float[np.ndarray, " R"]
    losses: Float[np.ndarray, "L R n_t"]
    uniform: Float[np.ndarray, "L R"]
    hits: Bool[np.ndarray, "L R n_t"]
    exact: Bool[np.ndarray, "L R n_t"]
    rows: Int[np.ndarray, " n_t"]
    alone: Bool[np.ndarray, " n_t"]
    reaches: bool
    seconds: float
    work: float
    _grid: Grid | Grids = field(repr=False)

    @property
    def mean(self) -> Float[np.ndarray, "L R"]:
        """Mean leave-one-out cross-entropy, nats."""
        return np.asarray(self.losses.mean(axis=2))

    def choose(self, rule: str = "one_se", lam: float | None = None, ridge: float | None = None) -> Point:
        """The point that labels favour on the mean (`posterior`), of least mean (`min`), or the simplest (`one_se`).

        All count one example of an unknown label beside those that were left out (`pick.smoothed`). `posterior` takes
        the mean of log lambda and of log ridge over all points with a lambda above 0, weighed by their losses
        (`pick.centre`); rows that are alone in their class weigh none. `one_se` takes, at the lambda of the least mean,
        the strongest ridge whose paired differences from the best are on the mean within one standard error of it.
        Simpler means that ridge alone: few labels leave every lambda within a standard error of every other, so that
        taking the smallest would give up a source that helps; whether to transfer at all is decided by comparing the
        models. `lam`, `ridge` hold one of them. The chosen point's losses are exact: it is refitted, and chosen again,
        until it stays.
        """
        if rule not in RULES:
            raise UsageError(f"{rule!r} is no rule of choice", f"use {', '.join(RULES[:-1])} or {RULES[-1]}")
        with threads_for(self.work):
            i, j = self._grid.settle(rule, lam, ridge)
        losses = self.losses[i, j]
        n = len(losses)
        se = float(losses.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        head = self._grid.head(i, j)
        return Point(float(self.lams[i]), float(self.ridges[j]), float(losses.mean()), se, losses, head)

    def settle(self, lam: float, ridge: float) -> None:
        """Make the losses at a point exact, and correct its neighbours."""
        with threads_for(self.work):
            self._grid.settle("min", lam, ridge)

    def head(self, lam: float, ridge: float) -> Head:
        """The head of the point nearest to lam and ridge, solved from all rows."""
        return self._grid.head(int(np.abs(self.lams - lam).argmin()), int(np.abs(np.log(self.ridges / ridge)).argmin()))


def gathered(paths: Sequence[Path]) -> tuple[Array, Array, Array]:
    """Losses (L, R, n), `uniform` and `alone` of the rows of all paths, which have the same lambdas and ridges."""
    losses = np.concatenate([p.losses for p in paths], axis=2)
    return losses, np.mean([p.uniform for p in paths], axis=0), np.concatenate([p.alone for p in paths])


def path(
    target: Part,
    source: Part | None,
    n_columns: int,
    *,
    lams: Sequence[float] | Array | None = None,
    ridges: Sequence[float] | Array | None = None,
    prior: Head | None = None,
) -> Path:
    """Solve CE_target + lam CE_source + ridge/2 |W - W0|^2 on the whole grid, with leave-one-out at every point.

    lams: 0, then eight from a thousandth of n_s/n_t up to n_s/n_t, where every row weighs the same (pooled). ridges:
    nine from 1e-5 to 1e-1, for features of mean squared norm 1 (`scaling`). Leaving a row out takes its term away; the
    weights of the others stay (1/n_t each). Above 400 labelled target rows, 400 evenly spaced ones are left out. Points
    0.7 decades apart in lambda and in ridge, or 1.35 where a refit takes long, are refitted without each row; what that
    moved the row's logits by is interpolated between them. At most 30 rows are refitted at every point where that is
    cheap, and what `choose` chooses always is. Where refits are out of reach the formula of `loo.py` stands in.

    >>> x, y = np.array([[-1.0], [-0.5], [0.5], [1.0]]), np.array([0, 0, 1, 1])
    >>> found = path(Part(x, y, np.arange(2)), None, 2, ridges=[0.01, 0.1, 1.0])
    >>> point = found.choose("min")
    >>> point.ridge, bool(point.loo < np.log(2))
    (0.1, True)
    """
    began = time.perf_counter()
    several = np.ndim(target.y) == 2
    labelled = np.flatnonzero(_labelled(target))
    n = len(labelled)
    if n == 0:
        raise CrossgraftError("the target has no labelled example", "label a few, or use the source-only model")
    if lams is None:
        lams = [0.0]
        if source is not None:
            pooled = max(int(_labelled(source).sum()), 1) / n
            lams = [0.0, *map(_two_digits, np.geomspace(pooled / 1000, pooled, 8))]
    lam_a = np.asarray(lams, dtype=float)
    ridge_a = np.asarray([*map(_two_digits, np.geomspace(1e-5, 1e-1, 9))] if ridges is None else ridges, dtype=float)
    if not (len(lam_a) and (lam_a >= 0).all() and np.isfinite(lam_a).all()):
        raise UsageError(f"lambdas {lam_a.tolist()}", "each is a finite number of zero or more")
    if not (len(ridge_a) and (ridge_a > 0).all() and np.isfinite(ridge_a).all()):
        raise UsageError(f"ridges {ridge_a.tolist()}", "each is a finite number above zero")
    if several:
        found = grids(target, source, n_columns, lam_a, ridge_a, path)
        return Path(
            *(lam_a, ridge_a, found.losses, found.uniform, found.hits, found.exact, found.rows, found.alone),
            reaches=found.reaches,
            seconds=time.perf_counter() - began,
            work=sum(p.work for p in found.paths.values()),
            _grid=found,
        )
    some = in_turn(n, MOST)
    size = n if source is None or not lam_a.any() else n + len(source.y)
    work = float(size * target.x.shape[1] * n_columns * len(ridge_a))
    y = np.asarray(target.y)[labelled]
    _, which, counts = np.unique(y, return_inverse=True, return_counts=True)
    alone = counts[which][some] == 1
    with threads_for(work):
        grid = Grid(target, source, n_columns, lam_a, ridge_a, prior, some, alone)
        grid.fill()
    return Path(
        *(lam_a, ridge_a, grid.losses, grid.uniform, grid.hits, grid.exact, labelled[some], alone, grid.reaches),
        seconds=time.perf_counter() - began,
        work=work,
        _grid=grid,
    )


def in_turn(n: int, most: int = MOST) -> Int[np.ndarray, " n_t"]:
    """Which of n labelled rows are left out: all, or `most` that are evenly spaced.

    >>> in_turn(3).tolist(), len(in_turn(1000))
    ([0, 1, 2], 400)
    """
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)


def _labelled(part: Part) -> Bool[np.ndarray, " n"]:
    """Whether each row has a label."""
    known = np.asarray(part.y) >= 0
    return np.asarray(known.all(axis=1) if known.ndim == 2 else known)


def _two_digits(value: float) -> float:
    """Grid points are read by people: two digits are as good as sixteen."""
    return float(f"{value:.2g}")
