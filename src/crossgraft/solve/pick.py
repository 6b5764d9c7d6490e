"""Which point of a path: the rules, from leave-one-out losses alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from crossgraft.solve.rows import Array

RULES = ("posterior", "one_se", "min")
POWER = 0.3  # losses at the points of one path hang together; of 0.1 to 1, by seeds 100 to 103


def smoothed(losses: Array, uniform: Array) -> Array:
    """Mean of losses (..., n) and of one example more whose label is unknown: (sum_i loss_i + H(u, p)) / (n + 1).

    losses   leave-one-out losses, nats
    uniform  H(u, p) of each point, u uniform over the classes, the mean over the target's rows

    Points that are all but certain win among few labels by luck, and are wrong at great cost on the next example. The
    more labels, the less this says.
    """
    return np.asarray((losses.sum(axis=-1) + uniform) / (losses.shape[-1] + 1))


def pick(
    losses: Array,
    uniform: Array,
    lams: Array,
    ridges: Array,
    rule: str,
    lam: float | None,
    ridge: float | None,
    alone: Bool[np.ndarray, " n"] | None = None,
) -> tuple[int, int]:
    """Place of the chosen point; `Path.choose` says by which rule.

    alone  examples whose class has no other: left out, only the source speaks for it, most at a large lambda and a
           strong ridge. What their label is worth against the source they do not tell, so they weigh no point
    """
    judges = np.ones(losses.shape[2], dtype=bool) if alone is None else ~alone
    closed = np.zeros(uniform.shape, dtype=bool)
    if ridge is not None:
        off = np.abs(np.log(ridges / ridge))
        closed[:, off > off.min()] = True
    if lam is not None:
        closed[np.abs(lams - lam) > np.abs(lams - lam).min()] = True
    if rule == "posterior":
        total = losses[:, :, judges].sum(axis=2) + uniform if judges.any() else np.zeros(uniform.shape)
        return centre(np.where(closed, np.inf, total), lams, ridges)
    mean = np.where(closed, np.inf, smoothed(losses, uniform))
    i, j = (int(a) for a in np.unravel_index(int(mean.argmin()), mean.shape))
    if rule == "one_se" and judges.sum() > 1:
        _, error = worse_by(losses[:, :, judges], losses[i, j, judges])
        near = (mean - mean[i, j] <= error) & ~closed
        j = int(max(np.flatnonzero(near[i]), key=lambda c: ridges[c]))
    return i, j


def centre(total: Float[np.ndarray, "L R"], lams: Array, ridges: Array) -> tuple[int, int]:
    """Place of the point nearest to the mean of log lambda and of log ridge, each point weighed by what labels say.

    w proportional to exp(-POWER total): pseudo-Bayesian weights (Yao et al., Bayesian Analysis 2018), over points that
    are evenly spaced on both log scales. Few labels hardly tell the points apart, and their mean then lies in the
    middle of the path, where both domains are heard; many leave one. Lambda 0, which has no place on a log scale, is
    taken only where no other is open: whether to do without the source is the guard's question.

    total  summed losses of each point, nats; inf where it is not open

    >>> grid = np.array([0.01, 0.1, 1.0])
    >>> centre(np.zeros((3, 3)), grid, grid), centre(np.array([[9.0, 9.0, 0.0], [99.0] * 3, [99.0] * 3]), grid, grid)
    ((1, 1), (0, 2))
    """
    total = total.copy()
    if np.isfinite(total[lams > 0]).any():
        total[lams == 0] = np.inf
    w = np.exp(POWER * (total.min() - total))
    log_lam, log_ridge, w = np.log(np.where(lams > 0, lams, 1)), np.log(ridges), w / w.sum()
    off = np.abs(log_lam - w.sum(axis=1) @ log_lam)[:, None] + np.abs(log_ridge - w.sum(axis=0) @ log_ridge)
    i, j = np.unravel_index(int(np.where(np.isfinite(total), off, np.inf).argmin()), total.shape)
    return int(i), int(j)


def nearest_to_one(
    lams: Float[np.ndarray, " L"], losses: Float[np.ndarray, "L n"], mean: Float[np.ndarray, " L"]
) -> float:
    """The lambda above 0 nearest to 1 whose mean is within a standard error of the best's; 0 where there is none.

    losses  of the examples that `mean` is of: the one whose label is unknown differs too, most with few labels

    The error is that of the mean paired difference. At 1 both domains weigh the same: few labels hardly tell one lambda
    from another, and both ends of the path do harm where their lead is luck.
    """
    best = int(mean.argmin())
    _, error = worse_by(losses, losses[best])
    near = lams[(mean - mean[best] <= error * (1 + 1e-9)) & (lams > 0)]  # of two, the error is the mean itself
    return float(near[np.abs(np.log(near)).argmin()]) if len(near) else 0.0


def worse_by(losses: Array, best: Array) -> tuple[Array, Array]:
    """Mean of the paired differences of losses (..., n) from those of the best (n,), and its standard error."""
    n = losses.shape[-1]
    worse = losses - best
    return worse.mean(axis=-1), worse.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(losses.shape[:-1])
