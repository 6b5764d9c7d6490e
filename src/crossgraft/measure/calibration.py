"""Whether probabilities mean what they say, and the temperature that makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError
from crossgraft.measure.scores import Score, wilson
from crossgraft.tasks import log_softmax


@dataclass(frozen=True)
class Bin:
    """Examples whose confidence lies in (low, high]: how many, how confident and how often right on the mean."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Score


def reliability(
    log_probabilities: Float[np.ndarray, "n K"], targets: Int[np.ndarray, " n"], bins: int = 15
) -> tuple[Bin, ...]:
    """Bins of equal width by the probability of the predicted class; empty ones are left out."""
    confidence = np.exp(log_probabilities.max(1))
    hits = (log_probabilities.argmax(1) == targets).astype(float)
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return tuple(
        Bin(b / bins, (b + 1) / bins, int((at == b).sum()), float(confidence[at == b].mean()), wilson(hits[at == b]))
        for b in range(bins)
        if (at == b).any()
    )


def ece(log_probabilities: Float[np.ndarray, "n K"], targets: Int[np.ndarray, " n"], bins: int = 15) -> float:
    """sum_b n_b / n |accuracy_b - confidence_b| (Guo et al., ICML 2017).

    >>> round(ece(np.log(np.array([[0.8, 0.2], [0.8, 0.2]])), np.array([0, 1])), 3)
    0.3
    """
    found = reliability(log_probabilities, targets, bins)
    return float(sum(b.n * abs(b.accuracy.value - b.confidence) for b in found) / len(targets))


def brier(log_probabilities: Float[np.ndarray, "n K"], targets: Int[np.ndarray, " n"]) -> float:
    """(1/n) sum_i sum_k (p_ik - [y_i = k])^2 (Brier, Monthly Weather Review 78, 1950).

    >>> brier(np.log(np.array([[0.5, 0.5]])), np.array([0]))
    0.5
    """
    p = np.exp(log_probabilities)
    p[np.arange(len(targets)), targets] -= 1
    return float((p**2).sum(1).mean())


def temperature(logits: Float[np.ndarray, "n K"], labels: Int[np.ndarray, " n"]) -> float:
    """T = argmin (1/n) sum_i -log softmax(z_i / T)_{y_i} (Guo et al., ICML 2017); convex in 1/T, T within 0.01 and 100.

    Fit it on labels of the domain where it is used: a temperature of the source is wrong on the target.

    >>> z = np.array([[2.0, 0.0]] * 4)
    >>> round(temperature(z, np.array([0, 0, 0, 1])), 3)  # 2 / T = ln 3
    1.82
    """
    from scipy.optimize import minimize_scalar

    if len(labels) == 0:
        raise CrossgraftError("there is no label to fit a temperature to", "give labelled examples of this domain")

    def loss(b: float) -> float:
        return float(-log_softmax(b * logits)[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(0.01, 100.0), method="bounded", options={"xatol": 1e-9})
    return float(1 / found.x)


def vector_scaling(
    logits: Float[np.ndarray, "n K"], labels: Int[np.ndarray, " n"], ridge: float = 1e-3, shared: bool = False
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """a, b = argmin (1/n) sum_i -log softmax(a * z_i + b)_{y_i} + ridge/2 (|a - 1|^2 + |b|^2) (Guo et al., ICML 2017).

    With `shared` a is one number for all classes: bias-corrected temperature scaling (Alexandari et al., ICML 2020).
    The ridge keeps b finite where a class has no example. Convex; a is kept above zero.

    >>> a, b = vector_scaling(np.zeros((4, 2)), np.array([0, 0, 0, 1]), ridge=1e-9)
    >>> round(float(b[0] - b[1]), 3)  # ln 3
    1.099
    """
    from scipy.optimize import minimize

    n, k = logits.shape
    if n == 0:
        raise CrossgraftError("there is no label to calibrate with", "give labelled examples of this domain")
    hot = np.eye(k)[labels]

    def loss(theta: Float[np.ndarray, " P"]) -> tuple[float, Float[np.ndarray, " P"]]:
        a, b = theta[:-k], theta[-k:]
        log_p = log_softmax(a * logits + b)
        e = (np.exp(log_p) - hot) / n
        by_class = (e * logits).sum(0)
        slope = np.concatenate([by_class.sum(keepdims=True) if shared else by_class, e.sum(0)])
        pull = theta - start
        return float(-log_p[np.arange(n), labels].mean() + ridge / 2 * pull @ pull), slope + ridge * pull

    scales = 1 if shared else k
    start = np.concatenate([np.ones(scales), np.zeros(k)])
    bounds = [(0.01, 100.0)] * scales + [(None, None)] * k
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.broadcast_to(found.x[:-k], (k,)).copy(), found.x[-k:]
