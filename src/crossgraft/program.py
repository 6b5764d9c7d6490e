"""Layers as a program of torch.export, of any batch and length."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.entrances import BATCH, Inputs

if TYPE_CHECKING:
    from torch import nn


def program_of(module: nn.Module, x: np.ndarray | Inputs, axes: Sequence[Mapping[int, str]] = ({0: BATCH},)) -> Any:
    """Layers as a program of torch.export whose batch, and whatever else is named, is of any size.

    x     an example of the input, or of all of them
    axes  of each input the names of those that have any size
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, tensors(x), dynamic_shapes=_dynamic(axes))


def tensors(x: np.ndarray | Inputs) -> tuple[Any, ...]:
    """An input, or all of them, as tensors."""
    import torch

    return tuple(torch.from_numpy(part) for part in (x if isinstance(x, tuple) else (x,)))


def _dynamic(axes: Sequence[Mapping[int, str]]) -> Any:
    """Sizes as torch.export has them; a batch may be of one, and a length is found to be of any size."""
    from torch.export import Dim

    batch = Dim(BATCH, min=1)
    return tuple({k: batch if name == BATCH else Dim.DYNAMIC for k, name in own.items()} for own in axes)
