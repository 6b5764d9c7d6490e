"""The test part heard in other environments: what each model scores there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.domains.environments import in_environment
from crossgraft.measure.scores import measured
from crossgraft.prepare import Job
from crossgraft.sayable import needs
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted
from crossgraft.tasks import Classify

Rows = Int[np.ndarray, " n"]


def elsewhere(job: Job, task: Classify, models: Mapping[str, Fitted]) -> dict[str, dict[str, Any]]:
    """By model, as `by_environment`, its scores on the test part in each of the recipe's `places`; nothing without any.

    What an environment draws is drawn by a seed of the clip: all models hear the same. Clips that are played so fast
    that they are too short for their transcripts are left out, and counted.
    """
    test = job.target.rows("test")
    found: dict[str, dict[str, Any]] = {name: {} for name in models} if job.recipe.places and len(test) else {}
    for place in job.recipe.places if found else ():
        side = heard(job.target, test, place)
        for name, model in models.items():
            log_p = model.log_probabilities(side)
            rows = np.arange(len(side.labels))
            if side.truth is not None:
                rows = np.flatnonzero(needs(side.truth) <= log_p.lengths)
            left = len(side.labels) - len(rows)
            own = measured(task, log_p[rows], side.targets(rows)) if len(rows) else {"n": 0}
            found[name][place] = own | ({"left_out": left} if left else {})
    return {name: {"by_environment": by_place} for name, by_place in found.items()}


def heard(side: Side, rows: Rows, place: str) -> Side:
    """Some rows of a domain of clips as they are heard in an environment."""
    return replace(
        side,
        domain=in_environment(side.domain.take(rows), place),
        labels=side.labels[rows],
        truth=None if side.truth is None else side.truth[rows],
        sets=None if side.sets is None else side.sets[rows],
        free=None,
        weights=None,
        kept={},
        notes=[],
    )
