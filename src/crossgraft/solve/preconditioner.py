"""What conjugate gradients are preconditioned with: the inverse of a matrix near the Hessian, column by column."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from crossgraft.seeds import rng
from crossgraft.solve.positive import inverse
from crossgraft.solve.rows import Array, Rows

RANK = 96
CHEAP = 8  # an inverse may cost so many steps of conjugate gradients


class Preconditioner:
    """(X' diag(w a) X + ridge)^-1 for each ridge, a = (1 - |p|^2)/(k - 1), the mean curvature of a row's classes.

    Columns that the same parts see share one matrix; `by_class`, each has its own, a = p (1 - p), which about halves
    the steps and pays where many heads share them. It only has to be near: rows beyond 12 D are thinned, and where
    the inverse would cost more than a few steps of conjugate gradients, a randomised Nystrom approximation of rank 96
    stands in (Frangella, Tropp and Udell, SIAM J. Matrix Analysis 2023): tail + ridge outside its range.
    """

    def __init__(
        self, parts: list[Rows], n_columns: int, ridges: Array, probs: list[Array], by_class: bool = False
    ) -> None:
        seen = np.zeros((n_columns, len(parts)), dtype=bool)
        for i, r in enumerate(parts):
            seen[r.columns, i] = True
        # below the rank of the approximation there is nothing to approximate, and its Gram matrix is singular
        thin = inverse_cost(parts) <= CHEAP or parts[0].x.shape[1] <= RANK
        self.groups: list[tuple[slice | Array, Array, Array | None]] = []
        if by_class and thin:
            for c in np.flatnonzero(seen.any(axis=1)):
                own = [(r, p[:, r.columns == c]) for r, p in zip(parts, probs, strict=True) if c in r.columns]
                each = [_inverse([_half(r, p[b]) for r, p in own], ridge)[0] for b, ridge in enumerate(ridges)]
                self.groups.append((np.array([c]), np.stack(each), None))
            return
        half = [[_half(r, q) for q in p] for r, p in zip(parts, probs, strict=True)]
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
            if shrink is None and len(m) == 1:  # one product in place of one a head
                out[:, at] = (r[:, at].reshape(-1, r.shape[2]) @ m[0]).reshape(len(r), -1, r.shape[2])
            elif shrink is None:
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


def inverse_cost(parts: list[Rows]) -> float:
    """What an inverse costs, in steps of conjugate gradients; its square products run about twice as fast."""
    d, k = parts[0].x.shape[1], max(len(r.columns) for r in parts)
    n, kept = sum(len(r.x) for r in parts), sum(len(r.x[:: _every(r)]) for r in parts)
    return float((kept * d**2 + 2 * d**3) / (4.0 * n * d * k) / 2)


def lasts(parts: list[Rows]) -> float:
    """Steps of conjugate gradients after which a new one is worth its cost."""
    cost = inverse_cost(parts)
    return 4 * (cost if cost <= CHEAP else RANK / max(len(r.columns) for r in parts) / 2)


def _every(r: Rows) -> int:
    return int(max(1, len(r.x) // (12 * r.x.shape[1])))


def _half(r: Rows, p: Float[np.ndarray, "k N"]) -> Float[np.ndarray, "N D"]:
    """Rows times the root of weight and curvature: half' half is the part's X' diag(w a) X; of one class k = 1."""
    p, w = p[:, :: _every(r)], r.w[:: _every(r)]
    a = p[0] * (1 - p[0]) if len(p) == 1 else np.maximum(1 - (p * p).sum(axis=0), 0) / (len(p) - 1)
    a *= w
    a *= r.w.sum() / max(w.sum(), np.finfo(w.dtype).tiny)
    return np.asarray(r.x[:: _every(r)] * np.sqrt(a)[:, None])


def _inverse(halves: list[Array], ridge: float) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, " D"]]:
    m = np.sum([h.T @ h for h in halves], axis=0)
    lift = ridge + 4 * float(np.finfo(m.dtype).eps) * float(np.trace(m))
    return inverse(m + (lift * np.eye(len(m))).astype(m.dtype)), m[0]


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
