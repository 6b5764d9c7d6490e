"""The cross-entropies, as pure functions of views. A new term is one function here and one row in methods.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from crossgraft.chains import START, by_time
from crossgraft.objective.views import View
from crossgraft.tasks import MISSING

if TYPE_CHECKING:
    from crossgraft.backbones.language import Vocabulary

ROWS = 512  # words whose logits over a whole vocabulary are in memory at once


def cross_entropy(
    view: View, *, label_smoothing: float = 0.0, class_weights: Float[Tensor, " k"] | None = None
) -> Float[Tensor, ""]:
    """H = -(1/n) sum_i sum_k P_i(k) log Q_i(k) over the n labelled elements, in nats.

    Q_i = softmax(logits_i); P_i is one-hot at the label, or the row of `view.soft`.
    label_smoothing  s: P_i becomes (1 - s) P_i + s / k  (Szegedy et al., CVPR 2016)
    class_weights    w (k,): element i weighs w_i = sum_k P_i(k) w(k) before smoothing, and n becomes sum_i w_i
    Rows that weigh differently (`view.weight`, of mean 1 over their domain) do so in the sum, n staying what it is.
    Without a labelled element the value is 0, with a gradient of 0. Of utterances it is `alignment`, of a CRF `chain`,
    of sets of classes `bernoullis`.

    >>> logits = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    >>> round(cross_entropy(View(logits, logits, torch.tensor([1, -1]))).item(), 4)
    0.6931
    """
    if view.transitions is not None:
        return chain(view)
    if view.frames is not None:
        return alignment(view)
    if view.labels.ndim == 2:
        return bernoullis(view, label_smoothing=label_smoothing)
    logits = view.logits.float()
    weighed = "weight" in view.rows
    if view.soft is None and class_weights is None and not weighed:  # one fused kernel for the usual case
        total = F.cross_entropy(
            logits, view.labels, ignore_index=MISSING, reduction="sum", label_smoothing=label_smoothing
        )
        return total / (view.labels != MISSING).sum().clamp(min=1)
    k = logits.shape[1]
    p = F.one_hot(view.labels.clamp(min=0), k).to(logits.dtype) if view.soft is None else view.soft
    w = view.labelled.to(logits.dtype)
    if class_weights is not None:
        w = w * (p @ class_weights)
    p = (1 - label_smoothing) * p + label_smoothing / k
    losses = -(p * F.log_softmax(logits, dim=1)).sum(1)
    # Where no element weighs anything the numerator is 0 too.
    total = (w * view.weight * losses).sum() if weighed else (w * losses).sum()
    return total / w.sum().clamp(min=torch.finfo(w.dtype).tiny)


def bernoullis(view: View, *, label_smoothing: float = 0.0) -> Float[Tensor, ""]:
    """H = -(1/n) sum_i w_i sum_k [y_ik log Q_ik + (1 - y_ik) log(1 - Q_ik)] over the n labelled elements, in nats.

    Q = sigma(logits), y (B, k) is 1 where a class holds; a row of -1 has no label. The sum over classes is the
    cross-entropy of K independent Bernoulli variables; w of mean 1 over the domain.
    label_smoothing  s: y becomes (1 - s) y + s / 2

    >>> z = torch.zeros(2, 3)
    >>> round(bernoullis(View(z, z, torch.tensor([[1, 0, 0], [-1, -1, -1]]))).item() / 3, 4)
    0.6931
    """
    known = view.labels[:, 0] != MISSING
    y = (1 - label_smoothing) * (view.labels == 1).float() + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(view.logits.float(), y, reduction="none").sum(1)
    return torch.where(known, view.weight * losses, 0.0).sum() / known.sum().clamp(min=1)


def words(view: View, *, vocabulary: Vocabulary) -> Float[Tensor, ""]:
    """H = -(1/n) sum_i log Q_i(w_i) over the n words that were hidden, or come next, nats a word piece.

    Q_i = softmax(W t(f_i) + b) over the vocabulary, f_i the state where word i is asked for (Devlin et al., NAACL
    2019). The logits of all n words are never in memory together.
    """
    x, weight, bias = vocabulary(view.features)
    if hasattr(F, "linear_cross_entropy") and len(x) > ROWS:
        options = nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS)
        return F.linear_cross_entropy(x, weight, view.labels, linear_bias=bias, options=options)

    def summed(x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x, weight, bias), labels, reduction="sum")

    parts = zip(torch.split(x, ROWS), torch.split(view.labels, ROWS), strict=True)
    total: Tensor = torch.stack([checkpoint(summed, *part, use_reentrant=False) for part in parts]).sum()
    return total / len(x)


def alignment(view: View) -> Float[Tensor, ""]:
    """-(1/S) sum_i log sum_a prod_t Q_it(a_t) over the S symbols of all transcripts, in nats.

    a runs over the alignments of transcript i with its frames, Q_it = softmax(logits of frame t), column 0 is the blank
    (Graves et al., ICML 2006). A clip that has too few frames for its transcript counts 0; without a transcript the
    value is 0.

    >>> z = torch.zeros(2, 2)
    >>> view = View(z, z, torch.tensor([1]), frames=torch.tensor([2]), symbols=torch.tensor([1]))
    >>> round(alignment(view).exp().item(), 4)  # three of four paths say it
    1.3333
    """
    assert view.frames is not None
    if view.symbols is None or not len(view.symbols):
        return 0.0 * view.logits.float().sum()
    clips = list(torch.split(view.logits.float().log_softmax(1), view.frames.tolist()))
    total = F.ctc_loss(
        nn.utils.rnn.pad_sequence(clips), view.labels, view.frames, view.symbols, reduction="sum", zero_infinity=True
    )
    return total / view.symbols.sum().clamp(min=1)


def chain(view: View) -> Float[Tensor, ""]:
    """-(1/W) sum_i log p(y_i | x_i) over the W words of all sentences, in nats; p is a linear-chain CRF.

    >>> z = torch.zeros(2, 2)
    >>> view = View(z, z, torch.tensor([0, 1]), frames=torch.tensor([2]), transitions=torch.zeros(2, 2))
    >>> round(chain(view).exp().item(), 4)  # two of four sequences a word
    2.0
    """
    assert view.frames is not None
    assert view.transitions is not None
    losses = chain_losses(view.logits.float(), view.labels, view.frames, view.transitions.float())
    return losses.sum() / max(len(view.labels), 1)


def chain_losses(
    z: Float[Tensor, "W k"], tags: Int[Tensor, " W"], lengths: Int[Tensor, " S"], transitions: Float[Tensor, "k k"]
) -> Float[Tensor, " S"]:
    """log Z(x) - sum_t (A[y_{t-1}, y_t] + z_t[y_t]) of each sentence, the longest first; the formula of `chains`."""
    n = lengths.cpu().numpy()
    rows = [torch.from_numpy(r).to(z.device) for r in by_time(n)]
    counts, at = [len(r) for r in rows], torch.cat(rows)
    ways, labels = torch.split(z[at], counts), torch.split(tags[at], counts)
    owner = torch.cat([torch.arange(c, device=z.device) for c in counts])
    before = torch.cat([torch.full_like(labels[0], START), *(y[:c] for y, c in zip(labels, counts[1:], strict=False))])
    said = transitions[before, tags[at]] + z[at].gather(1, tags[at][:, None])[:, 0]
    alpha, over, weight, least = ways[0] + transitions[START], [], transitions.exp(), torch.finfo(z.dtype).tiny
    for own in ways[1:]:
        over.append(alpha[len(own) :].logsumexp(1))
        most = alpha[: len(own)].detach().amax(1, keepdim=True)
        alpha = ((alpha[: len(own)] - most).exp() @ weight).clamp(min=least).log() + most + own
    log_partition = torch.cat([alpha.logsumexp(1), *over[::-1]])
    return log_partition - torch.zeros_like(log_partition).index_add(0, owner, said)
