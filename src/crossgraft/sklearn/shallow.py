"""Transfer on arrays: the path, the source's own head and the guard of the library, on rows that a door has checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.choose import MARGINS, SIMPLEST_FIRST, TRANSFER_FIRST
from crossgraft.measure.compare import Verdict, guard
from crossgraft.measure.priors import LabelShift, label_shift
from crossgraft.measure.validators import odds
from crossgraft.objective.algebra import Objective, ce
from crossgraft.seeds import rng
from crossgraft.sklearn.align import coral, mean
from crossgraft.sklearn.blend import Blend, Spot, blend, probe, self_trained
from crossgraft.sklearn.coordinates import Coordinates, Matrix, coordinates
from crossgraft.sklearn.opinion import affine
from crossgraft.sklearn.problem import Asked, Given
from crossgraft.solve.convex import Head, Part, solve
from crossgraft.solve.joint import Joint, solve_alone, solve_joint
from crossgraft.solve.path import Scaling, scaling
from crossgraft.solve.pick import worse_by
from crossgraft.tasks import log_softmax

Rows = Float[np.ndarray, "n d"]
CLEARLY = {"target_only": 2.0, "source_only": 2.0}
PULLS = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # ridges towards the source: at the last hardly anything moves


@dataclass(frozen=True, eq=False)
class Transferred:
    """logits = x @ weight + opinion(x) @ extra + bias, and how they were chosen."""

    weight: Float[np.ndarray, "D U"]
    bias: Float[np.ndarray, " U"]
    extra: Float[np.ndarray, "Z U"] | None
    kept: str
    objective: Objective
    lam: float | None
    ridge: float | None
    verdict: Verdict
    solved: Joint | None
    spots: tuple[Spot, ...]
    align: str | None
    row_weights: Float[np.ndarray, " S"] | None
    shift: LabelShift | None
    reaches: bool


def transfer(given: Given, asked: Asked) -> Transferred:
    """The models that the rows allow, and the one that the guard keeps."""
    g = given
    matrices = [m for m in (g.x_t, g.z, g.x_s) if m is not None]
    where, (x_t, z, *rest) = coordinates(matrices, asked.most)
    reaches = g.x_s is None or bool(np.isin(g.columns_s, g.columns_t).any())
    x_s, align = _aligned(g, asked, x_t, z, rest[0] if rest else None, reaches)
    scale = _scaling(x_t, z, x_s)
    u_t, u_z, u_s = (None if x is None else scale.apply(x) for x in (x_t, z, x_s))
    prior, exact = _prior(g, where, scale.centre, scale.scale)
    if prior is not None and not exact:
        u_t, u_z, u_s = (
            None if u is None or m is None else np.concatenate([u, _opinion(g, m)], axis=1)
            for u, m in ((u_t, g.x_t), (u_z, g.z), (u_s, g.x_s))
        )
    assert u_t is not None
    assert u_z is not None
    weights, shift = _row_weights(g, asked, u_t, u_z, u_s, prior)
    source = None if u_s is None else Part(u_s, g.y_s, g.columns_s, sample_weight=weights)
    models, evidence, blended = _models(g, asked, Part(u_t, g.y_t, g.columns_t), u_z, source, prior, reaches)
    # the average leans on the source as little as labels say: what was asked for is left where it is clearly worse
    first, margins = (SIMPLEST_FIRST, MARGINS) if blended is None else (TRANSFER_FIRST, CLEARLY)
    order = [m for m in first if m in models]
    if len(g.y_t) == 0:
        verdict = Verdict(order[-1], "The target has no label to judge by.")
    elif not asked.guard or len(order) == 1:
        name = "transfer" if "transfer" in models else order[0]
        verdict = Verdict(name, "It is what was asked for; nothing was compared.")
    else:
        verdict = guard(evidence, simplest_first=order, margins=margins)
    found = models[verdict.kept]
    head, extra = found.head, None
    if blended is not None and verdict.kept == "transfer":
        head = self_trained(head, u_z, g.columns_t, asked.pseudo, blended.again)
    if prior is not None and not exact:
        d = len(scale.centre)
        head, extra = replace(head, weight=head.weight[:d]), head.weight[d:]
    weight, bias = where.up(scale.fold(head))
    both = {"target_only": ce("target"), "source_only": ce("source")}
    joint = ce("target") if found.lam is None else ce("target") + found.lam * ce("source")
    objective = both.get(verdict.kept, joint)
    spots = () if blended is None else blended.spots
    return Transferred(
        *(weight, bias, extra, verdict.kept, objective, found.lam, found.ridge, verdict),
        *(models.get("transfer"), spots, align, weights, shift, reaches),
    )


def _aligned(
    g: Given, asked: Asked, x_t: Rows, z: Rows, x_s: Rows | None, reaches: bool
) -> tuple[Rows | None, str | None]:
    """Source rows as asked; with "auto" given the target's mean, unless left-out labels are against it."""
    target, how = np.concatenate([x_t, z]), asked.align
    if how == "auto" and (asked.weights or asked.label_shift or g.opinion is not None or not reaches):
        how = None  # weights take the domains' difference for something else, a source model reads rows as they are
    if x_s is None or how is None:
        return x_s, None
    moved = coral(x_s, target) if how == "coral" else mean(x_s, target)
    if how == "auto" and len(g.y_t):
        losses = []
        for rows in (x_s, moved):
            scale = _scaling(x_t, z, rows)
            parts = Part(scale.apply(x_t), g.y_t, g.columns_t), Part(scale.apply(rows), g.y_s, g.columns_s)
            losses.append(probe(*parts, g.n_columns, asked.seed))
        worse, error = worse_by(losses[1], losses[0])
        if worse > error:
            return x_s, None
    return moved, "mean" if how == "auto" else how


