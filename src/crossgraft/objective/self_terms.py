"""Terms whose P is the model's own output on inputs without labels, and terms with pseudo-labels or weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from crossgraft.objective.terms import alignment, cross_entropy
from crossgraft.objective.views import View


def entropies(logits: Float[Tensor, "B k"]) -> Float[Tensor, " B"]:
    """H(p_i) = -sum_k p_ik log p_ik, nats."""
    log_p = logits.float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def entropy(view: View) -> Float[Tensor, ""]:
    """mean_i H(p_i) (Grandvalet and Bengio, NeurIPS 2004)."""
    return entropies(view.logits).mean()


def information_maximisation(view: View) -> Float[Tensor, ""]:
    """mean_i H(p_i) - H(mean_i p_i): sure of each example, all classes used (Krause et al., NeurIPS 2010)."""
    mean = view.logits.float().softmax(1).mean(0)
    total: Tensor = entropies(view.logits).mean() + torch.special.xlogy(mean, mean).sum()
    return total


def class_confusion(view: View, *, temperature: float = 2.5) -> Float[Tensor, ""]:
    """MCC: Y = softmax(z/T), W_i = B (1 + e^-H_i) / sum_j (1 + e^-H_j) detached, C = Y' W Y with rows adding to 1;
    (sum C - tr C) / k (Jin et al., ECCV 2020)."""
    z = view.logits.float() / temperature
    y = z.softmax(1)
    w = 1 + (-entropies(z.detach())).exp()
    w = len(w) * w / w.sum()
    c = y.T @ (w[:, None] * y)
    c = c / c.sum(1, keepdim=True).clamp(min=torch.finfo(c.dtype).tiny)
    return (c.sum() - c.trace()) / len(c)


def balance(view: View) -> Float[Tensor, ""]:
    """H(u, mean_i p_i), u uniform over the k classes: infinite where one is never named, ln k where all are alike
    (the class balance loss of Saito et al., CVPR 2018)."""
    log_p = view.logits.float().log_softmax(1)
    return -(log_p.logsumexp(0) - math.log(len(log_p))).mean()


def pseudo(view: View, *, known: Int[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """The cross-entropy of pseudo-labels from a table; -1 where there is none.

    Of utterances of pseudo-transcripts, rows of symbols that -1 fills up: -(1/S) sum_i log sum_a prod_t Q_it(a_t) over
    the clips that have one and their S symbols, a running over its alignments with the frames (Kahn et al. 2020).
    """
    if view.frames is None:
        return cross_entropy(replace(view, labels=known, soft=None))
    counts = (known >= 0).sum(1)
    said, frames = counts > 0, view.frames
    here = said.repeat_interleave(frames)
    spoken = View(view.features[here], view.logits[here], known[known >= 0], frames=frames[said], symbols=counts[said])
    return alignment(spoken)


def fixmatch(view: View, *, threshold: float = 0.95) -> Float[Tensor, ""]:
    """(1/B) sum_i [max p_i >= t] -log q_i(argmax p_i), p the weak view, detached, q the strong one (Sohn 2020)."""
    assert view.strong is not None
    sure, label = view.logits.detach().float().softmax(1).max(1)
    losses = F.cross_entropy(view.strong.logits.float(), label, reduction="none")
    return (losses * (sure >= threshold)).mean()


def weighted(view: View, *, known: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """sum_i w_i CE_i / B, w of mean 1 over the domain (Bickel et al., ICML 2007; Lipton et al., ICML 2018)."""
    losses = F.cross_entropy(view.logits.float(), view.labels, ignore_index=-1, reduction="none")
    return (known * losses).mean()


def named(source: View, target: View, *, known: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """sum_i w_i CE_i / B of the source, w_i = k gamma_{y_i}, gamma the model's mean output on the whole target: what it
    is not named as counts for little (Cao et al., ECCV 2018)."""
    return weighted(source, known=known)


def second(view: View, *, second: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    """The cross-entropy of a second classifier on the same features."""
    return cross_entropy(replace(view, logits=second(view.features)))


def discrepancy(view: View, *, second: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    """mean_i mean_k |p1_ik - p2_ik| of two classifiers (Saito et al., CVPR 2018)."""
    p1, p2 = (z.float().softmax(1) for z in (view.logits, second(view.features)))
    return (p1 - p2).abs().mean()


def agreement(view: View, *, second: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    """-discrepancy: what the heads minimise while the layers hold still."""
    return -discrepancy(view, second=second)
