"""Which point of a path: the rules, from leave-one-out losses alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from crossgraft.solve.rows import Array

RULES = ("even", "one_se", "min")


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
           strong ridge. What their label is worth against the source they do not tell, so they judge no lambda, and
           no ridge to be as good as the best
    """
    mean = smoothed(losses, uniform)
    judges = np.ones(losses.shape[2], dtype=bool) if alone is None else ~alone
    if ridge is not None:
        off = np.abs(np.log(ridges / ridge))
        mean[:, off > off.min()] = np.inf
    if lam is None and rule == "even":
        rows, at = np.arange(len(mean)), mean.argmin(1)
        known_and_one_more = np.column_stack([losses[rows, at][:, judges], uniform[rows, at]])
        if not judges.any():
            known_and_one_more[:] = 0  # nothing tells one lambda from another
        lam = nearest_to_one(lams, known_and_one_more, known_and_one_more.mean(1))
    if lam is not None:
        mean[np.abs(lams - lam) > np.abs(lams - lam).min()] = np.inf
    i, j = (int(a) for a in np.unravel_index(int(mean.argmin()), mean.shape))
    if rule != "min" and judges.sum() > 1:
        _, error = worse_by(losses[:, :, judges], losses[i, j, judges])
        near = (mean - mean[i, j] <= error) & np.isfinite(mean)
        j = int(max(np.flatnonzero(near[i]), key=lambda c: ridges[c]))
    return i, j


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
