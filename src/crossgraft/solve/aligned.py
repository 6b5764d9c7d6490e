"""A linear head on frames, by the cross-entropy summed over alignments; lambda and ridge by folds of clips.

Not convex, as the alignments are not known: from a head of zeros, which takes all of them for alike, or from the
source's head, it goes down to the nearest minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import a_symbol, cross_entropy
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.seeds import rng
from crossgraft.solve.by_folds import searching
from crossgraft.solve.convex import Head
from crossgraft.solve.threads import threads_for
from crossgraft.tasks import log_softmax

RIDGES = (1e-3, 1e-4, 1e-5)  # for frames of mean squared norm 1
STEPS, MEMORY, ENOUGH = 200, 20, 1e-6  # of L-BFGS; least change of the objective, nats a symbol
FEW, FEW_STEPS = 100, 60  # clips of the source, and steps, by which lambda and ridge are chosen
MANY = 200  # clips from which one part that is held out takes the place of folds


@dataclass(frozen=True)
class Utterances:
    """weight * mean cross-entropy of a symbol, over the transcripts of one domain."""

    x: Frames
    symbols: Ragged
    weight: float = 1.0

    def take(self, rows: Int[np.ndarray, " n"]) -> Utterances:
        """Some of the clips."""
        return replace(self, x=self.x[rows], symbols=self.symbols[rows])


def solve(
    parts: Sequence[Utterances], n_columns: int, ridge: float, start: Head | None = None, steps: int = STEPS
) -> Head:
    """Minimise sum of weighted cross-entropies a symbol + ridge/2 |W|^2 by L-BFGS, in float32."""
    import torch
    from torch.nn import functional as F

    dim = parts[0].x.flat.shape[1]
    weight = torch.zeros(dim, n_columns) if start is None else torch.from_numpy(start.weight).float()
    bias = torch.zeros(n_columns) if start is None else torch.from_numpy(start.bias).float()
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    held = [
        (
            torch.from_numpy(p.x.padded().astype(np.float32)).transpose(0, 1).contiguous(),
            torch.from_numpy(p.symbols.flat.astype(np.int64)),
            torch.from_numpy(p.x.lengths),
            torch.from_numpy(p.symbols.lengths),
            p.weight / max(len(p.symbols.flat), 1),
        )
        for p in parts
    ]
    descent = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, history_size=MEMORY, tolerance_change=ENOUGH, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        descent.zero_grad()
        total = ridge / 2 * weight.square().sum()
        for x, symbols, frames, counts, each in held:
            log_p = (x @ weight + bias).log_softmax(2)
            total = total + each * F.ctc_loss(log_p, symbols, frames, counts, reduction="sum")
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    with threads_for(max(x.numel() for x, *_ in held) * n_columns):
        descent.step(objective)  # type: ignore[no-untyped-call]
        value = float(objective())
    return Head(weight.detach().double().numpy(), bias.detach().double().numpy(), value)


def losses(head: Head, part: Utterances) -> Float[np.ndarray, " n"]:
    """Cross-entropy of each clip, whose mean is that of a symbol."""
    log_p = log_softmax(part.x.flat.astype(np.float64) @ head.weight + head.bias)
    found = cross_entropy(log_p, part.x.lengths, part.symbols.flat, part.symbols.lengths)
    return a_symbol(found, part.symbols.lengths)


def choose(
    target: Utterances,
    source: Utterances | None,
    n_columns: int,
    seed: int,
    folds: Sequence[Int[np.ndarray, " m"]],
    *,
    lam: float | None = None,
    ridge: float | None = None,
    start: Head | None = None,
) -> tuple[float, float]:
    """Lambda and ridge of CE(target) + lam CE(source) + ridge/2 |W|^2 by the target's held-out cross-entropy.

    As `by_folds.searching` has it. The source is a hundred of its clips, drawn by `seed`.
    """
    n = len(target.symbols)
    few = None if source is None else source.take(rng(seed, "choose").permutation(len(source.symbols))[:FEW])

    @cache
    def held_out(lam: float, ridge: float) -> Float[np.ndarray, " n"]:
        found = np.empty(n)
        for held in folds:
            parts = [target.take(np.setdiff1d(np.arange(n), held)[:MANY])]
            parts += [replace(few, weight=lam)] if few is not None and lam else []
            own = start if few is not None and lam else None  # without the source nothing of it may help
            head = solve(parts, n_columns, ridge, own, FEW_STEPS)
            found[held] = losses(head, target.take(held)) * target.symbols.lengths[held].mean()
            advance(1)
        judged = np.concatenate(folds)
        each: np.ndarray = found[judged] / target.symbols.lengths[judged].mean()  # one mean over all symbols held out
        return each

    with searching(len(folds), few is not None, lam, ridge, RIDGES) as (advance, search):
        return search(held_out)
