"""Small networks to train from nothing, and the backbone without layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import CrossgraftError

if TYPE_CHECKING:
    from torch import nn

SMALL = 40  # pictures up to this many pixels a side are looked at in full
DIM = 128


def for_domain(name: str, domain: Domain) -> Backbone:
    """cnn, cnn_bn, mlp or identity, of the size that the domain's first readable examples ask for."""
    looked = _first(domain)
    if name in ("cnn", "cnn_bn"):
        small = all(max(x.shape[:2]) <= SMALL for x in looked)
        grey = small and all((x == x[:, :, :1]).all() for x in looked)
        channels = 1 if grey else 3
        side = 32 if small else 64
        return _cnn(Preprocess(side, channels, (0.5,) * channels, (0.5,) * channels, "bilinear"), name)
    width = len(looked[0])
    return _identity(width) if name == "identity" else _mlp(width)


def width(domain: Domain) -> int:
    """Of the domain's vectors."""
    return len(_first(domain)[0])


def own_size(domain: Domain, channels: int | None) -> Preprocess | None:
    """Small pictures in the size that they have, values in [-1, 1]; None where they are large."""
    looked = _first(domain)
    side = max(max(x.shape[:2]) for x in looked)
    channels = channels or (1 if all((x == x[:, :, :1]).all() for x in looked) else 3)
    return Preprocess(side, channels, (0.5,) * channels, (0.5,) * channels, "bilinear") if side <= SMALL else None


def rebuilt(name: str, preprocess: Preprocess | None, dim: int, state: Mapping[str, np.ndarray] | None) -> Backbone:
    """The same network as it was saved, with its weights where it has some."""
    if name == "identity":
        return _identity(dim)
    if state is None or (name in ("cnn", "cnn_bn") and preprocess is None):
        raise CrossgraftError(f"the run holds no weights of backbone {name}", "run fit again, or copy the folder again")
    from crossgraft.backbones.weights import with_state

    made = _cnn(preprocess, name) if preprocess is not None else _mlp(int(state["first.weight"].shape[1]))
    return with_state(made, state, preprocess)


def _first(domain: Domain, n: int = 8) -> list[np.ndarray]:
    looked: list[np.ndarray] = []
    for i in range(len(domain)):
        try:
            looked.append(domain.read(i))
        except Unreadable:
            continue
        if len(looked) == n:
            break
    if not looked:
        raise CrossgraftError(
            f"{domain.name} has no example that can be read",
            "look at its files, the first is " + (str(domain.names[0]) if len(domain) else "missing"),
        )
    return looked


def _identity(dim: int) -> Backbone:
    def build() -> nn.Module:
        from torch import nn

        return nn.Identity()

    return Backbone("identity", "identity", "vector", dim, build, ())


def _mlp(width: int, hidden: int = DIM) -> Backbone:
    def build() -> nn.Module:
        from torch import nn

        layers = [
            ("first", nn.Linear(width, hidden)),
            ("relu1", nn.ReLU()),
            ("second", nn.Linear(hidden, hidden)),
            ("relu2", nn.ReLU()),
        ]
        return _kaiming(nn.Sequential(OrderedDict(layers)))

    groups = (("first", ("first",)), ("second", ("second",)))
    return Backbone("mlp", f"mlp-{width}", "vector", hidden, build, groups, pretrained=False, portable=False)


def _cnn(preprocess: Preprocess, name: str) -> Backbone:
    """Convolutions of 5 x 5 at half the resolution, then 3 x 3 with max pooling down to 4 x 4, then one full layer.

    cnn_bn normalises batches after every convolution, for methods that adapt those layers.
    """
    stages = {32: (32, 64), 64: (32, 64, 64)}[preprocess.size]

    def build() -> nn.Module:
        from torch import nn

        def norm(width: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(width)] if name == "cnn_bn" else []

        stem = nn.Sequential(nn.Conv2d(preprocess.channels, 16, 5, stride=2, padding=2), *norm(16), nn.ReLU())
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
        width = 16
        for i, wider in enumerate(stages):
            convolution = nn.Conv2d(width, wider, 3, padding=1)
            layers[f"conv{i + 1}"] = nn.Sequential(convolution, *norm(wider), nn.ReLU(), nn.MaxPool2d(2))
            width = wider
        layers["full"] = nn.Sequential(nn.Flatten(), nn.Linear(width * 16, DIM), nn.ReLU())
        return _kaiming(nn.Sequential(layers))

    names = ("stem", *(f"conv{i + 1}" for i in range(len(stages))), "full")
    revision = f"{name}-{preprocess.size}-{preprocess.channels}"
    groups = tuple((n, (n,)) for n in names)
    return Backbone(name, revision, "image", DIM, build, groups, preprocess, pretrained=False, portable=False)


def _kaiming(module: nn.Module) -> nn.Module:
    """Variance 2 / fan-in (He et al. 2015), which keeps the scale through ReLUs where nothing normalises."""
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return module.eval()
