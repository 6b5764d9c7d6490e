"""Utterances on the page: how they sound and look, and where in time each symbol lies."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.figure import Figure

from crossgraft.domains.clips import RATE, decode, portrait
from crossgraft.domains.domain import Unreadable
from crossgraft.report.svg import ALARM, INK, LINE, MUTED, draw
from crossgraft.report.values import number, rows

WIDTH, HEIGHT = 700, 190
POINTS = 500  # of a drawn waveform
MOST = 200  # symbols that are drawn of one clip

Timed = tuple[str, float, float]  # symbol, first and last second


def utterance(k: int, row: dict[str, Any], sound: bytes) -> dict[str, Any]:
    """One utterance: texts, its sound as a data URI, and its figure."""
    heard, labelled = (_timed(row, key) for key in ("heard", "labelled"))
    try:
        samples = decode(sound) if sound else np.zeros(0, np.float32)
    except Unreadable:
        samples, sound = np.zeros(0, np.float32), b""
    return {
        "name": str(row.get("name", "")),
        "label": str(row.get("label", "")),
        "predicted": str(row.get("predicted", "")),
        "cross_entropy": number(row.get("cross_entropy")),
        "sound": f"data:audio/wav;base64,{b64encode(sound).decode()}" if sound else "",
        "figure": figure(k, samples, heard, labelled),
    }


def figure(k: int, samples: Float[np.ndarray, " n"], heard: list[Timed], labelled: list[Timed]) -> Markup:
    """Waveform, spectrogram, and below them the symbols at their times: as understood, then as labelled."""
    seconds = max([len(samples) / RATE, *(end for *_, end in (*heard, *labelled) if not len(samples)), 0.1])
    shared = {*((s, round(a, 1)) for s, a, _ in heard)} & {*((s, round(a, 1)) for s, a, _ in labelled)}

    def paint(sheet: Figure) -> None:
        wave, picture, lines = sheet.subplots(3, 1, sharex=True, height_ratios=[1, 2, 1.2])
        if len(samples):
            parts = np.array_split(samples, min(POINTS, len(samples)))
            t = np.linspace(0, seconds, len(parts))
            wave.fill_between(t, [p.min() for p in parts], [p.max() for p in parts], color=MUTED, linewidth=0)
            grey = 255 - portrait(samples, 350, 64)[:, :, 0]
            picture.imshow(grey, cmap="gray", aspect="auto", extent=(0, seconds, 0, 8), vmin=0, vmax=255)
            picture.set_ylabel("kHz")
        lines.set_ylim(0, 2)
        for y, row in ((1.5, heard), (0.5, labelled)):
            for symbol, start, end in row[:MOST]:
                alone = (symbol, round(start, 1)) not in shared
                lines.plot([start, end], [y - 0.42] * 2, color=ALARM if alone else LINE, linewidth=2)
                lines.text(
                    (start + end) / 2, y, symbol, color=ALARM if alone else INK, ha="center", va="center", clip_on=True
                )
        for axes in (wave, lines):
            axes.set_yticks([])
        for axes in (wave, picture, lines):
            axes.set_xlim(0, seconds)
            for spine in axes.spines.values():
                spine.set_visible(False)
        lines.set_xlabel("seconds")

    about = f"understood: {' '.join(s for s, *_ in heard)}; labelled: {' '.join(s for s, *_ in labelled)}"
    return draw(f"utterance{k}", about, WIDTH, HEIGHT, paint)


def _timed(row: dict[str, Any], key: str) -> list[Timed]:
    """The symbols of a row with sound times; nobody vouches for the file."""
    found = []
    for entry in rows(row, key):
        start, end = number(entry.get("start")), number(entry.get("end"))
        if start is not None and end is not None and 0 <= start <= end:
            found.append((str(entry.get("symbol", "")), start, end))
    return found
