"""Figures as inline SVG: text stays text, colours are the page's own, and the same figure gives the same bytes."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from io import StringIO
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours that stand for the style sheet's variables, so that one figure serves light and dark.
INK, MUTED, LINE, ACCENT, PAPER, BAND, ALARM = (f"#0{i}0{i}0{i}" for i in range(1, 8))
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", PAPER: "paper", BAND: "band", ALARM: "alarm"}

STYLE: Any = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.linewidth": 1,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 12,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "crossgraft",
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 12,
    "xtick.major.size": 3,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 12,
    "ytick.major.size": 0,
}
HREF = "{http://www.w3.org/1999/xlink}href"


def draw(name: str, about: str, width: int, height: int, paint: Callable[[Figure], None]) -> Markup:
    """What `paint` puts on a figure of width x height CSS pixels, as an <svg> element for an HTML page.

    `name` keeps its identifiers apart from those of other figures; `about` is read to those who cannot see it.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that matplotlib's font lacks are the browser's to draw
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        paint(figure)
        page = StringIO()
        # savefig would draw it twice
        FigureCanvasSVG(figure).print_svg(page, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return Markup(_inline(page.getvalue(), name, about, width))


def _inline(svg: str, name: str, about: str, width: int) -> str:
    root = ET.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            # matplotlib's <style> would reach the whole page.
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = "href" if key == HREF else key
            if key == "id":
                value = f"{name}-{value}"
            elif key == "href":
                value = value.replace("#", f"#{name}-", 1)
            elif key == "clip-path":
                value = value.replace("url(#", f"url(#{name}-")
            elif key == "style":
                value = _themed(value)
            element.set(key, value)
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {"viewBox": view, "style": f"width:{width}px", "role": "img", "aria-label": about}
    return ET.tostring(root, encoding="unicode")


def _themed(style: str) -> str:
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, f"var(--{variable})")
    return re.sub(r"font(-family)?:[^;]*", lambda m: "" if m[1] else _size(m[0]), style).strip("; ")


def _size(font: str) -> str:
    size = re.search(r"[\d.]+px", font)
    return f"font-size: {size[0]}" if size else ""
