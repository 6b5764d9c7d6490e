"""All points of a path while it is being computed: solved by warm starts; refitted at nodes and where a rule chooses.

At a node (`smooth.nodes`) every row is left out and the head solved again. What that moves the row's logits by is
smooth in log lambda and log ridge, so a spline through the nodes gives it at all other points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crossgraft.solve.convex import Head, Part, Span, rows_of, solve, span, stacked
from crossgraft.solve.loo import formula, refits
from crossgraft.solve.newton import minimise
from crossgraft.solve.pick import pick
from crossgraft.solve.preconditioner import Preconditioner
from crossgraft.solve.rows import Array, Rows
from crossgraft.solve.smooth import COARSE, FINE, coarse_to_fine, nodes, spline, weights
from crossgraft.tasks import log_softmax

# nats above the optimum, times `_slack`: leaving out one row moves the objective by little, so that far less than that
# must be left
TOLERANCE, NODE, REFIT = 1e-6, 3e-6, 3e-7
TINY = 1e-37  # least probability in float32
BATCH = 2e7  # numbers in one batch of logits
# multiplications that refits of the whole grid may take, of near nodes, of distant ones, and of one point
WORK, NEAR, NODES, MOST_WORK = 1e10, 3e10, 2e12, 1e12
REFITTED = 30  # target rows up to which every point is refitted


@dataclass
class Stage:
    """The problem of one lambda: its rows, in the basis of what they span where that is smaller."""

    rows: list[Rows]
    basis: Span | None
    v: Array  # (R, U, D)
    probs: list[Array]


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
        self.spans = [
            span(r) if sum(len(a.x) for a in r) < 0.9 * d else (None, r) for r in (rows[:1], rows)[: len(rows)]
        ]
        self.joint = (lams > 0) & (len(rows) > 1)
        self.points: dict[int, Stage] = {}
        self.old: dict[tuple[bool, int], Preconditioner] = {}

    def fill(self) -> None:
        """Solve every point, each from those that are solved, and leave every row out."""
        apart, joint = np.flatnonzero(~self.joint), np.flatnonzero(self.joint)
        if len(apart):  # no lambda changes the target's optimum
            first = int(apart[0])
            self._fill([first], np.zeros(1))
            for i in apart[1:]:
                self.points[int(i)] = self.points[first]
                for each in (self.losses, self.hits, self.exact, self.uniform):
                    each[i] = each[first]
        if len(joint):
            t = np.log(self.lams[joint])
            order = coarse_to_fine(t)
            self._fill(joint[order].tolist(), t[order])

    def _fill(self, order: list[int], t: Array) -> None:
        """Solve lambdas, whose logarithms are t, in this order; refit all points, or nodes, or use the formula.

        All points, or near nodes, where that is cheap; the formula where not even distant nodes can be had.
        """
        price, r = self._price(bool(self.joint[order[0]])), np.log(self.ridges)
        nets = [(nodes(t, apart), nodes(r, apart)) for apart in (FINE, COARSE)]
        fine, coarse = (price * len(i) * len(j) for i, j in nets)
        for i in order:
            self._solve(i, coarse > NODES)
        if len(self.some) <= REFITTED and price * len(order) * len(r) <= WORK:
            for i in order:
                for j in range(len(r)):
                    self.refit(i, j)
        elif coarse <= NODES:
            self._interpolate(order, t, *nets[fine > NEAR])

    def _solve(self, i: int, by_formula: bool) -> None:
        joint = bool(self.joint[i])
        basis, rows = self.spans[joint]
        if joint:
            rows = [rows[0], replace(rows[1], w=rows[1].w * np.float32(self.lams[i]))]
        d, r = rows[0].x.shape[1], len(self.ridges)
        v = np.zeros((r, self.n_columns, d), dtype=np.float32)
        solved = [k for k in self.points if joint and self.joint[k]]
        if solved:
            for k, share in zip(solved, weights(np.log(self.lams[solved]), float(np.log(self.lams[i]))), strict=True):
                if share:
                    v += np.float32(share) * self.points[k].v
        probs = [np.empty((r, len(p.columns), len(p.x)), dtype=np.float32) for p in rows]
        size = max(1, int(BATCH / max(p[0].size for p in probs)))
        for a in range(0, r, size):
            part = slice(a, a + size)
            # a preconditioner of a near lambda is near enough; minimise makes a new one when it no longer pays
            near, old = TOLERANCE * _slack(rows), self.old.get((joint, a))
            found = minimise(rows, self.n_columns, self.ridges[part], v[part], near, old)
            v[part] = found.v
            if found.preconditioner is not None:
                self.old[joint, a] = found.preconditioner
            for kept, p in zip(probs, found.probs, strict=True):
                kept[part] = p
            for j in range(a, min(a + size, r) if by_formula else 0):
                ps = [p[j] for p in probs]
                z = formula(rows, self.n_columns, self.ridges[j], v[j], ps, self.some, found.preconditioner, j - a)
                self._write(i, j, z, False)
        self.uniform[i] = [-np.log(np.maximum(p[:, self.some], TINY)).mean() for p in probs[0]]
        self.points[i] = Stage(rows, basis, v, probs)

    def _interpolate(self, order: list[int], t: Array, at: Array, ridges: Array) -> None:
        """Refit nodes (places in `order` and ridges); a spline of what that moved the logits by, at every point."""
        moved = np.array([[self._refit(order[a], j, NODE) - self._logits(order[a], j) for j in ridges] for a in at])
        moved -= moved.mean(axis=3, keepdims=True)  # a constant beside all logits changes nothing
        moved = spline(t[at], spline(np.log(self.ridges[ridges]), moved, np.log(self.ridges), 1), t, 0)
        for i, by in zip(order, moved, strict=True):
            for j in range(len(self.ridges)):
                self._write(i, j, self._logits(i, j) + by[j], False)

    def _logits(self, i: int, j: int) -> Array:
        """Logits of the left-out rows by the head of all rows."""
        target, v = self.points[i].rows[0], self.points[i].v[j]
        z = (target.x[self.some] @ v[target.columns].T).astype(np.float64)
        return np.asarray(z if target.z0 is None else z + target.z0[:, self.some].T)

    def _refit(self, i: int, j: int, tolerance: float) -> Array:
        stage = self.points[i]
        ps = [p[j] for p in stage.probs]
        near = tolerance * _slack(stage.rows)
        return refits(stage.rows, self.n_columns, self.ridges[j], stage.v[j], ps, self.some, near)

    def _write(self, i: int, j: int, z: Array, exact: bool) -> None:
        label = self.rows_t.label[self.some]
        logp = log_softmax(z)
        self.losses[i, j] = -logp[np.arange(len(label)), label]
        self.hits[i, j] = logp.argmax(axis=1) == label
        self.exact[i, j] = exact

    def settle(self, rule: str, lam: float | None, ridge: float | None) -> tuple[int, int]:
        """The point that a rule chooses, once its own loss is exact: refit what is chosen until it stays chosen.

        The formula is optimistic, most at weak ridges: what a refit changed is taken to be wrong at the points nearby
        as well. A point is returned unrefitted only where one refit is out of reach.
        """
        while True:
            i, j = pick(self.losses, self.uniform, self.lams, self.ridges, rule, lam, ridge, self.alone)
            if self.exact[i, j].all() or self._price(bool(self.joint[i])) > MOST_WORK:
                return i, j
            self._learn(i, j)

    def _price(self, joint: bool) -> float:
        """Multiplications of refitting one point."""
        rows = self.spans[joint][1]
        return 60.0 * len(self.some) * float(sum(len(r.columns) * r.x.size for r in rows))

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
        z = self._refit(i, j, REFIT)
        for other, stage in self.points.items():
            if stage is self.points[i]:
                self._write(other, j, z, True)

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


def _slack(rows: list[Rows]) -> float:
    """The root of the objective's weight, 1 + lambda, whose scale a tolerance should have; less with few target rows:
    they are cheap to leave out, and their lambdas, up to n_s/n_t, are the largest."""
    weight = float(sum(r.w.sum() for r in rows))
    return min(float(np.sqrt(weight)), max(1.0, len(rows[0].x) / 8))
