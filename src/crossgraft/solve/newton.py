"""Newton's method with preconditioned conjugate gradients, for several ridges of one problem at once.

One matrix product serves every ridge, so that ten narrow products become one wide one. Letters: N rows, D features (the
constant included), B ridges, U columns of the head, k columns of one part; V is the head's distance from its prior.
Rows lie along the last axis, where sums over classes vectorise. Only NumPy's linear algebra is used here: SciPy brings
threads of its own, and the two pools, each waiting busily for work, slow one another more than tenfold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.seeds import rng

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rows:
    """Labelled rows of one part: features with a constant 1, the prior's logits, labels, weights."""

    x: Float[np.ndarray, "N D"]
    z0: Array | None  # (k, N)
    label: Int[np.ndarray, " N"]
    w: Array  # (N,), or (B, N) where every problem of the batch weighs the rows in its own way
    columns: Int[np.ndarray, " k"]
    smoothing: float = 0.0

    def cast(self, dtype: type) -> Rows:
        """The same rows in another precision."""
        z0: Array | None = None if self.z0 is None else self.z0.astype(dtype)
        return replace(self, x=self.x.astype(dtype, copy=False), z0=z0, w=self.w.astype(dtype))

    def only(self, active: Bool[np.ndarray, " B"]) -> Rows:
        """The rows as the active problems of a batch weigh them."""
        return self if self.w.ndim == 1 or active.all() else replace(self, w=self.w[active])

    def logits(self, v: Float[np.ndarray, "B U D"]) -> Float[np.ndarray, "B k N"]:
        """V X' in this part's columns, without the prior."""
        v = v[:, self.at]
        return np.asarray(v.reshape(-1, v.shape[2]) @ self.x.T).reshape(len(v), -1, len(self.x))

    def back(self, e: Float[np.ndarray, "B k N"], out: Float[np.ndarray, "B U D"]) -> None:
        """out += e X in this part's columns; e arrives weighted."""
        out[:, self.at] += (e.reshape(-1, e.shape[2]) @ self.x).reshape(*e.shape[:2], -1)

    @property
    def at(self) -> slice | Int[np.ndarray, " k"]:
        """The columns, as a slice where they are neighbours: a slice is not copied."""
        c = self.columns
        return slice(int(c[0]), int(c[-1]) + 1) if len(c) and (np.diff(c) == 1).all() else c

    def loss(self, z: Float[np.ndarray, "B k N"]) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, "B k N"]]:
        """Weighted cross-entropy of each ridge (the prior's logits added here), and the probabilities."""
        z = z if self.z0 is None else z + self.z0
        p = z - z.max(axis=1, keepdims=True)
        fit = (1 - self.smoothing) * p[:, self.label, np.arange(len(self.label))]
        if self.smoothing:
            fit += self.smoothing * p.mean(axis=1)
        np.exp(p, out=p)
        total = p.sum(axis=1)
        p /= total[:, None]
        each = (np.log(total) - fit).astype(np.float64)
        w = self.w.astype(np.float64)
        return np.asarray(each @ w if w.ndim == 1 else (each * w).sum(axis=1)), p

    def residual(self, p: Float[np.ndarray, "B k N"]) -> Float[np.ndarray, "B k N"]:
        """w (p - q): the derivative of the weighted cross-entropy by the logits."""
        e = p - self.smoothing / p.shape[1] if self.smoothing else p.copy()
        e[:, self.label, np.arange(len(self.label))] -= 1 - self.smoothing
        e *= self.w if self.w.ndim == 1 else self.w[:, None]
        return np.asarray(e)

    def curve(self, p: Float[np.ndarray, "B k N"], t: Float[np.ndarray, "B k N"]) -> Float[np.ndarray, "B k N"]:
        """w (diag(p) - p p') t, row by row."""
        e = p * t
        e -= p * e.sum(axis=1, keepdims=True)
        e *= self.w if self.w.ndim == 1 else self.w[:, None]
        return np.asarray(e)


