"""Clips for tests, made from a seed: each class is a tune of its own, each speaker another pitch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf

TUNES = {"rise": (1.0, 1.5), "fall": (1.5, 1.0), "flat": (1.2, 1.2)}


def tune(label: str, pitch: float, seed: int, rate: int = 16000, seconds: float = 0.5) -> np.ndarray:
    """A glide with three harmonics between two multiples of a pitch, with a little noise."""
    draw = np.random.default_rng(seed)
    n = round(seconds * rate)
    first, last = TUNES[label]
    frequency = pitch * (1 + 0.03 * draw.standard_normal()) * np.linspace(first, last, n)
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    sound = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * np.hanning(n)
    return (0.2 * sound + 0.003 * draw.standard_normal(n)).astype(np.float32)


def wav(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, rate, subtype=subtype)
    return path


def manifest(folder: Path, name: str, speakers: dict[str, float], each: int = 6, rate: int = 16000) -> Path:
    """A CSV of clips of every tune by every speaker, with the clips beside it."""
    lines = ["path,label,speaker"]
    for s, (speaker, pitch) in enumerate(speakers.items()):
        for c, label in enumerate(TUNES):
            for i in range(each):
                at = f"clips/{speaker}-{label}-{i}.wav"
                wav(folder / at, tune(label, pitch, 100 * s + 10 * c + i, rate), rate)
                lines.append(f"{at},{label},{speaker}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def strings(folder: Path, name: str, speaker: str, pitch: float, n: int, seed: int, tested: int = 0) -> Path:
    """A CSV of clips of 2 to 4 tunes of a speaker with silences between them, and what each holds."""
    draw = np.random.default_rng(seed)
    lines = ["path,transcript,speaker,split"]
    for k in range(n + tested):
        held = [str(w) for w in draw.choice(list(TUNES), draw.integers(2, 5))]
        parts = []
        for i, label in enumerate(held):
            parts += [
                tune(label, pitch, 1000 * seed + 10 * k + i, seconds=0.3),
                np.zeros(int(draw.integers(1600, 4000))),
            ]
        at = f"clips/{name}-{k}.wav"
        wav(folder / at, np.concatenate(parts[:-1]))
        lines.append(f"{at},{' '.join(held)},{speaker},{'train' if k < n else 'test'}")
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
