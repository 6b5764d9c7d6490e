"""What goes into an exported model of texts or sentences, and the same as the run reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.backbone import TYPE_BITS, WORD_BIT, Backbone
from crossgraft.entrances.arrays import BATCH, LENGTH, Inputs
from crossgraft.errors import CrossgraftError
from crossgraft.features.engine import in_inference
from crossgraft.features.ragged import Ragged
from crossgraft.features.texts import TextLayers, embed_texts
from crossgraft.seeds import rng

if TYPE_CHECKING:
    from torch import nn

ONE, MOST = 7, 24  # tokens of a text that is tried alone, and of the longest of several


class Texts:
    """Token ids (B, L), a mask of the same shape, and which text of a pair where the layers tell them apart, int64 all,
    as tokenizers of transformers give them; one chunk each, at most as long as the layers were made for."""

    sequences = True

    def __init__(self, backbone: Backbone) -> None:
        assert backbone.tokens is not None
        module: Any = backbone.module
        if not hasattr(module, "of_ids"):
            what = f"backbone {backbone.name} takes no token ids in one piece"
            raise CrossgraftError(what, "use crossgraft predict, or Run.open in Python")
        self.backbone, self.length, self.words = backbone, backbone.tokens.length, backbone.kind == "sentence"
        self.types = bool(getattr(module, "types", False)) and not self.words
        encoder = getattr(module, "encoder", None)
        table = module.words if encoder is None else encoder.get_input_embeddings()
        self.files = backbone.tokens.files
        self.vocabulary = int(table.num_embeddings)
        self.names = ("input_ids", "attention_mask", *(("token_type_ids",) if self.types else ()))
        self.axes = ({0: BATCH, 1: LENGTH},) * len(self.names)
        self.counted: str | None = None

    def layers(self, b: Backbone, fresh: Any) -> nn.Module:
        """Layers of a backbone that take these inputs: features (B, D), of sentences one a token, (B, L, D)."""
        from torch import Tensor, nn

        class OfIds(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = fresh

            def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
                found: Tensor = fresh.of_ids(ids, mask > 0, types)
                return found

        return OfIds()

    def inputs(self, n: int) -> Inputs:
        """So many examples, drawn: one of them as long as any."""
        draw, most = rng(0, f"export/{n}"), min(self.length, MOST if n > 1 else ONE)
        ids = draw.integers(0, self.vocabulary, (n, most))
        lengths = draw.integers(1, most + 1, n)
        lengths[0] = most
        mask = (np.arange(most) < lengths[:, None]).astype(np.int64)
        return (ids, mask, draw.integers(0, 2, (n, most)) * mask)[: len(self.names)]

    def features(self, b: Backbone, inputs: Inputs) -> np.ndarray:
        """What the run's layers make of them in float32, one below the other."""
        ids, mask, *types = inputs
        tokens = ids + (types[0] << TYPE_BITS) if types else ids + WORD_BIT * self.words
        return computed(b, [row[m > 0].astype(np.int32) for row, m in zip(tokens, mask, strict=True)])

    def own(self, found: np.ndarray, beside: Mapping[str, np.ndarray], inputs: Inputs) -> np.ndarray:
        """Of an output that which means something: without places behind the end of a sentence."""
        return found[inputs[1] > 0] if self.words else found

    def described(self) -> dict[str, Any]:
        """As the file beside an export has it."""
        said: dict[str, Any] = {
            "inputs": [{"name": n, "type": "int64", "shape": [BATCH, LENGTH]} for n in self.names],
            "longest": self.length,
            "padding": "right, attention_mask 0",
        }
        if self.words:
            assert self.backbone.tokens is not None
            last = self.backbone.tokens.revision.startswith("words-last")
            said["of_a_word"] = f"the probabilities at its {'last' if last else 'first'} token"
        return said


def computed(backbone: Backbone, rows: list[np.ndarray]) -> np.ndarray:
    """Features of rows of tokens or samples in float32, one below the other."""
    with in_inference(backbone.module):
        net = TextLayers(backbone, "torch-f32", lambda beside, found: None)
        return np.asarray(embed_texts(net, Ragged.of(rows)))
