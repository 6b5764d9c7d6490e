"""Heads beside the classifier: domain classifiers and a second classifier, by the name terms ask for; transitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 128
# A domain classifier must be ahead of the layers that run from it. By USPS to MNIST of seed 100.
HEAD_RATES = {"domain": 5.0, "conditional": 5.0, "groups": 5.0}
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


def _classifier(dim: int, domains: int = 1) -> nn.Sequential:
    # DANN gained 2.3 points on digits without augmentation with two layers, 8.2 with three (seeds 100 to 104); CDAN
    # gains more with three with augmentation too, DANN does not (three or four runs).
    layers: list[nn.Module] = [nn.Linear(dim, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, domains))


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "domain": lambda dim, classes: nn.Sequential(Unit(), *_classifier(dim)),
    "groups": lambda dim, domains: nn.Sequential(Unit(), *_classifier(dim, domains)),
    "conditional": Conditional,
    "second": nn.Linear,
}


def part(name: str) -> str:
    """What a head is called among the parts that learn; a layer group may have the head's own name."""
    return f"head {name}"


def build(name: str, dim: int, classes: int, seed: int) -> nn.Module:
    """The head of a name for features (B, dim) and `classes` classes, or groups, drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[name](dim, classes)


class Transitions(nn.Module):
    """What a tag weighs after another, of a CRF: learns with the classifier; what is impossible stays so.

    first  the first ones, (U, U), -inf where a tag never follows another
    """

    follows: Tensor

    def __init__(self, first: Float[np.ndarray, "U U"]) -> None:
        super().__init__()
        given = torch.as_tensor(first, dtype=torch.float32)
        self.weight = nn.Parameter(given.nan_to_num(neginf=0.0))
        self.register_buffer("follows", torch.where(given.isneginf(), given, 0.0), persistent=False)

    def forward(self, columns: Int[Tensor, " k"]) -> Float[Tensor, "k k"]:
        """Those among some columns of the head."""
        return (self.weight + self.follows)[columns][:, columns]

    def array(self) -> Float[np.ndarray, "U U"]:
        """All of them."""
        return (self.weight + self.follows).detach().double().cpu().numpy()


def transitions(of: nn.ModuleDict) -> Transitions | None:
    """Those of a CRF among the heads of a net; None without."""
    return next((head for head in of.values() if isinstance(head, Transitions)), None)
