"""The whole path: every lambda and every ridge, with the leave-one-out cross-entropy of the target at each point."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.solve.convex import Head, Part, log_softmax, rows_of, solve


@dataclass(frozen=True)
class Scaling:
    """x -> (x - centre) / scale: one centre and one scale for every domain and every feature."""

    centre: Float[np.ndarray, " D"]
    scale: float

    def apply(self, x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
        """Features with mean squared norm 1."""
        return (x - self.centre) / self.scale

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
    """One point of the path."""

    lam: float
    ridge: float
    loo: float
    se: float
    losses: Float[np.ndarray, " n_t"]
    head: Head


@dataclass(frozen=True)
class Path:
    """Leave-one-out cross-entropy of the target, nats, at every lambda (rows) and ridge (columns)."""

    lams: Float[np.ndarray, " L"]
    ridges: Float[np.ndarray, " R"]
    losses: Float[np.ndarray, "L R n_t"]
    hits: Bool[np.ndarray, "L R n_t"]
    exact: Bool[np.ndarray, "L R n_t"]
    rows: Int[np.ndarray, " n_t"]
    single_classes: tuple[int, ...]
    seconds: float
    _heads: list[list[Head]]

    @property
    def mean(self) -> Float[np.ndarray, "L R"]:
        """Mean leave-one-out cross-entropy, nats."""
        return self.losses.mean(axis=2)

    def choose(self, rule: str = "one_se", lam: float | None = None, ridge: float | None = None) -> Point:
        """The point of least mean, or the simplest within one paired standard error of it."""
        mean = self.mean.copy()
        if lam is not None:
            mean[~np.isclose(self.lams, lam)] = np.inf
        if ridge is not None:
            mean[:, ~np.isclose(self.ridges, ridge)] = np.inf
        i, j = np.unravel_index(int(mean.argmin()), mean.shape)
        if rule == "one_se" and self.losses.shape[2] > 1:
            n = self.losses.shape[2]
            worse = self.losses - self.losses[i, j]
            near = worse.mean(axis=2) <= worse.std(axis=2, ddof=1) / np.sqrt(n)
            for a, b in sorted(
                zip(*np.nonzero(near & np.isfinite(mean)), strict=True), key=lambda ab: (ab[0], -self.ridges[ab[1]])
            ):
                i, j = a, b
                break
        elif rule not in ("min", "one_se"):
            raise UsageError(f"{rule!r} is no rule of choice", "use one_se or min")
        return self._point(int(i), int(j))

    def head(self, lam: float, ridge: float) -> Head:
        """The solved head of the point nearest to lam and ridge."""
        return self._heads[int(np.abs(self.lams - lam).argmin())][int(np.abs(np.log(self.ridges / ridge)).argmin())]

    def _point(self, i: int, j: int) -> Point:
        losses = self.losses[i, j]
        n = len(losses)
        se = float(losses.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        return Point(float(self.lams[i]), float(self.ridges[j]), float(losses.mean()), se, losses, self._heads[i][j])


def path(
    target: Part,
    source: Part | None,
    n_columns: int,
    *,
    lams: Sequence[float] | None = None,
    ridges: Sequence[float] | None = None,
    prior: Head | None = None,
) -> Path:
    """Solve CE_target + lam CE_source + ridge/2 |W - W0|^2 on the whole grid, with leave-one-out at every point."""
    began = time.perf_counter()
    rows = np.flatnonzero(np.asarray(target.y) >= 0)
    n = len(rows)
    if n == 0:
        raise CrossgraftError("the target has no labelled example", "label a few, or use the source-only model")
    if lams is None:
        n_s = 0 if source is None else int((np.asarray(source.y) >= 0).sum())
        pooled = n_s / n
        lams = [0.0] if source is None else [0.0, *np.geomspace(pooled / 1000, pooled, 8)]
    ridges = list(np.geomspace(1e-5, 1e-1, 9)) if ridges is None else ridges
    lam_a, ridge_a = np.asarray(lams, dtype=float), np.asarray(ridges, dtype=float)
    losses = np.zeros((len(lam_a), len(ridge_a), n))
    hits = np.zeros(losses.shape, dtype=bool)
    heads: list[list[Head]] = [[None] * len(ridge_a) for _ in lam_a]  # type: ignore[list-item]
    for i, lam in enumerate(lam_a):
        start = None
        for j in np.argsort(-ridge_a):
            parts = [target] + ([replace(source, weight=lam * source.weight)] if source is not None else [])
            head = solve(parts, n_columns, ridge=float(ridge_a[j]), prior=prior, start=start, tolerance=1e-8)
            heads[i][int(j)] = start = head
            losses[i, j], hits[i, j] = _refit_all(parts, n_columns, float(ridge_a[j]), prior, head)
    y = np.asarray(target.y)[rows]
    values, counts = np.unique(y, return_counts=True)
    single = tuple(int(v) for v in values[counts == 1])
    return Path(
        lam_a, ridge_a, losses, hits, np.ones(losses.shape, bool), rows, single, time.perf_counter() - began, heads
    )


def _refit_all(
    parts: list[Part], n_columns: int, ridge: float, prior: Head | None, head: Head
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    r = rows_of(parts[0])
    losses, hits = np.zeros(len(r.w)), np.zeros(len(r.w), dtype=bool)
    kept = np.flatnonzero(np.asarray(parts[0].y) >= 0)
    for i in range(len(r.w)):
        y = np.array(parts[0].y)
        y[kept[i]] = -1
        # the weight of the others stays what it was: the part weighs (n - 1) / n of what it did
        one = replace(parts[0], y=y, weight=float(r.w.sum() - r.w[i]))
        h = solve([one, *parts[1:]], n_columns, ridge=ridge, prior=prior, start=head, tolerance=1e-8)
        z = log_softmax((r.x[i, :-1] @ h.weight + h.bias)[None, r.columns])[0]
        losses[i], hits[i] = -z[r.label[i]], z.argmax() == r.label[i]
    return losses, hits
