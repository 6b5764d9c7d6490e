"""How well a source or a backbone will transfer, from features or outputs on the labelled target, without training."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError

Labels = Int[np.ndarray, " N"]


def nce(source_labels: Labels, labels: Labels) -> float:
    """Negative conditional entropy sum_{y,z} P(y,z) log(P(y,z)/P(z)), nats, in [-H(Y), 0] (Tran et al., ICCV 2019).

    source_labels  z_i, argmax class of the source model on target example i
    labels         y_i

    Where z is constant the value is -H(Y) for any features: it then says nothing.

    >>> nce(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    0.0
    """
    return float(nce_terms(source_labels, labels).mean())


def nce_terms(source_labels: Labels, labels: Labels) -> Float[np.ndarray, " N"]:
    """log P(y_i|z_i), whose mean is NCE, and the first-order effect of each example on it: their spread is its own.

    The effect by way of the counts P(y|z) vanishes, since those are the ones of largest likelihood.
    """
    _checked(labels, source_labels)
    z, y = np.unique(source_labels, return_inverse=True)[1], np.unique(labels, return_inverse=True)[1]
    p = np.zeros((y.max() + 1, z.max() + 1))
    np.add.at(p, (y, z), 1 / len(y))
    return np.asarray(np.log((p / p.sum(0, keepdims=True))[y, z]))


def leep(source_probabilities: Float[np.ndarray, "N Z"], labels: Labels) -> float:
    """(1/N) sum_i log sum_z P(y_i|z) theta(x_i)_z, nats (Nguyen et al., ICML 2020).

    source_probabilities  theta(x_i), the source model's class probabilities on target example i
    labels                y_i; P(y,z) = (1/N) sum_{i: y_i=y} theta(x_i)_z
    """
    return float(leep_terms(source_probabilities, labels).mean())


def leep_terms(source_probabilities: Float[np.ndarray, "N Z"], labels: Labels) -> Float[np.ndarray, " N"]:
    """The first-order effect of each example on LEEP, with LEEP as their mean, so that their spread is its.

    log q_i + sum_z theta(x_i)_z / P(z) (G(y_i,z) - sum_y P(y|z) G(y,z)), q_i = sum_z P(y_i|z) theta(x_i)_z and
    G(y,z) = (1/N) sum_{j: y_j=y} theta(x_j)_z / q_j: the second part, of mean 0, is what example i does to P(y|z).
    """
    _checked(labels, source_probabilities)
    theta = np.asarray(source_probabilities, dtype=np.float64)
    y, n = np.unique(labels, return_inverse=True)[1], len(labels)
    joint, g = np.zeros((2, y.max() + 1, theta.shape[1]))
    np.add.at(joint, y, theta / n)
    marginal = np.maximum(joint.sum(0), np.finfo(float).tiny)
    conditional = joint / marginal
    q = (conditional[y] * theta).sum(1)
    np.add.at(g, y, theta / q[:, None] / n)
    through_table = (theta / marginal * (g[y] - (conditional * g).sum(0))).sum(1)
    return np.asarray(np.log(q) + through_table)


def logme(features: Float[np.ndarray, "N D"], labels: Labels) -> float:
    """Mean log evidence an example of Bayesian linear regressions, each class against the rest (You et al., ICML 2021).

    t = F w + eps, w ~ N(0, I/alpha), eps ~ N(0, I/beta), alpha and beta by MacKay's fixed point; the sum over
    eigenvalues runs over all D of F'F, also with N < D. F is neither centred nor given a bias.
    """
    _checked(labels, features)
    f = np.asarray(features, dtype=np.float64)
    n, d = f.shape
    u, singular, _ = np.linalg.svd(f, full_matrices=False)
    s = singular**2  # the other D - len(s) eigenvalues are zero
    if not s.any():
        raise CrossgraftError("every feature is zero", "take another backbone")
    evidences = []
    for c in np.unique(labels):
        t = (labels == c).astype(np.float64)
        projected = (u.T @ t) ** 2
        outside = max(float(t @ t - projected.sum()), 0.0)
        alpha = beta = 1.0
        for _ in range(1000):
            r = alpha / beta
            gamma = float((s / (s + r)).sum())
            m2 = float((s * projected / (s + r) ** 2).sum())
            res2 = float((projected * (r / (s + r)) ** 2).sum()) + outside
            free = float((r / (s + r)).sum()) + n - len(s)  # n - gamma, without cancellation
            alpha, beta = gamma / max(m2, 1e-300), free / max(res2, 1e-300)
            # where features fit the labels exactly r falls towards 0, and the evidence to its limit
            if abs(alpha / beta - r) <= 1e-5 * r or alpha / beta < 1e-12 * s.max():
                break
        r = alpha / beta
        m2 = float((s * projected / (s + r) ** 2).sum())
        res2 = float((projected * (r / (s + r)) ** 2).sum()) + outside
        logs = float(np.log(alpha + beta * s).sum()) + (d - len(s)) * np.log(alpha)
        evidence = (
            d / 2 * np.log(alpha)
            + n / 2 * np.log(beta)
            - logs / 2
            - beta / 2 * res2
            - alpha / 2 * m2
            - n / 2 * np.log(2 * np.pi)
        )
        evidences.append(evidence / n)
    return float(np.mean(evidences))


def h_score(features: Float[np.ndarray, "N D"], labels: Labels, shrunk: bool = True) -> float:
    """tr(cov(f)^-1 cov(E[f|y])) (Bao et al., ICIP 2019); shrunk by Ledoit and Wolf's a (Ibrahim et al., 2021).

    Without shrinkage it is K - 1 for any features once N <= D. As in the authors' code cov(E[f|y]) divides by N - 1.
    """
    _checked(labels, features)
    f = np.asarray(features, dtype=np.float64)
    f = f - f.mean(0)
    if not f.any():
        return 0.0
    means = np.zeros_like(f)
    for c in np.unique(labels):
        means[labels == c] = f[labels == c].mean(0)
    between = means.T @ means / (len(f) - 1)
    if not shrunk:
        return float(np.trace(np.linalg.pinv(f.T @ f / (len(f) - 1), rcond=1e-12) @ between))
    from sklearn.covariance import ledoit_wolf

    within, a = ledoit_wolf(f, assume_centered=True)
    try:
        return float(np.trace(np.linalg.solve(within, (1 - a) * between)))
    except np.linalg.LinAlgError:  # nothing was shrunk: two rows
        return float(np.trace(np.linalg.pinv(within, rcond=1e-12) @ ((1 - a) * between)))


def _checked(labels: Labels, values: np.ndarray) -> None:
    if len(labels) != len(values):
        raise CrossgraftError(f"{len(values)} rows but {len(labels)} labels", "give one label a row")
    if len(labels) < 2:
        raise CrossgraftError(f"{len(labels)} labelled examples say nothing", "label more of the target")
    if not np.isfinite(np.asarray(values, dtype=float)).all():
        row = int(np.flatnonzero(~np.isfinite(np.asarray(values, dtype=float).reshape(len(values), -1)).all(1))[0])
        raise CrossgraftError(f"row {row} has values that are NaN or infinite", "leave the row out")
