"""Maps of features: where examples of both domains lie before and after a method, as one drawing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Shaped
from markupsafe import Markup
from matplotlib.figure import Figure

from crossgraft.errors import CrossgraftError
from crossgraft.report.svg import ACCENT, MUTED, draw
from crossgraft.seeds import rng, seed_for

FEW = 10  # examples a side below which there is nothing to map
DIRECTIONS = 50  # leading ones, of which t-SNE sees the distances
SIZE = 320  # CSS pixels a side of a map

Rows = Float[np.ndarray, "N D"]


def positions(x: Rows, *, seed: int = 0) -> Float[np.ndarray, "N 2"]:
    """Places in the plane that keep who is near whom: t-SNE of the 50 leading directions, seeded (van der Maaten and
    Hinton, JMLR 9, 2008). Distances between far groups mean nothing."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = np.asarray(x, dtype=np.float64)
    state = seed_for(seed, "map") % 2**32
    x = PCA(min(DIRECTIONS, *x.shape), random_state=state).fit_transform(x)
    near = min(30.0, (len(x) - 1) / 3)
    return np.asarray(TSNE(perplexity=near, init="pca", random_state=state).fit_transform(x))


def feature_maps(
    seen: Mapping[str, tuple[Rows, Rows]],
    labels: tuple[Shaped[np.ndarray, " S"], Shaped[np.ndarray, " T"]],
    name: str,
    *,
    most: int = 400,
    seed: int = 0,
) -> Markup:
    """A map for each pair of source and target features, side by side, as an <svg> element.

    seen    features of the same source rows and of the same target rows, by the title of the map: "before", "after"
    labels  what stands in each example's place, a letter or two: classes of source rows and of target rows; what a
            model names serves where a target has no labels
    most    examples drawn of each side, at most, the same in all maps

    The source is grey, the target of the accent colour. Raises CrossgraftError for fewer than 10 examples a side.
    """
    rows = [rng(seed, f"map {side}").permutation(len(y))[:most] for side, y in enumerate(labels)]
    if min(map(len, rows)) < FEW:
        counts = " and ".join(str(len(own)) for own in rows)
        raise CrossgraftError(f"a map of {counts} examples shows nothing", f"give at least {FEW} of each side")
    placed = {
        title: positions(np.concatenate([x[own] for x, own in zip(pair, rows, strict=True)]), seed=seed)
        for title, pair in seen.items()
    }
    marks = np.concatenate([y[own] for y, own in zip(labels, rows, strict=True)]).astype(str)

    def paint(figure: Figure) -> None:
        for axes, (title, at) in zip(figure.subplots(1, len(placed), squeeze=False)[0], placed.items(), strict=True):
            for i, (x, y) in enumerate(at):
                colour = MUTED if i < len(rows[0]) else ACCENT
                axes.text(x, y, marks[i][:2], color=colour, fontsize=7, ha="center", va="center")
            low, high = at.min(0), at.max(0)
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], title=title)
            axes.spines[:].set_visible(False)

    about = f"Maps of features, source grey and target coloured: {', '.join(placed)}"
    return draw(name, about, SIZE * len(placed), SIZE + 24, paint)
