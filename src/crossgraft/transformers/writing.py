"""A run of texts or sentences as a folder that transformers opens; and what it answers once it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerFast

from crossgraft.assembled import OUTPUT, Outputs, Parts
from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.published import quiet
from crossgraft.backbones.tokenizer import read_tokenizer
from crossgraft.domains.domain import plural
from crossgraft.entrances import Inputs
from crossgraft.errors import CrossgraftError
from crossgraft.transformers import (
    CrossgraftForSequenceClassification,
    CrossgraftForTokenClassification,
    CrossgraftTokenizer,
)
from crossgraft.transformers.models import described

PIPELINES = {"text": "text-classification", "sentence": "token-classification"}


def write_transformers(parts: Parts, examples: Sequence[Inputs], path: Path, spec: dict[str, Any]) -> list[Outputs]:
    """The folder: configuration, weights in safetensors, tokenizer. Tags of an encoder become transformers' own class
    for tokens, all else `crossgraft.transformers`'.

    Raises CrossgraftError for what is neither texts nor sentences, and for several tasks.
    """
    backbone, instead = parts.trunks[0], "use onnx, torch or openvino"
    if backbone.kind not in PIPELINES:
        what = f"a pipeline of transformers is written for texts and tags, not for {plural(backbone.kind)}"
        raise CrossgraftError(what, instead)
    if parts.several:
        raise CrossgraftError("a pipeline of transformers has one answer, and the run has several tasks", instead)
    with quiet():
        model, tokenizer = _model(parts), _tokenizer(backbone)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        loaded = type(model).from_pretrained(path).eval()
    spec["pipeline"] = PIPELINES[backbone.kind]
    return [_said(loaded, x, parts) for x in examples]


def _model(parts: Parts) -> Any:
    """Layers and head of a run as one model of transformers."""
    head, backbone = parts.heads[OUTPUT], parts.trunks[0]
    assert backbone.tokens is not None
    layers: Any = backbone.fresh(0)
    named = {
        "id2label": dict(enumerate(head.classes)),
        "label2id": {name: k for k, name in enumerate(head.classes)},
        "problem_type": "multi_label_classification" if head.sets else "single_label_classification",
    }
    words = backbone.kind == "sentence"
    if words and hasattr(layers, "encoder"):
        model = _stock(layers.encoder, named)
    else:
        make = CrossgraftForTokenClassification if words else CrossgraftForSequenceClassification
        model = make(described(layers, backbone.dim, backbone.tokens.length, **named))
        model.layers.load_state_dict(layers.state_dict())
    linear = _head(model, head.weight.T.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight.T))
        linear.bias.copy_(torch.from_numpy(head.bias))
    return model.float().eval()


def _stock(encoder: Any, named: dict[str, Any]) -> Any:
    """An encoder in transformers' own class for tokens."""
    config = AutoConfig.for_model(**(encoder.config.to_dict() | named))
    model: Any = AutoModelForTokenClassification.from_config(config)
    missing, _ = getattr(model, model.base_model_prefix).load_state_dict(encoder.state_dict(), strict=False)
    if missing:
        raise CrossgraftError(
            f"{type(model).__name__} has layers that the run lacks ({missing[0]})", "use onnx or torch"
        )
    return model


def _head(model: Any, shape: tuple[int, ...]) -> nn.Linear:
    """The one linear layer above the others. Raises CrossgraftError where there is more, or no bias."""
    base = {id(p) for p in getattr(model, model.base_model_prefix).parameters()}
    above = [p for p in model.parameters() if id(p) not in base]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and id(m.weight) not in base]
    if len(linear) != 1 or linear[0].bias is None or len(above) != 2 or linear[0].weight.shape != shape:
        raise CrossgraftError(f"the head of {type(model).__name__} is more than a linear layer", "use onnx or torch")
    return linear[0]


def _tokenizer(backbone: Backbone) -> Any:
    """The tokenizer that came with the layers; of texts one that makes chunks of long ones."""
    assert backbone.tokens is not None
    folder, length = backbone.tokens.files[0].parent, backbone.tokens.length
    own = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    make = cast(Any, CrossgraftTokenizer if backbone.kind == "text" else PreTrainedTokenizerFast)
    # of tokenizer.json itself, as the run reads it: the class that its folder names may make another of it
    own = make(
        tokenizer_object=read_tokenizer(folder), model_input_names=own.model_input_names, **own.special_tokens_map
    )
    if own.pad_token is None:  # batches need one; the mask hides it, whichever it is
        own.pad_token = own.eos_token or own.convert_ids_to_tokens(0)
    own.model_max_length = length
    return own


def _said(model: Any, inputs: Inputs, parts: Parts) -> Outputs:
    """Probabilities, as a pipeline computes them."""
    given = {name: torch.from_numpy(x) for name, x in zip(parts.entrance.names, inputs, strict=True)}
    with torch.no_grad():
        z = model(**given).logits
    p = z.sigmoid() if parts.heads[OUTPUT].sets else z.softmax(-1)
    return {OUTPUT: np.asarray(p.numpy())}
