"""Pictures decoded, resized and cropped to uint8 pixels, several at a time."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import CrossgraftError
from crossgraft.features.store import cache_folder
from crossgraft.progress import bar

IN_MEMORY = 1 << 30  # bytes of pixels from which they go to a file
T = TypeVar("T")


@dataclass(eq=False)
class Prepared:
    """Values with one row an example, and (row, reason) of those that could not be read; their rows are zero or empty.

    notes  what is worth saying about how they were read
    """

    values: Any
    failures: list[tuple[int, str]]
    notes: tuple[str, ...] = ()


def pixels(domain: Domain, backbone: Backbone, *, title: str = "pictures") -> Prepared:
    """Inputs as the backbone takes them: uint8 (N, S, S, C), in a file of the cache folder from 1 GiB on; float32
    (N, D) of vectors; or `Ragged` rows of tokens."""
    if backbone.tokens is not None:
        from crossgraft.features.texts import chunk_note, chunks, read_tokens

        tokens, unread = read_tokens(domain, backbone.tokens)
        length = backbone.tokens.length
        return Prepared(tokens, unread, chunk_note(domain.name, chunks(tokens, length), length, domain.kind))
    failures: list[tuple[int, str]] = []
    p = backbone.preprocess
    if p is None:
        rows = [_try(domain.read, i) for i in range(len(domain))]
        good = [r for r in rows if not isinstance(r, str)]
        width = len(good[0]) if good else backbone.dim
        vectors = np.zeros((len(domain), width), dtype=np.float32)
        for i, row in enumerate(rows):
            if isinstance(row, str):
                failures.append((i, row))
            else:
                vectors[i] = row
        return Prepared(vectors, failures)
    out = room((len(domain), p.size, p.size, p.channels))
    with bar(title, len(domain)) as advance:
        for i, read in enumerate(ahead(lambda i: read_picture(domain, i, p), range(len(domain)))):
            if isinstance(read, str):
                failures.append((i, read))
            else:
                out[i] = read
            advance(1)
    return Prepared(out, failures)


def read_picture(domain: Domain, i: int, p: Preprocess) -> UInt8[np.ndarray, "S S C"] | str:
    """Example i as the backbone takes it, or the reason why it cannot be read."""
    read = _try(lambda row: domain.read(row, round(p.size / p.crop)), i)
    return read if isinstance(read, str) else fit_picture(read, p)


def fit_picture(picture: UInt8[np.ndarray, "H W 3"], p: Preprocess) -> UInt8[np.ndarray, "S S C"]:
    """The centre square, resized with antialiasing so that the centre S x S of it is left, uint8.

    Same region as resizing the shorter side to S / crop and cropping (to half a pixel), without resizing what the
    crop takes away.

    >>> fit_picture(np.full((10, 20, 3), 7, np.uint8), Preprocess(4, channels=1)).shape
    (4, 4, 1)
    """
    import torch

    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    if p.channels == 1:  # ITU-R 601 luminance in the integers that Pillow uses: grey stays as it is
        r, g, b = (square[:, :, c].astype(np.uint32) for c in range(3))
        square = ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(np.uint8)[:, :, None]
    resized = round(p.size / p.crop)
    if side != resized:
        tensor = torch.from_numpy(square.copy()).permute(2, 0, 1)[None]
        shaped = torch.nn.functional.interpolate(tensor, (resized, resized), mode=p.interpolation, antialias=True)
        square = shaped[0].permute(1, 2, 0).numpy()
    start = (resized - p.size) // 2
    return np.ascontiguousarray(square[start : start + p.size, start : start + p.size])


def ahead(work: Callable[[int], T], rows: Iterable[int], depth: int = 32) -> Generator[T, None, None]:
    """work(row) in order, computed up to `depth` rows ahead by as many threads as there are cores."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read")
    waiting: deque[Future[T]] = deque()
    try:
        for row in rows:
            waiting.append(pool.submit(work, row))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also on Ctrl-C: what has not begun is dropped
        pool.shutdown(wait=False, cancel_futures=True)


def _try(read: Callable[[int], Any], i: int) -> Any:
    try:
        return read(i)
    except Unreadable as wrong:
        return wrong.reason


def room(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    """Zeros in memory, or in a file that the system removes when the array goes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < IN_MEMORY:
        return np.zeros(shape, dtype=dtype)
    folder = cache_folder() / "pixels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk says so now, not in the middle
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as wrong:
        gib = size / 2**30
        raise CrossgraftError(
            f"no room for {gib:.1f} GiB of pixels in {folder} ({wrong.strerror})",
            "make room, or name another folder with CROSSGRAFT_CACHE",
        ) from None
