"""What goes into an exported model of pictures or vectors: one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.backbone import Backbone
from crossgraft.features import embed
from crossgraft.seeds import rng

if TYPE_CHECKING:
    from torch import nn

Inputs = tuple[np.ndarray, ...]
BATCH, LENGTH = "batch", "length"  # what of an input may have any size


class Arrays:
    """One array: pictures, uint8 (B, S, S, C), or vectors, float32 (B, D). Beside several tasks none of them is called
    as it is."""

    sequences = False
    files: tuple[Path, ...] = ()

    def __init__(self, backbone: Backbone, tasks: Sequence[str] = ()) -> None:
        self.backbone = backbone
        self.names = (next(n for n in ("x", *(f"x{i}" for i in range(len(tasks)))) if n not in tasks),)
        self.axes: tuple[dict[int, str], ...] = ({0: BATCH},)
        self.counted: str | None = None

    def layers(self, b: Backbone, fresh: nn.Module) -> nn.Module:
        """Layers of a backbone that take these inputs: features (B, D)."""
        from crossgraft.features.engine import wrapped

        return fresh if b.preprocess is None else wrapped(fresh, b.preprocess)

    def inputs(self, n: int) -> Inputs:
        """So many examples, drawn."""
        first = self.backbone
        draw, p = rng(0, f"export/{n}"), first.preprocess
        if p is not None:
            return (draw.integers(0, 256, (n, p.size, p.size, p.channels), dtype=np.uint8),)
        width = first.dim
        if first.name != "identity":
            width = next(iter(first.module.parameters())).shape[-1]
        return (draw.normal(0, 1, (n, width)).astype(np.float32),)

    def features(self, b: Backbone, inputs: Inputs) -> np.ndarray:
        """What the run's layers make of them."""
        return np.asarray(embed(b, inputs[0]))

    def own(self, found: np.ndarray, beside: Mapping[str, np.ndarray], inputs: Inputs) -> np.ndarray:
        """Of an output that which means something: all of it."""
        return found

    def described(self) -> dict[str, Any]:
        """As the file beside an export has it."""
        x = self.inputs(1)[0]
        spec: dict[str, Any] = {"name": self.names[0], "type": str(x.dtype), "shape": [BATCH, *x.shape[1:]]}
        if (p := self.backbone.preprocess) is not None:
            spec["prepared"] = {
                "resize_shorter_side_to": round(p.size / p.crop),
                "centre_crop": p.size,
                "interpolation": p.interpolation,
                "channels": "RGB" if p.channels == 3 else "luminance",
                "inside": "scaling to [0, 1], mean and std",
                **{k: v for k, v in asdict(p).items() if k in ("mean", "std")},
            }
        return {"input": spec}
