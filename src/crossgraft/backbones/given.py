"""Any module of torch as a Backbone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.backbones.groups import groups_of
from crossgraft.backbones.weights import state_revision
from crossgraft.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


def from_module(
    module: nn.Module,
    inputs: Preprocess | int,
    *,
    name: str = "module",
    pretrained: bool = True,
) -> Backbone:
    """A Backbone of somebody's own layers, their groups found from input to output.

    module      normalised pictures (B, C, S, S), or vectors (B, inputs), to features (B, D); it is copied
    inputs      how pictures are prepared, or the width of the vectors
    pretrained  False for layers that have learned nothing yet

    Features, embedding and schedules take it as any other. Its architecture has no name, so a run folder cannot find it
    again. Raises UsageError where the module does not give one row of features an example.

    >>> from torch import nn
    >>> backbone = from_module(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)), 3)
    >>> backbone.dim, [group for group, _ in backbone.groups]
    (4, ['0', '2'])
    """
    import torch

    own = copy.deepcopy(module).eval()
    kind: Literal["image", "vector"] = "vector" if isinstance(inputs, int) else "image"
    shape = (2, inputs) if isinstance(inputs, int) else (2, inputs.channels, inputs.size, inputs.size)
    try:
        with torch.inference_mode():
            seen = tuple(own(torch.zeros(shape)).shape)
    except (RuntimeError, TypeError, AttributeError) as wrong:
        said = str(wrong).splitlines()[0][:120]
        raise UsageError(f"the module does not take {shape} ({said})", "give layers for such inputs") from None
    if len(seen) != 2 or seen[0] != 2:
        raise UsageError(f"the module gives {seen} for two examples", "end it with pooling and Flatten: (B, D)")
    return Backbone(
        name, state_revision(own), kind, int(seen[1]), lambda: copy.deepcopy(own), groups_of(own),
        None if isinstance(inputs, int) else inputs, pretrained=pretrained, portable=False,
    )  # fmt: skip