def _scaling(x_t: Rows, z: Rows, x_s: Rows | None) -> Scaling:
    return scaling(np.concatenate([x_t, z]), *([] if x_s is None else [x_s]))


def _models(
    g: Given, asked: Asked, target: Part, z: Rows, source: Part | None, prior: Head | None, reaches: bool
) -> tuple[dict[str, Joint], dict[str, Float[np.ndarray, " n"]], Blend | None]:
    """Target only, transfer, source only: those that there are rows for, with their held-out losses."""
    models: dict[str, Joint] = {}
    blended: Blend | None = None
    if len(target.y):
        models["target_only"] = solve_joint(target, None, g.n_columns, asked.seed, ridge=asked.ridge)
        if source is not None and prior is None and asked.lam is None and reaches:
            blended = blend(target, source, g.n_columns, asked.seed, ridge=asked.ridge)
            models["transfer"] = Joint(blended.head, blended.spots[0].lam, blended.spots[0].ridge)
        elif source is not None or prior is not None:
            models["transfer"] = _transfer(g, asked, target, source, prior)
    evidence = {name: m.point.losses for name, m in models.items() if m.point is not None}
    if source is not None:
        models["source_only"] = solve_alone(source, g.n_columns, asked.seed, prior=prior)
    elif prior is not None:
        models["source_only"] = Joint(prior, None, float("nan"))
    if source is not None and len(target.y) == 0:
        found = models["source_only"]

        def again(own: Part) -> Head:
            return solve([source, own], g.n_columns, ridge=found.ridge, prior=prior, start=found.head)

        trained = self_trained(found.head, z, g.columns_t, asked.pseudo, again)
        models["source_only"] = replace(found, head=trained)
    if "source_only" in models and len(target.y):
        judged = next(m.path.rows for m in models.values() if m.path is not None)
        if blended is not None:
            evidence |= {"transfer": blended.losses[judged], "target_only": blended.target_only[judged]}
        head = models["source_only"].head
        log_p = log_softmax((target.x[judged] @ head.weight + head.bias)[:, target.columns])
        evidence["source_only"] = -log_p[np.arange(len(judged)), np.searchsorted(target.columns, target.y[judged])]
    return models, evidence, blended


