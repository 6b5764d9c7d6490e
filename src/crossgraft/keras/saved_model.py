"""A `.keras` file as a TensorFlow SavedModel: python -m crossgraft.keras.saved_model IN OUT X Y, a process of its own.

IN is the file, OUT the folder, X an .npz of inputs, Y where what the folder answers to them is written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.backbones.keras_backend import imported


def main(file: Path, folder: Path, inputs: Path, outputs: Path) -> None:
    """Write the folder, load it again and ask it."""
    keras = imported("tensorflow")
    import tensorflow as tf

    keras.saving.load_model(file).export(folder, format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(str(folder))
    answers: dict[str, Any] = {}
    with np.load(inputs) as given:
        for name in given.files:
            said = served.serve(tf.constant(given[name]))
            each = {f"{name}/{n}": y for n, y in said.items()} if isinstance(said, dict) else {name: said}
            answers |= {n: y.numpy() for n, y in each.items()}
    np.savez(outputs, **answers)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
