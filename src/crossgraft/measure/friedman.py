"""Many methods on many data sets: mean ranks, whether they differ at all, and by how much they must (Demsar 2006)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crossgraft.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """What Friedman's test says of scores.

    mean      rank of each method, 1 for the best, over the data sets, (k,)
    p_value   of no difference between the methods, by Iman and Davenport's F; 1 for a single data set
    critical  difference of two mean ranks beyond which the two methods differ (Nemenyi)
    """

    mean: Float[np.ndarray, " k"]
    p_value: float
    critical: float


def ranks(scores: Float[np.ndarray, "n k"], level: float = 0.05) -> Ranks:
    """r_j = (1/n) sum_i rank of method j on data set i; F = (n-1) chi2 / (n (k-1) - chi2), with
    chi2 = 12 n / (k (k+1)) (sum_j r_j^2 - k (k+1)^2 / 4) less its share of ties; critical = q sqrt(k (k+1) / (6 n)), q
    the quantile of the studentised range over sqrt(2) (Demsar, JMLR 7, 2006).

    scores  the higher the better, a row a data set; seeds of one data set are no data sets of their own: give means
    level   of the critical difference

    Raises UsageError for fewer than two methods or without a data set.

    >>> found = ranks(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [9.0, 8.0, 7.0], [3.0, 2.0, 1.0]]))
    >>> found.mean.tolist(), round(found.p_value, 3), round(found.critical, 3)
    ([1.0, 2.25, 2.75], 0.007, 1.657)
    """
    from scipy import stats

    n, k = scores.shape
    if k < 2 or n < 1:
        raise UsageError(f"{k} methods on {n} data sets", "rank at least two methods on one data set or more")
    placed = stats.rankdata(-scores, axis=1)
    mean = placed.mean(0)
    ties = 1 - sum(float((c**3 - c).sum()) for c in map(_counts, placed)) / (n * (k**3 - k))
    chi2 = 12 * n / (k * (k + 1)) * (float((mean**2).sum()) - k * (k + 1) ** 2 / 4) / ties if ties > 0 else 0.0
    rest = n * (k - 1) - chi2
    p = float(stats.f.sf((n - 1) * chi2 / rest, k - 1, (k - 1) * (n - 1))) if n > 1 and rest > 1e-9 else float(n == 1)
    q = stats.studentized_range.ppf(1 - level, k, np.inf) / np.sqrt(2)
    return Ranks(mean, p, float(q * np.sqrt(k * (k + 1) / (6 * n))))


def _counts(row: Float[np.ndarray, " k"]) -> Float[np.ndarray, " d"]:
    return np.unique(row, return_counts=True)[1].astype(float)
