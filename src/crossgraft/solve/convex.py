"""The optimum of a sum of cross-entropies in the head: convex, so it is solved, with a bound on what is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from crossgraft.errors import CrossgraftError, UsageError

Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """weight * mean cross-entropy over the labelled rows of one domain, nats."""

    x: Float[np.ndarray, "n D"]
    y: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " k"]
    weight: float = 1.0
    sample_weight: Float[np.ndarray, " n"] | None = None
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Head:
    """A linear head: logits = x @ weight + bias, one column a class of the union."""

    weight: Float[np.ndarray, "D U"]
    bias: Float[np.ndarray, " U"]
    objective: float = float("nan")
    gap: float = float("nan")
    iterations: int = 0
    seconds: float = 0.0
    converged: bool = True


@dataclass(frozen=True)
class Rows:
    """The labelled rows of a part: x with a constant 1, target distribution q over its columns, weight of each row."""

    x: Float[np.ndarray, "n D1"]
    q: Float[np.ndarray, "n k"]
    w: Float[np.ndarray, " n"]
    columns: Int[np.ndarray, " k"]
    local: Int[np.ndarray, " n"]


def rows_of(part: Part) -> Rows:
    """Labelled rows with their weights, which sum to the weight of the part."""
    columns = np.asarray(part.columns, dtype=np.int64)
    y = np.asarray(part.y)
    keep = np.flatnonzero(y >= 0)
    where = np.full(max(int(columns.max(initial=0)), int(y.max(initial=0))) + 1, -1)
    where[columns] = np.arange(len(columns))
    local = where[y[keep]]
    if (local < 0).any():
        row = int(keep[np.argmin(local)])
        raise UsageError(f"label {int(y[row])} of row {row} is not among the columns of its part", "add the column")
    x = np.ones((len(keep), part.x.shape[1] + 1))
    x[:, :-1] = part.x[keep]
    if not np.isfinite(x).all():
        row = int(keep[np.flatnonzero(~np.isfinite(x).all(axis=1))[0]])
        raise CrossgraftError(
            f"features of row {row} are not finite", "leave that row out or extract its features again"
        )
    s = np.ones(len(keep)) if part.sample_weight is None else np.asarray(part.sample_weight, dtype=float)[keep]
    k = len(columns)
    q = np.full((len(keep), k), part.label_smoothing / k)
    q[np.arange(len(keep)), local] += 1 - part.label_smoothing
    return Rows(x, q, part.weight * s / max(s.sum(), np.finfo(float).tiny), columns, local)


def log_softmax(z: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Log-probabilities of logits, row by row."""
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def solve(
    parts: Sequence[Part],
    n_columns: int,
    *,
    ridge: float,
    prior: Head | tuple[Array, Array] | None = None,
    start: Head | None = None,
    tolerance: float = 1e-6,
) -> Head:
    """Minimise sum_parts weight * mean CE + ridge/2 (|W - W0|^2 + |b - b0|^2)."""
    began = time.perf_counter()
    if not ridge > 0:
        raise UsageError(f"a ridge of {ridge} is not above zero", "the optimum exists for every ridge above zero")
    active = [p for p in parts if p.weight != 0]
    if not active and not parts:
        raise UsageError("no cross-entropy to minimise", "give at least one part")
    rows = [rows_of(p) for p in active]
    d = parts[0].x.shape[1] if not active else active[0].x.shape[1]
    w0 = np.zeros((d + 1, n_columns))
    if prior is not None:
        a, b = (prior.weight, prior.bias) if isinstance(prior, Head) else prior
        w0[:-1], w0[-1] = a, b
    w = w0.copy() if start is None else np.vstack([start.weight, start.bias]).astype(float)

    def value(w: Array) -> tuple[float, Array, list[Array]]:
        f, g, ps = 0.5 * ridge * float(((w - w0) ** 2).sum()), ridge * (w - w0), []
        for r in rows:
            logp = log_softmax(r.x @ w[:, r.columns])
            p = np.exp(logp)
            f -= float(r.w @ (r.q * logp).sum(axis=1))
            g[:, r.columns] += r.x.T @ (r.w[:, None] * (p - r.q))
            ps.append(p)
        return f, g, ps

    def curve(v: Array, ps: list[Array]) -> Array:
        h = ridge * v
        for r, p in zip(rows, ps, strict=True):
            t = p * (r.x @ v[:, r.columns])
            h[:, r.columns] += r.x.T @ (r.w[:, None] * (t - p * t.sum(axis=1, keepdims=True)))
        return h

    m = ridge * np.eye(d + 1)
    for r in rows:
        m += r.x.T @ (r.x * (r.w / len(r.columns))[:, None])
    factor = cho_factor(m)
    f, g, ps = value(w)
    for step in range(200):
        gap = float((g**2).sum()) / (2 * ridge)
        if gap <= tolerance:
            break
        # conjugate gradients on H v = -g, preconditioned
        v, res = np.zeros_like(w), -g
        z = cho_solve(factor, res)
        direction, rz = z, float((res * z).sum())
        goal = rz * min(0.01, np.sqrt(rz))
        for _ in range(500):
            hd = curve(direction, ps)
            a = rz / float((direction * hd).sum())
            v, res = v + a * direction, res - a * hd
            z = cho_solve(factor, res)
            new = float((res * z).sum())
            if new <= goal:
                break
            direction, rz = z + new / rz * direction, new
        slope, t = float((g * v).sum()), 1.0
        while True:
            f1, g1, ps1 = value(w + t * v)
            if f1 <= f + 1e-4 * t * slope or t < 1e-10:
                break
            t /= 2
        if f1 >= f and t < 1e-10:
            break
        w, f, g, ps = w + t * v, f1, g1, ps1
    gap = float((g**2).sum()) / (2 * ridge)
    return Head(w[:-1].copy(), w[-1].copy(), f, gap, step, time.perf_counter() - began, gap <= tolerance)
