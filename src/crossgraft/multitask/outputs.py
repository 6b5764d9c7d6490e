"""A trunk and the heads of some tasks, trained together: one pass, an output for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossgraft.choose import HeldOut
from crossgraft.features.frames import each
from crossgraft.multitask.pool import Examples, Pool
from crossgraft.several import Multi
from crossgraft.solve.fitted import Fitted


@dataclass(eq=False)
class Joined:
    """A trunk and one head whose columns are the tasks'.

    lams     lambda of the other tasks' cross-entropies in a task's own head, where heads alone were solved
    weights  of the tasks' gradients at the last step, where a weighting chose them
    chosen   lambda and ridge of each head that was solved
    """

    task: Multi
    fitted: Fitted
    formula: str
    lams: Mapping[str, float]
    weights: Mapping[str, float]
    chosen: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def log_probabilities(self, pool: Pool, examples: Examples, names: Sequence[str] | None = None) -> dict[str, Any]:
        """log p of each task's labelled rows of some examples, (n, k), of transcripts `Frames`, of sets
        `Bernoullis`: one pass for all."""
        wanted = self.task.names if names is None else names
        some = np.unique(np.concatenate([pool.sides[n].examples(pool.labelled(n, examples)) for n in wanted]))
        examples = examples[np.isin(examples, some)]  # what has no label of these passes no layer
        values = pool.features(self.fitted.backbone, examples)
        return {
            name: each(
                self.task.part(name).says,
                self.fitted.logits(pool.of_task(values, name, examples), self.task.columns_of(name)),
            )
            for name in wanted
        }

    def judged(self, pool: Pool, examples: Examples, names: Sequence[str] | None = None) -> dict[str, HeldOut]:
        """What it says of examples that it has not learned from, by task."""
        found = self.log_probabilities(pool, examples, names)
        return {n: HeldOut(pool.sides[n].losses(p, pool.labelled(n, examples))) for n, p in found.items()}
