"""A trained model on the target, by either solver: the convex one or the gradient loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft import features
from crossgraft.backbones.backbone import Backbone
from crossgraft.features.frames import Frames, each
from crossgraft.objective.algebra import Objective, ce
from crossgraft.seeds import rng
from crossgraft.side import Side
from crossgraft.solve import sequences
from crossgraft.solve.by_folds import by_folds
from crossgraft.solve.convex import Part
from crossgraft.solve.joint import solve_alone, solve_joint
from crossgraft.solve.moved import to_the_target
from crossgraft.solve.path import Path, Point, scaling
from crossgraft.solve.sequences import Sequences
from crossgraft.tasks import log_softmax

__all__ = ["Fitted", "descend", "for_moving_layers", "frozen_features", "solve_frozen", "solve_source"]

if TYPE_CHECKING:
    from crossgraft.solve.net import Net
    from crossgraft.solve.settings import Settings

# Frozen features say little about lambda for layers that move. By digits of seeds 100 to 103, 1 to 5 labels a class.
MOVING_LAMS = (0.3, 3.0)
FEW_LAM = 10.0  # least with one label a class; with n of them a share 1/n, as the variance of their mean
CHOICE_FOLDS = 3  # of sentences, by which lambda and ridge of a head on their words are chosen


@dataclass(eq=False)
class Fitted:
    """Backbone and head: weight (D, U), bias (U,), over a temperature; transitions (U, U) of a CRF; what trained it."""

    backbone: Backbone
    weight: Float[np.ndarray, "D U"]
    bias: Float[np.ndarray, " U"]
    objective: Objective
    schedule: str
    lam: float | None = None
    ridge: float | None = None
    path: Path | None = None
    point: Point | None = None
    transitions: Float[np.ndarray, "U U"] | None = None
    temperature: float = 1.0

    def log_probabilities(self, side: Side, rows: Int[np.ndarray, " n"] | None = None) -> Any:
        """log p(y|x) over the classes of a domain, for some of its rows, (n, k); as `Side.says` has them."""
        return side.says(self.logits(self.features(side, rows), side.columns), rows, self.transitions)

    def features(self, side: Side, rows: Int[np.ndarray, " n"] | None = None) -> Any:
        """What the head reads of some rows of a domain."""
        if self.backbone.portable:
            return side.features(self.backbone)[slice(None) if rows is None else rows]
        if (held := side.kept.get(("embedded", self.backbone.revision))) is not None:  # a head was solved on them
            return held[slice(None) if rows is None else rows]
        at = slice(None) if rows is None else side.examples(rows)
        return features.embed(self.backbone, side.pixels(self.backbone)[at])

    def of_features(self, x: Any, columns: Int[np.ndarray, " k"]) -> Any:
        """log p(y|x) over these columns, from what the head reads."""
        return each(log_softmax, self.logits(x, columns))

    def logits(self, x: Any, columns: Int[np.ndarray, " k"]) -> Any:
        """The same before the softmax."""
        return each(lambda flat: flat.astype(np.float64) @ self.weight[:, columns] + self.bias[columns], x)


def nothing(backbone: Backbone, n_columns: int) -> Fitted:
    """A backbone before any head has learned."""
    return Fitted(backbone, np.zeros((backbone.dim, n_columns)), np.zeros(n_columns), Objective(), "none")


def solve_frozen(
    backbone: Backbone,
    target: Side,
    rows: Int[np.ndarray, " n"],
    source: Side | None,
    n_columns: int,
    seed: int,
    *,
    lam: float | None = None,
    ridge: float | None = None,
    judged: bool = True,
    start: Fitted | None = None,
) -> Fitted:
    """The convex solver on frozen features: lambda and ridge by the leave-one-out cross-entropy of the target.

    lam, ridge  hold one of them; None takes it from the path
    judged      whether leave-one-out is wanted where both are held
    start       the source's head, from which that of sequences goes down: of transcripts the problem is not convex

    Of sentences and of groups (`Side.groups`), folds of them take the place of leaving one row out, on a coarser grid
    (`by_folds`). Transcripts, and tags that are learned as sequences, have a solver of their own (`sequences`).
    The source enters with weight lambda. The path reads at most 2,000 source examples drawn by `seed`: their mean
    stands for that of all, which the final head is solved from.
    """
    if target.truth is not None or target.follows is not None:
        return _solve_sequences(backbone, target, rows, source, n_columns, seed, lam=lam, ridge=ridge, start=start)
    x, y = frozen_features(backbone, target)[rows], target.answers(rows)
    x_source = None if source is None or lam == 0 else frozen_features(backbone, source)
    scale = scaling(x) if x_source is None else scaling(x, x_source)
    part, beside = Part(scale.apply(x), y, target.columns), None
    if source is not None and x_source is not None:
        beside = Part(scale.apply(x_source), source.answers(), source.columns, 1.0, source.weights)
    apart = target.lengths is not None or target.groups(rows) is not None
    if apart and (judged or lam is None or ridge is None):
        held = target.folds(rows, seed, "head", CHOICE_FOLDS)
        sums = lambda losses: target.independent(target.by_example(losses, rows), rows)  # noqa: E731
        lam, ridge = by_folds(part, beside, n_columns, seed, held, sums, lam=lam, ridge=ridge)
        judged = False
    found = solve_joint(part, beside, n_columns, seed, lam=lam, ridge=ridge, judged=judged)
    head, lam = scale.fold(found.head), found.lam if beside is not None else lam
    lam = lam if source is not None else None
    objective = ce("target") if lam is None else ce("target") + lam * ce("source")
    return Fitted(backbone, head.weight, head.bias, objective, "frozen", lam, found.ridge, found.path, found.point)


def for_moving_layers(start: Fitted, per_class: float) -> Fitted:
    """A frozen solution as the start of layers that move: its lambda, where the source counts, within bounds.

    per_class  target labels a class, on the mean: the fewer, the more the source must hold the layers
    """
    if not start.lam:
        return start
    low, high = np.maximum(MOVING_LAMS, FEW_LAM / per_class)
    return with_lam(start, float(np.clip(start.lam, low, high)))


def with_lam(start: Fitted, lam: float) -> Fitted:
    """The same start, for an objective of another lambda."""
    return replace(start, lam=lam, objective=ce("target") + lam * ce("source"))


def solve_source(backbone: Backbone, source: Side, n_columns: int, seed: int) -> Fitted:
    """The source's own head on frozen features; its ridge by the cross-entropy of a fifth of the source held out."""
    if source.truth is not None or source.follows is not None:
        rows = np.flatnonzero(source.labels >= 0)
        found = _solve_sequences(backbone, source, rows, None, n_columns, seed)
        return replace(found, objective=ce("source"), ridge=None)
    x, y = frozen_features(backbone, source), source.answers()
    scale = scaling(x)
    held = None if source.lengths is None else source.folds(np.arange(len(y)), seed, "source_head")[0]
    part = Part(scale.apply(x), y, source.columns, sample_weight=source.weights)
    head = scale.fold(solve_alone(part, n_columns, seed, held=held).head)
    return Fitted(backbone, head.weight, head.bias, ce("source"), "frozen")


