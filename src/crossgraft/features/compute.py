"""Features of a domain: what the store has is taken, only what is new is decoded and computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import CrossgraftError
from crossgraft.features import engine as engines
from crossgraft.features.reading import Prepared, ahead, pixels, read_picture
from crossgraft.features.store import Store
from crossgraft.progress import bar, say

if TYPE_CHECKING:
    from torch import nn

COMMIT = 0.3  # seconds of work that a kill may lose
CONVERT = 32 << 20  # bytes of pixels from which converting layers that only this run has costs less than it saves


def features(
    domain: Domain,
    backbone: Backbone,
    *,
    store: Store | None = None,
    engine: str | None = None,
    title: str = "features",
) -> Prepared:
    """Features of a frozen backbone, float32 (N, D), through the store.

    engine  "auto" (OpenVINO on x86, CUDA where there is a GPU) or "torch"; by default CROSSGRAFT_ENGINE, else auto.
            In float32 the engines agree to a cosine above 0.9999.

    Raises CrossgraftError where the store cannot be written; inputs that cannot be read are in `failures`.
    """
    p = backbone.preprocess
    if p is None:
        raw = pixels(domain, backbone)
        return raw if backbone.name == "identity" else Prepared(embed(backbone, raw.values), raw.failures)
    chosen = engines.engine_for(engine)
    keys, failed = _keys(domain, backbone, chosen)
    store = store if store is not None else Store()
    held = store.get([k for k in keys if k is not None])
    values = np.zeros((len(domain), backbone.dim), dtype=np.float32)
    new: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        if key is not None and key in held and held[key].shape == (backbone.dim,):
            values[i] = held[key]
        elif key is not None:
            new.setdefault(key, i)
    if new:
        done: dict[bytes, np.ndarray] = {}
        try:
            unread = _compute(domain, backbone, p, chosen, new, store, done, title)
        except engines.Unfit as wrong:
            say(f"backbone {backbone.name} runs on torch, slower: {wrong}")
            return features(domain, backbone, store=store, engine="torch", title=title)
        for i, key in enumerate(keys):
            if key in unread:
                failed[i] = unread[key]
            elif key in done:
                values[i] = done[key]
    return Prepared(values, sorted(failed.items()))


def embed(
    layers: Backbone | nn.Module,
    values: Shaped[np.ndarray, "N ..."],
    preprocess: Preprocess | None = None,
    batch_size: int = 256,
) -> Float[np.ndarray, "N D"]:
    """Features of layers in memory (that moved, so that no store has them): pixels (N, S, S, C) or vectors (N, D_in).

    `preprocess` is needed where a bare module reads pixels. The layers are left in the mode and place they were in.
    Many pixels go through the fast engine.
    """
    import torch

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
    modes = {m: m.training for m in layers.modules()}
    device = next((x.device for x in layers.parameters()), torch.device("cpu"))
    net = layers if preprocess is None else engines.wrapped(layers, preprocess).to(device)
    try:
        net.eval()
        with torch.inference_mode():
            parts = [
                net(torch.from_numpy(np.ascontiguousarray(values[i : i + batch_size])).to(device)).float().cpu()
                for i in range(0, len(values), batch_size)
            ]
        return torch.cat(parts).numpy()
    finally:
        for module, mode in modes.items():
            module.training = mode


def _embed_converted(backbone: Backbone, values: Shaped[np.ndarray, "N S S C"], precision: str) -> np.ndarray:
    """Features by OpenVINO; the conversion is not kept."""
    modes = {m: m.training for m in backbone.module.modules()}
    out = np.zeros((len(values), backbone.dim), dtype=np.float32)

    def done(first: int, batch: np.ndarray) -> None:
        out[first : first + len(batch)] = batch

    try:
        runner = engines.OpenVino(backbone, precision, done, keep=False)
    finally:
        for module, mode in modes.items():
            module.training = mode
    for i in range(0, len(values), engines.BATCH):
        runner.submit(np.ascontiguousarray(values[i : i + engines.BATCH]), i)
    runner.wait()
    return out


def _keys(domain: Domain, backbone: Backbone, engine: str) -> tuple[list[bytes | None], dict[int, str]]:
    """The store's key of each example: its content, the layers, how it is prepared and computed."""
    made_by = f"{backbone.revision}/{backbone.preprocess}/{engine}".encode()
    failed: dict[int, str] = {}

    def key(i: int) -> bytes | str:
        try:
            return blake2b(domain.digest(i) + made_by, digest_size=20).digest()
        except Unreadable as wrong:
            return wrong.reason

    keys: list[bytes | None] = []
    for i, found in enumerate(ahead(key, range(len(domain)))):
        if isinstance(found, str):
            failed[i] = found
        keys.append(found if isinstance(found, bytes) else None)
    return keys, failed


def _compute(
    domain: Domain, backbone: Backbone, p: Preprocess, engine: str, new: dict[bytes, int], store: Store,
    done: dict[bytes, np.ndarray], title: str,
) -> dict[bytes, str]:  # fmt: skip
    """Fill `done` and the store, decoding ahead of the layers; the reasons of what cannot be read."""
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
        if batch:
            done.update(batch)
            store.put(batch)

    reading = ahead(lambda i: read_picture(domain, i, p), new.values())
    first: list[Any] = [next(reading)]  # the threads decode while the engine is made
    runner = engines.make(backbone, engine, finished)
    keys: list[bytes] = []
    batch: list[np.ndarray] = []
    last = time.monotonic()
    try:
        with bar(title, len(new)) as advance:
            for key, read in zip(new, _chain(first, reading), strict=True):
                advance(1)
                if isinstance(read, str):
                    unread[key] = read
                    continue
                keys.append(key)
                batch.append(read)
                if len(batch) == engines.BATCH:
                    runner.submit(np.stack(batch), keys)
                    keys, batch = [], []
                    if time.monotonic() - last > COMMIT:
                        commit()
                        last = time.monotonic()
            if batch:
                runner.submit(np.stack(batch), keys)
    finally:  # also on Ctrl-C: what is computed is kept
        reading.close()
        runner.wait()
        commit()
    if bad := [k for k, v in done.items() if not np.isfinite(v).all()]:
        name = domain.names[new[bad[0]]]
        raise CrossgraftError(
            f"backbone {backbone.name} gives NaN or infinite features for {name}", "use other weights"
        )
    return unread


def _chain(first: list[Any], rest: Any) -> Any:
    yield from first
    yield from rest
