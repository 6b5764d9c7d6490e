"""Labels to look at again: which are improbable by a head that never saw them, and how many are wrong.

Letters: N examples, K classes, q = softmax(log p / T) the left-out probabilities at temperature T, e the noise rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError
from crossgraft.measure.scores import Z
from crossgraft.tasks import log_softmax

TEMPERATURES = np.geomspace(0.25, 16, 25)
MOST = 0.5  # more wrong labels than right ones cannot be told from a bad head
TINY = 1e-12


@dataclass(frozen=True)
class Wrong:
    """How many labels are wrong: estimate with its 95 % interval, as counts and as a share of n."""

    n: int
    value: float
    low: float
    high: float
    rate: float
    temperature: float

    def json(self) -> dict[str, float]:
        """As the doors print it."""
        return asdict(self)


@dataclass(frozen=True)
class Doubt:
    """For every example: loss of its own label in nats, its probability, the class to suggest, p(label wrong); `order`
    lists the rows, most doubtful first."""

    loss: Float[np.ndarray, " N"]
    probability: Float[np.ndarray, " N"]
    suggested: Int[np.ndarray, " N"]
    p_wrong: Float[np.ndarray, " N"]
    order: Int[np.ndarray, " N"]
    wrong: Wrong


def doubt(log_p: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]) -> Doubt:
    """Doubt in every label from leave-one-out log-probabilities log p(k|x_i) of a head that never saw example i.

    The order is that of the loss -log p(y_i|x_i). The number of wrong labels is N e by maximum likelihood, of
    sum_i log((1 - e) q(y_i|x_i) + e (1 - q(y_i|x_i))/(K - 1)) over e in [0, 0.5] and T: a label is wrong with
    probability e, and is then any other class (the symmetric noise of Patrini et al., CVPR 2017, with e unknown). The
    interval is that of the profile likelihood: e where twice its loss is below 3.84. p(wrong) is the posterior at the
    estimate. Raises CrossgraftError on NaN, a label that is no class, or fewer than two classes or examples.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9]])
    >>> doubt(np.log(p), np.array([0, 0, 0, 1])).order.tolist()[0]
    2
    """
    n, k = _checked(log_p, labels)
    loss = -log_p[np.arange(n), labels]
    wrong = noise(log_p, labels)
    q = _own(log_p, labels, wrong.temperature)
    right, flipped = (1 - wrong.rate) * q, wrong.rate * (1 - q) / (k - 1)
    others = log_p.copy()
    others[np.arange(n), labels] = -np.inf
    return Doubt(
        loss,
        np.exp(-loss),
        others.argmax(1),
        flipped / np.maximum(right + flipped, TINY),
        np.argsort(-loss, kind="stable"),
        wrong,
    )


def noise(log_p: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]) -> Wrong:
    """The number of wrong labels by maximum likelihood, with its profile-likelihood interval; see `doubt`."""
    from scipy.optimize import brentq, minimize_scalar

    n, k = _checked(log_p, labels)
    q = np.stack([_own(log_p, labels, t) for t in TEMPERATURES])
    other = (1 - q) / (k - 1)

    def best(e: float) -> tuple[float, float]:
        return _peak(np.log((1 - e) * q + e * other + TINY).sum(1))

    grid = MOST * np.linspace(0, 1, 33) ** 2
    values = [best(e)[0] for e in grid]
    at = int(np.argmax(values))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = minimize_scalar(lambda e: -best(e)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-5})
    e, top = (float(found.x), -float(found.fun)) if -found.fun > values[at] else (float(grid[at]), values[at])

    def short(e: float) -> float:
        return 2 * (top - best(e)[0]) - Z**2

    ends = [0.0 if short(0.0) < 0 else brentq(short, 0.0, e, xtol=1e-5)]
    ends.append(MOST if short(MOST) < 0 else brentq(short, e, MOST, xtol=1e-5))
    return Wrong(n, n * e, float(n * ends[0]), float(n * ends[1]), e, best(e)[1])


def _peak(likelihood: Float[np.ndarray, " T"]) -> tuple[float, float]:
    """The maximum over temperatures and where it lies, by a parabola through the best point and its neighbours."""
    i = int(likelihood.argmax())
    if i in (0, len(likelihood) - 1):
        return float(likelihood[i]), float(TEMPERATURES[i])
    before, at, after = (float(a) for a in likelihood[i - 1 : i + 2])
    step = (before - after) / (2 * min(before - 2 * at + after, -TINY))
    return at - (before - after) * step / 4, float(TEMPERATURES[i] * (TEMPERATURES[1] / TEMPERATURES[0]) ** step)


def _own(log_p: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], t: float) -> Float[np.ndarray, " N"]:
    return np.asarray(np.exp(log_softmax(np.maximum(log_p, -1e4) / t)[np.arange(len(labels)), labels]))


def _checked(log_p: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]) -> tuple[int, int]:
    n, k = log_p.shape
    if len(labels) != n:
        raise CrossgraftError(f"{n} outputs but {len(labels)} labels", "give one label an output")
    if n < 2 or k < 2:
        raise CrossgraftError(f"{n} labelled examples of {k} classes leave nothing to doubt", "give two of each")
    if np.isnan(log_p).any():
        raise CrossgraftError(
            f"the output of example {int(np.isnan(log_p).any(1).argmax())} is NaN", "leave the example out"
        )
    if ((labels < 0) | (labels >= k)).any():
        row = int(((labels < 0) | (labels >= k)).argmax())
        raise CrossgraftError(f"label {int(labels[row])} of example {row} is no class", f"give 0 to {k - 1}")
    return n, k
