"""The door for Lightning: target and source cross-entropy, and a domain term, in one LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.objective import heads
from crossgraft.objective.domain_terms import dann
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View
from crossgraft.tasks import MISSING, shared_columns

if find_spec("lightning") is None:
    raise CrossgraftError("lightning is not installed", "pip install 'crossgraft[lightning]'")
import lightning

Batch = dict[str, tuple[Tensor, Tensor]]


class JointModule(lightning.LightningModule):  # type: ignore[misc]
    """CE(target) + lam CE(source) + rho domain CE with the gradient reversed, in nats; gives p(y|x) of the target.

    backbone        layers from inputs to features (B, D); those with requires_grad learn
    dim             D
    classes         the target's: their number, or their names
    source_classes  the source's names where they differ: classes of one name share their column of the head
    lam, rho        weights; 0 costs nothing. Below the domain classifier the gradient is reversed times
                    2 / (1 + e^(-10 p)) - 1, p the share of the Trainer's steps (Ganin et al. 2016)
    optimiser       of the groups of parameters; the domain classifier's has five times the rate

    Trained on `CombinedLoader({"target": ..., "source": ...}, "max_size_cycle")` of (x, y), labels 0..k-1 and -1 where
    one is missing; inputs of the target for the domain term alone, as "unlabelled". Validated and tested on a target's
    (x, y). `target`, `source`, `domain` and `val_target` are logged in nats, `val_accuracy` beside them.
    """

    def __init__(
        self,
        backbone: nn.Module,
        dim: int,
        classes: int | Sequence[str],
        source_classes: Sequence[str] | None = None,
        *,
        lam: float = 1.0,
        rho: float = 0.0,
        optimiser: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] = torch.optim.AdamW,
    ) -> None:
        super().__init__()
        for name, weight in (("lam", lam), ("rho", rho)):
            if not 0 <= weight < float("inf"):
                raise UsageError(f"{name} is {weight}", "give 0 or more")
        self.width, self.columns, n_columns = shared_columns(classes, source_classes)
        self.backbone, self.head = backbone, nn.Linear(dim, n_columns)
        self.domain = heads.HEADS["domain"](dim, n_columns) if rho else None
        self.lam, self.rho, self.optimiser = lam, rho, optimiser

    def forward(self, x: Tensor) -> Float[Tensor, "B K"]:
        """Probabilities of the target's classes."""
        return self.head(self.backbone(x))[:, : self.width].softmax(1)  # type: ignore[no-any-return]

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Each term that weighs more than nothing, nats, of a batch by domain: one pass through the backbone."""
        reads = {"target": True, "source": bool(self.lam or self.rho), "unlabelled": bool(self.rho)}
        if missing := [d for d in ("target", "source") if reads[d] and d not in batch]:
            raise UsageError(f"the batch has no {missing[0]}", "give a CombinedLoader of target and source")
        own = {d: batch[d] for d in reads if reads[d] and d in batch}
        parts = self.backbone(torch.cat([x for x, _ in own.values()])).split([len(x) for x, _ in own.values()])
        views = {d: self._view(d, f, y) for (d, (_, y)), f in zip(own.items(), parts, strict=True)}
        found = {d: cross_entropy(views[d]) for d in ("target", *(("source",) if self.lam else ()))}
        if self.domain is not None:
            there = views.get("unlabelled", views["target"])
            found["domain"] = dann(views["source"], there, domain=self.domain, progress=self.progress)
        return found

    @property
    def progress(self) -> float:
        """The share of the Trainer's steps that is done; 1 where it has none."""
        steps = float(self.trainer.estimated_stepping_batches)
        return min(self.trainer.global_step / steps, 1.0) if 0 < steps < float("inf") else 1.0

    def _view(self, domain: str, features: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> View:
        logits = self.head(features)
        source = slice(None) if self.columns is None else self.columns
        return View(features, logits[:, source] if domain == "source" else logits[:, : self.width], labels.long())

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The objective of a batch, nats."""
        found = self.terms(batch)
        weights = {"target": 1.0, "source": self.lam, "domain": self.rho}
        loss = torch.stack([weights[name] * value for name, value in found.items()]).sum()
        self.log_dict({**found, "loss": loss}, batch_size=len(batch["target"][0]))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """The target's cross-entropy, nats, and accuracy, over the rows with a label."""
        self._measured("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """As `validation_step`."""
        self._measured("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Float[Tensor, "B K"]:
        """Probabilities of the target's classes, of inputs with or without labels."""
        return self(batch[0] if isinstance(batch, (list, tuple)) else batch)  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One group of what learns, and one of the domain classifier."""
        rest = [p for n, p in self.named_parameters() if p.requires_grad and not n.startswith("domain.")]
        if self.domain is None:
            return self.optimiser([{"params": rest}])
        made = self.optimiser([{"params": rest}, {"params": list(self.domain.parameters())}])
        made.param_groups[1]["lr"] *= heads.HEAD_RATES["domain"]
        return made

    def _measured(self, name: str, batch: tuple[Tensor, Tensor]) -> None:
        x, y = batch
        view = self._view("target", self.backbone(x), y)
        n = int((view.labels != MISSING).sum())
        if n:
            hits = (view.logits.argmax(1) == view.labels).sum() / n
            self.log_dict({f"{name}_target": cross_entropy(view), f"{name}_accuracy": hits}, batch_size=n)
