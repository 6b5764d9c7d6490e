"""How several tasks share one trunk: the table of weightings. Adding one: its function, its row.

Letters: K tasks with losses L_k in nats and gradients g_k by the shared layers; G = (g_j . g_k) their Gramian, (K, K);
w the weights, (K,). The shared layers descend sum_k w_k g_k; a task's own head descends its own loss, unweighted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossgraft.errors import UsageError, nearest
from crossgraft.processes import mean_over

Losses = Float[Tensor, " K"]
TEMPERATURE = 2.0  # of dynamic weight average
ASYMMETRY, RATE = 1.5, 0.025  # of GradNorm: alpha, and the step of its weights
STRETCH = 25  # steps whose mean loss is an "epoch" of dynamic weight average


@dataclass(frozen=True)
class Row:
    """A weighting, by one of two functions.

    loss   (state, losses (K,)) to the scalar that all layers descend: one backward pass
    weigh  (state, losses (K,), Gramian (K, K)) to weights (K,) of the tasks' own gradients: K backward passes
    """

    name: str
    citation: str
    loss: Callable[[Weighting, Losses], Tensor] | None = None
    weigh: Callable[[Weighting, Losses, Float[Tensor, "K K"]], Losses] | None = None
    learned: bool = False


class Weighting(nn.Module):
    """The state of a weighting, saved with the net, so that a resumed training goes on as it was.

    weights  w of the last step
    first    the losses of the first step
    before   mean losses of the two stretches of steps before this one, whose sums are in `sums`, the steps last
    """

    first: Tensor
    weights: Tensor
    sums: Tensor
    before: Tensor

    def __init__(self, name: str, tasks: int) -> None:
        super().__init__()
        self.row = row_of(name)
        if self.row.learned:
            self.log_variance = nn.Parameter(torch.zeros(tasks))
        self.register_buffer("first", torch.full((tasks,), torch.nan))
        self.register_buffer("weights", torch.ones(tasks))
        self.register_buffer("sums", torch.zeros(tasks + 1))
        self.register_buffer("before", torch.full((2, tasks), torch.nan))

    def backward(
        self, losses: Sequence[Tensor], shared: Sequence[Tensor], heads: Sequence[Tensor], accelerator: Any
    ) -> None:
        """Put the gradients of a step in place: of the shared layers as the weighting has it, of the heads their own.

        losses       of the tasks, each times what its weight in the objective is
        accelerator  what goes backwards and takes the mean over processes
        """
        each = torch.stack(list(losses))
        self.first.copy_(torch.where(self.first.isnan(), each.detach(), self.first))
        if self.row.loss is not None:
            accelerator.backward(self.row.loss(self, each))
            return
        assert self.row.weigh is not None
        learning = [*shared, *heads]
        g, own = [], []
        for loss in losses:
            found = torch.autograd.grad(loss, learning, retain_graph=True, allow_unused=True, materialize_grads=True)
            g.append(torch.cat([x.flatten() for x in found[: len(shared)]]) if shared else each.new_zeros(1))
            own.append(found[len(shared) :])
        gradients = mean_over(accelerator, torch.stack(g))
        w = self.row.weigh(self, each.detach(), (gradients @ gradients.T).double()).to(gradients.dtype)
        self.weights.copy_(w)
        total, at = w @ gradients, 0
        for parameter in shared:
            own_part = total[at : at + parameter.numel()].view(parameter.shape)
            parameter.grad = torch.empty_like(parameter).copy_(own_part)  # laid as the parameter is
            at += parameter.numel()
        for parameter, parts in zip(heads, zip(*own, strict=True), strict=True):
            parameter.grad = mean_over(accelerator, torch.stack(parts).sum(0))


def plain_sum(state: Weighting, losses: Losses) -> Tensor:
    """sum_k L_k."""
    return losses.sum()


def uncertainty(state: Weighting, losses: Losses) -> Tensor:
    """sum_k exp(-s_k) L_k + s_k / 2, s_k = log sigma_k^2 learned."""
    s = state.log_variance
    state.weights.copy_(torch.exp(-s.detach()))
    return (torch.exp(-s) * losses + s / 2).sum()


def dynamic_weight_average(state: Weighting, losses: Losses) -> Tensor:
    """sum_k w_k L_k, w_k = K softmax_k(r_k / T), r_k = L_k(t-1) / L_k(t-2), of the two stretches of steps before."""
    if state.sums[-1] == STRETCH:
        state.before.copy_(torch.stack([state.before[1], state.sums[:-1] / STRETCH]))
        state.sums.zero_()
    state.sums += torch.cat([losses.detach(), losses.new_ones(1)])
    r = (state.before[1] / state.before[0].clamp(min=1e-12)).nan_to_num(1.0)
    state.weights.copy_(len(losses) * torch.softmax(r / TEMPERATURE, 0))
    return (state.weights * losses).sum()


def gradnorm(state: Weighting, losses: Losses, gramian: Tensor) -> Losses:
    """One step of w on sum_k |w_k |g_k| - mean_j(w_j |g_j|) r_k^alpha|, r_k = L_k / L_k(0) over the mean of all."""
    norms = gramian.diagonal().clamp(min=0).sqrt().to(losses.dtype)
    left = losses / state.first.clamp(min=1e-12)
    wanted = (state.weights * norms).mean() * (left / left.mean().clamp(min=1e-12)) ** ASYMMETRY
    slope = torch.sign(state.weights * norms - wanted) * norms / norms.mean().clamp(min=1e-12)
    w = (state.weights - RATE * slope).clamp(min=1e-3)
    return w * len(w) / w.sum()


def by_library(name: str, **options: float) -> Callable[[Weighting, Losses, Tensor], Losses]:
    """A weighting that torchjd computes from the Gramian."""

    def weigh(state: Weighting, losses: Losses, gramian: Tensor) -> Losses:
        try:
            from torchjd import aggregation
        except ImportError:
            raise UsageError(f"weighting {state.row.name} needs torchjd", "pip install 'crossgraft[multi]'") from None
        w: Tensor = getattr(aggregation, name)(**options)(gramian)
        return w

    return weigh


WEIGHTINGS = {row.name: row for row in (
    Row("equal", "Kurin et al., NeurIPS 2022; Xin et al., NeurIPS 2022", loss=plain_sum),
    Row("uncertainty", "Kendall, Gal and Cipolla, CVPR 2018", loss=uncertainty, learned=True),
    Row("dwa", "Liu, Johns and Davison, CVPR 2019", loss=dynamic_weight_average),
    Row("gradnorm", "Chen et al., ICML 2018", weigh=gradnorm),
    Row("pcgrad", "Yu et al., NeurIPS 2020", weigh=by_library("PCGradWeighting")),
    Row("mgda", "Desideri 2012; Sener and Koltun, NeurIPS 2018", weigh=by_library("MGDAWeighting")),
    Row("nash", "Navon et al., ICML 2022; Ban and Ji 2024", weigh=by_library("FairGradWeighting", alpha=1.0)),
    Row("imtl", "Liu et al., ICLR 2021", weigh=by_library("IMTLGWeighting")),
    Row("aligned", "Senushkin et al., CVPR 2023", weigh=by_library("AlignedMTLWeighting")),
)}  # fmt: skip


def row_of(name: str) -> Row:
    """The row of a name. Raises UsageError where there is none."""
    if name not in WEIGHTINGS:
        raise UsageError(
            f"unknown weighting {name!r}",
            nearest(name, list(WEIGHTINGS)) or f"the weightings are {', '.join(WEIGHTINGS)}",
        )
    return WEIGHTINGS[name]
