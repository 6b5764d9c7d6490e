"""What a method's training says of itself: sentences on what went wrong and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossgraft.objective.methods import TERMS
from crossgraft.objective.reach import STUCK, stuck

PERFECT = 0.05  # nats of the domain classifier below which the layers never confused it
AWAY = 1.5  # times ln 2 above which it is wrong more often than a coin
FLIPPED = 0.1  # share of pseudo-labels that still change at the last epoch
ADVERSARIAL = {name for name, row in TERMS.items() if {"domain", "conditional"} & set(row.heads)} - {"fooled"}


def diagnose(history: Sequence[Mapping[str, Any]], blind: float) -> list[str]:
    """Sentences from the rows that the loop logged, each with what to try; none where nothing is wrong.

    blind  what a guess without looking costs on the source, nats

    >>> rows = [{"step": s, "lr": 0.1, "objective": 0.1, "terms": {"dann": 0.01}} for s in range(8)]
    >>> diagnose(rows, math.log(10))[0].split(":")[0]
    'dann ends at 0.010 nats'
    """
    said: list[str] = []
    named: dict[str, list[Mapping[str, Any]]] = {}
    for row in history:
        for key in row.get("terms", {}):
            named.setdefault(key, []).append(row)
    for key, rows in named.items():
        values = [float(row["terms"][key]) for row in rows]
        if key == "ce(source)":
            own = [{"step": r["step"], "lr": r["lr"], "objective": v} for r, v in zip(rows, values, strict=True)]
            if (sentence := stuck(own, blind)) is not None:
                said.append(f"the source is not learned: {sentence}")
        elif key in ADVERSARIAL and len(values) >= 4:
            said += _domains(key, values)
    flipped = [row["flipped"] for row in history if "flipped" in row]
    for table in flipped[-1] if len(flipped) > 1 else ():
        if (share := flipped[-1][table]) > FLIPPED:
            said.append(
                f"{100 * share:.0f} % of the pseudo-labels ({table}) still change at the last epoch: try more steps, a"
                " smaller lr, or less weight for their term"
            )
    return said


def _domains(key: str, values: Sequence[float]) -> list[str]:
    """What the domain classifier's cross-entropy shows; ln 2 is a coin."""
    chance, end = math.log(2), float(np.median(values[-max(len(values) // 4, 2) :]))
    if all(STUCK * chance <= v <= chance / STUCK for v in values):
        return [
            f"{key} is at chance, {chance:.3f} nats, from the first step on: the domain classifier learned nothing, or"
            " the domains do not differ in these features; look at crossgraft gap, or try a larger lr"
        ]
    if end < PERFECT:
        return [
            f"{key} ends at {end:.3f} nats: the domain classifier tells the domains apart to the end, so the features"
            " were not aligned; try more weight for it, more steps, or mcc or im, which need no alignment"
        ]
    if end > AWAY * chance:
        return [
            f"{key} ends at {end:.3f} nats, far above the {chance:.3f} of a coin: the layers run away from the domain"
            " classifier faster than it learns; try less weight for it or a smaller lr"
        ]
    return []
