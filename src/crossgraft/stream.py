"""A live stream of audio: cut at its silences, each piece predicted as soon as it has ended; memory stays bounded.

What is sound and what silence is told by loudness: sound is ABOVE decibels louder than the quietest of the last
seconds, at the beginning of the first ones. A piece ends with QUIET seconds of silence, or after LONGEST.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from crossgraft.domains.clips import RATE
from crossgraft.domains.domain import SOUND, plural
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.run import Run
from crossgraft.transcripts import Decoder, Transcribe

BLOCK = RATE // 50  # samples whose loudness is told together: 20 ms
QUIET, AROUND, LONGEST = 0.5, 0.2, 15.0  # seconds: of silence that end a piece, kept around it, of a piece at most
FLOOR = 5.0  # seconds back in which the quietest block is looked for
ABOVE, LEAST = 10.0, -60.0  # decibels above that; of a full swing, below which all is silence
TOLD = 2 * ABOVE  # decibels between the loudest and the quietest that tell sound from silence


def blocks(stream: BinaryIO) -> Iterator[Float[np.ndarray, " BLOCK"]]:
    """Samples of a stream of 16-bit little-endian mono audio at 16 kHz, raw or with the header of a wav file.

    Raises CrossgraftError on a header that says otherwise.
    """
    head = stream.read(12)
    left = b"" if head[:4] == b"RIFF" else head
    while head[:4] == b"RIFF":
        name, size = (chunk := stream.read(8))[:4], int.from_bytes(chunk[4:], "little")
        if len(chunk) < 8 or name == b"data":
            break
        body = stream.read(size + size % 2)
        if name == b"fmt ":
            channels, rate, bits = (int.from_bytes(body[a:b], "little") for a, b in ((2, 4), (4, 8), (14, 16)))
            if (channels, rate, bits) != (1, RATE, 16):
                what = f"the stream has {channels} channels of {bits} bits at {rate} Hz"
                raise CrossgraftError(what, "give one of 16 bits at 16000 Hz, as from: ffmpeg -i ... -ac 1 -ar 16000")
    while True:
        data = left + stream.read(2 * BLOCK - len(left))
        left = b""
        if len(data) < 2:
            return
        samples = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.float32) / 32768
        yield np.pad(samples, (0, BLOCK - len(samples)))


def pieces(heard: Iterable[Float[np.ndarray, " BLOCK"]]) -> Iterator[tuple[float, Float[np.ndarray, " n"]]]:
    """Each piece of sound between two silences: the second at which it begins, and its samples.

    >>> sound = [np.full(BLOCK, 0.5 * (20 <= i < 40) + 1e-3, np.float32) for i in range(100)]
    >>> [(start, len(piece) / RATE) for start, piece in pieces(sound)]
    [(0.2, 0.8)]
    """
    per_second = RATE / BLOCK
    around, quiet, longest = (round(s * per_second) for s in (AROUND, QUIET, LONGEST))
    first, rest = _until_told(iter(heard), round(FLOOR * per_second))
    recent: deque[float] = deque([min(map(_level, first))] if first else [], maxlen=round(FLOOR * per_second))
    before: deque[np.ndarray] = deque(maxlen=around)
    held: list[np.ndarray] = []
    silent = start = 0
    for at, block in enumerate(chain(first, rest)):
        level = _level(block)
        recent.append(level)
        loud = level > max(min(recent) + ABOVE, LEAST)
        if not held:
            if loud:
                held, start, silent = [*before, block], at - len(before), 0
            before.append(block)
            continue
        held.append(block)
        silent = 0 if loud else silent + 1
        if silent >= quiet or len(held) >= longest:
            yield start / per_second, np.concatenate(held[: len(held) - max(silent - around, 0)])
            before.clear()
            before.extend(held[len(held) - min(silent, around) :])
            held = []
    if held:
        yield start / per_second, np.concatenate(held[: len(held) - max(silent - around, 0)])


def _until_told(
    heard: Iterator[Float[np.ndarray, " BLOCK"]], most: int
) -> tuple[list[np.ndarray], Iterator[Float[np.ndarray, " BLOCK"]]]:
    """The first blocks, until they tell sound from silence or are `most`, and the rest: a stream may begin in a
    word."""
    first: list[np.ndarray] = []
    levels: list[float] = []
    while len(first) < most and (not levels or max(levels) - min(levels) < TOLD):
        if (block := next(heard, None)) is None:
            break
        first.append(block)
        levels.append(_level(block))
    return first, heard


def _level(block: Float[np.ndarray, " BLOCK"]) -> float:
    """Decibels of a full swing."""
    return 10 * float(np.log10(np.square(block, dtype=np.float64).mean() + 1e-12))


def listen(run: Run, stream: BinaryIO, *, unknown: bool = False, **decoding: Any) -> Iterator[dict[str, Any]]:
    """What a run's model says of each piece of a live stream, as `Run.predict` has it, with `start` and `end` in
    seconds of the stream. `decoding`: options of `transcripts.Decoder`."""
    model = run.model
    if model.backbone.kind not in SOUND:
        raise UsageError(
            f"the model of {run.folder} reads {plural(model.backbone.kind)}, no stream", "give files instead"
        )
    decoder = Decoder(model.task, **decoding) if isinstance(model.task, Transcribe) else None
    for k, (start, piece) in enumerate(pieces(blocks(stream))):
        row = model.hear(piece, f"piece {k + 1}", decoder, unknown=unknown)
        for symbol in row.get("symbols", ()):
            symbol["start"], symbol["end"] = round(start + symbol["start"], 3), round(start + symbol["end"], 3)
        yield {"start": round(start, 3), "end": round(start + len(piece) / RATE, 3)} | row
