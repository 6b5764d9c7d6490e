"""What the test predictions and the logged steps say, counted for figures and tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.report.files import Prediction
from crossgraft.report.values import number

EVALUATION = "held-out"


def confusion(predictions: list[Prediction], classes: list[str]) -> Int[np.ndarray, "K K"]:
    """How many examples of each class (row) were taken for each class (column)."""
    place = {c: i for i, c in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for p in predictions:
        if p.label in place and p.predicted in place:
            counts[place[p.label], place[p.predicted]] += 1
    return counts


@dataclass(frozen=True)
class Confused:
    """A label, what it was taken for, how often, and of how many with that label."""

    label: str
    predicted: str
    n: int
    of: int


def most_confused(predictions: list[Prediction], largest: int = 20) -> list[Confused]:
    """The pairs that are confused most often, in that order."""
    of = Counter(p.label for p in predictions)
    pairs = Counter((p.label, p.predicted) for p in predictions if p.label != p.predicted)
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Confused(label, predicted, n, of[label]) for (label, predicted), n in ordered[:largest]]


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over the confidence: how sure, how often right, how many; and the gap between the first two.

    `ece` = sum_b n_b / n |right_b - sure_b| (Naeini et al. 2015, AAAI; top label).
    """

    sure: Float[np.ndarray, " B"]
    right: Float[np.ndarray, " B"]
    n: Int[np.ndarray, " B"]
    ece: float


def reliability(predictions: list[Prediction], bins: int = 10) -> Reliability:
    """Calibration of the predicted class; empty bins are left out."""
    sure = np.exp(np.minimum([p.log_confidence for p in predictions], 0.0))
    right = np.array([p.label == p.predicted for p in predictions], dtype=np.float64)
    which = np.minimum((sure * bins).astype(np.int64), bins - 1)
    n = np.bincount(which, minlength=bins)
    full = n > 0
    mean_sure, mean_right = (np.bincount(which, x, minlength=bins)[full] / n[full] for x in (sure, right))
    return Reliability(mean_sure, mean_right, n[full], float(n[full] @ np.abs(mean_right - mean_sure) / len(sure)))


def surest_mistakes(predictions: list[Prediction], largest: int = 10) -> list[Prediction]:
    """Wrong predictions, the surest first."""
    wrong = [p for p in predictions if p.label != p.predicted]
    return sorted(wrong, key=lambda p: -p.log_confidence)[:largest]


@dataclass(frozen=True)
class Curves:
    """One model's training: every term by step, and where each stage begins and ends."""

    model: str
    lines: dict[str, tuple[list[float], list[float]]]
    stages: list[tuple[str, float, float]]


def curves(measures: list[dict[str, Any]]) -> list[Curves]:
    """The logged steps as one curve a term (nats) and model; steps that begin again are counted on."""
    found = []
    for model in dict.fromkeys(str(row["model"]) for row in measures):
        lines: dict[str, tuple[list[float], list[float]]] = {}
        stages: list[tuple[str, float, float]] = []
        offset = last = 0.0
        for row in (row for row in measures if str(row["model"]) == model):
            step = number(row.get("step")) or 0.0
            phase = str(row.get("phase", ""))
            new = not stages or stages[-1][0] != phase
            if offset + step < last:
                offset = last
            here = last = offset + step
            if new:
                stages.append((phase, stages[-1][2] if stages else here, here))
            stages[-1] = (phase, stages[-1][1], here)
            terms = row.get("terms")
            values = {**(terms if isinstance(terms, dict) else {}), EVALUATION: row.get("evaluation")}
            for key, value in values.items():
                if (y := number(value)) is not None:
                    xs, ys = lines.setdefault(str(key), ([], []))
                    xs.append(here)
                    ys.append(y)
        if lines:
            found.append(Curves(model, lines, stages))
    return found


@dataclass(frozen=True)
class Path:
    """Leave-one-out target cross-entropy (nats, NaN where there is none) by lambda and ridge, and the chosen point."""

    lams: list[float]
    ridges: list[float]
    loo: Float[np.ndarray, "L R"]
    chosen: tuple[int, int] | None


def path(found: Any) -> Path | None:
    """The path of a result, or None where there is none or its parts do not fit together."""
    if not isinstance(found, dict) or not all(isinstance(found.get(k), list) for k in ("lams", "ridges", "loo")):
        return None
    lams, ridges = ([number(x) for x in found[k]] for k in ("lams", "ridges"))
    rows = found["loo"]
    if (
        len(rows) != len(lams)
        or not rows
        or any(not isinstance(r, list) or len(r) != len(ridges) or not r for r in rows)
    ):
        return None
    real_lams, real_ridges = [x for x in lams if x is not None], [x for x in ridges if x is not None]
    loo = np.array([[np.nan if (v := number(x)) is None else v for x in row] for row in rows])
    if len(real_lams) < len(lams) or len(real_ridges) < len(ridges) or np.isnan(loo).all():
        return None
    chosen = found["chosen"] if isinstance(found.get("chosen"), dict) else {}
    at = _near(real_lams, chosen.get("lam")), _near(real_ridges, chosen.get("ridge"))
    return Path(real_lams, real_ridges, loo, None if at[0] is None or at[1] is None else (at[0], at[1]))


def _near(values: list[float], wanted: Any) -> int | None:
    """The place of a value that was written as text in between."""
    x = number(wanted)
    return (
        None if x is None else next((i for i, v in enumerate(values) if abs(v - x) <= 1e-9 * max(abs(v), abs(x))), None)
    )


def probability(prediction: Prediction) -> float:
    """The probability of the predicted class."""
    return float(np.exp(min(prediction.log_confidence, 0.0)))
