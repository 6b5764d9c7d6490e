"""Heads beside the classifier: domain classifiers and a second classifier, by the name that terms ask for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 128
# A domain classifier must be ahead of the layers that run from it. By USPS to MNIST of seed 100.
HEAD_RATES = {"domain": 5.0, "conditional": 5.0}
LARGEST_PRODUCT = 4096  # D * k above which f (x) g is a randomised product (Long et al., NeurIPS 2018)


class Conditional(nn.Module):
    """A domain classifier of f (x) g, or of (f R_f) * (g R_g) / sqrt(m) with fixed random R where that is too wide."""

    project_f: Tensor
    project_g: Tensor

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.wide = dim * classes <= LARGEST_PRODUCT
        m = dim * classes if self.wide else 1024
        if not self.wide:
            self.register_buffer("project_f", torch.randn(dim, m))
            self.register_buffer("project_g", torch.randn(classes, m))
        self.layers = _classifier(m)

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        """(B, 1) logits that a row is from the source."""
        f = unit(f)
        if self.wide:
            product = (f[:, :, None] * g[:, None, :]).flatten(1)
        else:
            product = (f @ self.project_f) * (g @ self.project_g) / len(self.project_f[0]) ** 0.5
        logits: Tensor = self.layers(product)
        return logits


class Unit(nn.Module):
    """Features of mean square 1: layers cannot run from a domain classifier by growing."""

    def forward(self, f: Tensor) -> Tensor:
        """(B, D), each row over its root mean square."""
        return unit(f)


def unit(f: Tensor) -> Tensor:
    """f over its root mean square, row by row."""
    scaled: Tensor = F.normalize(f.float(), dim=1) * f.shape[1] ** 0.5
    return scaled


def _classifier(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "domain": lambda dim, classes: nn.Sequential(Unit(), *_classifier(dim)),
    "conditional": Conditional,
    "second": nn.Linear,
}


def part(name: str) -> str:
    """What a head is called among the parts that learn; a layer group may have the head's own name."""
    return f"head {name}"


def build(name: str, dim: int, classes: int, seed: int) -> nn.Module:
    """The head of a name for features (B, dim) and `classes` classes, drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[name](dim, classes)
