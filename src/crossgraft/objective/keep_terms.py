"""Terms that keep what the source taught: start weights, features of small spread, teachers, relations of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from crossgraft.objective.views import View


def l2_sp(*, now: Sequence[Tensor], start: Sequence[Tensor], new: Sequence[Tensor]) -> Float[Tensor, ""]:
    """(|w - w0|^2 + |v|^2) / 2, w the layers, w0 where they began, v the head (Li, Grandvalet, Davoine, ICML 2018)."""
    moved = [(w - w0).square().sum() for w, w0 in zip(now, start, strict=True)]
    total: Tensor = torch.stack([*moved, *(v.square().sum() for v in new)]).sum() / 2
    return total


def batch_spectrum(view: View, *, k: int = 1) -> Float[Tensor, ""]:
    """BSS: the k smallest squared singular values of the batch's features (Chen et al., NeurIPS 2019)."""
    smallest: Tensor = torch.linalg.svdvals(view.features.float())[-k:]
    return smallest.square().sum()


def teacher(view: View, *, source: Callable[[Tensor], Tensor], temperature: float = 2.0) -> Float[Tensor, ""]:
    """LwF: T^2 H(softmax(z0/T), softmax(z/T)) over the source's classes, z0 as training began (Li and Hoiem 2016)."""
    assert view.teacher is not None
    p = (view.teacher.logits.float() / temperature).softmax(1)
    log_q = (source(view.features).float() / temperature).log_softmax(1)
    return -(temperature**2) * (p * log_q).sum(1).mean()


def relation(view: View, *, source: Callable[[Tensor], Tensor], relation: Float[Tensor, "k z"]) -> Float[Tensor, ""]:
    """Co-tuning: H(p(y_s | y_i), the source head at x_i), a mean over labelled rows (You et al., NeurIPS 2020).

    relation  p(y_s | y_t), (k, z)
    """
    log_q = source(view.features).float().log_softmax(1)
    losses = -(relation[view.labels.clamp(min=0)] * log_q).sum(1) * view.labelled
    return losses.sum() / view.labelled.sum().clamp(min=1)
