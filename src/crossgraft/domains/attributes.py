"""Simple attributes of examples, by kind of input: what a difference between domains may come down to."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.domains.clips import RATE
from crossgraft.domains.domain import Domain
from crossgraft.domains.texts import joined

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
OF_PICTURES = ("brightness", "contrast", "colour", "detail", "width", "height")
OF_TEXTS = ("characters", "words", "characters a word", "digits", "capitals")
OF_VECTORS = ("mean", "spread", "norm")
OF_CLIPS = ("seconds", "loudness in dBFS", "centre of the spectrum in Hz")
QUIET = 1e-5  # of full scale: -100 dBFS, where silence is put


def names_of(domain: Domain) -> tuple[str, ...]:
    """The attributes that examples of this kind have; none for single numbers, which are their own."""
    if domain.kind == "image":
        return OF_PICTURES
    if domain.kind == "audio":
        return OF_CLIPS
    if domain.kind == "vector":
        return OF_VECTORS if len(domain) and np.size(domain.read(0)) > 1 else ()
    return OF_TEXTS


def attributes(domain: Domain, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n A"]:
    """Each attribute of `names_of` of each of these rows.

    Pictures: mean and standard deviation of the luma (0 to 1), mean distance of the channels from it, mean absolute
    difference of neighbouring pixels, sides in pixels. Texts: lengths, and shares of the characters. Vectors: mean,
    standard deviation and length. Clips: length, root mean square in decibels below full scale, and the mean frequency
    weighted by power.

    >>> from crossgraft.domains import open_domain
    >>> attributes(open_domain(([[3.0, 4.0]], None), "one"), np.arange(1)).round(2).tolist()
    [[3.5, 0.5, 5.0]]
    """
    of = {"image": _picture, "vector": _vector, "audio": _clip}.get(domain.kind, _text)
    found = [of(domain.read(int(i))) for i in rows]
    return np.array(found, dtype=np.float64).reshape(len(rows), -1)


def _picture(pixels: Any) -> tuple[float, ...]:
    x = np.asarray(pixels, dtype=np.float64) / 255
    green = x[..., 1]
    luma = green + (x - green[..., None]) @ LUMA  # of grey pixels exactly their grey: no colour out of rounding
    steps = [np.abs(np.diff(luma, axis=axis)) for axis in (0, 1) if luma.shape[axis] > 1]
    detail = float(np.mean([s.mean() for s in steps])) if steps else 0.0
    height, width = luma.shape
    colour = float(np.abs(x - luma[..., None]).mean())
    return float(luma.mean()), float(luma.std()), colour, detail, float(width), float(height)


def _text(text: Any) -> tuple[float, ...]:
    whole = joined(text)
    words, n = whole.split(), max(len(whole), 1)
    shares = [sum(map(test, whole)) / n for test in (str.isdigit, str.isupper)]
    letters = sum(map(len, words)) / max(len(words), 1)
    return float(len(whole)), float(len(words)), letters, *shares


def _vector(vector: Any) -> tuple[float, ...]:
    x = np.asarray(vector, dtype=np.float64)
    return float(x.mean()), float(x.std()), float(np.sqrt(x @ x))


def _clip(samples: Any) -> tuple[float, ...]:
    x = np.asarray(samples, dtype=np.float64)
    power = np.abs(np.fft.rfft(x)) ** 2
    centre = float(power @ np.fft.rfftfreq(len(x), 1 / RATE) / max(power.sum(), 1e-12))
    return len(x) / RATE, 20 * float(np.log10(max(np.sqrt(np.mean(x * x)), QUIET))), centre