def _solve_sequences(
    backbone: Backbone, target: Side, rows: Int[np.ndarray, " n"], source: Side | None, n_columns: int, seed: int, *,
    lam: float | None = None, ridge: float | None = None, start: Fitted | None = None,
) -> Fitted:  # fmt: skip
    """The head of transcripts on frozen frames, or of a CRF on words; lambda and ridge by folds of sequences."""
    sides = [target] if source is None or lam == 0 else [target, source]
    xs = [frozen_features(backbone, s) for s in sides]
    scale = scaling(*(x.flat if isinstance(x, Frames) else x for x in xs))
    own, beside, first = Sequences.of(target, rows, each(scale.apply, xs[0][rows])), None, None
    if source is not None and lam != 0:
        labelled = np.flatnonzero(source.labels >= 0)
        beside = Sequences.of(source, labelled, each(scale.apply, xs[1][labelled]))
        if start is not None and start.backbone.dim == backbone.dim:
            first = replace(scale.unfold(start.weight, start.bias), transitions=start.transitions)
        if target.truth is not None:
            beside, first = to_the_target(beside, own, source.domain.take(labelled).groups, first)
    if lam is None or ridge is None:
        examples = target.examples(rows)
        groups = [rng(seed, "head").permutation(len(examples))[: sequences.FEW]]  # of many a part tells enough
        if len(examples) <= sequences.MANY:
            held = target.folds(rows, seed, "head", CHOICE_FOLDS)
            groups = [np.searchsorted(examples, target.examples(rows[h])) for h in held]
        lam, ridge = sequences.choose(own, beside, n_columns, seed, groups, lam=lam, ridge=ridge, start=first)
    parts = [own] if beside is None or not lam else [own, replace(beside, weight=lam)]
    head = scale.fold(sequences.solve(parts, n_columns, ridge, first if lam else None))
    lam = lam if source is not None else None
    objective = ce("target") if lam is None else ce("target") + lam * ce("source")
    return Fitted(backbone, head.weight, head.bias, objective, "frozen", lam, ridge, transitions=head.transitions)


