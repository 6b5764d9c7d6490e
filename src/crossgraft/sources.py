"""What each of several sources weighs in the source's cross-entropy: as its rows, as given, or learned from the target.

CE(source) = sum_s w_s CE(source s), w adding to 1; a row of source s weighs w_s n / n_s of n rows in all, so that the
mean is 1. Where nothing is asked for, w_s = n_s / n and every row weighs the same.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from crossgraft.measure.divergence import gap
from crossgraft.prepare import Job
from crossgraft.progress import say
from crossgraft.proof import small_inputs
from crossgraft.seeds import rng
from crossgraft.side import Side
from crossgraft.solve.convex import Part
from crossgraft.solve.fitted import frozen_features
from crossgraft.solve.path import path, scaling

RIDGES = (1e-1, 1e-2, 1e-3, 1e-4)
LAM = 10.0  # of each source alone: at 1 shuffled labels pass for a good ridge. By reviews and speakers, seeds 100, 101
ROWS = 2000  # of all sources together that the leave-one-out losses look at
GAP_ROWS = 500  # a domain
LEAST = 1e-3  # share that a source keeps, so that no class is without a row that counts
LOO, GAP = "leave-one-out", "gap"


def weigh(job: Job) -> Side | None:
    """The source, its rows weighing what the recipe asks for; the weights and what was measured stand in the job.

    auto  with labels of the target by `by_losses`, without them by `by_gaps`; both on the frozen features of a
          pretrained backbone, else on the inputs themselves, before any layer has learned
    """
    source = job.source
    if source is None or source.domain.origin is None:
        return source
    origin, asked = source.domain.origin, job.recipe.source_weights
    counts = np.bincount(origin)
    shares = counts / counts.sum()
    measured: list[float] | None = None
    name = ""
    if asked == "auto":
        say("learn what each source weighs")
        x, x_t = (
            frozen_features(job.backbone, side) if job.backbone.pretrained else small_inputs(side, job)
            for side in (source, job.target)
        )
        own = [np.flatnonzero(origin == s) for s in range(len(counts))]
        if len(job.rows):
            losses = alone(job, x, x_t, own)
            name, measured, shares = LOO, losses.mean(1).tolist(), by_losses(losses, shares)
        else:
            name, measured = GAP, gaps(job, x, x_t, own)
            shares = by_gaps(np.array(measured), shares)
    elif asked != "pooled":
        shares = np.asarray(asked) / np.sum(asked)
    if asked != "pooled":
        source.weights = (shares * len(origin) / counts)[origin]
    job.sources[:] = [
        {"name": each, "n": int(n), "weight": float(w), "measure": name, "value": None if measured is None else value}
        for each, n, w, value in zip(
            names(job.recipe.source), counts, shares, measured or [0.0] * len(counts), strict=True
        )
    ]
    return source


def names(given: tuple[str, ...]) -> list[str]:
    """What the sources are called: as they were given, with a number where that tells them not apart."""
    return [n if given.count(n) == 1 else f"{n} {i + 1}" for i, n in enumerate(given)]


def alone(
    job: Job, x: Float[np.ndarray, "N D"], x_t: Float[np.ndarray, "M D"], own: list[Int[np.ndarray, " n"]]
) -> Float[np.ndarray, "S m"]:
    """Leave-one-out losses of the target's labels with each source alone beside it, at lambda LAM, nats.

    Lambda is held: where it is chosen, it turns a source that does harm off, and nothing is left to be seen of it.
    """
    source, target = job.source, job.target
    assert source is not None
    each = max(ROWS // len(own), 1)
    rows = [np.sort(rng(job.recipe.seed, f"source {s}").permutation(at)[:each]) for s, at in enumerate(own)]
    scale = scaling(x_t[job.rows], x[np.concatenate(rows)])
    part = Part(scale.apply(x_t[job.rows]), target.answers(job.rows), target.columns)
    found = []
    for at in rows:
        beside = Part(scale.apply(x[at]), source.answers(at), source.columns)
        solved = path(part, beside, len(job.task.classes), lams=[LAM], ridges=RIDGES)
        found.append(solved.choose("min").losses)
    return np.stack(found)


def by_losses(losses: Float[np.ndarray, "S n"], prior: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """w_s in proportion to prior_s exp(-sum_i losses_si): pseudo-BMA (Geisser and Eddy 1979; Yao et al., Bayesian
    Analysis 13, 2018). Where the losses are alike, or few labels say little, it is near the prior.

    >>> by_losses(np.array([[0.1, 0.3, 0.2], [2.0, 2.5, 3.0]]), np.array([0.2, 0.8])).round(3).tolist()
    [0.996, 0.004]
    """
    v = np.log(prior) - losses.sum(1)
    return _kept(np.exp(v - v.max()))


def gaps(
    job: Job, x: Float[np.ndarray, "N D"], x_t: Float[np.ndarray, "M D"], own: list[Int[np.ndarray, " n"]]
) -> list[float]:
    """The lower bound on the Jensen-Shannon divergence of each source from the target's inputs, nats."""
    free = job.target.unlabelled()
    free = rng(job.recipe.seed, "gap target").permutation(free)[:GAP_ROWS]
    drawn = [rng(job.recipe.seed, f"gap source {s}").permutation(at)[:GAP_ROWS] for s, at in enumerate(own)]
    return [gap(x[at], x_t[free], permutations=1, seed=job.recipe.seed).jsd.value for at in drawn]


def by_gaps(jsd: Float[np.ndarray, " S"], prior: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """w_s in proportion to prior_s (ln 2 - JSD_s), the domain classifier's cross-entropy: what it cannot tell apart.

    >>> by_gaps(np.array([np.log(2) / 2, 0.0]), np.array([0.5, 0.5])).round(3).tolist()
    [0.333, 0.667]
    """
    return _kept(prior * np.maximum(np.log(2) - jsd, 1e-6))


def _kept(w: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    w = np.maximum(w / w.sum(), LEAST)
    return np.asarray(w / w.sum())
