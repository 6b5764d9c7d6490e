from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crossgraft import features
from crossgraft.backbones.backbone import Preprocess
from crossgraft.backbones.given import from_module
from crossgraft.domains import open_domain
from crossgraft.errors import UsageError


def test_a_module_of_ones_own_gives_the_features_that_it_gives() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    p = Preprocess(12, 1, (0.5,), (0.5,), "bilinear")
    backbone = from_module(net, p)
    assert (backbone.kind, backbone.dim) == ("image", 16)
    every = sorted(n for n, _ in net.named_parameters())
    held = sorted(n for n in every for _, prefixes in backbone.groups if any(n.startswith(f"{q}.") for q in prefixes))
    assert held == every
    x = np.random.default_rng(0).integers(0, 256, (5, 12, 12), dtype=np.uint8)
    values = features.pixels(open_domain(x, "x"), backbone).values
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x / 127.5 - 1).float()[:, None]).numpy()
    np.testing.assert_allclose(features.embed(backbone, values), expected, atol=1e-5)


def test_a_module_that_gives_no_rows_of_features_is_refused() -> None:
    with pytest.raises(UsageError, match="Flatten"):
        from_module(nn.Conv2d(1, 4, 3), Preprocess(12, 1))
    with pytest.raises(UsageError, match="does not take"):
        from_module(nn.Linear(4, 2), 3)
