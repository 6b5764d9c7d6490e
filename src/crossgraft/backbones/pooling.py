"""Maxima over places of frames by bands, that torch.export writes down for clips of any length."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def max_pool(x: Float[Tensor, "B C T F"], size: tuple[int, int], ceil: bool = False) -> Float[Tensor, "B C t f"]:
    """As `F.max_pool2d` with windows of 1 or 2 frames, side by side.

    While it is exported a maximum of every first and every second frame in its place: of `max_pool2d` torch before 2.14
    notes down whether the frames of its example were even in number, and refuses all others.
    """
    if size[0] == 1 or not torch.compiler.is_exporting():
        return F.max_pool2d(x, size, ceil_mode=ceil)
    x = F.max_pool2d(x, (1, size[1]), ceil_mode=ceil)
    if ceil:
        x = F.pad(x, (0, 0, 0, 1), value=-torch.inf)
    return torch.maximum(x[:, :, :-1:2], x[:, :, 1::2])


class MaxPool(nn.Module):
    """`max_pool` as a layer."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Float[Tensor, "B C T F"]) -> Float[Tensor, "B C t f"]:
        """Maxima of windows; what does not fill one is left out."""
        return max_pool(x, self.size)
