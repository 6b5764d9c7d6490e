"""Source rows with the mean, or the mean and the covariance, of the target's."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from crossgraft.solve.moved import step

Array = np.ndarray


def mean(source: Float[np.ndarray, "S D"], target: Float[np.ndarray, "T D"]) -> Array:
    """x + s (m_t - m_s): subspace alignment where both subspaces are the whole space (Fernando et al., ICCV 2013), less
    what two means of so few rows differ by (`solve.moved.step`).

    >>> draw = np.random.default_rng(0)
    >>> x = draw.normal(0, 1, (500, 2))
    >>> bool(abs(mean(x, draw.normal(5, 1, (500, 2))).mean() - 5) < 0.2), bool((mean(x, x[:5]) == x).all())
    (True, True)
    """
    return np.asarray(source + step(source, target))


def coral(source: Float[np.ndarray, "S D"], target: Float[np.ndarray, "T D"], ridge: float = 0.1) -> Array:
    """(x - m_s) C_s^-1/2 C_t^1/2 + m_t, C = cov + ridge tr(cov)/D I (Sun, Feng, Saenko, AAAI 2016, who add I).

    >>> draw = np.random.default_rng(0)
    >>> moved = coral(draw.normal(0, 1, (500, 2)), draw.normal(5, 3, (500, 2)), ridge=1e-9)
    >>> bool(abs(moved.mean() - 5) < 0.2), bool(abs(moved.std() - 3) < 0.2)
    (True, True)
    """
    m_s, m_t = source.mean(0), target.mean(0)
    whitened = (source - m_s) @ _power(np.atleast_2d(np.cov(source.T)), ridge, -0.5)
    return np.asarray(whitened @ _power(np.atleast_2d(np.cov(target.T)), ridge, 0.5) + m_t)


def _power(covariance: Float[np.ndarray, "D D"], ridge: float, power: float) -> Float[np.ndarray, "D D"]:
    d = len(covariance)
    values, vectors = np.linalg.eigh(covariance + (ridge * np.trace(covariance) / d + 1e-12) * np.eye(d))
    return np.asarray((vectors * np.maximum(values, 1e-12) ** power) @ vectors.T)
