"""The domain classifier."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float

from crossgraft.backbones.keras_backend import imported
from crossgraft.keras.terms import unit

keras = imported()
WIDTH = 128
RATE = 5.0  # as of objective/heads.py: a domain classifier must be ahead of the layers that run from it


@keras.saving.register_keras_serializable(package="crossgraft")
class DomainClassifier(keras.layers.Layer):  # type: ignore[misc]
    """Features (B, D) to the logit that a row is from the source, (B, 1).

    Features of mean square 1, two hidden layers. Weights are kept divided by `rate`: optimisers whose steps do not
    depend on the gradient's size (Adam, RMSprop, Lion) move them `rate` times as fast as other layers.
    """

    def __init__(self, width: int = WIDTH, rate: float = RATE, **options: Any) -> None:
        super().__init__(**options)
        self.width, self.rate = width, rate

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Weights of the usual size, divided by `rate`."""
        small = keras.initializers.VarianceScaling(1 / self.rate**2, "fan_avg", "uniform")
        sizes = {"first": (shape[-1], self.width), "second": (self.width, self.width), "logit": (self.width, 1)}
        for name, size in sizes.items():
            setattr(self, f"{name}_kernel", self.add_weight(size, small, name=f"{name}_kernel"))
            setattr(self, f"{name}_bias", self.add_weight((size[1],), "zeros", name=f"{name}_bias"))

    def call(self, features: Float[Any, "B D"]) -> Float[Any, "B 1"]:
        """The logits."""
        relu, rate = keras.ops.relu, self.rate
        first = relu(unit(features) @ (rate * self.first_kernel) + rate * self.first_bias)
        second = relu(first @ (rate * self.second_kernel) + rate * self.second_bias)
        return second @ (rate * self.logit_kernel) + rate * self.logit_bias

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, 1)."""
        return (shape[0], 1)

    def get_config(self) -> dict[str, Any]:
        """What makes it again."""
        return {**super().get_config(), "width": self.width, "rate": self.rate}
