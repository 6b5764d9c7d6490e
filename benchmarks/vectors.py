"""Real domains as vectors and labels: what the guard, and whatever else needs many cheap cells, is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from cells import data

from crossgraft.seeds import rng

Vectors = tuple[np.ndarray, np.ndarray]
MOST = 3000  # examples kept of a domain
SIDE, PER_SPEAKER = 8, 5  # pixels a side of a digit; stretches of time of a spoken one
WORDS = 100  # dimensions of a review


@cache
def digits() -> Mapping[str, Vectors]:
    """MNIST, USPS and scans as 8 x 8 pixels in [0, 1]; chest X-rays named 0 and 1 as a domain that is unrelated."""
    import h5py
    from scipy.ndimage import zoom

    from crossgraft.domains import open_domain

    def pictures(what: object) -> Vectors:
        domain = open_domain(what, "digits")
        rows = rng(0, f"vectors {len(domain)}").permutation(len(domain))[:MOST]
        x = np.stack([domain.read(int(i))[:, :, 0] for i in rows]) / 255.0
        return x, domain.labels[rows].astype(str)

    def small(x: np.ndarray) -> np.ndarray:
        scale = SIDE / x.shape[1]
        out = x if scale == 1 else np.stack([zoom(picture, scale, order=1) for picture in x])
        return out.reshape(len(x), -1).astype(np.float32)

    with h5py.File(data() / "digits/usps.h5") as file:
        x, y = np.asarray(file["train"]["data"]).reshape(-1, 16, 16), np.asarray(file["train"]["target"]).astype(str)
    some = rng(0, "vectors usps").permutation(len(y))[:MOST]
    with np.load(data() / "images/pneumoniamnist.npz", allow_pickle=False) as file:
        rows = rng(0, "vectors chest").permutation(len(file["train_images"]))[:1000]
        chest = file["train_images"][rows] / 255.0, file["train_labels"].ravel()[rows].astype(str)
    found = {
        "MNIST": pictures(data() / "digits/mnist/t10k-images-idx3-ubyte.gz"),
        "USPS": (x[some], y[some]),
        "scans": pictures("sklearn-digits"),
        "X-rays": chest,
    }
    return {name: (small(x), y) for name, (x, y) in found.items()}


@cache
def aerial() -> Mapping[str, Vectors]:
    """Every second scene of rsscn7, the others altered as sources, and ants and bees named as two of its classes.

    Features of EfficientNet-Lite0.
    """
    from PIL import Image, ImageFilter, ImageOps

    from crossgraft import backbones, features
    from crossgraft.domains import open_domain

    def read(what: Path, first: int, step: int) -> tuple[list[Image.Image], np.ndarray]:
        domain = open_domain(what, "pictures")
        rows = range(first, len(domain), step)
        return [Image.fromarray(domain.read(i)) for i in rows], domain.labels[list(rows)].astype(str)

    def embedded(pictures: list[Image.Image], y: np.ndarray) -> Vectors:
        x = np.stack([np.asarray(p.convert("RGB").resize((256, 256))) for p in pictures])
        domain = open_domain((x, y), "pictures")
        return features.features(domain, backbones.load("auto", domain)).values, y

    root = data() / "images"
    (mine, mine_y), (rest, rest_y) = read(root / "rsscn7", 0, 2), read(root / "rsscn7", 1, 2)
    altered = {
        "grey": [ImageOps.grayscale(p) for p in rest],
        "blurred": [p.filter(ImageFilter.GaussianBlur(6)) for p in rest],
        "tiny": [p.resize((24, 24)) for p in rest],
        "negative": [ImageOps.invert(p.convert("RGB")) for p in rest],
    }
    insects, insects_y = read(root / "hymenoptera", 0, 1)
    names = dict(zip(np.unique(insects_y), np.unique(mine_y), strict=False))
    return {
        "target": embedded(mine, mine_y),
        **{name: embedded(pictures, rest_y) for name, pictures in altered.items()},
        "insects": embedded(insects, np.array([names[y] for y in insects_y])),
    }


@cache
def reviews() -> Mapping[str, Vectors]:
    """Amazon's four domains: words weighed by TF-IDF, its leading singular directions; no label is looked at."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, labels, of = [], [], []
    for name in ("books", "dvd", "electronics", "kitchen"):
        for sentiment in ("negative", "positive"):
            lines = (data() / "text/amazon" / name / f"{sentiment}.txt").read_text(encoding="utf-8").splitlines()
            rows = rng(0, f"vectors {name} {sentiment}").permutation(len(lines))[: MOST // 2]
            texts += [lines[i] for i in rows]
            labels += [sentiment] * len(rows)
            of += [name] * len(rows)
    words = TfidfVectorizer(sublinear_tf=True, min_df=5, ngram_range=(1, 2), max_features=30_000)
    x = TruncatedSVD(WORDS, random_state=0).fit_transform(words.fit_transform(texts)).astype(np.float32)
    y, where = np.array(labels), np.array(of)
    return {name: (x[where == name], y[where == name]) for name in dict.fromkeys(of)}


@cache
def speakers() -> Mapping[str, Vectors]:
    """Spoken digits of five speakers: log energies of 24 mel bands in five stretches of time, each take centred."""
    from scipy.io import wavfile
    from scipy.signal import stft

    found: dict[str, list[tuple[np.ndarray, str]]] = {}
    for path in sorted((data() / "speech/fsdd").glob("*.wav")):
        digit, speaker, _ = path.stem.split("_")
        rate, wave = wavfile.read(path)
        hertz, _, z = stft(wave.astype(float), rate, nperseg=256, noverlap=128)
        mel = 2595 * np.log10(1 + hertz / 700)
        at = np.minimum((24 * mel / mel[-1]).astype(int), 23)
        energy = np.stack([(np.abs(z[at == band]) ** 2).sum(0) for band in range(24) if (at == band).any()])
        level = np.log(energy + 1e-3 * energy.mean())
        pieces = [piece.mean(1) for piece in np.array_split(level, PER_SPEAKER, axis=1)]
        take = np.concatenate(pieces) - level.mean()
        found.setdefault(speaker, []).append((take.astype(np.float32), digit))
    return {s: (np.stack([x for x, _ in takes]), np.array([y for _, y in takes])) for s, takes in found.items()}
