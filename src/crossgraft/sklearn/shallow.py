"""Transfer on arrays: the path, the source's own head and the guard of the library, on rows that a door has checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.choose import MARGINS, SIMPLEST_FIRST
from crossgraft.measure.compare import Verdict, guard
from crossgraft.measure.priors import LabelShift, label_shift
from crossgraft.measure.validators import odds
from crossgraft.objective.algebra import Objective, ce
from crossgraft.seeds import rng
from crossgraft.sklearn.align import coral
from crossgraft.sklearn.coordinates import Coordinates, Matrix, coordinates
from crossgraft.sklearn.opinion import Opinion, affine
from crossgraft.solve.convex import Head, Part, solve
from crossgraft.solve.joint import Joint, solve_alone, solve_joint
from crossgraft.solve.path import scaling
from crossgraft.tasks import log_softmax

Rows = Float[np.ndarray, "n d"]
PULLS = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # ridges towards the source: at the last hardly anything moves


@dataclass(frozen=True)
class Asked:
    """How to transfer; `TransferClassifier` says what each means."""

    lam: float | None
    ridge: float | None
    weights: str | None
    label_shift: str | None
    align: str | None
    pseudo: int
    guard: bool
    most: float
    seed: int


@dataclass(frozen=True, eq=False)
class Given:
    """Checked rows, labels as columns of the head; y_t of labelled target rows, z of target rows without a label."""

    x_t: Matrix
    y_t: Int[np.ndarray, " n"]
    z: Matrix
    x_s: Matrix | None
    y_s: Int[np.ndarray, " S"]
    columns_t: Int[np.ndarray, " k"]
    columns_s: Int[np.ndarray, " k"]
    n_columns: int
    opinion: Opinion | None = None
    opinion_columns: tuple[int, ...] = ()  # the column of each class that the source model knows, -1 for none


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
    row_weights: Float[np.ndarray, " S"] | None
    shift: LabelShift | None
    reaches: bool


def transfer(given: Given, asked: Asked) -> Transferred:
    """The models that the rows allow, and the one that the guard keeps."""
    g = given
    if asked.align == "auto":
        aligned = replace(asked, align="coral")
        if g.x_s is None or len(g.y_t) == 0:
            return transfer(g, aligned)
        return min((transfer(g, a) for a in (replace(asked, align=None), aligned)), key=_evidence)
    matrices = [m for m in (g.x_t, g.z, g.x_s) if m is not None]
    where, (x_t, z, *rest) = coordinates(matrices, asked.most)
    x_s: Rows | None = rest[0] if rest else None
    if x_s is not None and asked.align == "coral":
        x_s = coral(x_s, np.concatenate([x_t, z]))
    scale = scaling(*([x_t] if len(x_t) else [z]), *([x_s] if x_s is not None else []))
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
    models, evidence = _models(g, asked, Part(u_t, g.y_t, g.columns_t), u_z, source, prior)
    order = [m for m in SIMPLEST_FIRST if m in models]
    if len(g.y_t) == 0:
        verdict = Verdict(order[-1], "The target has no label to judge by.")
    elif not asked.guard or len(order) == 1:
        name = "transfer" if "transfer" in models else order[0]
        verdict = Verdict(name, "It is what was asked for; nothing was compared.")
    else:
        verdict = guard(evidence, simplest_first=order, margins=MARGINS)
    found = models[verdict.kept]
    head, extra = found.head, None
    if prior is not None and not exact:
        d = len(scale.centre)
        head, extra = replace(head, weight=head.weight[:d]), head.weight[d:]
    weight, bias = where.up(scale.fold(head))
    both = {"target_only": ce("target"), "source_only": ce("source")}
    joint = ce("target") if found.lam is None else ce("target") + found.lam * ce("source")
    objective = both.get(verdict.kept, joint)
    reaches = source is None or bool(np.isin(g.columns_s, g.columns_t).any())
    return Transferred(
        *(weight, bias, extra, verdict.kept, objective, found.lam, found.ridge, verdict),
        *(models.get("transfer"), weights, shift, reaches),
    )


def _evidence(found: Transferred) -> float:
    """Leave-one-out cross-entropy of the transfer, nats."""
    return found.solved.point.loo if found.solved is not None and found.solved.point is not None else float("inf")


def _models(
    g: Given, asked: Asked, target: Part, z: Rows, source: Part | None, prior: Head | None
) -> tuple[dict[str, Joint], dict[str, Float[np.ndarray, " n"]]]:
    """Target only, transfer, source only: those that there are rows for, with their held-out losses."""
    models: dict[str, Joint] = {}
    if len(target.y):
        ridge = asked.ridge
        models["target_only"] = solve_joint(target, None, g.n_columns, asked.seed, ridge=ridge)
        if source is not None or prior is not None:
            models["transfer"] = _transfer(g, asked, target, source, prior)
    evidence = {name: m.point.losses for name, m in models.items() if m.point is not None}
    if source is not None:
        models["source_only"] = solve_alone(source, g.n_columns, asked.seed, prior=prior)
    elif prior is not None:
        models["source_only"] = Joint(prior, None, float("nan"))
    if "source_only" in models and len(target.y) == 0 and source is not None:
        models["source_only"] = _labelled_by_itself(models["source_only"], source, z, g, asked, prior)
    if "source_only" in models and len(target.y):
        judged = next(m.path.rows for m in models.values() if m.path is not None)
        head = models["source_only"].head
        log_p = log_softmax((target.x[judged] @ head.weight + head.bias)[:, target.columns])
        evidence["source_only"] = -log_p[np.arange(len(judged)), np.searchsorted(target.columns, target.y[judged])]
    return models, evidence


def _transfer(g: Given, asked: Asked, target: Part, source: Part | None, prior: Head | None) -> Joint:
    """The joint head, or the target's head pulled towards the source's: the latter unless the former is better.

    Better means by more than one standard error of the paired leave-one-out losses. The pulled head leaves the source's
    only where few labels say so, which a path that shrinks to zero cannot.
    """
    found: dict[str, Joint] = {}
    if asked.lam is None:
        towards = prior or (solve_alone(source, g.n_columns, asked.seed).head if source is not None else None)
        found["pulled"] = solve_joint(
            target, None, g.n_columns, asked.seed, ridge=asked.ridge, prior=towards, ridges=PULLS
        )
    if source is not None:
        lam, ridge = asked.lam, asked.ridge
        found["joint"] = solve_joint(
            target, source, g.n_columns, asked.seed, lam=lam, ridge=ridge, prior=prior, rule="min"
        )
    losses = {name: f.point.losses for name, f in found.items() if f.point is not None}
    return found[guard(losses, list(found)).kept if len(losses) > 1 else next(iter(found))]


def _labelled_by_itself(found: Joint, source: Part, z: Rows, g: Given, asked: Asked, prior: Head | None) -> Joint:
    """Rounds of ce(source) + ce(unlabelled): each takes the most confident labels of every class, a growing share.

    Class-balanced self-training (Zou et al., ECCV 2018); every round is a convex problem, solved to its optimum.
    """
    for i in range(asked.pseudo if len(z) else 0):
        p = np.exp(log_softmax((z @ found.head.weight + found.head.bias)[:, g.columns_t]))
        labels, sure = p.argmax(1), p.max(1)
        share = (i + 1) / asked.pseudo
        taken = np.zeros(len(z), dtype=bool)
        for c in np.unique(labels):
            at = np.flatnonzero(labels == c)
            taken[at[np.argsort(-sure[at], kind="stable")[: max(1, round(share * len(at)))]]] = True
        own = Part(z[taken], g.columns_t[labels[taken]], g.columns_t)
        head = solve([source, own], g.n_columns, ridge=found.ridge, prior=prior, start=found.head)
        found = replace(found, head=head)
    return found


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
