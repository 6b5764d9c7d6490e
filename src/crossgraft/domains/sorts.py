"""What files of examples there are: pictures and audio, told by their names or first bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossgraft.domains import clips, pictures
from crossgraft.domains.domain import Kind

PICTURE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".tga", ".jp2",
})  # fmt: skip
AUDIO_HEADS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"ID3")


@dataclass(frozen=True)
class Sort:
    """Files that hold one example each.

    none      why a file beside them is left out
    reader    a file, or its bytes, to what a Domain's `read` gives
    """

    kind: Kind
    noun: str
    suffixes: frozenset[str]
    reader: Callable[[Any], Any]
    scaled_reader: Callable[[Any, int], Any] | None = None

    @property
    def none(self) -> str:
        """Why a file beside them is left out."""
        return f"no {self.noun} file by its name"

    def named(self, path: str | Path) -> bool:
        """Whether a file is one by its name."""
        return os.path.splitext(path)[1].lower() in self.suffixes


PICTURES = Sort("image", "picture", PICTURE_SUFFIXES, pictures.decode, pictures.decode)
CLIPS = Sort("audio", "audio", clips.SUFFIXES, clips.decode)
SORTS = (PICTURES, CLIPS)
BESIDE = frozenset(sort.none for sort in SORTS)  # reasons that say nothing against the data


def by_name(path: str | Path) -> Sort | None:
    """The sort of a file by its name; None where it is of neither.

    >>> by_name("a.WAV").kind, by_name("a.csv")
    ('audio', None)
    """
    return next((sort for sort in SORTS if sort.named(path)), None)


def most(files: Iterable[str | Path | bytes]) -> Sort:
    """The sort of most of some files, or of their bytes; pictures at a tie."""
    score = sum(
        (-1 if file.startswith(AUDIO_HEADS) and file[8:12] != b"WEBP" else 1)
        if isinstance(file, bytes)
        else (CLIPS.named(file) * -1 + PICTURES.named(file))
        for file in files
    )
    return CLIPS if score < 0 else PICTURES


def held(folder: Path) -> Sort | None:
    """The sort of most files anywhere below a folder; None where there is neither."""
    files = [name for _, _, names in os.walk(folder) for name in names if by_name(name) and not name.startswith(".")]
    return most(files) if files else None
