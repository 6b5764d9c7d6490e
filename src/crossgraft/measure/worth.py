"""What transfer was worth: the target labels that training without it needs for the same cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.scores import Score
from crossgraft.progress import bar
from crossgraft.seeds import rng

Array = np.ndarray[Any, Any]
DRAWS = 999
GRID = 400


@dataclass(frozen=True)
class LearningCurve:
    """Held-out losses of models trained on a growing number of labels, nats.

    sizes   labels used, ascending
    losses  one a repeat (a draw of the labels), size and held-out example
    """

    sizes: Int[np.ndarray, " M"]
    losses: Float[np.ndarray, "R M n"]

    @property
    def mean(self) -> Float[np.ndarray, " M"]:
        """Mean cross-entropy at each size."""
        return np.asarray(self.losses.mean((0, 2)))


def learning_curve(
    labels: Int[np.ndarray, " N"],
    fit_and_losses: Callable[[Int[np.ndarray, " m"]], Float[np.ndarray, " n"]],
    sizes: Sequence[int],
    *,
    repeats: int = 8,
    seed: int = 0,
) -> LearningCurve:
    """Train on the first m rows of `repeats` random orders for every size m, and judge on the same held-out examples.

    labels          of the rows that may be trained on; in an order each class takes its turn, so that m rows are shots
    fit_and_losses  rows to the loss of each held-out example, nats

    >>> curve = learning_curve(np.array([0, 1] * 8), lambda rows: np.full(3, 1 / len(rows)), [2, 4, 16], repeats=2)
    >>> curve.mean.tolist()
    [0.5, 0.25, 0.0625]
    """
    if repeats < 1 or len(sizes) == 0 or min(sizes) < 1 or max(sizes) > len(labels):
        raise UsageError(
            f"{repeats} repeats of sizes {list(sizes)}", f"take sizes from 1 to {len(labels)}, the labels there are"
        )
    asked = np.unique(np.asarray(sizes, dtype=np.int64))
    losses = []
    with bar("learning curve", repeats * len(asked)) as advance:
        for r in range(repeats):
            order = _in_turn(labels, rng(seed, f"learning curve {r}"))
            for m in asked:
                losses.append(np.asarray(fit_and_losses(order[:m]), dtype=np.float64))
                advance(1)
    return LearningCurve(asked, np.stack(losses).reshape(repeats, len(asked), -1))


@dataclass(frozen=True)
class LabelsSaved:
    """`needed` labels without transfer where it used `used`; `saved` is the difference.

    What the curve does not show is not made up: above its largest size a value or high end is infinite and a low end
    that size, below its smallest a value or high end is that size and a low end zero. `why` says it all in a sentence.
    """

    needed: Score
    saved: Score
    used: int
    largest: int
    why: str

    def json(self) -> dict[str, Any]:
        """As the doors print it: None for what is more than the curve shows."""

        def ends(score: Score) -> dict[str, float | None]:
            return {name: end if math.isfinite(end) else None for name, end in score.json().items()}

        return {
            "needed": ends(self.needed),
            "saved": ends(self.saved),
            "used": self.used,
            "largest": self.largest,
            "why": self.why,
        }


def labels_saved(
    sizes: Int[np.ndarray, " M"],
    curve: Float[np.ndarray, "R M n"] | Float[np.ndarray, "R M"],
    transfer_losses: Float[np.ndarray, " n"],
    used: int,
    *,
    seed: int = 0,
) -> LabelsSaved:
    """The n at which the mean curve without transfer reaches the mean of `transfer_losses`.

    sizes            labels used at each point of the curve, ascending
    curve            losses without transfer of each repeat and size; with the held-out example as a third axis they are
                     paired with `transfer_losses` by example, which makes the interval shorter
    transfer_losses  held-out losses of the transfer, nats
    used             target labels that the transfer used

    The mean curve is made monotone (isotonic regression) and interpolated in log n without overshoot (Fritsch and
    Carlson, SIAM J. Numerical Analysis 1980). The interval draws repeats and held-out examples again; as a handful of
    repeats varies too little when drawn again, their deviations are widened to Student's.
    """
    sizes, curve, losses = np.asarray(sizes), np.asarray(curve, float), np.asarray(transfer_losses, float)
    _checked(sizes, curve, losses)
    repeats, n = len(curve), len(losses)
    draw = rng(seed, "labels saved")
    weights = np.concatenate([np.ones((1, n)), draw.multinomial(n, np.full(n, 1 / n), DRAWS)]) / n
    cells = curve @ weights.T if curve.ndim == 3 else np.repeat(curve[:, :, None], DRAWS + 1, 2)
    drawn = (
        np.concatenate([np.ones((1, repeats)), draw.multinomial(repeats, np.full(repeats, 1 / repeats), DRAWS)])
        / repeats
    )
    middle = cells.mean(0)
    moved = np.einsum("br,rmb->mb", drawn, cells) - middle
    n_needed = _crossings(sizes, middle + _widening(repeats) * moved, weights @ losses)
    value = float(n_needed[0])
    low = float(np.quantile(n_needed[1:], 0.025, method="lower"))
    high = float(
        np.quantile(n_needed[1:], 0.975, method="higher")
    )  # between finite and infinite nothing is interpolated
    low, high = min(low, value, float(sizes[-1])), max(high, value)
    if repeats == 1 or n == 1 or low <= sizes[0]:
        low = 0.0
    if repeats == 1 or n == 1:
        high = math.inf  # one draw does not show how much draws differ
    needed = Score(value, low, high)
    saved = Score(*(end - used for end in (needed.value, needed.low, needed.high)))
    return LabelsSaved(needed, saved, used, int(sizes[-1]), _sentence(needed, used, sizes, float(losses.mean())))


def _crossings(
    sizes: Array, curves: Float[np.ndarray, "M B"], levels: Float[np.ndarray, " B"]
) -> Float[np.ndarray, " B"]:
    """Smallest n at which each curve is at or below its level; infinite where it never is."""
    if len(sizes) == 1:
        return np.where(curves[0] <= levels, float(sizes[0]), np.inf)
    from scipy.interpolate import PchipInterpolator

    at = np.union1d(np.linspace(np.log(sizes[0]), np.log(sizes[-1]), GRID), np.log(sizes))
    dense = PchipInterpolator(np.log(sizes), _falling(curves), axis=0)(at)
    below = dense <= levels + 1e-12
    first = below.argmax(0)
    before, columns = np.maximum(first - 1, 0), np.arange(len(levels))
    top, bottom = dense[before, columns], dense[first, columns]
    share = np.divide(top - levels, top - bottom, out=np.zeros_like(top), where=top > bottom)
    found = np.exp(at[before] + np.clip(share, 0, 1) * (at[first] - at[before]))
    return np.where(below.any(0), np.where(first == 0, float(sizes[0]), found), np.inf)


def _falling(curves: Float[np.ndarray, "M B"]) -> Float[np.ndarray, "M B"]:
    """Isotonic regression, decreasing: f_j = min_{a <= j} max_{b >= j} mean(curve[a..b])."""
    total = np.concatenate([np.zeros((1, curves.shape[1])), curves.cumsum(0)])
    m = len(curves)
    out = np.empty_like(curves)
    for j in range(m):
        means = [[(total[b + 1] - total[a]) / (b + 1 - a) for b in range(j, m)] for a in range(j + 1)]
        out[j] = np.min(np.max(means, axis=1), axis=0)
    return out


def _widening(repeats: int) -> float:
    """Student's quantile over the normal's, and the bias of a variance of few."""
    if repeats == 1:
        return 1.0
    from scipy.stats import norm, t

    return float(t.ppf(0.975, repeats - 1) / norm.ppf(0.975) * np.sqrt(repeats / (repeats - 1)))


def _in_turn(labels: Int[np.ndarray, " N"], draw: np.random.Generator) -> Int[np.ndarray, " N"]:
    order = draw.permutation(len(labels))
    turn = np.empty(len(labels))
    for c in np.unique(labels):
        mine = np.flatnonzero(labels[order] == c)
        turn[mine] = np.arange(len(mine)) + draw.random()  # which class comes first differs from order to order
    return np.asarray(order[np.argsort(turn, kind="stable")])


def _sentence(needed: Score, used: int, sizes: Array, level: float) -> str:
    smallest, largest = int(sizes[0]), int(sizes[-1])

    def count(n: float) -> str:
        return f"more than {largest}" if n == math.inf else f"at most {smallest}" if n <= smallest else f"{n:.0f}"

    said = (
        f"The transfer reaches {level:.3f} nats with {used} target labels; without it {count(needed.value)} are needed"
    )
    said += f" [{needed.low:.0f}, {count(needed.high)}]"
    if needed.low > used:
        return f"{said}: it saved labels."
    if needed.high < used:
        return f"{said}: it saved none."
    return f"{said}: whether it saved any cannot be said."


def _checked(sizes: Array, curve: Array, losses: Array) -> None:
    if curve.ndim not in (2, 3) or curve.shape[1] != len(sizes) or len(sizes) == 0 or len(curve) == 0:
        raise UsageError(
            f"a curve of shape {curve.shape} for {len(sizes)} sizes", "give one row a repeat, one column a size"
        )
    if curve.ndim == 3 and curve.shape[2] != len(losses):
        raise UsageError(
            f"{curve.shape[2]} examples in the curve, {len(losses)} losses", "judge both on the same examples"
        )
    if (np.diff(sizes) <= 0).any() or sizes[0] < 1:
        raise UsageError(f"sizes {sizes.tolist()}", "give numbers of labels from 1 up, ascending")
    if len(losses) == 0:
        raise CrossgraftError("there is no held-out example", "give a labelled test part")
    if not (np.isfinite(curve).all() and np.isfinite(losses).all()):
        raise CrossgraftError("a loss is NaN or infinite", "see the training's warnings: a model is broken")
