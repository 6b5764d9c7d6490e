"""Features of a domain: what the store has is taken, only what is new is decoded and computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import CrossgraftError
from crossgraft.features import engine as engines
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.features.reading import Prepared, ahead, pixels, read_picture, room
from crossgraft.features.store import Store
from crossgraft.features.texts import TextLayers, chunk_note, embed_texts, text_batches, text_engine
from crossgraft.progress import bar, say

if TYPE_CHECKING:
    from torch import nn

COMMIT = 0.3  # seconds of work that a kill may lose
AT_ONCE = 4096  # rows whose features are taken from the store together
CONVERT = 32 << 20  # bytes of pixels from which converting layers that only this run has costs less than it saves


def features(
    domain: Domain,
    backbone: Backbone,
    *,
    store: Store | None = None,
    engine: str | None = None,
    title: str = "features",
) -> Prepared:
    """Features of a frozen backbone, float32 (N, D), through the store; of sentences one a word, (W, D), of utterances
    `Frames` of them.

    engine  "auto" (OpenVINO on x86, CUDA where there is a GPU) or "torch"; by default CROSSGRAFT_ENGINE, else auto.
            In float32 the engines agree to a cosine above 0.9999.

    Raises CrossgraftError where the store cannot be written; inputs that cannot be read are in `failures`.
    """
    p, tokens = backbone.preprocess, backbone.tokens
    if (p is None and tokens is None) or backbone.given is not None:
        raw = pixels(domain, backbone)
        return raw if backbone.name == "identity" else Prepared(embed(backbone, raw.values), raw.failures, raw.notes)
    chosen = engines.engine_for(engine) if tokens is None else text_engine(engine, backbone.kind)
    keys, failed = _keys(domain, backbone, chosen)
    store = store if store is not None else Store()
    width = backbone.dim + (tokens is not None)  # of a text also the number of its chunks
    many = backbone.kind in ("sentence", "utterance")  # all words, or frames, of one are one entry of the store
    values: Any = np.full(len(domain), None, object) if many else room((len(domain), width), np.float32)
    new: dict[bytes, int] = {}
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        held = store.get([k for k in some if k is not None])
        for i, key in enumerate(some, start):
            if key is not None and key in held and (held[key].shape == (width,) or many):
                values[i] = held[key]
            elif key is not None:
                new.setdefault(key, i)
    if new:
        try:
            unread = _compute(domain, backbone, chosen, new, store, values, title)
        except engines.Unfit as wrong:
            say(f"backbone {backbone.name} runs on torch, slower: {wrong}")
            return features(domain, backbone, store=store, engine="torch", title=title)
        for i, key in enumerate(keys):
            if key in unread:
                failed[i] = unread[key]
            elif key in new and new[key] != i:  # the same content once more
                values[i] = values[new[key]]
    if many:
        whole = [np.ones(1, np.float32) if v is None else v for v in values]
        counts = np.array([v[-1] for v in whole])
        rows = [v[:-1].reshape(-1, backbone.dim) for v in whole]
        values = Frames.of(rows) if backbone.frames is not None else np.concatenate(rows)
    else:
        counts = values[:, -1]
    notes = () if tokens is None else chunk_note(domain.name, counts, tokens.length, domain.kind)
    return Prepared(values if many else values[:, : backbone.dim], sorted(failed.items()), notes)


def embed(
    layers: Backbone | nn.Module,
    values: Shaped[np.ndarray, "N ..."] | Ragged,
    preprocess: Preprocess | None = None,
    batch_size: int = 256,
) -> Any:
    """Features (N, D) of layers in memory (that moved, so that no store has them): of pixels (N, S, S, C), vectors
    (N, D_in) or tokens; of utterances `Frames`.

    `preprocess` is needed where a bare module reads pixels. The layers are left in the mode and place they were in.
    Many pixels go through the fast engine.
    """
    import torch

    if isinstance(values, Ragged):
        assert isinstance(layers, Backbone)
        found = np.zeros((0, layers.dim), dtype=np.float32)
        if len(values):
            with engines.in_inference(layers.module):
                runner = TextLayers(layers, text_engine(kind=layers.kind), lambda beside, computed: None)
                found = embed_texts(runner, values)
        return found if layers.frames is None else Frames(found, np.cumsum(layers.frames(values.lengths)))
    if isinstance(layers, Backbone):
        if layers.name == "identity":
            return np.asarray(values, dtype=np.float32)
        preprocess = layers.preprocess
        kind, precision = engines.engine_for().split("-")
        if preprocess is not None and kind == "openvino" and values.nbytes >= CONVERT:
            try:
                return _embed_converted(layers, values, precision)
            except engines.Unfit as wrong:
                say(f"layers that moved run on torch, slower: {wrong}")
        layers = layers.module
    if values.ndim == 4 and preprocess is None:
        raise ValueError("pixels need a preprocess")
    if len(values) == 0:
        values = np.zeros((1, *values.shape[1:]), values.dtype)
        return embed(layers, values, preprocess)[:0]
    device = next((x.device for x in layers.parameters()), torch.device("cpu"))
    net = layers if preprocess is None else engines.wrapped(layers, preprocess).to(device)
    with engines.in_inference(layers), torch.inference_mode():
        parts = [
            net(torch.from_numpy(np.ascontiguousarray(values[i : i + batch_size])).to(device)).float().cpu()
            for i in range(0, len(values), batch_size)
        ]
    return torch.cat(parts).numpy()


def _embed_converted(backbone: Backbone, values: Shaped[np.ndarray, "N S S C"], precision: str) -> np.ndarray:
    """Features by OpenVINO; the conversion is not kept."""
    out = np.zeros((len(values), backbone.dim), dtype=np.float32)

    def done(first: int, batch: np.ndarray) -> None:
        out[first : first + len(batch)] = batch

    with engines.in_inference(backbone.module):
        runner = engines.OpenVino(backbone, precision, done, keep=False)
    for i in range(0, len(values), engines.BATCH):
        runner.submit(np.ascontiguousarray(values[i : i + engines.BATCH]), i)
    runner.wait()
    return out


def _keys(domain: Domain, backbone: Backbone, engine: str) -> tuple[list[bytes | None], dict[int, str]]:
    """The store's key of each example: its content, the layers, how it is prepared and computed."""
    how = backbone.preprocess if backbone.tokens is None else backbone.tokens.revision
    made_by = f"{backbone.revision}/{how}/{engine}".encode()
    failed: dict[int, str] = {}

    def key(i: int) -> bytes | str:
        try:
            return blake2b(domain.digest(i) + made_by, digest_size=20).digest()
        except Unreadable as wrong:
            return wrong.reason

    keys: list[bytes | None] = []
    for i, found in enumerate(
        map(key, range(len(domain))) if domain.kind in ("text", "sentence") else ahead(key, range(len(domain)))
    ):
        if isinstance(found, str):
            failed[i] = found
        keys.append(found if isinstance(found, bytes) else None)
    return keys, failed


