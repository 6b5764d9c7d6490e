"""Scores of a model on a target without labels, the higher the better (Musgrave, Belongie, Lim, arXiv 2208.07360)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.seeds import rng

Array = np.ndarray[Any, Any]
MOST = 2000  # rows that SND and the domain classifier look at
REVERSE_RIDGE = 1e-3
LARGEST = 20.0  # weight of a row: the odds of a perfect classifier are no weights


def im(p: Float[np.ndarray, "N k"]) -> float:
    """H(mean_i p_i) - mean_i H(p_i), nats: sure, and of all classes.

    >>> round(im(np.array([[1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    return float(_entropy(p.mean(0)) - _entropy(p).mean())


def snd(p: Float[np.ndarray, "N k"], temperature: float = 0.05) -> float:
    """Soft neighbourhood density: mean entropy of softmax(cosine / t) rows, without self (Saito et al., ICCV 2021)."""
    x = p / np.linalg.norm(p, axis=1, keepdims=True)
    z = x @ x.T / temperature
    np.fill_diagonal(z, -np.inf)
    z = np.exp(z - z.max(1, keepdims=True))
    return float(_entropy(z / z.sum(1, keepdims=True)).mean())


def iwv(losses: Float[np.ndarray, " S"], weights: Float[np.ndarray, " S"]) -> float:
    """-mean(w l), nats: importance-weighted validation, the target risk by source rows (Sugiyama et al., JMLR 8, 2007).

    >>> iwv(np.array([1.0, 3.0]), np.array([0.5, 1.5]))
    -2.5
    """
    return float(-(weights * losses).mean())


def dev(losses: Float[np.ndarray, " S"], weights: Float[np.ndarray, " S"]) -> float:
    """-(mean(w l) + eta mean(w) - eta), eta = -cov(w l, w) / var(w): iwv of less variance (You et al., ICML 2019).

    >>> round(dev(np.array([1.0, 1.0]), np.array([0.5, 1.5])), 6)
    -1.0
    """
    weighted = weights * losses
    var = weights.var(ddof=1) if len(weights) > 1 else 0.0
    eta = -np.cov(weighted, weights)[0, 1] / var if var > 0 else 0.0
    return float(-(weighted.mean() + eta * weights.mean() - eta))


def odds(
    source: Float[np.ndarray, "S D"], target: Float[np.ndarray, "T D"], *, seed: int = 0
) -> Float[np.ndarray, " S"]:
    """P(target | x) / P(source | x) of source rows by the cross-fitted domain classifier, at most LARGEST."""
    from crossgraft.measure.divergence import gap

    found = gap(source, target, permutations=1, seed=seed)
    p = np.clip(found.source_likeness, 1e-6, 1 - 1e-6)
    return np.asarray(np.minimum((1 - p) / p, LARGEST))


def reverse(
    target: Float[np.ndarray, "T D"],
    named: Int[np.ndarray, " T"],
    source: Float[np.ndarray, "S D"],
    labels: Int[np.ndarray, " S"],
) -> float:
    """Reverse validation: the accuracy on source rows of a head that learned the labels the model gave target rows.

    The layers stand still, so the reverse model is one convex solve (Zhong et al., ECML PKDD 2010, retrain all of it).

    >>> x = np.array([[0.0], [0.1], [1.0], [1.1]])
    >>> reverse(x, np.array([0, 0, 1, 1]), x, np.array([0, 0, 1, 0]))
    0.75
    """
    from crossgraft.solve.convex import Part, solve
    from crossgraft.solve.path import scaling

    scale, columns = scaling(target, source), np.arange(int(max(named.max(), labels.max())) + 1)
    head = solve([Part(scale.apply(target), named, columns)], len(columns), ridge=REVERSE_RIDGE, tolerance=1e-3)
    z = scale.apply(source) @ head.weight + head.bias
    return float((z.argmax(1) == labels).mean())


def collapse(expected: Float[np.ndarray, " k"], counts: Int[np.ndarray, " k"]) -> float:
    """KL(q | m) of expected class frequencies q and predicted ones m, nats; high where a class is never named.

    m = (counts + 1/2) / (n + k/2) (Krichevsky and Trofimov 1981).

    >>> half = np.array([0.5, 0.5])
    >>> round(collapse(half, np.array([50, 50])), 3), round(collapse(half, np.array([100, 0])), 3)
    (0.0, 1.963)
    """
    m = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    q = np.maximum(expected, 1e-12)
    return float((q * np.log(q / m)).sum())


def all_of(
    source: Float[np.ndarray, "S D"],
    source_p: Float[np.ndarray, "S k"],
    source_labels: Int[np.ndarray, " S"],
    target: Float[np.ndarray, "T D"],
    target_p: Float[np.ndarray, "T k"],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Every validator, from features and probabilities of source rows that were held out and of target rows."""
    s, t = (rng(seed, f"validators {n}").permutation(n)[:MOST] for n in (len(source), len(target)))
    losses = -np.log(np.maximum(source_p[np.arange(len(source_labels)), source_labels], 1e-12))[s]
    weights = odds(source[s], target[t], seed=seed)
    return {
        "im": im(target_p),
        "snd": snd(target_p[t]),
        "dev": dev(losses, weights),
        "iwv": iwv(losses, weights),
        "source_accuracy": float((source_p.argmax(1) == source_labels).mean()),
        "reverse": reverse(target[t], target_p[t].argmax(1), source[s], source_labels[s]),
    }


def _entropy(p: Array) -> Any:
    return -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=-1)
