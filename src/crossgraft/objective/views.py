"""What an objective sees of one domain in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crossgraft.tasks import MISSING


@dataclass(frozen=True, eq=False)
class View:
    """One domain in one batch; k counts the domain's own classes, not the columns of the whole head.

    features  what the head reads
    logits    of the domain's own classes
    labels    long, -1 where missing; of sets of classes 1 where one holds, else 0, (B, k)
    soft      distributions that take the place of one-hot labels (mixup); not read where the label is missing
    strong    the same examples under the strong augmentation
    teacher   the same inputs through the layers and the source columns as they were when training began
    rows      what is known of each row: pseudo-labels (B,) long, weights (B,) float; by the name in the term's row, and
              as "weight" what each row of the domain weighs, a mean of 1 over all of them
    frames    of utterances, whose rows are frames: how many each clip has (n,); labels are the symbols of all
              transcripts then, and `symbols` (n,) how many of them are each clip's, None where no clip has one; of a
              CRF the words of each sentence
    transitions  of a CRF, what a tag weighs after another
    """

    features: Float[Tensor, "B D"]
    logits: Float[Tensor, "B k"]
    labels: Int[Tensor, "B ..."]
    soft: Float[Tensor, "B k"] | None = None
    strong: View | None = None
    teacher: View | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    frames: Int[Tensor, " n"] | None = None
    symbols: Int[Tensor, " n"] | None = None
    transitions: Float[Tensor, "k k"] | None = None

    @property
    def weight(self) -> Tensor:
        """What each row weighs, (B,); 1 where nothing else is known."""
        return self.rows["weight"] if "weight" in self.rows else torch.ones_like(self.features[:, 0])

    def spread(self, name: str) -> Tensor:
        """What is known of each example by a name, for each row of the features, (B,): of utterances for each frame."""
        known = self.rows[name]
        return known if self.frames is None else known.repeat_interleave(self.frames)

    @property
    def labelled(self) -> Tensor:
        """1 where there is a label, else 0, (B,) in the type of the logits."""
        return (self.labels != MISSING).to(self.logits.dtype)
