"""What was found of moving the source's features to the target's mean."""

from __future__ import annotations

from typing import Any

from crossgraft.report.values import number, part
from crossgraft.report.words import SCORES, bounds, interval, nats


def moved(result: dict[str, Any]) -> str:
    """The sentence under the objective; empty where nothing was looked at.

    >>> moved({"align": {"moved": True, "before": 0.5, "after": 0.25}})
    "The source's features were moved to the target's mean: left-out labels cost 0.250 nats beside them, else 0.500."
    """
    found = part(result, "align")
    if not found:
        return ""
    before, after, change = number(found.get("before")), number(found.get("after")), interval(found.get("difference"))
    there = found.get("moved") is True
    where = "moved to the target's mean" if there else "left where they are"
    if before is None or after is None:
        return f"The source's features were {where}, as it was asked for."
    ours, other, else_where = (after, before, "else") if there else (before, after, "at the target's mean")
    cost = f"left-out labels cost {nats(ours)} nats beside them, {else_where} {nats(other)}"
    span = f", {nats(change.value)} {bounds(SCORES[-1], change)}".rstrip() if change else ""
    return f"The source's features were {where}: {cost}{span}."
