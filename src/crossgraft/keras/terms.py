"""The cross-entropies of the objective in `keras.ops`, for all backends; equal to those of objective/, in torch."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int

from crossgraft.backbones.keras_backend import imported

keras = imported()
ops = keras.ops


def cross_entropy(logits: Any, labels: Int[Any, " B"]) -> Float[Any, ""]:
    """-(1/n) sum_i log softmax(logits_i)[y_i] over the n rows with a label, nats; 0 without one. A label is -1 where it
    is missing.

    >>> round(float(cross_entropy([[0.0, 0.0], [9.0, 9.0]], [1, -1])), 4)
    0.6931
    """
    known, own = labelled(labels)
    losses = ops.sparse_categorical_crossentropy(own, ops.cast(logits, "float32"), from_logits=True)
    return mean(losses, known)


def labelled(labels: Int[Any, " B"]) -> tuple[Float[Any, " B"], Int[Any, " B"]]:
    """1 where there is a label, else 0; and the labels, 0 where there is none."""
    labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
    return ops.cast(labels >= 0, "float32"), ops.maximum(labels, 0)


def mean(losses: Float[Any, " B"], known: Float[Any, " B"]) -> Float[Any, ""]:
    """The mean over the rows that are labelled; 0 where none is."""
    return ops.sum(losses * known) / ops.maximum(ops.sum(known), 1.0)


def domain_cross_entropy(source: Any, target: Any) -> Float[Any, ""]:
    """(mean -log sigma(z_s) + mean -log(1 - sigma(z_t))) / 2 of a domain classifier's logits; ln 2 at chance, nats.

    >>> round(float(domain_cross_entropy([[0.0]], [[0.0], [0.0]])), 4)
    0.6931
    """
    on_source, on_target = ops.softplus(-ops.cast(source, "float32")), ops.softplus(ops.cast(target, "float32"))
    return (ops.mean(on_source) + ops.mean(on_target)) / 2


def reverse(x: Any, scale: Any) -> Any:
    """x; its gradient comes back times -scale (Ganin et al. 2016)."""
    x = ops.cast(x, "float32")
    return ops.stop_gradient(x * (1 + scale)) - x * scale


def ramp(progress: Any) -> Any:
    """2 / (1 + e^(-10 p)) - 1: from 0 at the first step to 1 at the last (Ganin et al. 2016).

    >>> round(float(ramp(0.5)), 4)
    0.9866
    """
    return 2 / (1 + ops.exp(-10.0 * ops.cast(progress, "float32"))) - 1


def unit(f: Any) -> Any:
    """f over its root mean square, row by row."""
    f = ops.cast(f, "float32")
    norm = ops.sqrt(ops.maximum(ops.sum(ops.square(f), axis=1, keepdims=True), 1e-24))
    return f / norm * ops.sqrt(ops.cast(ops.shape(f)[1], "float32"))
