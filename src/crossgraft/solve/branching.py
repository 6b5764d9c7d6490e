"""Heads of a trunk that branches, and which of its weights are whose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from crossgraft.backbones.branches import Branches
from crossgraft.solve.net import Net

Columns = Sequence[Int[np.ndarray, " k"]]  # of the head, of each branch


def spread(weight: Float[np.ndarray, "D U"], columns: Columns) -> Float[np.ndarray, "KD U"]:
    """A head of plain layers as one of branches, whose columns read their own branch."""
    return np.concatenate([np.where(np.isin(np.arange(weight.shape[1]), own), weight, 0) for own in columns])


def confine(net: Net, columns: Columns) -> None:
    """Let the columns of each branch read its own features only: what else they would weigh is 0 and stays so."""
    weight = net.linear.weight
    mask = torch.from_numpy(spread(np.ones((weight.shape[1] // len(columns), weight.shape[0])), columns).T).to(weight)
    with torch.no_grad():
        weight.mul_(mask)
    weight.register_hook(lambda gradient: gradient * mask.to(gradient.device))  # type: ignore[no-untyped-call]


def of_all_tasks(net: Net) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What learns and is shared by all tasks, and what learns and is one task's own: heads, and layers of branches."""
    shared = list(net.layers.shared() if isinstance(net.layers, Branches) else net.layers.parameters())
    ids = {id(p) for p in shared}
    own = [*(p for p in net.layers.parameters() if id(p) not in ids), *net.linear.parameters()]
    return [p for p in shared if p.requires_grad], [p for p in own if p.requires_grad]
