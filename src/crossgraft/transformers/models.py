"""Layers, pooling and head of a run as models of transformers: no class of its own pools a BERT by the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from crossgraft.backbones.backbone import NO_TOKEN, TYPE_BITS
from crossgraft.backbones.encoder import Pooling, TextEncoder, WordBag, WordEncoder, WordWindow


class CrossgraftConfig(PretrainedConfig):
    """What layers there are below the head.

    encoder     the configuration of an encoder of transformers; without one the layers are a bag of word pieces, of
                tags a window of them, `vocabulary` pieces of `dim` numbers
    dim         D, how wide the features are
    length      of a chunk, in tokens: a longer text is several of them
    pooling     within a chunk: mean, cls, last, max, or words, a feature a token
    normalise   whether features have length 1
    types       whether the layers tell the first text of a pair from the second
    depths      the layers that are read side by side; without any the last
    """

    model_type = "crossgraft"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        dim: int = 64,
        length: int = 512,
        pooling: str = "mean",
        normalise: bool = False,
        types: bool = False,
        vocabulary: int = 0,
        depths: Sequence[int] = (),
        **more: Any,
    ) -> None:
        self.encoder, self.dim, self.length, self.vocabulary = encoder, dim, length, vocabulary
        self.pooling, self.normalise, self.types, self.depths = pooling, normalise, types, list(depths)
        super().__init__(**more)


def described(layers: nn.Module, dim: int, length: int, **more: Any) -> CrossgraftConfig:
    """The configuration that makes such layers again."""
    if isinstance(layers, TextEncoder):
        encoder = cast(Any, layers.encoder).config.to_dict()
        said = (layers.pooling, layers.normalise, layers.types)
        return CrossgraftConfig(encoder, dim, length, *said, depths=layers.depths, **more)
    words = cast(WordBag | WordWindow, layers).words
    pooling = "words" if isinstance(layers, WordWindow) else "mean"
    return CrossgraftConfig(None, dim, length, pooling, vocabulary=words.num_embeddings, **more)


def layers_of(config: CrossgraftConfig) -> nn.Module:
    """Layers that take rows of tokens, without weights."""
    if config.encoder is None:
        return (
            WordWindow(config.vocabulary, config.dim, config.length)
            if config.pooling == "words"
            else WordBag(config.vocabulary, config.dim)
        )
    body = AutoModel.from_config(AutoConfig.for_model(**config.encoder))
    if getattr(body, "pooler", None) is not None:
        body.pooler = None  # nothing reads it
    make = WordEncoder if config.pooling == "words" else TextEncoder
    pooling = cast(Pooling, config.pooling)
    return make(body, config.length, pooling, config.normalise, config.types, tuple(config.depths))


class _Headed(PreTrainedModel):
    """Layers and a linear head."""

    config_class = CrossgraftConfig
    base_model_prefix = "layers"

    def __init__(self, config: CrossgraftConfig) -> None:
        super().__init__(config)
        self.layers, self.classifier = layers_of(config), nn.Linear(config.dim, int(config.num_labels or 0))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """New weights are those of torch: an exported run has all of its own."""


class CrossgraftForSequenceClassification(_Headed):
    """A class, or any number of them, a text; a text of several chunks, as `CrossgraftTokenizer` gives it, is read
    whole."""

    def forward(
        self,
        input_ids: Int[Tensor, "B L"],
        attention_mask: Int[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "B L"] | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits (B, K); with labels, (B,) or for several a text (B, K) of 0 and 1, the mean cross-entropy in nats."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        typed = (
            input_ids if token_type_ids is None or not self.config.types else input_ids + (token_type_ids << TYPE_BITS)
        )
        logits: Float[Tensor, "B K"] = self.classifier(self.layers(torch.where(mask > 0, typed, NO_TOKEN)))
        return SequenceClassifierOutput(loss=_loss(logits, labels), logits=logits)


class CrossgraftForTokenClassification(_Headed):
    """A tag at every token."""

    def forward(
        self,
        input_ids: Int[Tensor, "B L"],
        attention_mask: Int[Tensor, "B L"] | None = None,
        labels: Int[Tensor, "B L"] | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Logits (B, L, K); with labels, -100 where there is none, the mean cross-entropy in nats."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits: Float[Tensor, "B L K"] = self.classifier(cast(Any, self.layers).of_ids(input_ids, mask > 0))
        loss = None if labels is None else _loss(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


def _loss(logits: Float[Tensor, "B K"], labels: Tensor | None) -> Tensor | None:
    if labels is None:
        return None
    if labels.dim() == 2:
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels)
