"""A backbone of crossgraft as a Keras model, with its weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft import backbones
from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.keras.convert import to_keras
from crossgraft.program import program_of

keras = imported()
REFUSED = 3


def backbone(name: str = "auto", trainable: bool = True) -> Any:
    """Pictures (B, S, S, 3) of 0..255 in float32 to features (B, D), of Keras's own layers; they scale by themselves.

    name  auto, which needs no network (EfficientNet-Lite0 with ImageNet's weights, S = 224), or a model of timm or
          torchvision/NAME with its published weights

    Raises CrossgraftError where weights cannot be had, or layers have no counterpart in Keras.

    >>> base = backbone()
    >>> base.input_shape, base.output_shape
    ((None, 224, 224, 3), (None, 1280))
    """
    model = _converted(name) if keras.backend.backend() == "torch" else _elsewhere(name)
    model.trainable = trainable
    return model


def _converted(name: str) -> Any:
    from crossgraft.features.engine import wrapped

    found = backbones.rebuild(name, preprocess=None, dim=0)
    p = found.preprocess
    if p is None or not found.pretrained:
        raise UsageError(f"backbone {name} has no published weights for pictures", "use auto, or a model of timm")
    layers = wrapped(found.fresh(0), p).eval()
    example = np.zeros((2, p.size, p.size, p.channels), dtype=np.float32)
    return to_keras(program_of(layers, example), name.replace("/", "_").replace(":", "_"))


def _elsewhere(name: str) -> Any:
    """Converted in a process of torch: loaded after TensorFlow it crashes."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "backbone.keras"
        env = os.environ | {"KERAS_BACKEND": "torch"}
        command = [sys.executable, "-m", "crossgraft.keras.pretrained", name, str(file)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode == REFUSED:
            raise CrossgraftError(*json.loads(done.stdout.splitlines()[-1]))
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:160]
            raise CrossgraftError(f"backbone {name} was not converted ({said})", "try it with KERAS_BACKEND=torch")
        return keras.saving.load_model(file, compile=False)


if __name__ == "__main__":
    try:
        _converted(sys.argv[1]).save(sys.argv[2])
    except CrossgraftError as wrong:
        print(json.dumps([wrong.what, wrong.remedy]))
        sys.exit(REFUSED)
