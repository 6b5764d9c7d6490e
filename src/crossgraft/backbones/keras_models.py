"""Keras models as backbones: a `.keras` file, of KerasHub too, or keras.applications; on the torch backend."""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crossgraft.backbones.backbone import Backbone, Preprocess, SourceHead
from crossgraft.backbones.keras_backend import imported
from crossgraft.backbones.weights import file_revision, state_revision
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.loading import apart_from_tensorflow
from crossgraft.progress import say

if TYPE_CHECKING:
    from torch import nn

SIDE = 224  # of pictures where a model takes any
# What a picture's values are scaled to, by the beginning of the name that keras.applications gives a model.
HALF, PIXELS = ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1 / 255,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3)  # and blue first
SCALES = {
    r"resnet\d+v2": HALF, r"resnet|vgg": CAFFE, r"densenet": IMAGENET,
    r"mobilenetv3|Mobile[Nn]etV3|efficientnet|convnext|regnet": PIXELS, r"mobilenet|inception|xception|nasnet": HALF,
}  # fmt: skip
SCALING = {"Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract"}


def keras_model(name: str, weights: str | None) -> Backbone:
    """The backbone of a file `model.keras`, or of `keras/MobileNetV2` and its kin with ImageNet's weights.

    A classifier at the end, a Dense layer with softmax or without activation, becomes the source head. Nothing that a
    file holds is executed: a Lambda layer, or a class that Keras does not know, is refused. Raises CrossgraftError
    where a model cannot be had or read, UsageError for a name that is unknown or inputs that are not pictures or
    vectors.

    weights  of keras/NAME: None for ImageNet's, "random" for none
    """
    if name.endswith(".keras"):
        if weights is not None:
            raise UsageError(f"backbone {name} takes no --weights", "the file holds its own")
        model = _read(Path(name))
    else:
        model = _of_applications(name, weights)
    model, head = _split_head(model)
    kind, preprocess, bgr = _inputs(model, name)

    def build() -> nn.Module:
        from crossgraft.backbones.keras_layers import KerasLayers

        if weights != "random":
            return KerasLayers(model, bgr).eval()
        return KerasLayers(_split_head(_of_applications(name, weights))[0], bgr).eval()

    module: Any = build()
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) not in (2, 4) or shape[-1] is None:
        raise UsageError(f"backbone {name} gives {shape}", "end it in one row of features an example: (B, D)")
    revision = file_revision(Path(name)) if name.endswith(".keras") else state_revision(module)
    return Backbone(
        name, revision if weights != "random" else f"random-{name}", kind, int(shape[-1]), build, module.groups(),
        preprocess, pretrained=weights != "random", portable=name.startswith("keras/") and weights is None,
        source_head=None if head is None or weights == "random" else lambda: head,
    )  # fmt: skip


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CrossgraftError(f"there is no file {path}", "give the path of a model that Keras saved")
    keras = imported("torch")
    _know_its_library(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as wrong:  # whatever a damaged or foreign file raises
        said = " ".join(str(wrong).split())
        if "lambda" in said.lower():
            raise CrossgraftError(
                f"{path} holds code (a Lambda layer), which is not executed", "save it with layers in its place"
            ) from None
        if "registered" in said or "deserialize" in said.lower() or "locate class" in said:
            raise CrossgraftError(
                f"{path} holds a class that Keras does not know ({said[:120]})",
                "save a model of Keras's own layers; of crossgraft.keras.JointModel its plain()",
            ) from None
        raise CrossgraftError(f"{path} cannot be read ({said[:120]})", "save it again with Keras 3") from None


def _know_its_library(path: Path) -> None:
    """Import KerasHub, whose classes Keras knows from then on, where a file holds some of them."""
    try:
        with zipfile.ZipFile(path) as file:
            held = b"keras_hub" in file.read("config.json")
    except (OSError, KeyError, zipfile.BadZipFile):
        return  # what reads it says why
    if not held:
        return
    if find_spec("keras_hub") is None:
        raise CrossgraftError(f"{path} holds layers of KerasHub, which is not installed", "pip install keras-hub")
    import_module("keras_hub")
    apart_from_tensorflow()  # which KerasHub imports


def _of_applications(name: str, weights: str | None) -> Any:
    keras = imported("torch")
    bare = name.removeprefix("keras/")
    known = [n for n, made in vars(keras.applications).items() if callable(made) and n[0].isupper()]
    if bare not in known:
        raise UsageError(f"unknown backbone {name!r}", nearest(bare, known) or f"there are {', '.join(sorted(known))}")
    if weights not in (None, "random"):
        raise UsageError(f"backbone {name} takes --weights random alone", "save the model with its weights as .keras")
    try:
        with _seeded():
            return getattr(keras.applications, bare)(weights="imagenet" if weights is None else None)
    except Exception as wrong:
        raise CrossgraftError(
            f"the weights of backbone {name} cannot be downloaded ({type(wrong).__name__})",
            "give a .keras file that holds them, or use --backbone auto, which needs no network",
        ) from None


@contextmanager
def _seeded() -> Iterator[None]:
    """Keras draws weights from Python's generator: seeded from torch's, and afterwards as it was."""
    import torch

    state = random.getstate()
    random.seed(torch.initial_seed())
    try:
        yield
    finally:
        random.setstate(state)


def _split_head(model: Any) -> tuple[Any, SourceHead | None]:
    """The model without its classifier, and the classifier."""
    keras = imported("torch")
    layers = list(getattr(model, "layers", []))
    while layers and type(layers[-1]).__name__ in ("Softmax", "Activation"):
        layers.pop()
    last: Any = layers[-1] if layers else None
    classifies = isinstance(last, keras.layers.Dense) and keras.activations.serialize(last.activation) in (
        "linear", "softmax", "sigmoid",
    )  # fmt: skip
    if not classifies or len(layers) < 2 or not isinstance(model, (keras.Sequential, keras.Model)):
        return model, None
    whole = keras.Model(model.inputs, last.input, name=model.name)  # by which its scale is known
    weights = last.get_weights()
    weight, bias = weights[0], weights[1] if len(weights) > 1 else np.zeros(last.units, np.float32)
    names = tuple(map(str, range(last.units)))
    return whole, SourceHead(weight.copy(), bias.copy(), names) if last.units > 1 else None


def _inputs(model: Any, name: str) -> tuple[Literal["image", "vector"], Preprocess | None, bool]:
    """The kind of inputs, how pictures are prepared, and whether blue comes first."""
    inputs = getattr(model, "inputs", None) or []
    shape = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    if len(shape) == 1 and shape[0] is not None:
        return "vector", None, False
    if len(shape) != 3 or shape[-1] not in (1, 3) or shape[0] != shape[1]:
        raise UsageError(
            f"backbone {name} takes {[tuple(x.shape) for x in inputs]}",
            "give one that takes square pictures or vectors",
        )
    side, channels = shape[0] or SIDE, int(shape[-1])
    scale, known = _scale(model), True
    if scale is None:
        scale, known = ((0.0,) * 3, (1.0,) * 3), False
        say(f"backbone {name} does not say how pictures are scaled: 0 to 1 is taken; put a Rescaling layer into it")
    mean, std = (values[:channels] for values in scale)
    return "image", Preprocess(side, channels, mean, std, "bilinear"), known and scale is CAFFE


def _scale(model: Any) -> Any:
    """Mean and std: 0..255 where the model scales by itself, else by its name; None where nothing says."""
    for operation in getattr(model, "operations", []):
        kind = type(operation).__name__
        if kind in SCALING:
            return PIXELS
        if hasattr(operation, "operations"):
            return _scale(operation)
        if getattr(operation, "weights", []):
            break
    return next((scale for begins, scale in SCALES.items() if re.match(begins, model.name)), None)
