"""Leaving one target row out: refits, and the formula for what is too wide to be refitted.

The formula is one Newton step from the optimum (Rad and Maleki, JRSS-B 2020). With g_i = w_i (p_i - q_i),
A_i = w_i (diag(p_i) - p_i p_i'), H the Hessian of the objective and B_i = (x_i' (x) I) H^-1 (x_i (x) I):

    z_-i = z_i + B_i (I - A_i B_i)^-1 g_i

w_i is the weight of row i in the objective. The others keep theirs: left out means that its term is gone, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from crossgraft.solve.newton import Start, begin, minimise
from crossgraft.solve.positive import inverse
from crossgraft.solve.preconditioner import Preconditioner, inverse_cost
from crossgraft.solve.rows import Array, Rows

WIDEST = 1200  # rows and columns of the Hessian that one group of target rows may need
PAIR = 2048  # columns of it for the one logit of two classes
DUAL = 500  # target rows up to which N x N matrices are cheaper than the Hessian


def formula(
    parts: Sequence[Rows],
    n_columns: int,
    ridge: float,
    v: Float[np.ndarray, "U D"],
    probs: Sequence[Float[np.ndarray, "k N"]],
    which: Int[np.ndarray, " m"],
    preconditioner: Preconditioner | None,
    b: int,
) -> Float[np.ndarray, "m k"]:
    """Logits of rows `which` of the first part, each without its label.

    H is inverted whole where it has at most WIDEST columns, of two classes PAIR. Wider, on the features that move those
    rows, the preconditioner applied to them (Galerkin): B_i is then too small, and the loss optimistic, most at weak
    ridges.
    """
    target, d = parts[0], parts[0].x.shape[1]
    if len(parts) == 1 and len(target.x) <= DUAL:
        return _moved(target, v, probs[0], which, _dual(target, ridge, probs[0], which))
    seen = np.unique(np.concatenate([r.columns for r in parts]))
    if len(seen) == 2 and d <= PAIR and all(len(r.columns) == 2 for r in parts):
        return _moved(target, v, probs[0], which, _pair(parts, ridge, probs, target.x[which]))
    group = d if d * len(seen) <= WIDEST else max(4, WIDEST // len(seen))
    out = np.empty((len(which), len(target.columns)))
    for i in range(0, len(which), group):
        some = which[i : i + group]
        x = target.x[some]
        basis = None
        if len(some) < d and d * len(seen) > WIDEST and preconditioner is not None:
            basis = np.linalg.qr(preconditioner.near(x, int(target.columns[0]), b).T)[0]
        out[i : i + group] = _moved(target, v, probs[0], some, _blocks(parts, seen, ridge, probs, x, basis))
    return out


def _moved(target: Rows, v: Array, probs: Array, some: Array, blocks: Array) -> Float[np.ndarray, "n k"]:
    """z_i + B_i (I - A_i B_i)^-1 g_i for some rows."""
    p = probs[:, some].T.astype(np.float64)
    z = target.logits(v[None])[0][:, some].T.astype(np.float64)
    z += 0 if target.z0 is None else target.z0[:, some].T
    w = target.w[some].astype(np.float64)
    q = np.full_like(p, target.smoothing / p.shape[1])
    q[np.arange(len(some)), target.label[some]] += 1 - target.smoothing
    g = w[:, None] * (p - q)
    a = w[:, None, None] * (p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :])
    moved = np.linalg.solve(np.eye(p.shape[1]) - a @ blocks, g[:, :, None])
    return np.asarray(z + (blocks @ moved)[:, :, 0])


def _dual(target: Rows, ridge: float, probs: Array, which: Array) -> Float[np.ndarray, "n k k"]:
    """B_i without a source, from N x N matrices instead of the Hessian (Rasmussen and Williams 2006, section 3.5).

    K = X X'/ridge, D_c = diag(w p_c), E_c = D_c^1/2 (I + D_c^1/2 K D_c^1/2)^-1 D_c^1/2, F = sum_c E_c:
    (B_i)_ab = [a = b] (K - K E_a K)_ii + (K E_a F^-1 E_b K)_ii.
    """
    x, w = target.x.astype(np.float64), target.w.astype(np.float64)
    gram = x @ x.T / ridge
    some, n, k = gram[which], len(x), len(probs)
    root = np.sqrt(np.maximum(w, 1e-9 * w.max()) * np.maximum(probs, 1e-30))
    if k == 2:  # one logit, the difference: K doubles, and its curvature is w p_1 p_2
        root, gram, some = np.sqrt(w) * np.sqrt(probs[0] * probs[1]), 2 * gram, 2 * some
        e = inverse(root[:, None] * gram * root + np.eye(n))
        reach = (some * root) @ e * root
        own = gram[which, which] - np.einsum("ij,ij->i", reach, some)
        return np.asarray(own[:, None, None] * np.array([[0.25, -0.25], [-0.25, 0.25]]))
    total, reach = np.zeros((n, n)), np.empty((k, len(which), n))
    blocks = np.zeros((len(which), k, k))
    for c in range(k):
        e = inverse(root[c][:, None] * gram * root[c] + np.eye(n))
        e *= root[c][:, None] * root[c]
        total += e
        reach[c] = some @ e
        blocks[:, c, c] = gram[which, which] - np.einsum("ij,ij->i", reach[c], some)
    half = np.linalg.inv(np.linalg.cholesky(total + 1e-14 * np.trace(total) * np.eye(n)))
    q = reach @ half.T
    return np.asarray(blocks + np.matmul(q.transpose(1, 0, 2), q.transpose(1, 2, 0)))


def _pair(
    parts: Sequence[Rows], ridge: float, probs: Sequence[Array], x: Float[np.ndarray, "n D"]
) -> Float[np.ndarray, "n 2 2"]:
    """B_i of two classes: one logit, the difference, with Hessian ridge/2 I + sum_j w_j p_j1 p_j2 x_j x_j', (D, D)."""
    h = np.zeros((x.shape[1], x.shape[1]))
    for r, p in zip(parts, probs, strict=True):
        f = r.x * np.sqrt(r.w * p[0] * p[1])[:, None]
        h += f.T @ f
    h[np.diag_indices_from(h)] += ridge / 2
    own = np.einsum("nd,dn->n", x.astype(np.float64), np.linalg.solve(h, x.T.astype(np.float64)))
    return np.asarray(own[:, None, None] * np.array([[0.25, -0.25], [-0.25, 0.25]]))


