"""Texts and clips through frozen layers: made tokens a window at a time, computed in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.backbones.backbone import Backbone, Tokens
from crossgraft.domains.clips import RATE
from crossgraft.domains.domain import SOUND, Domain, Unreadable
from crossgraft.features.engine import Done, bfloat16, engine_for
from crossgraft.features.ragged import Ragged
from crossgraft.features.reading import ahead

WINDOW = 1024  # texts that are tokenised and sorted by length at once
CLIPS = 256  # and clips: half a GiB of the longest
BATCH = 64


def text_engine(asked: str | None = None, kind: str = "text") -> str:
    """torch-f32, torch-bf16 where the CPU multiplies it natively, or cuda-bf16; of audio always float32, which its
    decibels need.

    OpenVINO's MiniLM took as long as torch's in float32, and 8 seconds to convert, and the speech embedding runs as
    fast on torch where it lies channels last: for texts and audio OpenVINO is not used.
    """
    found = engine_for(asked)
    if kind in SOUND:
        return "cuda-f32" if found.startswith("cuda") else "torch-f32"
    return found if not found.startswith("openvino") else "torch-bf16" if bfloat16() else "torch-f32"


class TextLayers:
    """The layers of a backbone in inference mode; features with the number of chunks of each text behind them."""

    def __init__(self, backbone: Backbone, engine: str, done: Done) -> None:
        import torch

        assert backbone.tokens is not None
        self.length, self.done, self.half = backbone.tokens.length, done, engine.endswith("bf16")
        self.device = torch.device("cuda" if engine.startswith("cuda") else "cpu")
        module = backbone.module if self.device.type == "cpu" else backbone.fresh(0)
        self.net = module.eval().to(self.device)
        self.kind, self.frames = backbone.kind, backbone.frames

    def submit(self, batch: Ragged, beside: Any) -> None:
        """Compute one batch now; of sentences the features of all words of each in one row."""
        found, counts = self(batch), chunks(batch, self.length)
        if (rows := self.rows_of(batch)) is not None:
            parts = np.split(found, np.cumsum(rows)[:-1])
            self.done(beside, [np.append(part, n) for part, n in zip(parts, counts, strict=True)])
        else:
            self.done(beside, np.concatenate([found, counts[:, None]], 1))

    def rows_of(self, batch: Ragged) -> Int[np.ndarray, " B"] | None:
        """How many features each row has: of a sentence its words, of an utterance its frames; None for one each."""
        return batch.words if self.kind == "sentence" else None if self.frames is None else self.frames(batch.lengths)

    def __call__(self, batch: Ragged) -> Float[np.ndarray, "B D"]:
        """Features of one batch, a row a text, or a row a word or frame."""
        import torch

        half = torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext()
        with torch.inference_mode(), half:
            return np.asarray(self.net(torch.from_numpy(batch.padded()).to(self.device)).float().cpu().numpy())

    def wait(self) -> None:
        """Nothing is in flight."""


def text_batches(
    domain: Domain, tokens: Tokens, new: dict[bytes, int], unread: dict[bytes, str], advance: Callable[[int], object]
) -> Iterator[tuple[list[bytes], Ragged]]:
    """Keys and tokens, in batches of like length; reasons of what cannot be read go to `unread`."""
    items, window = list(new.items()), CLIPS if domain.kind in SOUND else WINDOW
    for start in range(0, len(items), window):
        some = items[start : start + window]
        found, failures = _encoded(domain, tokens, [i for _, i in some])
        unread |= {some[j][0]: why for j, why in failures.items()}
        keys = [key for j, (key, _) in enumerate(some) if j not in failures]
        rows = Ragged.of([row for j, row in enumerate(found) if j not in failures])
        order = rows.by_length()
        for first in range(0, len(order), BATCH):
            at = order[first : first + BATCH]
            yield [keys[j] for j in at], rows[at]
            advance(len(at))
        advance(len(failures))


def read_tokens(domain: Domain, tokens: Tokens) -> tuple[Ragged, list[tuple[int, str]]]:
    """The tokens of all texts, and (row, reason) of those that cannot be read, whose rows are empty."""
    rows: list[Int[np.ndarray, " L"]] = []
    failures: list[tuple[int, str]] = []
    for start in range(0, len(domain), WINDOW):
        found, unread = _encoded(domain, tokens, range(start, min(start + WINDOW, len(domain))))
        failures += [(start + j, why) for j, why in unread.items()]
        rows += found
    return Ragged.of(rows), failures


def _encoded(domain: Domain, tokens: Tokens, rows: Sequence[int]) -> tuple[list[np.ndarray], dict[int, str]]:
    """The tokens of some rows, and the reason of each, by its place among them, that cannot be read and has none.

    Clips are decoded several at a time, and are samples of 16 bits as soon as they are read.
    """
    sound = domain.kind in SOUND

    def one(i: int) -> Any:
        try:
            return tokens.encode([domain.read(i)])[0] if sound else domain.read(i)
        except Unreadable as wrong:
            return wrong

    read = list(ahead(one, rows) if sound else map(one, rows))
    failures = {j: what.reason for j, what in enumerate(read) if isinstance(what, Unreadable)}
    if not sound:
        read = tokens.encode(["" if j in failures else what for j, what in enumerate(read)])
    none = np.empty(0, dtype=np.uint16 if sound else np.int32)
    return [none if j in failures else what for j, what in enumerate(read)], failures


def chunks(rows: Ragged, length: int) -> Float[np.ndarray, " N"]:
    """How many chunks each row has."""
    found: np.ndarray = np.maximum(-(-rows.lengths // length), 1).astype(np.float32)
    return found


def chunk_note(name: str, counts: Sequence[float] | np.ndarray, length: int, kind: str = "text") -> tuple[str, ...]:
    """What is worth saying about texts, or clips, that are longer than the layers take at once."""
    counts = np.asarray(counts)
    long = int((counts > 1).sum())
    if not long:
        return ()
    if kind in SOUND:
        share = f"{long} of {len(counts)} clips ({100 * long / len(counts):.1f} %)"
        return (f"{name}: {share} are longer than {length / RATE:.0f} s; the first {length / RATE:.0f} s were read",)
    share = f"{long} of {len(counts)} texts ({100 * long / len(counts):.1f} %)"
    return (
        f"{name}: {share} have more than {length} tokens; all of each was read, in chunks, {counts.max():.0f} at most",
    )


def embed_texts(net: TextLayers, rows: Ragged) -> Float[np.ndarray, "N D"]:
    """Features of all rows, or of all their words or frames, computed in batches of like length."""
    order = rows.by_length()
    parts: Iterable[np.ndarray] = [net(rows[order[i : i + BATCH]]) for i in range(0, len(order), BATCH)]
    found: np.ndarray = np.concatenate(list(parts))
    out: np.ndarray = np.empty_like(found)
    counts = net.rows_of(rows)
    out[order if counts is None else places(counts, order)] = found
    return out


def places(counts: Int[np.ndarray, " N"], order: Int[np.ndarray, " n"]) -> Int[np.ndarray, " W"]:
    """Where the words of some sentences lie among those of all.

    >>> places(np.array([2, 1, 2]), np.array([2, 0])).tolist()
    [3, 4, 0, 1]
    """
    own = counts[order]
    return np.repeat(np.cumsum(counts)[order] - own - (np.cumsum(own) - own), own) + np.arange(own.sum())
