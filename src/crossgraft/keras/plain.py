"""A JointModel without its training: Keras's own layers alone."""

from __future__ import annotations

from typing import Any

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import UsageError

keras = imported()


def plain(model: Any) -> Any:
    """Inputs to probabilities of the target's classes as a functional model that shares backbone and head.

    A head that has columns of the source too is copied without them. Raises UsageError where it is no single Dense.
    """
    # A functional model says how its inputs are nested, a Sequential one has a single one.
    own = model.backbone.input if hasattr(model.backbone, "input") else model.backbone.inputs[0]
    inputs = keras.tree.map_structure(lambda x: keras.Input(x.shape[1:], dtype=x.dtype), own)
    features = model.backbone(inputs, training=False)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    head = model.head
    if model.columns is not None or head.compute_output_shape(features.shape)[-1] != model.width:
        if not isinstance(head, keras.layers.Dense) or head.activation is not keras.activations.linear:
            raise UsageError("a head of one's own has columns of the source too", "leave head out")
        weights = [w[..., : model.width] for w in head.get_weights()]
        head = keras.layers.Dense(model.width, use_bias=len(weights) > 1, name="head")
        head.build((None, features.shape[-1]))
        head.set_weights(weights)
    return keras.Model(inputs, keras.layers.Softmax(name="probabilities")(head(features)), name=model.name)