def _transfer(g: Given, asked: Asked, target: Part, source: Part | None, prior: Head | None) -> Joint:
    """The joint head, or the target's head pulled towards the source model's: the latter unless the former is better.

    Better means by more than one standard error of the paired leave-one-out losses. The pulled head leaves the source's
    only where few labels say so, which a path that shrinks to zero cannot.
    """
    found: dict[str, Joint] = {}
    lam, ridge = asked.lam, asked.ridge
    if lam is None and prior is not None:
        found["pulled"] = solve_joint(target, None, g.n_columns, asked.seed, ridge=ridge, prior=prior, ridges=PULLS)
    if source is not None:
        found["joint"] = solve_joint(
            target, source, g.n_columns, asked.seed, lam=lam, ridge=ridge, prior=prior, rule="min"
        )
    losses = {name: f.point.losses for name, f in found.items() if f.point is not None}
    return found[guard(losses, list(found)).kept if len(losses) > 1 else next(iter(found))]


def _prior(g: Given, where: Coordinates, centre: np.ndarray, scale: float) -> tuple[Head | None, bool]:
    """The source model as the head that the ridge pulls towards; exact where it is affine in the features.

    Otherwise its logits become features of their own, whose weight the ridge pulls towards the identity.
    """
    if g.opinion is None:
        return None, True
    known = np.asarray(g.opinion_columns)
    rows = g.x_t if g.x_t.shape[0] else g.x_s if g.x_s is not None else g.z
    found = affine(g.opinion, rows)
    if found is None:
        d = len(centre)
        weight = np.zeros((d + len(known), g.n_columns))
        at = np.flatnonzero(known >= 0)
        weight[d + at, known[at]] = 1.0
        return Head(weight, np.zeros(g.n_columns)), False
    weight, bias = np.zeros((rows.shape[1], g.n_columns)), np.zeros(g.n_columns)
    at = np.flatnonzero(known >= 0)
    weight[:, known[at]], bias[known[at]] = found[0][:, at], found[1][at]
    seen = where.down(weight)
    return Head(seen * scale, bias + centre @ seen), True


def _opinion(g: Given, rows: Matrix) -> Rows:
    assert g.opinion is not None
    return g.opinion(rows) if rows.shape[0] else np.zeros((0, len(g.opinion_columns)))


def _row_weights(
    g: Given, asked: Asked, x_t: Rows, z: Rows, x_s: Rows | None, prior: Head | None
) -> tuple[Float[np.ndarray, " S"] | None, LabelShift | None]:
    """Weights of source rows: odds of the domain classifier, class frequencies of the target over the source's."""
    if x_s is None or (asked.weights is None and asked.label_shift is None):
        return None, None
    weights, shift = np.ones(len(x_s)), None
    target = np.concatenate([x_t, z])
    if asked.weights == "odds":
        weights = odds(x_s, target, seed=asked.seed)
    if asked.label_shift is not None:
        part = Part(x_s, g.y_s, g.columns_s)
        held, rest = np.split(rng(asked.seed, "label shift").permutation(len(x_s)), [len(x_s) // 3])
        own = solve_alone(replace(part, x=x_s[rest], y=g.y_s[rest]), g.n_columns, asked.seed, prior=prior).head
        p_held, p_target = (
            np.exp(log_softmax((x @ own.weight + own.bias)[:, g.columns_s])) for x in (x_s[held], target)
        )
        place = np.searchsorted(g.columns_s, g.y_s)
        method: Any = asked.label_shift
        shift = label_shift(p_held, place[held], p_target, method, resamples=20, seed=asked.seed)
        weights = weights * shift.weights[place]
    return weights, shift
