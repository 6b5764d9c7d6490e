"""All points of a path while it is being computed: solved by warm starts, refitted where a rule would choose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crossgraft.solve.convex import Head, Part, Span, rows_of, solve, span, stacked
from crossgraft.solve.loo import formula, refits
from crossgraft.solve.newton import minimise
from crossgraft.solve.pick import pick
from crossgraft.solve.preconditioner import Preconditioner
from crossgraft.solve.rows import Array, Rows
from crossgraft.tasks import log_softmax

# nats above the optimum: leaving out one row moves the objective by little, so that far less than that must be left
TOLERANCE, REFIT = 1e-6, 1e-7
TINY = 1e-37  # least probability in float32
BATCH = 2e7  # numbers in one batch of logits
WORK, MOST_WORK = 1e10, 1e12  # multiplications that refits of the whole grid may take, and those of one point


@dataclass
class Stage:
    """The problem of one lambda: its rows, in the basis of what they span where that is smaller."""

    rows: list[Rows]
    basis: Span | None
    v: Array  # (R, U, D)
    probs: list[Array]
    lam: float
    slope: Array | None  # dv/d log lambda, from the stage before


class Grid:
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
        alone: Array,
    ) -> None:
        self.target, self.source, self.n_columns = target, source, n_columns
        self.lams, self.ridges, self.prior, self.some, self.alone = lams, ridges, prior, some, alone
        self.reaches = source is not None and bool(np.isin(target.columns, source.columns).any())
        shape = (len(lams), len(ridges), len(some))
        self.losses, self.hits, self.exact = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        self.uniform = np.zeros(shape[:2])
        w0 = None if prior is None else stacked(prior)
        d = target.x.shape[1] + 1
        self.rows_t = rows_of(target, w0, np.float32)
        rows = [self.rows_t]
        if source is not None and self.reaches and (lams > 0).any():
            rows.append(rows_of(source, w0, np.float32))
        self.stages: dict[bool, tuple[Span | None, list[Rows]]] = {}
        for joint in (False, True):
            mine = rows if joint else rows[:1]
            if joint and len(rows) == 1:
                self.stages[joint] = self.stages[False]
                continue
            self.stages[joint] = span(mine) if sum(len(r.x) for r in mine) < 0.9 * d else (None, mine)
        self.points: dict[int, Stage] = {}
        self.old: dict[tuple[bool, int], Preconditioner] = {}

    def fill(self) -> None:
        """Solve from the largest lambda down, each from the one before; the formula at every point."""
        order = np.argsort(-self.lams, kind="stable")
        last: Stage | None = None
        before = 0
        for i in order:
            joint = bool(self.lams[i] > 0) and len(self.stages[True][1]) > 1
            if last is not None and not joint and not self._joint(last):
                self.points[int(i)] = last
                for each in (self.losses, self.hits, self.uniform):
                    each[i] = each[before]
                continue
            last, before = self._solve(int(i), joint, last), int(i)
            self.points[before] = last

    def _joint(self, stage: Stage) -> bool:
        return len(stage.rows) > 1

    def _solve(self, i: int, joint: bool, last: Stage | None) -> Stage:
        basis, rows = self.stages[joint]
        if joint:
            rows = [rows[0], replace(rows[1], w=rows[1].w * np.float32(self.lams[i]))]
        d, r = rows[0].x.shape[1], len(self.ridges)
        v = np.zeros((r, self.n_columns, d), dtype=np.float32)
        if last is not None and last.v.shape == v.shape and self._joint(last) == joint:
            v = last.v.copy()
            if last.slope is not None:
                v += last.slope * np.float32(np.log(self.lams[i] / last.lam))
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
                self.uniform[i, j] = -np.log(np.maximum(ps[0][:, self.some], TINY)).mean()
        slope = None
        if joint and last is not None and last.v.shape == v.shape and self._joint(last) and self.lams[i] < last.lam:
            slope = (v - last.v) / np.float32(np.log(self.lams[i] / last.lam))
        return Stage(rows, basis, v, probs, float(self.lams[i]), slope)

    def _write(self, i: int, j: int, which: slice | Array, z: Array, exact: bool) -> None:
        label = self.rows_t.label[self.some][which]
        logp = log_softmax(z)
        self.losses[i, j, which] = -logp[np.arange(len(label)), label]
        self.hits[i, j, which] = logp.argmax(axis=1) == label
        self.exact[i, j, which] = exact

    def check(self) -> None:
        """Refit every point of the grid where that is cheap."""
        distinct = len({id(s) for s in self.points.values()}) * len(self.ridges)
        if self._price() * distinct <= WORK:
            for i in self.points:
                for j in range(len(self.ridges)):
                    self.refit(i, j)

    def settle(self, rule: str, lam: float | None, ridge: float | None) -> tuple[int, int]:
        """The point that a rule chooses, once its own loss is exact: refit what is chosen until it stays chosen.

        The formula is optimistic, most at weak ridges: what a refit changed is taken to be wrong at the points nearby
        as well. A point is returned unrefitted only where one refit is out of reach.
        """
        while True:
            i, j = pick(self.losses, self.uniform, self.lams, self.ridges, rule, lam, ridge, self.alone)
            if self.exact[i, j].all() or self._price() > MOST_WORK:
                return i, j
            self._learn(i, j)

    def _price(self) -> float:
        """Multiplications of refitting one point."""
        stage = next(iter(self.points.values()))
        widths = zip(stage.rows, stage.probs, strict=True)
        return 60.0 * len(self.some) * float(sum(p[0].size * r.x.shape[1] for r, p in widths))

    def _learn(self, i: int, j: int) -> None:
        """Refit a point; correct those nearest to it by the same, a fifth less each step: the error changes slowly."""
        before = self.losses[i, j].copy()
        self.refit(i, j)
        change = self.losses[i, j] - before
        refitted = np.argwhere(self.exact.all(axis=2))
        rank = np.argsort(np.argsort(self.lams, kind="stable"), kind="stable")
        for a, b in np.argwhere(~self.exact.all(axis=2)):
            far = np.abs(rank[refitted[:, 0]] - rank[a]) + np.abs(refitted[:, 1] - b)
            steps = abs(rank[a] - rank[i]) + abs(b - j)
            if steps <= far.min():
                self.losses[a, b] = np.maximum(self.losses[a, b] + change * 0.8**steps, 0)

    def refit(self, i: int, j: int) -> None:
        """Replace the formula at one point by exact values, and at every lambda that has the same optimum."""
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
        v = v if stage.basis is None else stage.basis.up(v)
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
