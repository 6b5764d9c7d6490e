"""The figures of the report. Each is made for a column as wide as a phone, and two stand side by side on a screen."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from crossgraft.report import evidence
from crossgraft.report.evidence import Curves, Path, Reliability
from crossgraft.report.svg import ACCENT, BAND, INK, LINE, MUTED, PAPER, draw
from crossgraft.report.words import Interval, Measure, nats

COLUMN = 344
# Opacities on which ink can be read, on a light page and on a dark one.
PALEST, STRONGEST = 0.04, 0.6
Grid = Float[np.ndarray, "R C"]


def short(text: str, longest: int = 16) -> str:
    """The text, cut in the middle to what a tick label can hold.

    >>> short("internationalisation", 9)
    'inte…tion'
    """
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def intervals(measure: Measure, rows: list[tuple[str, Interval, bool]], name: str) -> Markup:
    """A dot and its interval for each model; the kept one in the accent colour."""
    scale = 100 if measure.unit == "%" else 1

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for y, (_, score, kept) in enumerate(rows):
            colour = ACCENT if kept else MUTED
            if score.low is not None and score.high is not None:
                axes.plot(
                    [scale * score.low, scale * score.high], [y, y], color=colour, linewidth=2.4, solid_capstyle="round"
                )
            axes.plot(
                [scale * score.value], [y], "o", color=colour, markersize=8, markeredgecolor=PAPER, markeredgewidth=1.5
            )
        axes.set_yticks(range(len(rows)), [short(title, 20) for title, _, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.spines.left.set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(x=0.08)
        axes.set_xlabel(f"{measure.title}, {measure.unit}")
        for label, (_, _, kept) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(INK if kept else MUTED)

    return draw(name, f"{measure.title} of each model with its interval", COLUMN, 70 + 32 * len(rows), paint)


def training(model: str, found: Curves, name: str) -> Markup:
    """Every term by step, with the stages of the schedule as bands."""
    styles = [
        (ACCENT, "-"),
        (MUTED, "-"),
        (MUTED, (0, (1, 1.5))),
        (ACCENT, (0, (1, 1.5))),
        (INK, "-"),
        (MUTED, (0, (6, 2))),
    ]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if 1 < len(found.stages) <= 8:
            for i, (stage, start, end) in enumerate(found.stages):
                if i % 2 == 0:
                    axes.axvspan(start, end, color=BAND, linewidth=0)
                axes.text(
                    (start + end) / 2,
                    1.02,
                    short(stage, 14),
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    color=MUTED,
                    fontsize=11,
                )
        for i, (key, (xs, ys)) in enumerate(found.lines.items()):
            colour, dash = (INK, (0, (3, 2))) if key == evidence.EVALUATION else styles[i % len(styles)]
            axes.plot(
                xs,
                ys,
                color=colour,
                linestyle=dash,
                label=short(key, 26),
                marker="o" if len(xs) == 1 else "",
                markersize=4,
            )
        axes.set_ylim(bottom=min(0.0, *(min(ys) for _, ys in found.lines.values())))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines.left.set_visible(False)
        axes.margins(x=0)
        axes.set_xlabel("step")
        axes.set_ylabel("nats")
        figure.legend(
            loc="outside lower left", ncols=2, frameon=False, fontsize=11, handlelength=1.8, columnspacing=1.2
        )

    return draw(name, f"Training of the model {model}: terms in nats by step", COLUMN, 270, paint)


def path_lines(path: Path, name: str) -> Markup:
    """Leave-one-out cross-entropy over lambda: the chosen ridge in the accent colour, the others faint."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        xs = np.arange(len(path.lams))
        for r in range(len(path.ridges)):
            ours = path.chosen is not None and r == path.chosen[1]
            axes.plot(
                xs,
                path.loo[:, r],
                color=ACCENT if ours else MUTED,
                alpha=1 if ours else 0.4,
                linewidth=2 if ours else 1,
                zorder=3 if ours else 2,
            )
        if path.chosen is not None:
            lam, ridge = path.chosen
            if np.isfinite(path.loo[lam, ridge]):
                best = float(path.loo[lam, ridge])
                axes.plot(
                    [lam], [best], "o", color=ACCENT, markersize=9, markeredgecolor=PAPER, markeredgewidth=1.5, zorder=4
                )
                axes.annotate(nats(best), (lam, best), (0, -16), textcoords="offset points", ha="center", color=INK)
        _lambda_ticks(axes, path)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", color=LINE, linewidth=0.5)
        axes.spines.left.set_visible(False)
        axes.margins(x=0.06, y=0.16)
        axes.set_ylabel("leave-one-out, nats")

    return draw(name, "Leave-one-out target cross-entropy in nats over lambda, one line a ridge", COLUMN, 260, paint)


