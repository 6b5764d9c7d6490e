"""Measures as plain functions of arrays, in nats, with intervals. Each is imported when it is first asked for."""

from __future__ import annotations

from typing import Any

# No name here is a module's name: importing the module would put it in the function's place.
_HOME = {
    "Score": "scores",
    "confusion": "scores",
    "mean_interval": "scores",
    "wilson": "scores",
    "Batch": "acquisition",
    "next_batch": "acquisition",
    "Doubt": "doubt",
    "Wrong": "doubt",
    "noise": "doubt",
    "Difference": "compare",
    "Verdict": "compare",
    "guard": "compare",
    "mcnemar": "compare",
    "paired": "compare",
    "Gap": "divergence",
    "conditional_gap": "divergence",
    "gap": "divergence",
    "entity_scores": "entities",
    "span_counts": "entities",
    "brier": "calibration",
    "ece": "calibration",
    "reliability": "calibration",
    "temperature": "calibration",
    "vector_scaling": "calibration",
    "Ranks": "friedman",
    "ranks": "friedman",
    "h_score": "ranking",
    "leep": "ranking",
    "logme": "ranking",
    "nce": "ranking",
    "LabelShift": "priors",
    "adapted": "priors",
    "label_shift": "priors",
    "auroc": "unknown",
    "energy": "unknown",
    "open_scores": "unknown",
    "threshold": "unknown",
    "LabelsSaved": "worth",
    "LearningCurve": "worth",
    "labels_saved": "worth",
    "learning_curve": "worth",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'crossgraft.measure' has no attribute {name!r}")
    return getattr(import_module(f"crossgraft.measure.{_HOME[name]}"), name)
