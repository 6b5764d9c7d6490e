"""What models of KerasHub do in crossgraft.keras.JointModel on the backend of KERAS_BACKEND."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def pictures() -> tuple[Any, Any]:
    """A network of pictures that ends in maps, and pictures in which the brighter half says the class."""
    import keras_hub

    body = keras_hub.models.ResNetBackbone([64], [3], [64], [1], [1], "basic_block", image_shape=(16, 16, 3))
    x = np.random.default_rng(0).uniform(0, 1, (24, 16, 16, 3)).astype("float32")
    x[::2, :8] += 1
    return body, x


def texts() -> tuple[Any, Any]:
    """A BERT, of which the pooled output is taken, and token ids of which the second says the class."""
    import keras
    import keras_hub

    body = keras_hub.models.BertBackbone(
        vocabulary_size=40, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=12
    )
    ids = np.random.default_rng(0).integers(4, 40, (24, 12)).astype("int32")
    ids[:, 1] = 4 + np.arange(24) % 2
    x = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
    return keras.Model(body.inputs, body.output["pooled_output"]), x


def main(folder: Path) -> None:
    """Train, save, load; what they predict before and after."""
    import keras

    from crossgraft.keras import JointModel

    y = np.arange(24) % 2
    for name, make in (("pictures", pictures), ("texts", texts)):
        keras.utils.set_random_seed(0)
        body, x = make()
        few = keras.tree.map_structure(lambda a: a[:8], x)
        model = JointModel(body, classes=2, lam=0.5, rho=0.1)
        model.compile(keras.optimizers.Adam(1e-3))
        losses = model.fit(model.joined((few, y[:8]), (x, y), batch_size=8), epochs=4, verbose=0).history["loss"]
        before = model.predict(x, verbose=0)
        model.save(folder / f"{name}.keras")
        after = keras.saving.load_model(folder / f"{name}.keras").predict(x, verbose=0)
        np.savez(folder / f"{name}.npz", losses=losses, before=before, after=after)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
