"""What goes into an exported model of clips or utterances, and the same as the run reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.backbone import ZERO, Backbone
from crossgraft.domains.clips import RATE
from crossgraft.entrances.arrays import BATCH, LENGTH, Inputs
from crossgraft.entrances.texts import computed
from crossgraft.errors import CrossgraftError
from crossgraft.seeds import rng

if TYPE_CHECKING:
    from torch import nn

LEAST, ONE, MOST = RATE // 2, 11000, RATE  # samples: of any clip that is tried, of one alone, of the longest of several


class Clips:
    """Samples (B, L) in [-1, 1] at 16 kHz, float32, and how many of a row are the clip's, (B,) int64; where layers must
    see no padding the samples alone, of clips that are equally long."""

    sequences = True
    files: tuple[Path, ...] = ()

    def __init__(self, backbone: Backbone) -> None:
        from crossgraft.backbones.small_audio import MelRnn

        assert backbone.tokens is not None
        module: Any = backbone.module
        if isinstance(module, MelRnn):
            what = f"the recurrent layers of backbone {backbone.name} are written out for clips of one length alone"
            raise CrossgraftError(what, "use crossgraft predict, or another backbone")
        self.backbone, self.length, self.whole = backbone, backbone.tokens.length, bool(module.whole)
        self.even = bool(module.alone)
        self.names = ("samples",) if self.even else ("samples", "lengths")
        self.axes: tuple[dict[int, str], ...] = ({0: BATCH, 1: LENGTH}, {0: BATCH})[: len(self.names)]
        self.counted = "frames" if self.whole else None

    def layers(self, b: Backbone, fresh: Any) -> nn.Module:
        """Layers of a backbone that take these inputs: features (B, D), of utterances (B, T, D) and frames (B,)."""
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
        draw, most = rng(0, f"export/{n}"), MOST if n > 1 else ONE
        lengths = draw.integers(LEAST, most + 1, n)
        lengths[0] = most
        if self.even:
            lengths[:] = most
        phase = np.cumsum(np.linspace(0.02, 0.2, most) * draw.uniform(0.5, 2, (n, 1)), 1)
        x = (0.3 * np.sin(phase) + 0.02 * draw.normal(size=(n, most))) * (np.arange(most) < lengths[:, None])
        return (x.astype(np.float32), lengths)[: len(self.names)]

    def features(self, b: Backbone, inputs: Inputs) -> np.ndarray:
        """What the run's layers make of them in float32, one below the other."""
        assert b.tokens is not None
        rows = [x[:n] for x, n in zip(inputs[0], self._lengths(inputs), strict=True)]
        return computed(b, b.tokens.encode(rows))

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