class Preconditioner:
    """(X' diag(w a) X + ridge)^-1 for each ridge, a = (1 - |p|^2)/(k - 1), the mean curvature of a row's classes.

    Columns that the same parts see share one matrix. It only has to be near: rows beyond 12 D are thinned, and where
    the inverse would cost more than a few steps of conjugate gradients, a randomised Nystrom approximation of rank 96
    stands in (Frangella, Tropp and Udell, SIAM J. Matrix Analysis 2023): tail + ridge outside its range.
    """

    def __init__(self, parts: list[Rows], n_columns: int, ridges: Array, probs: list[Array]) -> None:
        seen = np.zeros((n_columns, len(parts)), dtype=bool)
        for i, r in enumerate(parts):
            seen[r.columns, i] = True
        thin = inverse_cost(parts) <= CHEAP
        half = [[_half(r, q) for q in p] for r, p in zip(parts, probs, strict=True)]
        self.groups: list[tuple[slice | Array, Array, Array | None]] = []
        for pattern in np.unique(seen, axis=0):
            if pattern.any():
                group = (seen == pattern).all(axis=1)
                at = slice(None) if group.all() else np.flatnonzero(group)
                mine = [[h[b] for h, on in zip(half, pattern, strict=True) if on] for b in range(len(ridges))]
                built = [(_inverse if thin else _nystrom)(m, ridge) for m, ridge in zip(mine, ridges, strict=True)]
                self.groups.append(
                    (at, np.stack([m for m, _ in built]), None if thin else np.stack([c for _, c in built]))
                )

    def __call__(self, r: Float[np.ndarray, "A U D"], active: Bool[np.ndarray, " B"]) -> Float[np.ndarray, "A U D"]:
        """Apply to the active ridges, up to a factor of each."""
        out = r.copy()
        for at, m, shrink in self.groups:
            m = m if len(m) == 1 or active.all() else m[active]
            if shrink is None:
                out[:, at] = np.matmul(r[:, at], m)
            else:
                shrink = shrink if len(shrink) == 1 else shrink[active]
                out[:, at] += np.matmul(np.matmul(r[:, at], m) * shrink[:, None], m.transpose(0, 2, 1))
        return out

    def near(self, x: Float[np.ndarray, "n D"], column: int, b: int) -> Float[np.ndarray, "n D"]:
        """Apply to rows of features as to the gradient of one column, for ridge b."""
        for at, m, shrink in self.groups:
            if isinstance(at, slice) or column in at:
                return np.asarray(x @ m[b] if shrink is None else x + ((x @ m[b]) * shrink[b]) @ m[b].T)
        return x


RANK = 96
CHEAP = 8  # an inverse may cost so many steps of conjugate gradients
FORCE = 0.1  # how far a Newton step is solved: the squared preconditioned residual that is left


def inverse_cost(parts: list[Rows]) -> float:
    """What an inverse costs, in steps of conjugate gradients; its square products run about twice as fast."""
    d, k = parts[0].x.shape[1], max(len(r.columns) for r in parts)
    n, kept = sum(len(r.x) for r in parts), sum(len(r.x[:: _every(r)]) for r in parts)
    return float((kept * d**2 + 2 * d**3) / (4.0 * n * d * k) / 2)


def _every(r: Rows) -> int:
    return int(max(1, len(r.x) // (12 * r.x.shape[1])))


def _half(r: Rows, p: Float[np.ndarray, "k N"]) -> Float[np.ndarray, "N D"]:
    """Rows times the root of weight and curvature: half' half is the part's X' diag(w a) X."""
    p, w = p[:, :: _every(r)], r.w[:: _every(r)]
    a = np.maximum(1 - (p * p).sum(axis=0), 0) * w / max(len(p) - 1, 1)
    a *= r.w.sum() / max(w.sum(), np.finfo(w.dtype).tiny)
    return np.asarray(r.x[:: _every(r)] * np.sqrt(a)[:, None])


def _inverse(halves: list[Array], ridge: float) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, " D"]]:
    m = np.sum([h.T @ h for h in halves], axis=0)
    lift = ridge + 4 * float(np.finfo(m.dtype).eps) * float(np.trace(m))
    return np.linalg.inv(m + (lift * np.eye(len(m))).astype(m.dtype)), m[0]


def _nystrom(halves: list[Array], ridge: float) -> tuple[Float[np.ndarray, "D R"], Float[np.ndarray, " R"]]:
    """Basis u and factors c with (G + ridge)^-1 near (I + u diag(c) u') / (tail + ridge)."""
    d, dtype = halves[0].shape[1], halves[0].dtype
    omega = rng(0, "nystrom").standard_normal((d, RANK)).astype(dtype)
    y = sum(h.T @ (h @ omega) for h in halves).astype(np.float64)
    lift = 1e-6 * float(np.linalg.norm(y)) / np.sqrt(d) + 1e-30
    y += lift * omega
    small = omega.T @ y
    b = np.linalg.solve(np.linalg.cholesky((small + small.T) / 2), y.T)
    values, q = np.linalg.eigh(b @ b.T)
    values = np.maximum(values, 1e-30)
    u = (b.T @ (q / np.sqrt(values))).astype(dtype)
    values = np.maximum(values - lift, 0)
    return u, ((values.min() + ridge) / (values + ridge) - 1).astype(dtype)


@dataclass
class Result:
    """Heads as distances from the prior; objective, bound on what is left, and whether that is below the tolerance."""

    v: Float[np.ndarray, "B U D"]
    objective: Float[np.ndarray, " B"]
    gap: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    iterations: int
    probs: list[Array]
    preconditioner: Preconditioner | None


