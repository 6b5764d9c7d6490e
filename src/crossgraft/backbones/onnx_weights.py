"""The tensors of an ONNX file, without the `onnx` package: three levels of protobuf, of which two fields are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crossgraft.errors import CrossgraftError

GRAPH, INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
DIMS, TYPE, FLOATS, NAME, RAW = 1, 2, 4, 8, 9  # of TensorProto
FLOAT = 1
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # wire types


def onnx_tensors(path: Path) -> dict[str, np.ndarray]:
    """The float32 initializers of a model by name, in the order of the file; integers and the graph are passed over.

    Raises CrossgraftError where the file is cut off or is no such model.
    """
    try:
        data = memoryview(path.read_bytes())
        graph = next(value for field, value in _fields(data) if field == GRAPH and isinstance(value, memoryview))
        tensors = (_tensor(v) for f, v in _fields(graph) if f == INITIALIZER and isinstance(v, memoryview))
        found = {name: values for name, values in tensors if values is not None}
    except (OSError, ValueError, IndexError, StopIteration) as wrong:
        raise CrossgraftError(
            f"{path} cannot be read as an ONNX model ({wrong})", "install its package again"
        ) from None
    if not found:
        raise CrossgraftError(f"{path} holds no weights", "install its package again")
    return found


def _tensor(message: memoryview) -> tuple[str, np.ndarray | None]:
    """Name and values of one TensorProto; None where it does not hold float32."""
    dims: list[int] = []
    name, kind, raw = "", 0, memoryview(b"")
    for field, value in _fields(message):
        if isinstance(value, int):
            dims += [value] if field == DIMS else []
            kind = value if field == TYPE else kind
        elif field == DIMS:
            dims += _packed(value)
        elif field == NAME:
            name = bytes(value).decode()
        elif field in (RAW, FLOATS):
            raw = value
    return name, np.frombuffer(raw, "<f4").reshape(dims).copy() if kind == FLOAT else None


def _packed(data: memoryview) -> list[int]:
    """Varints that stand one behind the other."""
    out, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        out.append(value)
    return out


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of the fields of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in (EIGHT, FOUR):
            size = 8 if kind == EIGHT else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("the file is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
