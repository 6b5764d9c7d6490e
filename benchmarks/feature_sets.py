"""Real domains as frozen features: photographs, aerial scenes, reviews and spoken digits, as the backbones see them.

Each set is computed once and kept beside the temporary files (delete the folder to compute it again); texts by the
layers that were read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cells import data

from crossgraft.backbones.text_models import DEPTHS

Vectors = tuple[np.ndarray, np.ndarray]
KEPT = Path(tempfile.gettempdir()) / "crossgraft-features"
REVIEWS = 1000  # of a domain, half of each class
DIGITS = 2000
BLUR = 2.0  # pixels of 256


def seen(domain: Any) -> Vectors:
    """A domain's features by the backbone that `auto` takes for it, and its labels."""
    from crossgraft import backbones, features

    return features.features(domain, backbones.load("auto", domain)).values, domain.labels.astype(str)


def photographs(folder: str) -> Mapping[str, Vectors]:
    """Photographs as they are, and all of them grey, turned by one, two or three right angles, and blurred."""
    from PIL import Image, ImageFilter, ImageOps

    from crossgraft.domains import open_domain

    domain = open_domain(data() / "images" / folder, "photographs")
    plain, altered = [], []
    for i in range(len(domain)):
        picture = Image.fromarray(domain.read(i)).convert("RGB").resize((256, 256))
        turned = ImageOps.grayscale(picture).rotate(90 * (1 + i % 3)).filter(ImageFilter.GaussianBlur(BLUR))
        plain.append(np.asarray(picture))
        altered.append(np.asarray(turned.convert("RGB")))
    y = domain.labels.astype(str)
    return {n: seen(open_domain((np.stack(x), y), n)) for n, x in (("plain", plain), ("altered", altered))}


def reviews() -> Mapping[str, Vectors]:
    """Books and kitchen, MiniLM."""
    from amazon import reviews as texts

    from crossgraft.domains import open_domain

    return {name: seen(open_domain(texts(name, REVIEWS // 2), name)) for name in ("books", "kitchen")}


def speakers() -> Mapping[str, Vectors]:
    """Five speakers' digits, Google's speech embedding."""
    from speech import manifests

    from crossgraft.domains import open_domain

    with tempfile.TemporaryDirectory() as folder:
        return {name: seen(open_domain(path, name)) for name, path in manifests(Path(folder)).items()}


def digits() -> Mapping[str, Vectors]:
    """MNIST without its margin and USPS, which has none, 16 x 16 pixels in [0, 1]."""
    from adaptation import images
    from scipy.ndimage import zoom

    found = {}
    for name in ("MNIST", "USPS"):
        domain = images(name, DIGITS, 0)
        x = np.stack([domain.read(i) for i in range(len(domain))])
        if name == "MNIST":
            x = np.stack([zoom(picture[4:24, 4:24, 0] / 255.0, 0.8, order=1) for picture in x])
        found[name] = x.reshape(len(x), -1).astype(np.float32), domain.labels.astype(str)
    return found


SETS: Mapping[str, Callable[[], Mapping[str, Vectors]]] = {
    "insects": lambda: photographs("hymenoptera"),
    "aerial": lambda: photographs("rsscn7"),
    "reviews": reviews,
    "speakers": speakers,
    "digits": digits,
}


@cache
def features(name: str) -> Mapping[str, Vectors]:
    """The domains of a set."""
    path = KEPT / f"{name}{'-'.join(map(str, DEPTHS)) if name == 'reviews' else ''}.npz"
    if not path.exists():
        found = SETS[name]()
        KEPT.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, **{f"{d}/{k}": a for d, pair in found.items() for k, a in zip("xy", pair, strict=True)})
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        names = dict.fromkeys(key.partition("/")[0] for key in kept)
        return {d: (kept[f"{d}/x"], kept[f"{d}/y"]) for d in names}