def minimise(
    parts: list[Rows],
    n_columns: int,
    ridges: Float[np.ndarray, " B"],
    v: Float[np.ndarray, "B U D"],
    tolerance: float,
    preconditioner: Preconditioner | None = None,
    keep: bool = False,
) -> Result:
    """Minimise sum of weighted cross-entropies + ridge/2 |V|^2 for every ridge at once.

    A ridge is done when |g|^2/(2 ridge), which bounds what is left, is below the tolerance, or when a full Newton step,
    which leaves about a tenth of what it promised, promised less than ten times the tolerance: the bound is loose where
    the ridge is weak. `keep` keeps the preconditioner that was given.
    """
    dtype, eps = v.dtype, float(np.finfo(v.dtype).eps)
    cost = inverse_cost(parts)
    worth = np.inf if keep else 4 * (cost if cost <= CHEAP else RANK / max(len(r.columns) for r in parts) / 2)
    zs = [r.logits(v) for r in parts]
    f, g, ps = _evaluate(parts, zs, v, ridges)
    done, good = np.zeros(len(ridges), dtype=bool), np.zeros(len(ridges), dtype=bool)
    spent, iterations = np.inf if preconditioner is None else 0.0, 0
    for _ in range(100):
        good |= _dot(g, g) / (2 * ridges) <= tolerance
        done |= good
        if done.all():
            break
        act = ~done
        mine = [r.only(act) for r in parts]
        if preconditioner is None or spent > worth:
            preconditioner, spent = Preconditioner(parts, n_columns, ridges, ps), 0.0
        step, zd, count = _newton_step(mine, ps, g, act, ridges, preconditioner)
        iterations, spent = iterations + count, spent + count
        slope = _dot(g[act], step)
        vv, vs, ss = _dot(v[act], v[act]), _dot(v[act], step), _dot(step, step)
        t, waiting = np.ones(len(slope)), np.ones(len(slope), dtype=bool)
        base = f[act] + 50 * eps * np.maximum(1, np.abs(f[act]))
        for _ in range(40):
            move = t.astype(dtype)[:, None, None]
            trial = [z[act] + move * s for z, s in zip(zs, zd, strict=True)]
            losses = [r.loss(z) for r, z in zip(mine, trial, strict=True)]
            new = sum((a for a, _ in losses), 0.5 * ridges[act] * (vv + 2 * t * vs + t**2 * ss))
            waiting = ~(new <= base + 1e-4 * t * slope)
            if not waiting.any():
                break
            t = np.where(waiting, t / 2, t)
        if waiting.any():  # no decrease to be had in this precision
            t[waiting] = 0
            move = t.astype(dtype)[:, None, None]
            trial = [z[act] + move * s for z, s in zip(zs, zd, strict=True)]
            losses = [r.loss(z) for r, z in zip(mine, trial, strict=True)]
        v[act] += move * step
        f[act] = sum((a for a, _ in losses), 0.5 * ridges[act] * _dot(v[act], v[act]))
        g[act] = v[act] * ridges[act].astype(dtype)[:, None, None]
        part_g = g[act]
        for r, z, p, zn, (_, pn) in zip(mine, zs, ps, trial, losses, strict=True):
            z[act], p[act] = zn, pn
            r.back(r.residual(pn), part_g)
        g[act] = part_g
        good[act] |= (t == 1) & (-slope / 20 <= tolerance)
        done[act] |= good[act] | (t == 0)
    gap = _dot(g, g) / (2 * ridges)
    return Result(v, f, gap, good | (gap <= tolerance), iterations, ps, preconditioner)


def _dot(a: Float[np.ndarray, "B U D"], b: Float[np.ndarray, "B U D"]) -> Float[np.ndarray, " B"]:
    return np.array([float(np.vdot(s, t)) for s, t in zip(a, b, strict=True)])


def _evaluate(
    parts: list[Rows], zs: list[Array], v: Float[np.ndarray, "B U D"], ridges: Array
) -> tuple[Array, Array, list[Array]]:
    f, g, ps = 0.5 * ridges * _dot(v, v), v * ridges.astype(v.dtype)[:, None, None], []
    for r, z in zip(parts, zs, strict=True):
        loss, p = r.loss(z)
        f = f + loss
        r.back(r.residual(p), g)
        ps.append(p)
    return f, g, ps


def _newton_step(
    parts: list[Rows], ps: list[Array], g: Array, act: Array, ridges: Array, precondition: Preconditioner
) -> tuple[Array, list[Array], int]:
    """Solve H s = -g for the active ridges to a tenth in the preconditioner's norm; also s X' for every part."""
    ps = ps if act.all() else [p[act] for p in ps]
    ridge = ridges[act].astype(g.dtype)[:, None, None]
    res = -g[act]
    s, zs = np.zeros_like(res), [np.zeros_like(p) for p in ps]
    way = precondition(res, act)
    rz = _dot(res, way)
    goal = np.maximum(FORCE * rz, 1e-30)
    count, limit = 0, 200
    while count < limit:
        count += 1
        h = ridge * way
        ts = [r.logits(way) for r in parts]
        for r, p, t in zip(parts, ps, ts, strict=True):
            r.back(r.curve(p, t), h)
        curvature = _dot(way, h)
        live = (rz > goal) & (curvature > 0)
        a = np.where(live, rz / np.where(curvature > 0, curvature, 1), 0).astype(g.dtype)[:, None, None]
        s += a * way
        for total, t in zip(zs, ts, strict=True):
            total += a * t
        res -= a * h
        z = precondition(res, act)
        new = np.where(live, _dot(res, z), 0)
        if not (live & (new > goal)).any():
            break
        way = z + np.where(rz > 0, new / np.where(rz > 0, rz, 1), 0).astype(g.dtype)[:, None, None] * way
        rz = new
    return s, zs, count
