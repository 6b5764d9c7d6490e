"""What goes into an exported model of texts, sentences or clips, and the same inputs as the run reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.backbone import TYPE_BITS, WORD_BIT, ZERO, Backbone
from crossgraft.domains.clips import RATE
from crossgraft.errors import CrossgraftError
from crossgraft.features.ragged import Ragged
from crossgraft.features.texts import TextLayers, embed_texts
from crossgraft.seeds import rng

if TYPE_CHECKING:
    from torch import nn

Inputs = tuple[np.ndarray, ...]
TOKENS, SAMPLES = (1, 7, 24), (RATE // 2, 11000, RATE)  # lengths that are tried: least, usual, most
BATCH, LENGTH = "batch", "length"


class Texts:
    """Token ids (B, L), a mask of the same shape, and the text of a pair where the layers tell them apart, all int64, as
    tokenizers of transformers give them; one chunk each, at most as long as the layers were made for."""

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
        self.vocabulary = int(table.num_embeddings)
        self.names = ("input_ids", "attention_mask", *(("token_type_ids",) if self.types else ()))
        self.axes = ({0: BATCH, 1: LENGTH},) * len(self.names)
        self.counted: str | None = None

    def layers(self, fresh: Any) -> nn.Module:
        """Layers of the backbone that take these inputs: features (B, D), of sentences one a token, (B, L, D)."""
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
        draw, most = rng(0, f"export/{n}"), min(self.length, TOKENS[2 if n > 1 else 1])
        ids = draw.integers(0, self.vocabulary, (n, most))
        lengths = draw.integers(TOKENS[0], most + 1, n)
        lengths[0] = most
        mask = (np.arange(most) < lengths[:, None]).astype(np.int64)
        return (ids, mask, draw.integers(0, 2, (n, most)) * mask)[: len(self.names)]

    def features(self, inputs: Inputs) -> np.ndarray:
        """What the run's layers make of them in float32, one below the other."""
        ids, mask, *types = inputs
        tokens = ids + (types[0] << TYPE_BITS) if types else ids + WORD_BIT * self.words
        return _computed(self.backbone, [row[m > 0].astype(np.int32) for row, m in zip(tokens, mask, strict=True)])

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


class Clips:
    """Samples (B, L) in [-1, 1] at 16 kHz, float32, and how many of a row are the clip's, (B,) int64; where layers must
    see no padding the samples alone, of clips that are equally long."""

    def __init__(self, backbone: Backbone) -> None:
        from crossgraft.backbones.small_audio import MelRnn

        assert backbone.tokens is not None
        module: Any = backbone.module
        self.backbone, self.length, self.whole = backbone, backbone.tokens.length, bool(module.whole)
        self.even = module.alone or isinstance(module, MelRnn)
        self.names = ("samples",) if self.even else ("samples", "lengths")
        self.axes: tuple[dict[int, str], ...] = ({0: BATCH, 1: LENGTH}, {0: BATCH})[: len(self.names)]
        self.counted = "frames" if self.whole else None

    def layers(self, fresh: Any) -> nn.Module:
        """Layers of the backbone that take these inputs: features (B, D), of utterances (B, T, D) and frames (B,)."""
        import torch
        from torch import Tensor, nn

        fresh.alone, whole = self.even, self.whole

        class OfSamples(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = fresh

            def forward(self, samples: Tensor, lengths: Tensor | None = None) -> Any:
                x = (samples * ZERO).round().clamp(-ZERO, ZERO - 1)
                if lengths is None:
                    lengths = torch.full_like(x[:, 0], x.shape[1]).long()
                else:
                    x = torch.where(torch.arange(x.shape[1], device=x.device) < lengths[:, None], x, 0.0)
                vectors, counts = fresh.vectors(x, lengths)
                return (vectors, counts) if whole else fresh.pooled(vectors, counts)

        return OfSamples()

    def inputs(self, n: int) -> Inputs:
        """So many clips, drawn: a glide in noise each."""
        draw, most = rng(0, f"export/{n}"), SAMPLES[2 if n > 1 else 1]
        lengths = draw.integers(SAMPLES[0], most + 1, n)
        lengths[0] = most
        if self.even:
            lengths[:] = most
        phase = np.cumsum(np.linspace(0.02, 0.2, most) * draw.uniform(0.5, 2, (n, 1)), 1)
        x = (0.3 * np.sin(phase) + 0.02 * draw.normal(size=(n, most))) * (np.arange(most) < lengths[:, None])
        return (x.astype(np.float32), lengths)[: len(self.names)]

    def features(self, inputs: Inputs) -> np.ndarray:
        """What the run's layers make of them in float32, one below the other."""
        assert self.backbone.tokens is not None
        rows = [x[:n] for x, n in zip(inputs[0], self._lengths(inputs), strict=True)]
        return _computed(self.backbone, self.backbone.tokens.encode(rows))

    def own(self, found: np.ndarray, beside: Mapping[str, np.ndarray], inputs: Inputs) -> np.ndarray:
        """Of an output that which means something: without frames behind the end of a clip."""
        if self.counted is None:
            return found
        counts = beside[self.counted]
        assert self.backbone.frames is not None
        if not np.array_equal(counts, self.backbone.frames(self._lengths(inputs))):
            raise CrossgraftError(f"clips of the export have {counts.tolist()} frames", "use another format")
        return np.concatenate([p[:c] for p, c in zip(found, counts, strict=True)])

    def described(self) -> dict[str, Any]:
        """As the file beside an export has it."""
        shapes = {"samples": ("float32", [BATCH, LENGTH]), "lengths": ("int64", [BATCH])}
        said: dict[str, Any] = {
            "inputs": [{"name": n, "type": shapes[n][0], "shape": shapes[n][1]} for n in self.names],
            "samples": f"in [-1, 1], {RATE} a second, one channel",
            "longest": self.length,
        }
        if self.even:
            said["padding"] = "none: the clips of a batch are equally long"
        if self.whole:
            first, step = self.backbone.times
            said["frames"] = {"output": self.counted, "first": first, "step": step, "unit": "seconds", "blank": ""}
        return said

    def _lengths(self, inputs: Inputs) -> np.ndarray:
        return np.full(len(inputs[0]), inputs[0].shape[1]) if self.even else inputs[1]


Entrance = Texts | Clips


def entrance_of(backbone: Backbone) -> Entrance | None:
    """How sequences go in; None of pictures and vectors, which are one array."""
    if backbone.kind in ("text", "sentence"):
        return Texts(backbone)
    return Clips(backbone) if backbone.kind in ("audio", "utterance") else None


def _computed(backbone: Backbone, rows: list[np.ndarray]) -> np.ndarray:
    from crossgraft.features.engine import in_inference

    with in_inference(backbone.module):
        net = TextLayers(backbone, "torch-f32", lambda beside, computed: None)
        return np.asarray(embed_texts(net, Ragged.of(rows)))