def _blocks(
    parts: Sequence[Rows], seen: Array, ridge: float, probs: Sequence[Array], x: Array, basis: Array | None
) -> Float[np.ndarray, "n k k"]:
    """B_i for each row of x, in the columns of the first part."""
    m, u = (x.shape[1] if basis is None else basis.shape[1]), len(seen)
    h = np.zeros((u * m, u * m), dtype=x.dtype)
    for place, (r, p) in enumerate(zip(parts, probs, strict=True)):
        # the target's own rows all count; of the others 16 for each feature kept are enough for their share of H
        every = 1 if place == 0 else max(1, len(r.x) // (16 * m))
        rows, p, w = r.x[::every], p[:, ::every], r.w[::every]
        f = rows.T if basis is None else basis.T @ rows.T
        root = np.sqrt(w * (r.w.sum() / max(w.sum(), np.finfo(w.dtype).tiny))) * f
        s = (p[:, None] * root).reshape(-1, root.shape[1])
        own = (s @ root.T).reshape(len(p), m, m)
        at = np.searchsorted(seen, r.columns)
        outer = s @ s.T
        if len(at) == u and (at == np.arange(u)).all():
            h -= outer
        else:
            index = (at[:, None] * m + np.arange(m)).ravel()
            h[np.ix_(index, index)] -= outer
        for c, block in zip(at, own, strict=True):
            h[c * m : (c + 1) * m, c * m : (c + 1) * m] += block
    h[np.diag_indices_from(h)] += ridge
    inv = inverse(h).reshape(u, m, u, m)
    at = np.searchsorted(seen, parts[0].columns)
    inv = inv if len(at) == u and (at == np.arange(u)).all() else inv[at][:, :, at]
    k = len(at)
    y = x if basis is None else x @ basis
    right = (y @ inv.transpose(1, 0, 2, 3).reshape(m, -1)).reshape(len(y), k, k, m)
    return np.asarray(np.einsum("nabm,nm->nab", right, y), dtype=np.float64)


def refits(
    parts: Sequence[Rows],
    n_columns: int,
    ridge: float,
    v: Float[np.ndarray, "U D"],
    probs: Sequence[Float[np.ndarray, "k N"]],
    which: Int[np.ndarray, " m"],
    tolerance: float,
) -> Float[np.ndarray, "m k"]:
    """The same logits by solving again without each row, all rows of a group in one batch from the common optimum."""
    target = parts[0]
    out = np.empty((len(which), len(target.columns)))
    size = max(1, int(8e6 / (sum(len(r.x) * len(r.columns) for r in parts) + v.size)))
    by_class = len(target.columns) > 2 and inverse_cost(list(parts)) * len(target.columns) <= len(which)
    shared = Preconditioner(list(parts), n_columns, np.array([ridge]), [p[None] for p in probs], by_class)
    whole = begin(list(parts), v[None], np.array([ridge]))
    for i in range(0, len(which), size):
        some = which[i : i + size]
        w = np.repeat(target.w[None], len(some), axis=0)
        w[np.arange(len(some)), some] = 0
        rows = [replace(target, w=w), *parts[1:]]
        many = np.repeat(v[None], len(some), axis=0)
        start = _without(whole, target, some)
        found = minimise(rows, n_columns, np.full(len(some), ridge), many, tolerance, shared, keep=True, start=start)
        z = np.einsum("bud,bd->bu", found.v[:, target.columns], target.x[some]).astype(np.float64)
        out[i : i + size] = z if target.z0 is None else z + target.z0[:, some].T
    return out


def _without(whole: Start, target: Rows, some: Int[np.ndarray, " m"]) -> Start:
    """Where the head of all rows starts as each of some rows is left out: that row's loss and gradient are gone."""
    n = len(some)
    loss = target.each(whole.logits[0])[0][0, some]
    g = np.repeat(whole.gradient, n, axis=0)
    e = target.residual(whole.probs[0])[0][:, some]
    g[:, target.at] -= e.T[:, :, None] * target.x[some][:, None, :]
    repeated = [[np.repeat(a, n, axis=0) for a in each] for each in (whole.logits, whole.probs)]
    return Start(whole.objective - target.w[some] * loss, g, *repeated)