def path_grid(path: Path, name: str) -> Markup:
    """Leave-one-out cross-entropy of every point: the stronger, the lower; the chosen one full."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        grid = path.loo.T
        low, high = np.nanmin(grid), np.nanmax(grid)
        # The square root spreads the lowest values, which are the ones that the choice is about.
        share = 1 - np.sqrt((grid - low) / (high - low)) if high > low else np.ones_like(grid)
        alpha = PALEST + (STRONGEST - PALEST) * share
        if path.chosen is not None:
            alpha[path.chosen[::-1]] = 1
        few = len(path.lams) <= 7
        _cells(axes, alpha, [[f"{x:.2f}" if few and np.isfinite(x) else "" for x in row] for row in grid], ACCENT)
        _lambda_ticks(axes, path)
        axes.set_yticks(range(len(path.ridges)), [f"{x:g}" for x in path.ridges])
        axes.set_ylabel("ridge")

    return draw(name, "Leave-one-out target cross-entropy in nats by lambda and ridge", COLUMN, 260, paint)


def confusion(counts: Int[np.ndarray, "K K"], classes: list[str], name: str) -> Markup:
    """Labels in rows, predictions in columns, by share of the row; what is right in the accent colour, else grey."""
    k = len(classes)
    size = COLUMN if k <= 12 else 2 * COLUMN

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        right = np.eye(k, dtype=bool)
        numbers = [[str(n) if n and k <= 24 else "" for n in row] for row in counts]
        _cells(axes, np.where(right, (counts > 0) * (PALEST + (STRONGEST - PALEST) * share), 0), numbers, ACCENT)
        _cells(
            axes, np.where(right, 0, np.minimum(STRONGEST, 0.08 + 1.2 * share) * (counts > 0)), [[""] * k] * k, MUTED
        )
        titles = [short(c, 14) for c in classes]
        axes.set_yticks(range(k), titles)
        axes.set_xticks(range(k), titles, rotation=0 if max(map(len, titles)) <= 2 else 90)
        axes.set_aspect("equal")
        axes.set_xlabel("predicted")
        axes.set_ylabel("label")

    return draw(name, "Confusion matrix: labels in rows, predictions in columns", size, size, paint)


def reliability(found: Reliability, name: str) -> Markup:
    """How often right against how sure, a dot for each bin as large as its share of the examples."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.vlines(100 * found.sure, 100 * found.right, 100 * found.sure, color=ACCENT, linewidth=1.2, alpha=0.5)
        axes.plot(100 * found.sure, 100 * found.right, color=ACCENT, linewidth=1.2)
        axes.scatter(
            100 * found.sure,
            100 * found.right,
            s=24 + 240 * found.n / found.n.sum(),
            color=ACCENT,
            edgecolor=PAPER,
            linewidth=1.5,
            zorder=3,
        )
        axes.set(xlim=(-3, 104), ylim=(-3, 104), xlabel="how sure, %", ylabel="how often right, %", aspect="equal")
        axes.grid(color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)

    return draw(name, "Reliability diagram: share that is right against confidence", COLUMN, COLUMN, paint)


def _lambda_ticks(axes: Axes, path: Path) -> None:
    every = -(-len(path.lams) // 8)
    places = range(0, len(path.lams), every)
    axes.set_xticks(places, [f"{path.lams[i]:g}" for i in places])
    axes.set_xlabel("λ, weight of the source")


def _cells(axes: Axes, alpha: Grid, texts: list[list[str]], colour: str) -> None:
    """A grid of squares; the colour's opacity is the value, so that it fits a light and a dark page."""
    for (r, c), a in np.ndenumerate(alpha):
        if a > 0:
            axes.add_patch(
                Rectangle((c - 0.48, r - 0.48), 0.96, 0.96, facecolor=to_rgba(colour, float(a)), edgecolor="none")
            )
        if texts[r][c]:
            axes.text(
                c,
                r,
                texts[r][c],
                ha="center",
                va="center",
                color=PAPER if a > STRONGEST else INK,
                fontsize=10.5,
                zorder=4,
            )
    axes.set_xlim(-0.5, alpha.shape[1] - 0.5)
    axes.set_ylim(alpha.shape[0] - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
