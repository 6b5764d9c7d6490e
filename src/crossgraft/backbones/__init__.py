"""Pretrained layers, and small ones to train from nothing, by name; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from crossgraft.backbones.backbone import Backbone, Preprocess, SourceHead
from crossgraft.domains.domain import SOUND, Domain, plural
from crossgraft.errors import UsageError

__all__ = ["Backbone", "Preprocess", "SourceHead", "load", "name_of", "rebuild"]

OWN = {
    "auto": ("image", "vector", "text", "sentence", "audio", "utterance"),
    "cnn": ("image", "audio", "utterance"),
    "rnn": ("audio", "utterance"),
    "cnn_bn": ("image",),
    "mlp": ("vector",),
    "identity": ("vector",),
    "words": ("text", "sentence"),
}
FROM_NOTHING = {
    "image": "cnn",
    "text": "words",
    "sentence": "words",
    "vector": "mlp",
    "audio": "cnn",
    "utterance": "rnn",
}  # what learns where nothing is transferred


def load(name: Any, domain: Domain, *, weights: str | None = None) -> Backbone:
    """The backbone of this name for the inputs of this domain.

    name     auto (pictures: EfficientNet-Lite0, texts: MiniLM, audio: Google's speech embedding, of installed packages;
             vectors: identity), cnn, cnn_bn, rnn, mlp, words, identity; for pictures torchvision/NAME, or any model of
             timm: NAME, timm/NAME, hf_hub:USER/NAME; for pictures and vectors a model.keras, or keras/NAME of
             keras.applications; for texts any encoder of transformers: a local folder, or USER/NAME; for audio
             wav2vec2, HuBERT, WavLM and Whisper in the same way. Or layers: a torch.nn.Module, a Backbone
    weights  None for the published ones; a .safetensors, .pth or .pt file of tensors; "random" for none

    Raises UsageError for a name that is unknown or does not read the domain's inputs, CrossgraftError where weights
    cannot be found or do not fit.
    """
    found = _loaded(name, domain, weights)
    return found if domain.kind != "vector" else replace(found, width=domain.width, columns=domain.columns)


def _loaded(name: Any, domain: Domain, weights: str | None) -> Backbone:
    if not isinstance(name, str):
        from crossgraft.backbones.given import given

        if weights is not None:
            raise UsageError("layers that are given as an object take no weights", "load them into the module")
        return given(name, domain)
    if name.startswith("<"):
        raise UsageError(f"backbone {name} was given as an object", "give the module again: backbone=module in Python")
    if name in OWN:
        if weights is not None:
            raise UsageError(f"backbone {name} takes no --weights", "name the model that the file belongs to")
        if domain.kind not in OWN[name]:
            raise UsageError(f"backbone {name} does not read {plural(domain.kind)}", "use --backbone auto")
    if is_keras(name):
        return _of_keras(name, weights, domain.kind)
    if name == "auto":
        name = "identity" if domain.kind == "vector" else "auto"
    if domain.kind in ("text", "sentence"):
        return _of_texts(name, weights, domain.kind)
    if domain.kind in SOUND:
        return _of_audio(name, weights, domain.kind)
    if name == "auto":
        from crossgraft.backbones.packaged import efficientnet_lite0

        return efficientnet_lite0()
    if name in OWN:
        from crossgraft.backbones import small

        return small.for_domain(name, domain)
    if domain.kind != "image":
        raise UsageError(
            f"backbone {name} reads images, not {plural(domain.kind)}", "use --backbone auto, mlp or identity"
        )
    return _published(name, weights)


def name_of(layers: Any) -> str:
    """What a recipe calls a backbone: its name, of layers that no name finds again in angle brackets."""
    if isinstance(layers, str):
        return layers
    from crossgraft.backbones.given import named

    return named(layers)


def named(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Options with the name of their backbone; and the layers that were given in its place, None where there are
    none."""
    layers = options.get("backbone")
    if layers is None or isinstance(layers, str):
        return options, None
    return options | {"backbone": name_of(layers)}, layers


def rebuild(
    name: str, *, preprocess: Preprocess | None, dim: int, state: Mapping[str, np.ndarray] | None = None,
    kind: str = "image",
) -> Backbone:  # fmt: skip
    """The backbone of a saved model: found by its name alone, or (where `state` is given) with these weights."""
    if is_keras(name):
        from crossgraft.backbones.weights import with_state

        random = state is not None and not name.endswith(".keras")
        found = _of_keras(name, "random" if random else None, kind)
        return found if state is None else with_state(found, state, preprocess)
    if kind in ("text", "sentence"):
        from crossgraft.backbones.weights import with_state

        published = name not in ("auto", "words")
        found = _of_texts(name, "random" if published and state is not None else None, kind)
        return found if state is None else with_state(found, state, None)
    if kind in SOUND:
        from crossgraft.backbones.weights import with_state

        found = _of_audio(name, None if name in OWN or state is None else "random", kind)
        return found if state is None else with_state(found, state, None)
    if name == "auto" and state is None:
        from crossgraft.backbones.packaged import efficientnet_lite0

        return efficientnet_lite0()
    if name in OWN and name != "auto":
        from crossgraft.backbones import small

        return small.rebuilt(name, preprocess, dim, state)
    if state is None:
        return _published(name, None)
    from crossgraft.backbones.weights import with_state

    if name == "auto":
        from crossgraft.backbones.packaged import efficientnet_lite0

        return with_state(efficientnet_lite0(), state, preprocess)
    return with_state(_published(name, "random"), state, preprocess)


def _of_texts(name: str, weights: str | None, kind: str) -> Backbone:
    from crossgraft.backbones import text_models

    of: Literal["text", "sentence"] = "sentence" if kind == "sentence" else "text"
    return text_models.words(of) if name == "words" else text_models.text_model(name, weights, of)


def _of_audio(name: str, weights: str | None, kind: str) -> Backbone:
    from crossgraft.backbones import audio_models

    of: Literal["audio", "utterance"] = "utterance" if kind == "utterance" else "audio"
    if name == "auto":
        return audio_models.speech_embedding(of)
    return audio_models.mel_net(name, of) if name in OWN else audio_models.audio_model(name, weights, of)


def is_keras(name: str) -> bool:
    """Whether a name is that of a Keras model: a file, or one of keras.applications."""
    return name.endswith(".keras") or name.startswith("keras/")


def _of_keras(name: str, weights: str | None, kind: str) -> Backbone:
    from crossgraft.backbones.keras_models import keras_model

    found = keras_model(name, weights)
    if found.kind != kind:
        raise UsageError(f"backbone {name} reads {plural(found.kind)}, not {plural(kind)}", "use --backbone auto")
    return found


def _published(name: str, weights: str | None) -> Backbone:
    if name.startswith("torchvision/"):
        from crossgraft.backbones.torchvision_models import torchvision_model

        return torchvision_model(name, weights)
    from crossgraft.backbones.timm_models import timm_model

    return timm_model(name, weights)