def frozen_features(backbone: Backbone, side: Side) -> Any:
    """Features through the store, or straight through the layers of a backbone of this run alone."""
    if backbone.portable:
        return side.features(backbone)
    key = ("embedded", backbone.revision)
    if key not in side.kept:
        side.kept[key] = features.embed(backbone, side.pixels(backbone))
    return side.kept[key]


def descend(
    start: Fitted,
    sides: Mapping[str, tuple[Side, Int[np.ndarray, " n"]]],
    objective: Objective,
    schedule: str,
    settings: Settings,
    *,
    head: bool,
    augment: str,
    seed: int,
    use: str,
    evaluate: tuple[Side, Int[np.ndarray, " m"]] | None = None,
    checkpoint: FilePath | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> Fitted:
    """The gradient loop from a backbone and (where `head`) its head; the backbone that is given stays as it is.

    `sides` names the domains of the objective: each with the rows that it learns from. `evaluate`, where given, is
    held out: its cross-entropy stops the training.
    """
    from crossgraft.objective.heads import transitions
    from crossgraft.solve.augment import augmentation_for
    from crossgraft.solve.loop import Stream
    from crossgraft.solve.moving import learn

    backbone = start.backbone
    columns = {name: side.columns for name, (side, _) in sides.items()}
    first = start.transitions if head else None
    if first is None:
        first = next(side.follows for side, _ in sides.values())
    streams = {
        name: Stream(*side.batches(backbone, rows), settings.batch_size, changed, known=side.known(rows))
        for name, (side, rows) in sides.items()
        for changed in [augmentation_for(augment, side.domain)]
    }
    held_out = None
    if evaluate is not None:
        side, rows = evaluate
        held = side.batches(backbone, rows)[0]
        domain = next(name for name, (s, _) in sides.items() if s is side)

        def held_out(net: Net) -> float:
            z: Any = net.said(held, domain)
            if backbone.frames is not None:
                z = Frames(z, np.cumsum(backbone.frames(held.lengths)))
            own = transitions(net.heads)
            return side.loss(side.says(z, rows, None if own is None else own.array()), rows)

    found = learn(
        backbone, streams, columns, objective, schedule, settings, (start.weight, start.bias), copied=head,
        seed=seed, use=use, transitions=first, evaluate=held_out, checkpoint=checkpoint, log=log,
    )  # fmt: skip
    return Fitted(*found.head, objective, schedule, transitions=found.transitions)
