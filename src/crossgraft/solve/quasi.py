"""L-BFGS from a preconditioner, for one problem that is large: every step costs two matrix products, none a Hessian."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from crossgraft.solve.newton import Result, evaluate
from crossgraft.solve.preconditioner import Preconditioner, lasts
from crossgraft.solve.rows import Array, Rows

MEMORY = 20
RENEW = 8  # steps, at least, before the preconditioner is computed again; twice as many each time
STEPS, NEAR = 1000, 5.0


def descend(parts: list[Rows], n_columns: int, ridge: float, v: Float[np.ndarray, "1 U D"], tolerance: float) -> Result:
    """Minimise sum of weighted cross-entropies + ridge/2 |V|^2 (Nocedal, Mathematics of Computation 35, 1980).

    The first inverse Hessian of every step is the preconditioner, scaled by s'y / y'Py. Converged where
    |g|^2/(2 ridge), which bounds what is left, is below the tolerance. It also ends where two full steps in a row
    promised little more: what such a promise is worth nobody knows, and Newton's method goes on from here.
    """
    dtype, eps, ridges = v.dtype, float(np.finfo(v.dtype).eps), np.array([ridge])
    zs = [r.logits(v) for r in parts]
    f, g, ps = evaluate(parts, zs, v, ridges)
    one = np.ones(1, dtype=bool)
    precondition, renew, since = Preconditioner(parts, n_columns, ridges, ps), max(RENEW, lasts(parts)), 0
    memory: list[tuple[Array, Array, float]] = []
    small, good, steps = 0, False, 0
    while steps < STEPS:
        gap = float(np.vdot(g, g)) / (2 * ridge)
        good = gap <= tolerance
        if good or small >= 2:
            break
        if since >= renew:
            precondition, renew, since = Preconditioner(parts, n_columns, ridges, ps), 2 * renew, 0
        way = -_inverse(g, memory, precondition, one)
        slope = float(np.vdot(g, way))
        zd = [r.logits(way) for r in parts]
        base, t = float(f[0]) + 50 * eps * max(1.0, abs(float(f[0]))), 1.0
        vv, vs, ss = float(np.vdot(v, v)), float(np.vdot(v, way)), float(np.vdot(way, way))
        for _ in range(40):
            trial = [z + dtype.type(t) * s for z, s in zip(zs, zd, strict=True)]
            losses = [r.loss(z) for r, z in zip(parts, trial, strict=True)]
            new = sum(float(loss[0]) for loss, _ in losses) + 0.5 * ridge * (vv + 2 * t * vs + t * t * ss)
            if new <= base + 1e-4 * t * slope:
                break
            t /= 2
        else:  # no decrease to be had in this precision
            break
        step = dtype.type(t) * way
        v = v + step
        zs, ps = trial, [p for _, p in losses]
        f = np.array([new])
        after = v * dtype.type(ridge)
        for r, p in zip(parts, ps, strict=True):
            r.back(r.residual(p), after)
        change, g = after - g, after
        if (curved := float(np.vdot(step, change))) > 0:
            memory = [*memory, (step, change, curved)][-MEMORY:]
        small = small + 1 if t == 1 and -slope <= NEAR * tolerance else 0
        steps, since = steps + 1, since + 1
    gap_a = np.array([float(np.vdot(g, g)) / (2 * ridge)])
    return Result(v, f, gap_a, np.array([good]), steps, ps, precondition)


def _inverse(g: Array, memory: list[tuple[Array, Array, float]], precondition: Preconditioner, one: Array) -> Array:
    """The inverse Hessian that the memory implies, times the gradient: the two loops."""
    q, kept = g.copy(), []
    for step, change, curved in reversed(memory):
        a = float(np.vdot(step, q)) / curved
        q -= g.dtype.type(a) * change
        kept.append(a)
    out = precondition(q, one)
    if memory:
        _, change, curved = memory[-1]
        out *= g.dtype.type(curved / float(np.vdot(change, precondition(change, one))))
    for (step, change, curved), a in zip(memory, reversed(kept), strict=True):
        b = float(np.vdot(change, out)) / curved
        out += g.dtype.type(a - b) * step
    return out
