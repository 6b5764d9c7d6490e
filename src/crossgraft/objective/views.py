"""What an objective sees of one domain in one batch."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from crossgraft.tasks import MISSING


@dataclass(frozen=True, eq=False)
class View:
    """One domain in one batch; k counts the domain's own classes, not the columns of the whole head.

    features  what the head reads
    logits    of the domain's own classes
    labels    long, -1 where missing
    soft      distributions that take the place of one-hot labels (mixup); not read where the label is missing
    """

    features: Float[Tensor, "B D"]
    logits: Float[Tensor, "B k"]
    labels: Int[Tensor, " B"]
    soft: Float[Tensor, "B k"] | None = None

    @property
    def labelled(self) -> Tensor:
        """1 where there is a label, else 0, (B,) in the type of the logits."""
        return (self.labels != MISSING).to(self.logits.dtype)
