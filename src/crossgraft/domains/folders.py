"""Folders of pictures or of audio: class folders, with or without split folders above them; or one flat set without
labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from crossgraft.domains.digest import file_digest
from crossgraft.domains.domain import Domain
from crossgraft.domains.labels import SPLIT_NAMES, blank_note, label, splits, unique_names
from crossgraft.domains.sorts import PICTURES, Sort, held
from crossgraft.errors import CrossgraftError, Skipped, nearest

SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"})


def example_files(
    files: Sequence[Path | bytes],
    name: str,
    sort: Sort = PICTURES,
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[str | None] | None = None,
    split: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    skipped: Sequence[Skipped] = (),
    notes: tuple[str, ...] = (),
) -> Domain:
    """A Domain of picture or audio files (or their bytes), read when asked for; what cannot be read says so."""
    n = len(files)
    text = np.full(n, None, dtype=object)
    if labels is not None:
        text[:] = list(labels)
    called = unique_names(names if names is not None else [str(f) for f in files])
    paths = [f if isinstance(f, bytes) else str(f) for f in files]
    parts = splits(split, n)
    return Domain(
        name, sort.kind, paths, text, called, parts, sort.reader, file_digest, tuple(skipped), notes,
        sort.scaled_reader, None if groups is None else np.array(groups, dtype=str),
    )  # fmt: skip


def folder_domain(folder: Path, name: str) -> Domain:
    """The pictures, or the audio, of a folder, labelled by the folders that hold them.

    Of a folder with both, what there is more of; the rest is skipped. Raises CrossgraftError where there is neither.
    """
    sort = held(folder)
    if sort is None:
        raise CrossgraftError(f"there is no picture or audio in {folder}", _what_there_is(folder))
    top, skipped, notes = folder, [], []
    folders, _ = children(top)
    while len(folders) == 1 and _split(folders[0]) is None and _only_folders(folders[0], sort):
        top = folders[0]
        folders, _ = children(top)
        notes.append(f"the classes were looked for in {top}, the only folder in {folder}")
    rows: list[tuple[Path, str | None, str]] = []
    if _has_splits(folders):
        for part in folders:
            split = _split(part)
            if split is None:
                skipped.append(Skipped(str(part.relative_to(folder)), "a folder beside the splits that is none itself"))
            else:
                rows += _labelled(part, split, folder, skipped, sort)
    else:
        rows = _labelled(top, "", folder, skipped, sort)
    if not rows:
        raise CrossgraftError(f"there is no {sort.noun} in {folder}", _what_there_is(folder))
    notes += blank_note(sorted({y for _, y, _ in rows if y is not None and y != y.strip()}))
    files = [f for f, _, _ in rows]
    return example_files(
        files,
        name,
        sort,
        names=[f.relative_to(folder).as_posix() for f in files],
        labels=[label(y) for _, y, _ in rows],
        split=[s for _, _, s in rows],
        skipped=skipped,
        notes=tuple(notes),
    )


def missing(path: Path) -> CrossgraftError:
    """The error for a path that does not exist, with the nearest names beside it."""
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return CrossgraftError(f"there is no file or folder {path}", nearest(path.name, beside) or "check the path")


def _labelled(
    top: Path, split: str, root: Path, skipped: list[Skipped], sort: Sort
) -> list[tuple[Path, str | None, str]]:
    """(file, label, split) below one split: by class folder, or without labels where there is none."""
    folders, files = children(top)
    known = split != "unlabelled" and bool(folders)
    rows: list[tuple[Path, str | None, str]] = []
    for file in files:
        at = file.relative_to(root).as_posix()
        if not sort.named(file):
            skipped.append(Skipped(at, sort.none))
        elif known:
            skipped.append(Skipped(at, "lies outside the class folders"))
        else:
            rows.append((file, None, split))
    for folder in folders:
        for file in _walk(folder, root, skipped, (os.path.realpath(top),), sort):
            rows.append((file, folder.name if known else None, split))
    return rows


def _walk(folder: Path, root: Path, skipped: list[Skipped], above: tuple[str, ...], sort: Sort) -> Iterator[Path]:
    """All files of a sort below a folder, in natural order of names; links are followed, but never in a circle."""
    real = os.path.realpath(folder)
    at = folder.relative_to(root).as_posix()
    if real in above:
        skipped.append(Skipped(at, "a link to a folder that holds it"))
        return
    try:
        folders, files = children(folder)
    except CrossgraftError as wrong:
        skipped.append(Skipped(at, wrong.what))
        return
    for file in files:
        if sort.named(file):
            yield file
        else:
            skipped.append(Skipped(file.relative_to(root).as_posix(), sort.none))
    for below in folders:
        yield from _walk(below, root, skipped, (*above, real), sort)


def children(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and everything else, without what is hidden or the system's, sorted by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as wrong:
        raise CrossgraftError(
            f"{folder} cannot be read ({wrong.strerror})", "check its permissions and links"
        ) from None
    folders: list[Path] = []
    files: list[Path] = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
            continue
        (folders if _is_folder(entry) else files).append(Path(entry.path))
    return folders, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _split(folder: Path) -> str | None:
    return SPLIT_NAMES.get(folder.name.strip().lower())


def _has_splits(folders: Sequence[Path]) -> bool:
    """Split folders are there with a training part, or with nothing else: a class may well be called "test"."""
    found = [_split(f) for f in folders]
    return "train" in found or (bool(found) and None not in found)


def _only_folders(folder: Path, sort: Sort) -> bool:
    folders, files = children(folder)
    return bool(folders) and not any(map(sort.named, files))


def _what_there_is(folder: Path) -> str:
    found = {f.suffix.lower() or f.name for _, _, names in os.walk(folder) for f in map(Path, names)}
    if not found:
        return "the folder is empty; give a folder of class folders with pictures or audio"
    return f"it holds {', '.join(sorted(found)[:5])}; give a folder of class folders with pictures or audio"
