"""TensorFlow's transfer-learning tutorial (frozen MobileNetV2, then its top layers fine-tuned) with JointModel.

    python examples/tensorflow_tutorial.py FOLDER [--base auto|imagenet|none] [--epochs N] [--rate R]

FOLDER has train and val, a folder a class in each. base imagenet is the tutorial's own, whose weights are downloaded;
auto, EfficientNet-Lite0 of an installed package, needs no network; none is MobileNetV2 without weights. The tutorial's
augmentation, preprocessing, rates and Dropout; its classifier has a column a class in place of one for both. Needs
TensorFlow: pip install 'crossgraft[tensorflow]'.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras
import tensorflow as tf

import crossgraft.keras

L = keras.layers


def base_of(name: str, side: int) -> tuple[Any, Any]:
    """The layers that are transferred, and what scales pictures of 0..255 for them."""
    if name == "auto":
        return crossgraft.keras.backbone("auto"), lambda x: x
    weights = "imagenet" if name == "imagenet" else None
    base = keras.applications.MobileNetV2((side, side, 3), include_top=False, weights=weights, pooling="avg")
    return base, keras.applications.mobilenet_v2.preprocess_input


def tutorial(folder: Path, base: str = "auto", epochs: int = 5, rate: float = 1e-4, side: int = 224) -> dict[str, Any]:
    keras.utils.set_random_seed(0)
    read: dict[str, Any] = {"image_size": (side, side), "batch_size": 32, "seed": 0, "verbose": False}
    train = keras.utils.image_dataset_from_directory(folder / "train", **read)
    val = keras.utils.image_dataset_from_directory(folder / "val", shuffle=False, **read)
    classes = train.class_names
    train, val = (data.cache().prefetch(tf.data.AUTOTUNE) for data in (train, val))

    layers, scale = base_of(base, side)
    layers.trainable = False
    inputs = keras.Input((side, side, 3))
    augmented = L.RandomRotation(0.2)(L.RandomFlip("horizontal")(inputs))
    features = layers(scale(augmented), training=False)  # statistics of batch normalisation stay as they are
    body = keras.Model(inputs, L.Dropout(0.2)(features))

    # lam 0 is the tutorial's own objective; with a source, model.joined(train, source) and a weight do the rest.
    model = crossgraft.keras.JointModel(body, classes, lam=0.0, learn_statistics=True)
    model.compile(keras.optimizers.Adam(rate), metrics=["accuracy"])
    said = {"untrained": model.evaluate(val, verbose=0, return_dict=True)}
    model.fit(model.joined(train), epochs=epochs, validation_data=val, verbose=2)
    said["frozen"] = model.evaluate(val, verbose=0, return_dict=True)

    layers.trainable = True
    for layer in layers.layers[: int(0.65 * len(layers.layers))]:  # the tutorial's 100 of 154
        layer.trainable = False
    model.compile(keras.optimizers.RMSprop(rate / 10), metrics=["accuracy"])
    model.fit(model.joined(train), epochs=2 * epochs, initial_epoch=epochs, validation_data=val, verbose=2)
    said["fine_tuned"] = model.evaluate(val, verbose=0, return_dict=True)
    model.plain().save("tutorial.keras")
    return said


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--base", default="auto", choices=["auto", "imagenet", "none"])
    asked.add_argument("--epochs", type=int, default=5)
    asked.add_argument("--rate", type=float, default=1e-4)
    given = asked.parse_args()
    print(json.dumps(tutorial(given.folder, given.base, given.epochs, given.rate), indent=1))
