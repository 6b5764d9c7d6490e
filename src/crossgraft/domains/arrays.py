"""Arrays to a Domain: (N, D) is vectors; (N, H, W), (N, 1|3, H, W) and (N, H, W, 1|3|4) are pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from crossgraft.domains.digest import array_digest
from crossgraft.domains.domain import SOUND, Domain, Kind
from crossgraft.domains.labels import labels, several, splits, unique_names
from crossgraft.domains.pictures import from_array, white_of
from crossgraft.domains.sentences import as_sentences
from crossgraft.domains.texts import is_texts, text_domain
from crossgraft.errors import CrossgraftError, Skipped
from crossgraft.transcripts import tidy


def array_domain(
    inputs: Any,
    y: Any,
    name: str,
    *,
    split: Any = None,
    names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
    skipped: tuple[Skipped, ...] = (),
) -> Domain:
    """A Domain of arrays; vectors with NaN or infinite values are left out, each named.

    >>> array_domain(np.eye(2), ["a", None], "two").labels.tolist()
    ['a', None]
    """
    values, y = as_array(inputs), several(y)
    if is_texts(values):
        return text_domain(
            list(values), name, labels=None if y is None else as_array(y), names=names,
            split=None if split is None else as_array(split), class_names=class_names, skipped=skipped, notes=notes,
        )  # fmt: skip
    if values.dtype.kind not in "buif":
        raise CrossgraftError(
            f"{name}: the inputs are of type {values.dtype}, not numbers", "give numbers, or paths in a table"
        )
    n = len(values) if values.ndim else 0
    if n == 0:
        raise CrossgraftError(f"{name} has no example", "give inputs of shape (N, D) or (N, H, W) with N above 0")
    text, said = labels(None if y is None else as_array(y), n, class_names)
    called = unique_names(names if names is not None else [f"[{i}]" for i in range(n)])
    parts = splits(None if split is None else as_array(split), n)
    if is_vectors(values, name):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is left out below
            rows = np.ascontiguousarray(values, dtype=np.float32)
        domain = Domain(name, "vector", rows, text, called, parts, _same, array_digest, skipped, notes + said)
        domain = replace(domain, columns=tuple(columns or ()))
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        return domain.without([(int(i), _where_not_finite(rows[i], columns)) for i in bad]) if len(bad) else domain
    reader = partial(from_array, white=white_of(values, whole=n > 1))
    return Domain(name, "image", values, text, called, parts, reader, array_digest, skipped, notes + said)


KINDS = {
    "image": "pictures",
    "vector": "vectors",
    "text": "texts",
    "sentence": "tagged sentences",
    "audio": "audio",
    "utterance": "audio",
}


def common_kind(domains: Sequence[Domain]) -> Kind:
    """The kind that domains are read as together: pictures where one holds them, since vectors may be pictures, and
    sentences where one is tagged."""
    kinds = {d.kind for d in domains}
    order: tuple[Kind, ...] = ("image", "sentence", "text", "audio", "utterance", "vector")
    return next(kind for kind in order if kind in kinds)


def as_utterances(domain: Domain) -> Domain:
    """Labelled clips as clips with transcripts, the labels being what is said; a blank one is missing."""
    said = np.array([None if y is None else tidy(str(y)) for y in domain.labels], dtype=object)
    return replace(domain, kind="utterance", labels=said)


def of_kind(domain: Domain, kind: Kind) -> Domain:
    """The domain as a backbone of this kind reads it: vectors of a square length as square pictures, row by row.

    Files of digits often hold flat pictures; nothing but the domain beside them tells. Raises CrossgraftError where
    the vectors cannot be pictures, or where pictures would have to be vectors.
    """
    if domain.kind == kind:
        return domain
    if (domain.kind, kind) == ("text", "sentence"):
        return as_sentences(domain)
    if (domain.kind, kind) == ("audio", "utterance"):
        return as_utterances(domain)
    if {"text", "sentence", *SOUND} & {domain.kind, kind}:
        held, needed = (KINDS[k] for k in (domain.kind, kind))
        raise CrossgraftError(f"{domain.name} holds {held} where {needed} are needed", "give domains of one kind")
    if kind == "vector":
        raise CrossgraftError(
            f"{domain.name} holds pictures where vectors are needed", "give numeric columns or (N, D)"
        )
    rows = (
        domain.inputs
        if isinstance(domain.inputs, np.ndarray)
        else np.stack([domain.read(i) for i in range(len(domain))])
    )
    side = math.isqrt(rows.shape[1])
    if side * side != rows.shape[1] or side < 4 or rows.min(initial=0) < 0:
        raise CrossgraftError(
            f"{domain.name} holds vectors of {rows.shape[1]} values where pictures are needed",
            "give pictures, or (N, H, W) arrays",
        )
    return replace(
        domain,
        kind="image",
        inputs=rows.reshape(-1, side, side),
        reader=partial(from_array, white=white_of(rows, whole=True)),
        digester=array_digest,
        notes=(
            *domain.notes,
            f"{domain.name}: vectors of {side * side} values were taken as pictures of {side} x {side}",
        ),
    )


def as_array(values: Any) -> np.ndarray:
    """NumPy's view of an array, a tensor, a list or a data frame's column."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    if isinstance(values, (list, tuple)) and any(v is None or isinstance(v, str) for v in values):
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out
    try:
        return np.asarray(values)
    except ValueError:
        raise CrossgraftError(
            "the inputs are arrays of different shapes", "give arrays of one shape, or picture files"
        ) from None


def is_vectors(values: np.ndarray, name: str) -> bool:
    """Whether an array is of vectors. Raises where it is neither vectors nor pictures."""
    shape = values.shape
    if len(shape) == 2 and shape[1] > 0:
        return True
    if len(shape) == 3 or (len(shape) == 4 and (shape[1] in (1, 3) or shape[3] in (1, 3, 4))):
        return False
    raise CrossgraftError(
        f"{name}: inputs of shape {shape} are neither vectors nor pictures",
        "give (N, D) for vectors, (N, H, W), (N, H, W, 3) or (N, 3, H, W) for pictures",
    )


def _same(row: np.ndarray) -> np.ndarray:
    return row


def _where_not_finite(row: np.ndarray, columns: Sequence[str] | None) -> str:
    at = np.flatnonzero(~np.isfinite(row))
    called = repr(columns[at[0]]) if columns else str(at[0])
    return f"column {called} is {row[at[0]]}" + (f", and {len(at) - 1} more columns" if len(at) > 1 else "")
