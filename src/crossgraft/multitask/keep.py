"""Which model a task is predicted by: together, unless the others harm it beyond noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crossgraft.measure.compare import paired

BEYOND = 2.0  # standard errors of the paired difference from which a task is better alone
MAIN = 0.0  # the same for the task that matters: what looks like harm to it is not risked
Losses = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Kept:
    """Which model a task is predicted by, and why."""

    model: str
    why: str


def harmed(joint: Losses, alone: Losses, beyond: float = BEYOND) -> bool:
    """Whether held-out losses are worse together than alone, by so many standard errors."""
    d = joint - alone
    return bool(len(d) > 1 and d.mean() > beyond * d.std(ddof=1) / np.sqrt(len(d)))


def kept_for(joint: Losses, alone: Losses, beyond: float = BEYOND) -> Kept:
    """The joint model, unless a task is better alone by so many standard errors."""
    if len(joint) < 2:
        return Kept(
            "joint", "With fewer than two held-out examples nothing can be compared; joint is what was asked for."
        )
    d = paired(joint, alone)
    said = (
        f"On {len(joint)} held-out examples the cross-entropy together is {joint.mean():.3f} nats, alone"
        f" {alone.mean():.3f} (difference {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}])"
    )
    if harmed(joint, alone, beyond):
        why = f" by more than {beyond:g} standard errors" if beyond else ""
        return Kept("alone", f"{said}: it is better alone{why}.")
    return Kept("joint", f"{said}.")
