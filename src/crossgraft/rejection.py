"""Above which score the kept model calls an example unknown: by labelled examples that it has not learned from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.choose import HeldOut, Rows, outputs
from crossgraft.measure.scores import wilson
from crossgraft.measure.unknown import REJECTED, threshold
from crossgraft.prepare import Job
from crossgraft.seeds import rng
from crossgraft.solve.convex import Part
from crossgraft.solve.fitted import Fitted, frozen_features
from crossgraft.solve.joint import solve_alone
from crossgraft.solve.path import scaling

MOST = 2000  # examples that a threshold is chosen by, and unlabelled ones that are looked at
TARGET, SOURCE, LEARNED = "held-out labels of the target", "held-out labels of the source", "labels of the source"
MANY = 2 * REJECTED  # share of the target's unlabelled examples above the threshold that is worth a warning


def rejection(job: Job, model: Fitted, held: HeldOut | None, kept: str) -> dict[str, Any] | None:
    """The threshold of the kept model, whose labels it is by, and the share of unlabelled target examples above it.

    held  of the kept model, `proof.with_outputs`

    By labels of the target where there are any that the model has not learned from. Otherwise by the source's, whose
    scores are those of another domain: more than the share that was asked for may be rejected then. None for tags,
    transcripts and sets of classes, and where nothing is known.
    """
    if not job.target.plain:
        return None
    of, scores = TARGET, _of_target(job, model, held, kept)
    if scores is None and job.source is not None:
        scores, of = _of_source(job, model)
    if scores is None or not len(scores):
        return None
    scores = rng(job.recipe.seed, "threshold").permutation(scores)[:MOST]
    above, cost = threshold(scores)
    found = {"score": "energy", "threshold": above, "n": len(scores), "of": of, "rejected": cost, "unlabelled": None}
    free = np.setdiff1d(job.target.unlabelled(), job.rows)
    free = np.sort(rng(job.recipe.seed, "threshold free").permutation(free)[:MOST])
    if len(free):
        share = wilson((outputs(model, job.target, free)[1] > above).astype(float))
        found["unlabelled"] = {"n": len(free), **share.json()}
        if of == TARGET and share.low > max(MANY, 2 * cost):
            job.warnings.append(
                f"{100 * share.value:.0f} % of the target's unlabelled examples look like no class of the model, where"
                f" {100 * cost:.0f} % of known ones would: predict --unknown names them"
            )
    return found


def _of_target(job: Job, model: Fitted, held: HeldOut | None, kept: str) -> Float[np.ndarray, " n"] | None:
    """Scores of labelled target examples by models that have not learned from them."""
    if held is not None and held.energies is not None:
        return held.energies
    if not len(job.rows):
        return None
    if kept == "source_only":
        return outputs(model, job.target, job.rows)[1]
    return None


def _of_source(job: Job, model: Fitted) -> tuple[Float[np.ndarray, " n"], str]:
    """Scores of source examples of the model's classes: the tenth that stopped the training, a fifth that a linear head
    is solved without, else those that were learned from."""
    source, columns = job.source, job.target.columns
    assert source is not None
    mine = np.isin(source.columns[source.labels], columns)
    held = source.held_tenth(np.arange(len(source.labels)), job.recipe.seed, "source")

    def scores(fitted: Fitted, rows: Rows) -> Float[np.ndarray, " n"]:
        return outputs(fitted, source.over(columns), rows)[1]

    if not job.backbone.pretrained and len(held):
        return scores(model, held[mine[held]]), SOURCE
    order = rng(job.recipe.seed, "threshold source").permutation(len(mine))
    held, rest = np.split(order, [len(order) // 5])
    if model.schedule != "frozen" or not len(held):
        return scores(model, np.flatnonzero(mine)), LEARNED
    x, y = frozen_features(model.backbone, source), source.columns[source.labels]
    scale = scaling(x[rest])
    weights = None if source.weights is None else source.weights[rest]
    part = Part(scale.apply(x[rest]), y[rest], source.columns, sample_weight=weights)
    head = scale.fold(solve_alone(part, len(model.bias), job.recipe.seed).head)
    return scores(replace(model, weight=head.weight, bias=head.bias), held[mine[held]]), SOURCE
