"""What low-rank adapters must do beside any layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossgraft.backbones import adapters


def stand_beside(module: Any, rows: Tensor) -> list[str]:
    """Adapters change nothing at first, then what they learn, and the same once they are merged; the names of the
    parameters that learn while they stand there."""
    names, before = list(module.state_dict()), module(rows)
    adapters.add(module, 0)
    assert torch.equal(module(rows), before)
    learning = [n for n, p in module.named_parameters() if p.requires_grad]
    with torch.no_grad():
        for name, p in module.named_parameters():
            if ".lora_B" in name:
                p.fill_(0.05)
    moved = module(rows)
    adapters.merge(module)
    assert list(module.state_dict()) == names
    assert not torch.allclose(moved, before, atol=1e-3)
    assert torch.allclose(module(rows), moved, atol=1e-5)
    return learning
