"""What each term of an objective reaches under a schedule, before training; and whether a training got stuck."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from crossgraft.errors import nearest
from crossgraft.objective.algebra import Objective
from crossgraft.objective.methods import row_of

STUCK = 0.98  # share of ln K above which a loss counts as never having left it


@dataclass(frozen=True)
class Finding:
    """An error must be mended before training; a warning is said, and training goes on."""

    level: Literal["error", "warning"]
    message: str


def reach(
    objective: Objective,
    columns: Mapping[str, Int[np.ndarray, " k"]],
    groups: Collection[str],
    labels: Mapping[str, Int[np.ndarray, " N"]],
    *,
    classes: Sequence[str] | None = None,
    target: str = "target",
) -> list[Finding]:
    """What is wrong with an objective under a schedule.

    columns  columns of the head that each domain sees
    groups   layer groups that learn at some time; none with a frozen backbone
    labels   each domain's labels as positions within its columns, -1 where missing
    classes  names of the head's columns, for the messages

    >>> reach(Objective.parse("ce(target) + ce(source)"), {"target": np.array([0, 1]), "source": np.array([2, 3])}, (),
    ...       {"target": np.array([0, 1]), "source": np.array([0, 1])})[0].level
    'warning'
    """
    found: list[Finding] = []
    checked: set[str] = set()
    for term in objective.terms:
        if not (math.isfinite(term.weight) and term.weight >= 0):
            found.append(
                Finding("error", f"the weight of {term.key} is {term.weight:g}: give 0 or more, 0 leaves the term out")
            )
        elif term.weight == 0:
            found.append(Finding("warning", f"the weight of {term.key} is 0: domain {term.domain} is not read"))
        else:
            row = row_of(term)
            for domain in row.reads(term):
                if domain not in columns:
                    hint = nearest(domain, list(columns)) or f"the domains are {', '.join(columns)}"
                    found.append(Finding("error", f"{term.key} needs domain {domain!r}, which is not there: {hint}"))
                    continue
                apart = target in columns and not np.isin(columns[domain], columns[target]).any()
                if domain != target and apart and not groups:
                    why = f"{term.key} reaches nothing in the {target} model, whatever its weight"
                    remedy = f"let layers learn (schedule lp_ft or full), or give a source with classes of the {target}"
                    found.append(Finding("warning", f"{why}: no layer learns and no class is shared; {remedy}"))
                if row.labels and domain == row.reads(term)[0] and domain not in checked:
                    checked.add(domain)
                    own = labels.get(domain, np.empty(0, dtype=np.int64))
                    found += _labels(domain, columns[domain], own, classes)
    return found


def _labels(
    domain: str, columns: Int[np.ndarray, " k"], labels: Int[np.ndarray, " N"], classes: Sequence[str] | None
) -> list[Finding]:
    """Whether a domain's labels can teach its classes."""
    counts = np.bincount(labels[labels >= 0], minlength=len(columns))
    if len(columns) < 2:
        return [
            Finding(
                "error",
                f"domain {domain} has one class only: its cross-entropy is 0 whatever the model. Give at least two",
            )
        ]
    if counts.sum() == 0:
        return [Finding("error", f"domain {domain} has no labelled example: label a few, or leave its term out")]
    empty = [classes[c] if classes is not None else f"of column {c}" for c in columns[counts == 0]]
    if not empty:
        return []
    shown = ", ".join(map(str, empty[:5])) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
    only = "only one class of" if (counts > 0).sum() == 1 else "no example of some classes of"
    return [
        Finding("warning", f"labels show {only} domain {domain}: none for class {shown}. Label at least one of each")
    ]


def stuck(history: Sequence[Mapping[str, Any]], ln_k: float) -> str | None:
    """A sentence where the loss is still at ln K (a guess without looking) after the warm-up, else None.

    history  rows that the loop logged; the warm-up ends where "lr" is largest
    ln_k     the cross-entropy of the uniform guess, nats

    >>> flat = [{"step": s, "lr": 0.1, "objective": 2.3} for s in range(1, 9)]
    >>> stuck(flat, np.log(10)) is not None, stuck([row | {"objective": 2.3 / row["step"]} for row in flat], np.log(10))
    (True, None)
    """
    rows = [row for row in history if "objective" in row]
    if not rows:
        return None
    after = rows[int(np.argmax([row["lr"] for row in rows])) :]
    if len(after) < 3:
        return None
    last = float(np.median([row["objective"] for row in after[-max(len(after) // 4, 3) :]]))
    if last < STUCK * ln_k:
        return None
    said = f"after {rows[-1]['step']} steps the loss is {last:.3f} nats, not below the {ln_k:.3f} of a blind guess"
    return (
        f"{said}: try a tenth of the lr or three times as much, or more steps, and look whether labels fit their inputs"
    )
