"""The whole path: every lambda and every ridge, with the leave-one-out cross-entropy of the target at each point."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.solve.convex import Array, Head, Part, log_softmax, rows_of, solve, span, stacked
from crossgraft.solve.loo import formula, refits
from crossgraft.solve.newton import Preconditioner, Rows, minimise

MOST = 400  # target rows that are left out in turn; their standard error is small enough
# nats above the optimum: leaving out one row moves the objective by little, so that far less than that must be left
TOLERANCE, REFIT = 1e-7, 1e-8
BATCH = 2e7  # numbers in one batch of logits
WORK = 1e11  # multiplications that refits may take beyond the points that are chosen


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

    `rows` are the target rows that were left out in turn: all labelled ones, or 400 evenly spaced. `exact` says where a
    number comes from solving again. A class of `single_classes` has one labelled target row: left out, nothing in the
    target speaks for that class, so its loss is pessimistic, most at lambda 0. Where source and target share no column
    (`reaches` is False) lambda changes nothing in the target's columns.
    """

    lams: Float[np.ndarray, " L"]
    ridges: Float[np.ndarray, " R"]
    losses: Float[np.ndarray, "L R n_t"]
    hits: Bool[np.ndarray, "L R n_t"]
    exact: Bool[np.ndarray, "L R n_t"]
    rows: Int[np.ndarray, " n_t"]
    single_classes: tuple[int, ...]
    reaches: bool
    seconds: float
    _grid: _Grid = field(repr=False)

    @property
    def mean(self) -> Float[np.ndarray, "L R"]:
        """Mean leave-one-out cross-entropy, nats."""
        return np.asarray(self.losses.mean(axis=2))

    def choose(self, rule: str = "one_se", lam: float | None = None, ridge: float | None = None) -> Point:
        """The point of least mean (`min`), or the simplest that evidence does not tell from it (`one_se`).

        Lambda is that of the least mean; the ridge is then the strongest that is as good. Simpler means that ridge
        alone: few labels leave every lambda within a standard error of every other, so that taking the smallest would
        give up a source that helps; whether to transfer at all is decided by comparing the models. As good means that
        the mean of the paired differences from the best is within one standard error of those differences, which is
        narrower than that of either mean. `lam`, `ridge` hold one of them.
        """
        if rule not in ("min", "one_se"):
            raise UsageError(f"{rule!r} is no rule of choice", "use one_se or min")
        i, j = pick(self.losses, self.lams, self.ridges, rule, lam, ridge)
        losses = self.losses[i, j]
        n = len(losses)
        se = float(losses.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        head = self._grid.head(i, j)
        return Point(float(self.lams[i]), float(self.ridges[j]), float(losses.mean()), se, losses, head)

    def head(self, lam: float, ridge: float) -> Head:
        """The head of the point nearest to lam and ridge, solved from all rows."""
        return self._grid.head(int(np.abs(self.lams - lam).argmin()), int(np.abs(np.log(self.ridges / ridge)).argmin()))


def pick(
    losses: Array, lams: Array, ridges: Array, rule: str, lam: float | None, ridge: float | None
) -> tuple[int, int]:
    """Place of the chosen point; `Path.choose` says by which rule."""
    mean = losses.mean(axis=2)
    if lam is not None:
        mean[np.abs(lams - lam) > np.abs(lams - lam).min()] = np.inf
    if ridge is not None:
        off = np.abs(np.log(ridges / ridge))
        mean[:, off > off.min()] = np.inf
    i, j = (int(a) for a in np.unravel_index(int(mean.argmin()), mean.shape))
    n = losses.shape[2]
    if rule == "one_se" and n > 1:
        worse = losses - losses[i, j]
        near = (worse.mean(axis=2) <= worse.std(axis=2, ddof=1) / np.sqrt(n)) & np.isfinite(mean)
        j = int(max(np.flatnonzero(near[i]), key=lambda c: ridges[c]))
    return i, j


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
    weights of the others stay (1/n_t each). The formula is used everywhere; few rows are refitted everywhere, and
    otherwise the points that a rule would choose are refitted until what is chosen is exact, as far as the work allows.
    """
    began = time.perf_counter()
    labelled = np.flatnonzero(np.asarray(target.y) >= 0)
    n = len(labelled)
    if n == 0:
        raise CrossgraftError("the target has no labelled example", "label a few, or use the source-only model")
    if lams is None:
        lams = [0.0]
        if source is not None:
            pooled = max(int((np.asarray(source.y) >= 0).sum()), 1) / n
            lams = [0.0, *np.geomspace(pooled / 1000, pooled, 8)]
    lam_a = np.asarray(lams, dtype=float)
    ridge_a = np.geomspace(1e-5, 1e-1, 9) if ridges is None else np.asarray(ridges, dtype=float)
    if not (len(lam_a) and (lam_a >= 0).all() and np.isfinite(lam_a).all()):
        raise UsageError(f"lambdas {lam_a.tolist()}", "each is a finite number of zero or more")
    if not (len(ridge_a) and (ridge_a > 0).all() and np.isfinite(ridge_a).all()):
        raise UsageError(f"ridges {ridge_a.tolist()}", "each is a finite number above zero")
    some = np.arange(n) if n <= MOST else np.linspace(0, n - 1, MOST).astype(np.int64)
    grid = _Grid(target, source, n_columns, lam_a, ridge_a, prior, some)
    grid.fill()
    values, counts = np.unique(np.asarray(target.y)[labelled], return_counts=True)
    single = tuple(int(v) for v in values[counts == 1])
    grid.check(n <= 30)
    return Path(
        *(lam_a, ridge_a, grid.losses, grid.hits, grid.exact, labelled[some], single, grid.reaches),
        seconds=time.perf_counter() - began,
        _grid=grid,
    )


@dataclass
class _Stage:
    """The problem of one lambda: its rows, in the basis of what they span where that is smaller."""

    rows: list[Rows]
    basis: Array | None
    v: Array  # (R, U, D)
    probs: list[Array]


class _Grid:
    """All points of a path while it is being computed, and the heads afterwards."""

    def __init__(
        self,
        target: Part,
        source: Part | None,
        n_columns: int,
        lams: Array,
        ridges: Array,
        prior: Head | None,
        some: Array,
    ) -> None:
        self.target, self.source, self.n_columns = target, source, n_columns
        self.lams, self.ridges, self.prior, self.some = lams, ridges, prior, some
        self.reaches = source is not None and bool(np.isin(target.columns, source.columns).any())
        shape = (len(lams), len(ridges), len(some))
        self.losses, self.hits, self.exact = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        w0 = None if prior is None else stacked(prior)
        d = target.x.shape[1] + 1
        self.rows_t = rows_of(target, w0, np.float32)
        rows = [self.rows_t]
        if source is not None and self.reaches and (lams > 0).any():
            rows.append(rows_of(source, w0, np.float32))
        self.stages: dict[bool, tuple[Array | None, list[Rows]]] = {}
        for joint in (False, True):
            mine = rows if joint else rows[:1]
            self.stages[joint] = span(mine) if sum(len(r.x) for r in mine) < 0.9 * d else (None, mine)
        self.points: dict[int, _Stage] = {}
        self.old: dict[tuple[bool, int], Preconditioner] = {}

    def fill(self) -> None:
        """Solve from the largest lambda down, each from the one before; the formula at every point."""
        order = np.argsort(-self.lams, kind="stable")
        last: _Stage | None = None
        before = 0
        for i in order:
            joint = bool(self.lams[i] > 0) and len(self.stages[True][1]) > 1
            if last is not None and not joint and not self._joint(last):
                self.points[int(i)] = last
                self.losses[i], self.hits[i] = self.losses[before], self.hits[before]
                continue
            last, before = self._solve(int(i), joint, last), int(i)
            self.points[before] = last

    def _joint(self, stage: _Stage) -> bool:
        return len(stage.rows) > 1

    def _solve(self, i: int, joint: bool, last: _Stage | None) -> _Stage:
        basis, rows = self.stages[joint]
        if joint:
            rows = [rows[0], replace(rows[1], w=rows[1].w * np.float32(self.lams[i]))]
        d, r = rows[0].x.shape[1], len(self.ridges)
        v = np.zeros((r, self.n_columns, d), dtype=np.float32)
        if last is not None and last.v.shape == v.shape and self._joint(last) == joint:
            v = last.v.copy()
        probs = [np.empty((r, len(p.columns), len(p.x)), dtype=np.float32) for p in rows]
        size = max(1, int(BATCH / max(p[0].size for p in probs)))
        for a in range(0, r, size):
            part = slice(a, a + size)
            # a preconditioner of a near lambda is near enough; minimise makes a new one when it no longer pays
            old = self.old.get((joint, a))
            found = minimise(rows, self.n_columns, self.ridges[part], v[part], TOLERANCE, old)
            v[part] = found.v
            if found.preconditioner is not None:
                self.old[joint, a] = found.preconditioner
            for kept, p in zip(probs, found.probs, strict=True):
                kept[part] = p
            for j in range(a, min(a + size, r)):
                ps = [p[j] for p in probs]
                z = formula(rows, self.n_columns, self.ridges[j], v[j], ps, self.some, found.preconditioner, j - a)
                self._write(i, j, slice(None), z, False)
        return _Stage(rows, basis, v, probs)

    def _write(self, i: int, j: int, which: slice | Array, z: Array, exact: bool) -> None:
        label = self.rows_t.label[self.some][which]
        logp = log_softmax(z)
        self.losses[i, j, which] = -logp[np.arange(len(label)), label]
        self.hits[i, j, which] = logp.argmax(axis=1) == label
        self.exact[i, j, which] = exact

    def check(self, everywhere: bool) -> None:
        """Refit the points of the grid where that is cheap, else what the rules choose, until that is exact."""
        stage = next(iter(self.points.values()))
        once = len(self.some) * sum(
            60.0 * p[0].size * r.x.shape[1] for r, p in zip(stage.rows, stage.probs, strict=True)
        )
        distinct = len({id(s) for s in self.points.values()}) * len(self.ridges)
        if everywhere and once * distinct <= WORK:
            for i in self.points:
                for j in range(len(self.ridges)):
                    self._refit(i, j)
            return
        for _ in range(40):  # the formula is optimistic: what it puts first may not be first when refitted
            chosen = {pick(self.losses, self.lams, self.ridges, rule, None, None) for rule in ("min", "one_se")}
            chosen = {c for c in chosen if not self.exact[c].all()}
            if not chosen or once > 10 * WORK:
                break
            for c in sorted(chosen):
                self._refit(*c)

    def _refit(self, i: int, j: int) -> None:
        if self.exact[i, j].all():
            return
        stage = self.points[i]
        ps = [p[j] for p in stage.probs]
        z = refits(stage.rows, self.n_columns, self.ridges[j], stage.v[j], ps, self.some, REFIT)
        for other, s in self.points.items():
            if s is stage:
                self._write(other, j, slice(None), z, True)

    def head(self, i: int, j: int) -> Head:
        """The head of a point, from its approximate optimum to the exact one."""
        stage, lam, ridge = self.points[i], float(self.lams[i]), float(self.ridges[j])
        v = stage.v[j].T.astype(np.float64)
        v = v if stage.basis is None else stage.basis @ v
        v = v if self.prior is None else v + stacked(self.prior)
        start = Head(v[:-1], v[-1])
        parts = [self.target]
        joint = self.source is not None and lam > 0
        if joint and self.source is not None and self.reaches:
            parts.append(replace(self.source, weight=lam * self.source.weight))
        head = solve(parts, self.n_columns, ridge=ridge, prior=self.prior, start=start)
        if joint and self.source is not None and not self.reaches:
            own = solve(
                [replace(self.source, weight=lam * self.source.weight)], self.n_columns, ridge=ridge, prior=self.prior
            )
            weight, bias, c = head.weight.copy(), head.bias.copy(), self.source.columns
            weight[:, c], bias[c] = own.weight[:, c], own.bias[c]
            head = replace(
                own, weight=weight, bias=bias, objective=head.objective + own.objective, gap=head.gap + own.gap
            )
        return head
