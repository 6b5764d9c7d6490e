"""Terms that tell domains apart, the gradient reversed; beside them CORAL and MMD, which are no cross-entropies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from crossgraft.objective.self_terms import entropies
from crossgraft.objective.views import View

Classifier = Callable[[Tensor], Tensor]


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None


def reverse(x: Tensor, scale: float) -> Tensor:
    """x; its gradient comes back times -scale (Ganin et al. 2016)."""
    result: Tensor = _Reverse.apply(x, scale)
    return result


def ramp(progress: float) -> float:
    """2 / (1 + e^(-10 p)) - 1: from 0 at the first step to 1 at the last (Ganin et al. 2016)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def domain_losses(z_s: Float[Tensor, "S 1"], z_t: Float[Tensor, "T 1"]) -> tuple[Tensor, Tensor]:
    """-log sigma(z) of source rows and -log (1 - sigma(z)) of target rows, nats."""
    return F.softplus(-z_s.float())[:, 0], F.softplus(z_t.float())[:, 0]


def dann(source: View, target: View, *, domain: Classifier, progress: float) -> Float[Tensor, ""]:
    """The domain cross-entropy, (CE_s + CE_t) / 2, ln 2 at chance; below D the gradient is reversed and ramped."""
    z = domain(reverse(torch.cat([source.features, target.features]), ramp(progress)))
    on_source, on_target = domain_losses(z[: len(source.features)], z[len(source.features) :])
    return ((source.weight * on_source).mean() + on_target.mean()) / 2


def pada(source: View, target: View, *, domain: Classifier, progress: float, known: Tensor) -> Float[Tensor, ""]:
    """DANN whose source rows weigh w_i = k gamma_{y_i}, gamma the model's mean output on the target: classes that the
    target lacks are not what it is to look like. (mean_i w_i CE_s,i + CE_t) / 2 (Cao et al., ECCV 2018)."""
    z = domain(reverse(torch.cat([source.features, target.features]), ramp(progress)))
    on_source, on_target = domain_losses(z[: len(source.features)], z[len(source.features) :])
    return ((source.weight * known * on_source).mean() + on_target.mean()) / 2


def dann_groups(source: View, target: View, *, groups: Classifier, progress: float) -> Float[Tensor, ""]:
    """-(mean_S log D(g_i | f_i) + mean_T log D(g_i | f_i)) / 2, g_i the group of row i among K of both domains: a
    speaker or a room, all that is not known to be of one group being one. The gradient is reversed and ramped as in
    DANN; K = 2 is DANN. A frame is of its clip's group (Shinohara, Interspeech 2016; Meng et al., ICASSP 2018)."""
    z = groups(reverse(torch.cat([source.features, target.features]), ramp(progress)))
    g = torch.cat([view.spread("group") for view in (source, target)])
    losses, n = F.cross_entropy(z.float(), g, reduction="none"), len(source.features)
    return ((source.weight * losses[:n]).mean() + losses[n:].mean()) / 2


def cdan(
    source: View,
    target: View,
    *,
    conditional: Callable[[Tensor, Tensor], Tensor],
    progress: float,
    weighting: str = "none",
) -> Float[Tensor, ""]:
    """As DANN, D seeing f (x) g with g = softmax(z) (Long et al., NeurIPS 2018).

    weighting  "none": the gradient through g is reversed as that through f is, the article's game, in which layers and
               classifier deceive D. Otherwise g is detached as in the authors' code, and w = 1 + e^-H(g) is
               "per_domain", normalised in each domain, the gradient through w reversed as there, or "joint",
               normalised over both and detached
    """
    lam, n = ramp(progress), len(source.features)
    f, z = torch.cat([source.features, target.features]), torch.cat([source.logits, target.logits]).float()
    out = conditional(reverse(f, lam), (reverse(z, lam) if weighting == "none" else z.detach()).softmax(1))
    on_source, on_target = domain_losses(out[:n], out[n:])
    on_source = source.weight * on_source
    if weighting == "none":
        return (on_source.mean() + on_target.mean()) / 2
    w = 1 + (-entropies(reverse(z, lam) if weighting == "per_domain" else z.detach())).exp()
    if weighting == "joint":
        return (w * torch.cat([on_source, on_target])).sum() / w.sum()
    w_s, w_t = w[:n] / w[:n].sum().detach(), w[n:] / w[n:].sum().detach()
    return ((w_s * on_source).sum() + (w_t * on_target).sum()) / 2


def adda(source: View, target: View, *, domain: Classifier) -> Float[Tensor, ""]:
    """The domain cross-entropy of D alone: source rows through the layers as they began, target rows as they are."""
    assert source.teacher is not None
    on_source, on_target = domain_losses(domain(source.teacher.features), domain(target.features.detach()))
    return (on_source.mean() + on_target.mean()) / 2


def fooled(view: View, *, domain: Classifier) -> Float[Tensor, ""]:
    """-log sigma(D(f)) of target rows: D is to take them for the source's (Tzeng et al., CVPR 2017)."""
    z = domain(view.features)
    return domain_losses(z, z)[0].mean()


def coral(source: View, target: View) -> Float[Tensor, ""]:
    """|C_s - C_t|_F^2 / (4 d^2), covariances with n - 1 (Sun and Saenko 2016)."""
    c_s, c_t = (v.features.float().T.cov() for v in (source, target))
    return (c_s - c_t).square().sum() / (4 * len(c_s) ** 2)


def mmd(source: View, target: View) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy, k(x, y) the mean of exp(-|x - y|^2 / (m b)) over m = 1/4, 1/2, 1, 2, 4.

    b is the mean squared distance, detached. The biased estimate, which is never negative (Gretton et al., JMLR 2012).
    """
    n = len(source.features)
    f = torch.cat([source.features, target.features]).float()
    d = (f.square().sum(1, keepdim=True) + f.square().sum(1) - 2 * f @ f.T).clamp(min=0)
    b = d.detach().sum() / (len(f) * (len(f) - 1))
    k = torch.stack([(-d / (m * b.clamp(min=1e-12))).exp() for m in (0.25, 0.5, 1, 2, 4)]).mean(0)
    return k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()
