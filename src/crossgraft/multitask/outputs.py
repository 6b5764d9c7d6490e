"""A trunk and the heads of some tasks, trained together: one pass, an output for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.backbones.backbone import Backbone
from crossgraft.choose import HeldOut, of
from crossgraft.features.frames import Frames
from crossgraft.multitask.pool import Examples, Pool
from crossgraft.several import Multi
from crossgraft.tasks import log_softmax


@dataclass(eq=False)
class Joined:
    """logits of a task = features @ weight + bias in its columns; weight (D, U), bias (U,).

    lams     lambda of the other tasks' cross-entropies in a task's own head, where heads alone were solved
    weights  of the tasks' gradients at the last step, where a weighting chose them
    chosen   lambda and ridge of each head that was solved
    """

    task: Multi
    backbone: Backbone
    weight: Float[np.ndarray, "D U"]
    bias: Float[np.ndarray, " U"]
    schedule: str
    formula: str
    lams: Mapping[str, float]
    weights: Mapping[str, float]
    chosen: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def log_probabilities(self, pool: Pool, examples: Examples, names: Sequence[str] | None = None) -> dict[str, Any]:
        """log p of each task's labelled rows of some examples, (n, k), of transcripts `Frames`: one pass for all."""
        values = pool.features(self.backbone, examples)
        return {
            name: self.head(name, pool.of_task(values, name, examples))
            for name in (self.task.names if names is None else names)
        }

    def head(self, name: str, x: Any) -> Any:
        """log p of one task from what its head reads."""
        columns = self.task.columns_of(name)
        if isinstance(x, Frames):
            return x.map(
                lambda flat: log_softmax(flat.astype(np.float64) @ self.weight[:, columns] + self.bias[columns])
            )
        return log_softmax(x.astype(np.float64) @ self.weight[:, columns] + self.bias[columns])

    def judged(self, pool: Pool, examples: Examples, names: Sequence[str] | None = None) -> dict[str, HeldOut]:
        """What it says of examples that it has not learned from, by task."""
        found = self.log_probabilities(pool, examples, names)
        return {name: of(log_p, pool.sides[name], pool.labelled(name, examples)) for name, log_p in found.items()}
