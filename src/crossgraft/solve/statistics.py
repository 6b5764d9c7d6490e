"""BatchNorm statistics of a domain in place of those that were learned (AdaBN)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from crossgraft.backbones.backbone import Backbone
from crossgraft.errors import UsageError
from crossgraft.features.ragged import Ragged, tensor
from crossgraft.solve.net import Net


def norms_of(backbone: Backbone) -> list[_BatchNorm]:
    """The BatchNorm layers of a backbone; raises UsageError where there is none."""
    norms = [m for m in backbone.module.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        raise UsageError(
            f"backbone {backbone.name} has no batch normalisation to adapt", "use cnn_bn, or another method"
        )
    return norms


def estimate(net: Net, values: np.ndarray[Any, Any] | Ragged, batch_size: int = 256) -> None:
    """The statistics of BatchNorm layers become those of these inputs (Li et al., Pattern Recognition 80, 2018).

    Raises UsageError where there is no such layer, or fewer than two inputs.
    """
    norms = norms_of(net.backbone)
    if len(values) < 2:
        raise UsageError("statistics of one input are none", "give at least two unlabelled inputs, better hundreds")
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum, m.training = None, True  # None: the mean over all batches
    # A last small batch would weigh as much as the others.
    whole = len(values) - len(values) % batch_size or len(values)
    with torch.no_grad():
        for i in range(0, whole, batch_size):
            net.features(tensor(values[i : i + batch_size]).to(net.linear.weight.device))
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum, m.training = momentum, False
