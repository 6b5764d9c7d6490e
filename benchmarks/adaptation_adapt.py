"""DANN, CDAN and CDAN+E of adapt on what benchmarks/adaptation_peers.py wrote down; prints accuracy and seconds.

Run by it, with a Python that has adapt and TensorFlow (--tensorflow PYTHON): its networks are Keras's, so f_s is built
again there, and has to say the same of the source's images before anything is trained. The domain
classifier has our three layers, the last number is their width; all else as it comes, DANN's domain term with weight
0.1, CDAN's with 1; whole passes over the larger domain.

    PYTHON benchmarks/adaptation_adapt.py START.npz dann 400 0.001 10 128
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

BATCH = 32


def networks(held: Any) -> tuple[Any, Any]:
    """The layers of the small cnn and its head, with the weights of f_s."""
    import keras

    layers = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            keras.layers.ZeroPadding2D(2),
            keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Permute((3, 1, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(held["weight"].shape[0], activation="relu"),
        ]
    )
    weights = []
    for name in ("stem.0", "conv1.0", "conv2.0", "full.1"):
        kernel = held[f"{name}.weight"]
        weights += [kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T, held[f"{name}.bias"]]
    layers.set_weights(weights)
    head = keras.Sequential([keras.Input((held["weight"].shape[0],)), keras.layers.Dense(10, activation="softmax")])
    head.set_weights([held["weight"], held["bias"]])
    return layers, head


def main() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras
    from adapt.feature_based import CDAN, DANN

    path, method, rate = sys.argv[1], sys.argv[2], float(sys.argv[4])
    steps, seed, width = (int(sys.argv[i]) for i in (3, 5, 6))
    held = np.load(path)
    x_s, x_t = held["source"], held["target"]
    layers, head = networks(held)
    said = head.predict(layers.predict(x_s[:256], verbose=0), verbose=0).argmax(1)
    assert (said == held["said"]).mean() > 0.99, "the network built again says something else than f_s"
    hidden = [keras.layers.Dense(width, activation="relu") for _ in range(2)]
    tells = keras.Sequential([*hidden, keras.layers.Dense(1, activation="sigmoid")])
    given: dict[str, Any] = {"cdan": {"entropy": False}, "cdan_e": {"entropy": True}}.get(method, {})
    model = (DANN if method == "dann" else CDAN)(
        encoder=layers, task=head, discriminator=tells, Xt=x_t, loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(rate), copy=False, verbose=0, random_state=seed, **given,
    )  # fmt: skip
    y = np.eye(held["weight"].shape[1], dtype=np.float32)[held["labels"]]
    each = -(-max(len(x_s), len(x_t)) // BATCH)
    epochs = max(round(steps / each), 2)
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.process_time()))
    model.fit(x_s, y, epochs=epochs, batch_size=BATCH, callbacks=[clock])
    used = (ends[-1] - ends[0]) / (epochs - 1) / each  # the first pass compiles
    found = model.predict(x_t).argmax(1)
    told = {"accuracy": float((found == held["truth"]).mean()), "seconds": 1000 * used}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
