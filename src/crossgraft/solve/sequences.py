"""A linear head by the cross-entropy of whole sequences: transcripts of frames, tags of words.

Of transcripts it is summed over alignments. Not convex, as these are not known: from a head of zeros, which takes all
of them for alike, or from the source's head, it goes down to the nearest minimum. Of tags it is a linear-chain CRF,
which is convex; transitions are under the same ridge, as if the tag before were one more feature of norm 1. Lambda and
ridge by folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import a_symbol, cross_entropy
from crossgraft.chains import Chain
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.seeds import rng
from crossgraft.side import Side
from crossgraft.solve.by_folds import searching
from crossgraft.solve.convex import Head
from crossgraft.solve.threads import threads_for
from crossgraft.tasks import log_softmax

RIDGES = (1e-3, 1e-4, 1e-5)  # for frames of mean squared norm 1
STEPS, MEMORY, ENOUGH = 200, 20, 1e-6  # of L-BFGS; least change of the objective, nats a symbol
FEW, FEW_STEPS = 100, 60  # sequences of the source, and steps, by which lambda and ridge are chosen
MANY = 200  # sequences from which one part that is held out takes the place of folds


@dataclass(frozen=True)
class Sequences:
    """weight * mean cross-entropy of an element, over the labelled sequences of one domain.

    x        frames of each clip, or words of each sentence
    labels   places within `columns` of a transcript's symbols, or of a tag a word
    columns  of the head that its softmax runs over
    follows  of tags: 0 where one of the whole head may follow another, else -inf, (U, U); None of transcripts
    """

    x: Frames
    labels: Ragged
    columns: Int[np.ndarray, " k"]
    weight: float = 1.0
    follows: Float[np.ndarray, "U U"] | None = None

    @classmethod
    def of(cls, side: Side, rows: Int[np.ndarray, " n"], x: Any) -> Sequences:
        """Labelled rows of a domain with their features: frames of clips, or a row a word."""
        if (words := side.words(rows)) is None:
            assert side.truth is not None
            return cls(x, side.truth[rows], side.columns)
        ends = np.cumsum(words)
        return cls(Frames(x, ends), Ragged(side.labels[rows], ends), side.columns, follows=side.follows)

    def take(self, rows: Int[np.ndarray, " n"]) -> Sequences:
        """Some of them."""
        return replace(self, x=self.x[rows], labels=self.labels[rows])


def solve(
    parts: Sequence[Sequences], n_columns: int, ridge: float, start: Head | None = None, steps: int = STEPS
) -> Head:
    """Minimise sum of weighted cross-entropies an element + ridge/2 |W|^2 by L-BFGS, in float32; of a CRF the bias and
    the transitions are under the ridge too, and the optimum is unique."""
    import torch
    from torch.nn import functional as F

    from crossgraft.objective.terms import chain_losses

    first = start or Head(np.zeros((parts[0].x.flat.shape[1], n_columns)), np.zeros(n_columns))
    follows = parts[0].follows
    before = first.transitions if first.transitions is not None else np.zeros((n_columns, n_columns))
    weight, bias, moves = (
        torch.from_numpy(np.nan_to_num(a, neginf=0.0)).float().clone().requires_grad_()
        for a in (first.weight, first.bias, before)
    )
    never = None if follows is None else torch.from_numpy(follows).float()
    learned = [weight, bias] if never is None else [weight, bias, moves]
    shrunk = [weight] if never is None else learned
    held = [
        (
            torch.from_numpy(p.x.flat).float().contiguous(),
            torch.from_numpy(p.x.places()),
            torch.from_numpy(p.labels.flat.astype(np.int64)),
            torch.from_numpy(p.x.lengths),
            torch.from_numpy(p.labels.lengths),
            torch.from_numpy(p.columns),
            p.weight / max(len(p.labels.flat), 1),
        )
        for p in parts
    ]
    descent = torch.optim.LBFGS(
        learned, max_iter=steps, history_size=MEMORY, tolerance_change=ENOUGH, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        descent.zero_grad()
        total = ridge / 2 * sum((a.square().sum() for a in shrunk), torch.zeros(()))
        for x, at, labels, lengths, counts, columns, each in held:
            z = x @ weight[:, columns] + bias[columns]
            if never is None:
                log_p = z.log_softmax(1).index_select(0, at.flatten()).view(*at.shape, -1)
                total = total + each * F.ctc_loss(log_p, labels, lengths, counts, reduction="sum")
            else:
                own = (moves + never)[columns][:, columns]
                total = total + each * chain_losses(z, labels, lengths, own).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    with threads_for(max(x.numel() for x, *_ in held) * n_columns):
        descent.step(objective)  # type: ignore[no-untyped-call]
        value = float(objective())
    found = [a.detach().double().numpy() for a in (weight, bias, moves)]
    return Head(found[0], found[1], value, transitions=None if follows is None else found[2] + follows)


def losses(head: Head, part: Sequences) -> Float[np.ndarray, " n"]:
    """Cross-entropy of each sequence, whose mean is that of an element."""
    z = (part.x.flat.astype(np.float64) @ head.weight + head.bias)[:, part.columns]
    if head.transitions is None:
        found = cross_entropy(log_softmax(z), part.x.lengths, part.labels.flat, part.labels.lengths)
    else:
        own = Chain(z, head.transitions[np.ix_(part.columns, part.columns)], part.x.lengths)
        found = np.add.reduceat(own.losses(part.labels.flat), part.x.ends - part.x.lengths)
    return a_symbol(found, part.labels.lengths)


def choose(
    target: Sequences,
    source: Sequences | None,
    n_columns: int,
    seed: int,
    folds: Sequence[Int[np.ndarray, " m"]],
    *,
    lam: float | None = None,
    ridge: float | None = None,
    start: Head | None = None,
) -> tuple[float, float]:
    """Lambda and ridge of CE(target) + lam CE(source) + ridge/2 |W|^2 by the target's held-out cross-entropy.

    As `by_folds.searching` has it. The source is a hundred of its sequences, drawn by `seed`. A fold of a CRF begins
    where its last solution ended.
    """
    n = len(target.labels)
    few = None if source is None else source.take(rng(seed, "choose").permutation(len(source.labels))[:FEW])
    starts: dict[int, Head] = {}

    @cache
    def held_out(lam: float, ridge: float) -> Float[np.ndarray, " n"]:
        found = np.empty(n)
        for i, held in enumerate(folds):
            parts = [target.take(np.setdiff1d(np.arange(n), held)[:MANY])]
            parts += [replace(few, weight=lam)] if few is not None and lam else []
            own = start if few is not None and lam else None  # without the source nothing of it may help
            head = solve(parts, n_columns, ridge, starts.get(i, own), FEW_STEPS)
            if target.follows is not None:
                starts[i] = head
            found[held] = losses(head, target.take(held)) * target.labels.lengths[held].mean()
            advance(1)
        judged = np.concatenate(folds)
        each: np.ndarray = found[judged] / target.labels.lengths[judged].mean()  # one mean over all elements held out
        return each

    with searching(len(folds), few is not None, lam, ridge, RIDGES) as (advance, search):
        return search(held_out)
