"""Connected digits of fsdd: strings of 3 to 7 clips of one speaker joined with silences, with their transcripts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import cells
import numpy as np
import soundfile as sf

RATE = 8000  # of fsdd
TEST_TAKES = range(5)  # the data set's usual test split
SILENCE = (0.05, 0.3)  # seconds


def clips() -> dict[str, dict[int, list[tuple[int, Path]]]]:
    """By speaker and digit: takes and files."""
    found: dict[str, dict[int, list[tuple[int, Path]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((cells.data() / "speech" / "fsdd").glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        found[speaker][int(digit)].append((int(take), path))
    return found


def write(folder: Path, speaker: str, learned: int, tested: int, seed: int) -> Path:
    """A CSV of strings of a speaker, `learned` for training from other takes than the `tested` ones; and their wav."""
    own, draw = clips()[speaker], np.random.default_rng([seed, sum(speaker.encode())])
    lines = ["path,transcript,speaker,split"]
    for split, n in (("train", learned), ("test", tested)):
        for k in range(n):
            digits = draw.integers(0, 10, draw.integers(3, 8))
            parts = []
            for d in digits.tolist():
                takes = [path for take, path in own[d] if (take in TEST_TAKES) == (split == "test")]
                sound = sf.read(takes[int(draw.integers(len(takes)))], dtype="float32")[0]
                parts += [sound, np.zeros(int(RATE * draw.uniform(*SILENCE)), np.float32)]
            name = f"{speaker}-{split}-{k}.wav"
            sf.write(folder / name, np.concatenate(parts[:-1]), RATE)
            lines.append(f"{name},{' '.join(map(str, digits))},{speaker},{split}")
    path = folder / f"{speaker}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
