"""What a gap between two domains consists of: classes, their frequencies, simple attributes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.domains.attributes import attributes, names_of
from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError
from crossgraft.folds import folds
from crossgraft.measure.divergence import conditional_gap, gap
from crossgraft.measure.priors import label_shift
from crossgraft.seeds import rng
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.path import scaling
from crossgraft.tasks import Classify, log_softmax

ROWS = 1000  # of a class, or of a domain for attributes, that are looked at
SHIFT_ROWS = 3000  # rows of a domain for the shift of labels
PERMUTATIONS = 199
RIDGES = (1e-2, 1e-3, 1e-4)

Features = Float[np.ndarray, "N D"]


def by_class(source: Domain, x: Features, target: Domain, z: Features, seed: int) -> dict[str, Any] | None:
    """The gap of each class, by name, that either domain has labels of; None where one of them has none."""
    if not source.classes or not target.classes:
        return None
    task = Classify.union(target.classes, source.classes)
    sides = []
    for name, domain, values in (("source", source, x), ("target", target, z)):
        labels, keep = task.encode(domain.labels), []
        for c in np.unique(labels[labels >= 0]):
            rows = np.flatnonzero(labels == c)
            keep.append(rng(seed, f"gap {name} class {task.classes[c]}").permutation(rows)[:ROWS])
        rows = np.sort(np.concatenate(keep))
        sides += [values[rows], labels[rows]]
    found = conditional_gap(*sides, permutations=PERMUTATIONS, seed=seed)
    return {task.classes[c]: {"why": g} if isinstance(g, str) else g.json() for c, g in found.items()}


def shift(
    source: Domain, x: Features, target: Domain, z: Features, classes: dict[str, Any] | None, seed: int
) -> dict[str, Any] | None:
    """The target's class frequencies from its features alone, by EM after calibration and by BBSE.

    Both hold where a class looks the same in both domains; where `classes` shows that it does not, a note says so. The
    source's head is solved here, and its opinion of source examples is cross-fitted. Where the target has labels their
    frequencies stand beside. None where the source has no labels.
    """
    if len(source.classes) < 2:
        return None
    task = Classify(source.classes)
    y = task.encode(source.labels)
    rows = _some(np.flatnonzero(y >= 0), SHIFT_ROWS, seed, "source")
    theirs = _some(np.arange(len(z)), SHIFT_ROWS, seed, "target")
    scale = scaling(x[rows])
    values, labels, k = scale.apply(x[rows]), y[rows], len(task.classes)

    def opinion(learned: np.ndarray, of: Features, ridge: float) -> Float[np.ndarray, "n K"]:
        head = solve([Part(values[learned], labels[learned], np.arange(k))], k, ridge=ridge)
        return np.asarray(np.exp(log_softmax(of @ head.weight + head.bias)))

    def cross_fitted(ridge: float) -> Float[np.ndarray, "n K"]:
        out = np.empty((len(rows), k))
        for held in folds(labels, seed, "gap label shift"):
            out[held] = opinion(np.setdiff1d(np.arange(len(rows)), held), values[held], ridge)
        return out

    tried = {ridge: cross_fitted(ridge) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda r: float(-np.log(tried[r][np.arange(len(rows)), labels]).mean()))
    held_out, seen = tried[ridge], opinion(np.arange(len(rows)), scale.apply(z[theirs]), ridge)
    result: dict[str, Any] = {"source": _frequencies(task, labels), "target": None}
    known = Classify(target.classes).encode(target.labels) if target.classes else np.full(len(z), -1)
    if (known >= 0).any():
        result["target"] = _frequencies(Classify(target.classes), known[known >= 0])
    try:
        for method in ("em", "bbse"):
            found = label_shift(held_out, labels, seen, method, seed=seed)
            result[method] = {c: q.json() for c, q in zip(task.classes, found.q, strict=True)}
    except CrossgraftError as wrong:
        return result | {"why": wrong.what}
    notes = [re.sub(r"^Class (\d+) ", lambda m: f"Class {task.classes[int(m[1])]} ", note) for note in found.notes]
    # Bonferroni's level, or the least that the permutations can show
    level = max(0.05 / max(len(classes or {}), 1), 1 / (PERMUTATIONS + 1))
    moved = [c for c, row in (classes or {}).items() if row.get("p_value", 1.0) <= level]
    if moved:
        notes.append(f"Classes look different in the two domains ({', '.join(moved[:5])}): not to be relied on.")
    return result | {"smallest_singular_value": found.smallest_singular_value, "notes": notes}


def attributed(source: Domain, target: Domain, jsd: float, seed: int) -> dict[str, Any] | None:
    """The gap that simple attributes show, together and one by one, and its share of the gap of the features.

    None where examples of this kind have no attributes.
    """
    names = names_of(source)
    if not names:
        return None
    s, t = (
        attributes(domain, _some(np.arange(len(domain)), ROWS, seed, f"attributes {side}"))
        for side, domain in (("source", source), ("target", target))
    )
    try:
        together = gap(s, t, permutations=PERMUTATIONS, seed=seed)
    except CrossgraftError as wrong:
        return {"why": wrong.what}
    each = []
    for i, name in enumerate(names):
        row: dict[str, Any] = {"name": name, "source": float(s[:, i].mean()), "target": float(t[:, i].mean())}
        try:
            alone = gap(s[:, [i]], t[:, [i]], permutations=PERMUTATIONS, seed=seed)
            row |= {"jsd": alone.jsd.json(), "p_value": alone.p_value}
        except CrossgraftError as wrong:
            row["why"] = wrong.what
        each.append(row)
    each.sort(key=lambda row: -row["jsd"]["value"] if "jsd" in row else 0.0)
    share = min(together.jsd.value / jsd, 1.0) if jsd > 0 else None
    return {"jsd": together.jsd.json(), "p_value": together.p_value, "share_of_gap": share, "each": each}


def _some(rows: np.ndarray, most: int, seed: int, use: str) -> np.ndarray:
    return np.sort(rng(seed, f"gap {use}").permutation(rows)[:most])


def _frequencies(task: Classify, labels: np.ndarray) -> dict[str, float]:
    counts = np.bincount(labels, minlength=len(task.classes)) / max(len(labels), 1)
    return dict(zip(task.classes, counts.tolist(), strict=True))
