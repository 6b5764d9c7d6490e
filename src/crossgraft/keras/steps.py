"""The count of steps that schedules read."""

from __future__ import annotations

from typing import Any

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import CrossgraftError

keras = imported()


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells a JointModel how many steps `fit` has and which one an epoch begins with.

    Once an epoch: between, the model counts itself, since on JAX what a callback assigns within an epoch is not seen.
    """

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set both counts."""
        a_epoch = self.params.get("steps")
        if a_epoch is None and "domain" in self.model.terms:
            raise CrossgraftError(
                "the number of steps is not known, and the domain term grows with their share",
                "give steps_per_epoch to fit",
            )
        self.model.steps.assign((a_epoch or 0) * self.params["epochs"])
        if a_epoch is not None:
            self.model.step.assign(epoch * a_epoch)