def _compute(
    domain: Domain, backbone: Backbone, engine: str, new: dict[bytes, int], store: Store, values: np.ndarray, title: str
) -> dict[bytes, str]:  # fmt: skip
    """Fill the rows of `values` and the store, reading ahead of the layers; the reasons of what cannot be read."""
    unread: dict[bytes, str] = {}
    fresh: dict[bytes, np.ndarray] = {}
    lock = threading.Lock()

    def finished(keys: Sequence[bytes], computed: np.ndarray) -> None:
        with lock:
            fresh.update(zip(keys, computed, strict=True))

    def commit() -> None:
        with lock:
            batch = dict(fresh)
            fresh.clear()
        for key, vector in batch.items():
            if not np.isfinite(vector).all():
                what = f"backbone {backbone.name} gives NaN or infinite features for {domain.names[new[key]]}"
                raise CrossgraftError(what, "use other weights")
            values[new[key]] = vector
        if batch:
            store.put(batch)

    last = time.monotonic()
    runner: Any = None
    with bar(title, len(new)) as advance:
        if backbone.tokens is not None:
            batches: Any = text_batches(domain, backbone.tokens, new, unread, advance)
        else:
            batches = _picture_batches(domain, backbone, new, unread, advance)
        try:
            for keys, batch in batches:
                if runner is None:  # now: the threads decode while the engine is made
                    make = TextLayers if backbone.tokens is not None else engines.make
                    runner = make(backbone, engine, finished)
                runner.submit(batch, keys)
                if time.monotonic() - last > COMMIT:
                    commit()
                    last = time.monotonic()
        finally:  # also on Ctrl-C: what is computed is kept
            batches.close()
            if runner is not None:
                runner.wait()
            commit()
    return unread


def _picture_batches(
    domain: Domain, backbone: Backbone, new: dict[bytes, int], unread: dict[bytes, str], advance: Any
) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Keys and pixels, decoded ahead."""
    p = backbone.preprocess
    assert p is not None
    reading = ahead(lambda i: read_picture(domain, i, p), new.values())
    keys: list[bytes] = []
    batch: list[np.ndarray] = []
    try:
        for key, read in zip(new, reading, strict=True):
            advance(1)
            if isinstance(read, str):
                unread[key] = read
                continue
            keys.append(key)
            batch.append(read)
            if len(batch) == engines.BATCH:
                yield keys, np.stack(batch)
                keys, batch = [], []
        if batch:
            yield keys, np.stack(batch)
    finally:
        reading.close()
