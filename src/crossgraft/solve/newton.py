"""Newton's method with preconditioned conjugate gradients, for several ridges of one problem at once.

One matrix product serves every ridge, so that ten narrow products become one wide one. Letters as in `rows.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from crossgraft.solve.preconditioner import Preconditioner, lasts
from crossgraft.solve.rows import Array, Rows, curve

FORCE = 0.1  # how far a Newton step is solved: the squared preconditioned residual that is left


@dataclass
class Start:
    """Where every ridge begins: objective, gradient, and of each part the logits and probabilities."""

    objective: Float[np.ndarray, " B"]
    gradient: Float[np.ndarray, "B U D"]
    logits: list[Array]
    probs: list[Array]


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
    start: Start | None = None,
) -> Result:
    """Minimise sum of weighted cross-entropies + ridge/2 |V|^2 for every ridge at once.

    A ridge is done when |g|^2/(2 ridge), which bounds what is left, is below the tolerance, or when a full Newton step,
    which leaves about a tenth of what it promised, promised less than ten times the tolerance: the bound is loose where
    the ridge is weak. `keep` keeps the preconditioner given; `start`, what is known of v, is overwritten.
    """
    dtype, eps = v.dtype, float(np.finfo(v.dtype).eps)
    worth = np.inf if keep else lasts(parts)
    start = begin(parts, v, ridges) if start is None else start
    f, g, zs, ps = start.objective, start.gradient, start.logits, start.probs
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
        at: slice | Array = slice(None) if act.all() else act  # a slice is not copied
        vv, vs, ss = _dot(v[at], v[at]), _dot(v[at], step), _dot(step, step)
        t, waiting = np.ones(len(slope)), np.ones(len(slope), dtype=bool)
        base = f[act] + 50 * eps * np.maximum(1, np.abs(f[act]))
        for _ in range(40):
            move = t.astype(dtype)[:, None, None]
            trial = [z[at] + move * s for z, s in zip(zs, zd, strict=True)]
            losses = [r.loss(z) for r, z in zip(mine, trial, strict=True)]
            new = sum((a for a, _ in losses), 0.5 * ridges[act] * (vv + 2 * t * vs + t**2 * ss))
            waiting = ~(new <= base + 1e-4 * t * slope)
            if not waiting.any():
                break
            t = np.where(waiting, t / 2, t)
        if waiting.any():  # no decrease to be had in this precision
            t[waiting] = 0
            move = t.astype(dtype)[:, None, None]
            trial = [z[at] + move * s for z, s in zip(zs, zd, strict=True)]
            losses = [r.loss(z) for r, z in zip(mine, trial, strict=True)]
        v[at] += move * step
        f[at] = sum((a for a, _ in losses), 0.5 * ridges[act] * _dot(v[at], v[at]))
        part_g = v[at] * ridges[act].astype(dtype)[:, None, None]
        for k, (r, zn, (_, pn)) in enumerate(zip(mine, trial, losses, strict=True)):
            if act.all():
                zs[k], ps[k] = zn, pn
            else:
                zs[k][act], ps[k][act] = zn, pn
            r.back(r.residual(pn), part_g)
        g[at] = part_g
        good[act] |= (t == 1) & (-slope / 20 <= tolerance)
        done[act] |= good[act] | (t == 0)
    gap = _dot(g, g) / (2 * ridges)
    return Result(v, f, gap, good | (gap <= tolerance), iterations, ps, preconditioner)


def _dot(a: Float[np.ndarray, "B U D"], b: Float[np.ndarray, "B U D"]) -> Float[np.ndarray, " B"]:
    return np.array([float(np.vdot(s, t)) for s, t in zip(a, b, strict=True)])


def begin(parts: list[Rows], v: Float[np.ndarray, "B U D"], ridges: Array) -> Start:
    """What is known of heads once their logits and gradients are computed."""
    zs = [r.logits(v) for r in parts]
    f, g, ps = evaluate(parts, zs, v, ridges)
    return Start(f, g, zs, ps)


def evaluate(
    parts: list[Rows], zs: list[Array], v: Float[np.ndarray, "B U D"], ridges: Array
) -> tuple[Array, Array, list[Array]]:
    """Objective and gradient of each ridge, and the probabilities of each part."""
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
    weighted = [r.weighted(p) for r, p in zip(parts, ps, strict=True)]
    ridge = ridges[act].astype(g.dtype)[:, None, None]
    res = -g[act]
    s, zs = np.zeros_like(res), [np.zeros_like(p) for p in ps]
    on, live = np.flatnonzero(act), act.copy()  # the ridges that are not solved yet
    at: slice | Array = slice(None)  # their places among the active ones
    way = precondition(res, live)
    rz = _dot(res, way)
    goal = np.maximum(FORCE * rz, 1e-30)
    count, limit = 0, 200
    while count < limit:
        count += 1
        h = ridge * way
        ts = [r.logits(way) for r in parts]
        for r, p, wp, t in zip(parts, ps, weighted, ts, strict=True):
            r.back(curve(p, wp, t), h)
        curvature = _dot(way, h)
        go = (rz > goal) & (curvature > 0)
        a = np.where(go, rz / np.where(curvature > 0, curvature, 1), 0).astype(g.dtype)[:, None, None]
        s[at] += a * way
        for total, t in zip(zs, ts, strict=True):
            t *= a
            total[at] += t
        h *= a
        res -= h
        z = precondition(res, live)
        new = np.where(go, _dot(res, z), 0)
        go &= new > goal
        if not go.any():
            break
        way = z + np.where(rz > 0, new / np.where(rz > 0, rz, 1), 0).astype(g.dtype)[:, None, None] * way
        rz = new
        if 4 * go.sum() <= 3 * len(go):
            at = np.arange(len(go))[go] if isinstance(at, slice) else at[go]
            on, way, res, rz, goal, ridge = on[go], way[go], res[go], rz[go], goal[go], ridge[go]
            ps, weighted, parts = [p[go] for p in ps], [p[go] for p in weighted], [r.only(go) for r in parts]
            live = np.zeros_like(act)
            live[on] = True
    return s, zs, count
