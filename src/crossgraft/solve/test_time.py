"""TENT: a batch that is predicted first makes the model sure of it; then the model is as it was (Wang et al. 2021)."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch.nn.modules.batchnorm import _BatchNorm

from crossgraft.backbones.backbone import Backbone
from crossgraft.errors import UsageError
from crossgraft.features.ragged import Ragged, tensor
from crossgraft.objective.self_terms import entropies
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import HEAD


def tent(
    backbone: Backbone,
    weight: Float[np.ndarray, "D k"],
    bias: Float[np.ndarray, " k"],
    values: Shaped[np.ndarray, "N ..."] | Ragged,
    *,
    batch_size: int = 128,
    steps: int = 1,
    lr: float = 1e-3,
    reset: bool = True,
) -> Float[np.ndarray, "N k"]:
    """log p(y|x) of inputs in their order: for every batch, `steps` steps of Adam on its mean entropy, then its output.

    What learns is the scale and shift of BatchNorm layers, which take the statistics of the batch, not their own.
    reset  whether every batch begins at the model that was given; without, the batches before it count as well

    Raises UsageError where there is no such layer, or one input alone. The backbone is left as it was.
    """
    module = copy.deepcopy(backbone.module)
    own = replace(backbone, build=lambda: module)
    net = Net(own, {"target": np.arange(len(bias))}, len(bias), seed=0).only_norms()
    net.set_head(weight, bias)
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        raise UsageError(f"backbone {backbone.name} has no batch normalisation to adapt", "predict without tent")
    if len(values) < 2:
        raise UsageError("statistics of one input are none", "predict several inputs at once, or without tent")
    net.linear.requires_grad_(False)
    parameters = [p for part, each in net.parts().items() if part != HEAD for p in each]
    net.eval()
    for m in norms:
        m.track_running_stats, m.running_mean, m.running_var = False, None, None  # the batch's own
    start = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    out = []
    ends = [*range(batch_size, len(values) - 1, batch_size), len(values)]  # no last batch of one
    for first, last in zip([0, *ends], ends, strict=False):
        if reset:
            for p, p0 in zip(parameters, start, strict=True):
                p.data.copy_(p0)
            optimiser = torch.optim.Adam(parameters, lr=lr)
        batch = tensor(values[first:last])
        for _ in range(steps):
            optimiser.zero_grad()
            entropies(net.logits(net.features(batch), "target")).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            out.append(net.logits(net.features(batch), "target").double().log_softmax(1))
    return torch.cat(out).numpy()
