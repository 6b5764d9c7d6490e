"""The section on what the transfer was worth: paired tests, the gap, labels saved, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crossgraft.report import words
from crossgraft.report.figures import COLUMN
from crossgraft.report.svg import ACCENT, LINE, MUTED, PAPER, draw
from crossgraft.report.values import number, part, rows
from crossgraft.report.words import Interval, interval

CALIBRATED = (
    ("Cross-entropy, nats", "cross_entropy"),
    ("Expected calibration error", "ece"),
    ("Brier score", "brier"),
)
TESTED = (
    ("accuracy", "Accuracy", "exact McNemar test for accuracy"),
    ("f1", "F1", "bootstrap over sentences for F1"),
    ("micro_f1", "Micro F1", "bootstrap over examples for F1"),
    ("word_error_rate", "Word error rate", "bootstrap over utterances for the word error rate"),
)
CORRECTED = (("vector", "after"), ("label_shift", "after"))


def worth(result: dict[str, Any]) -> dict[str, Any]:
    """Paired tests, the gap, the labels saved with their curve, the temperature: texts, empty where there is none."""
    tests = []
    for row in rows(result, "paired", "model"):
        cells = []
        for key, unit in ((_tested([row])[0], 100.0), ("cross_entropy", 1.0)):
            found, p = interval(row.get(key)), number(part(row, key).get("p_value"))
            cells.append((signed(found, unit), "–" if p is None else f"p = {p:.2g}"))
        tests.append({"title": words.model(str(row["model"])), "cells": cells})
    gap, saved, heat = part(result, "gap"), part(result, "labels_saved"), part(result, "calibration")
    drawn = learning_curve(saved)
    return {
        "tests": tests,
        "tested": _tested(rows(result, "paired"))[1:],
        "gap": (signed(interval(gap.get("jsd")), 1.0, plus=""), number(gap.get("p_value"))) if "jsd" in gap else None,
        "saved": str(saved.get("why") or ""),
        "without": str(saved.get("without") or ""),
        "judged": number(saved.get("n")),
        "curve": curve_figure(drawn, "labels") if drawn else None,
        "temperature": number(heat.get("temperature")),
        "heat": [
            (name, [number(part(heat, *at).get(key)) for at in (("before",), ("after",), *CORRECTED)])
            for name, key in CALIBRATED
        ]
        if "before" in heat
        else [],
        "no_heat": str(heat.get("why") or ""),
    }


def _tested(found: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Which score was tested beside the cross-entropy: its key, its name and how."""
    return next((known for known in TESTED for row in found if known[0] in row), TESTED[0])


def signed(found: Interval | None, unit: float, plus: str = "+") -> tuple[str, str]:
    """A difference and its interval in brackets, times `unit`.

    >>> signed(Interval(0.012, 0.003, 0.02), 100.0)
    ('+1.2', '[+0.3, +2.0]')
    """
    if found is None:
        return "–", ""
    digits = 1 if unit == 100 else 3
    value, *ends = ("?" if x is None else f"{unit * x:{plus}.{digits}f}" for x in (found.value, found.low, found.high))
    return value.replace("-", "−"), f"[{', '.join(ends)}]".replace("-", "−")


@dataclass(frozen=True)
class LearningCurve:
    """Cross-entropy without transfer by number of labels (nats), and that of the transfer with the labels it used."""

    sizes: list[float]
    cross_entropy: list[float]
    level: float
    used: float


def learning_curve(found: dict[str, Any]) -> LearningCurve | None:
    """The curve of `labels_saved`, or None where there is none or its parts do not fit together."""
    drawn = found.get("curve")
    if not isinstance(drawn, dict):
        return None
    level, used = number(drawn.get("level")), number(found.get("used"))
    sizes, losses = (
        [number(x) for x in drawn[k]] if isinstance(drawn.get(k), list) else [] for k in ("sizes", "cross_entropy")
    )
    real_sizes, real_losses = [x for x in sizes if x is not None and x > 0], [x for x in losses if x is not None]
    if level is None or used is None or len(sizes) < 2 or not len(sizes) == len(real_sizes) == len(real_losses):
        return None
    return LearningCurve(real_sizes, real_losses, level, used)


def curve_figure(found: LearningCurve, name: str) -> Markup:
    """Cross-entropy without transfer over the number of labels, and the transfer as a point with its level."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(found.sizes, found.cross_entropy, "o-", color=MUTED, linewidth=1.5, markersize=4)
        axes.axhline(found.level, color=ACCENT, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot([found.used], [found.level], "o", color=ACCENT, markersize=9, markeredgecolor=PAPER, zorder=4)
        axes.set_xscale("log")
        axes.set_xticks(found.sizes, [f"{x:g}" for x in found.sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", color=LINE, linewidth=0.5)
        axes.spines.left.set_visible(False)
        axes.set_xlabel("labels of the target")
        axes.set_ylabel("cross-entropy, nats")

    return draw(
        name, "Cross-entropy in nats without transfer by number of labels, and of the transfer", COLUMN, 260, paint
    )
