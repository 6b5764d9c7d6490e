"""Data sets of the `datasets` library, by object or by name, and map-style data sets of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains.arrays import array_domain, as_array
from crossgraft.domains.columns import choose
from crossgraft.domains.conll import TAGS, WORDS
from crossgraft.domains.digest import array_digest, file_digest
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.domains.labels import SPLIT_NAMES, group_names
from crossgraft.domains.labels import labels as tidy
from crossgraft.domains.labels import splits as tidy_splits
from crossgraft.domains.pictures import decode, from_array, from_pillow
from crossgraft.domains.sentences import sentence_domain
from crossgraft.domains.table_files import Table
from crossgraft.domains.tables import rows_domain
from crossgraft.domains.texts import text_domain
from crossgraft.errors import CrossgraftError


def named_domain(
    text: str,
    name: str,
    *,
    input: str | None,
    label: str | None,
    split: str | None,
    group: str | None = None,
    hint: str = "",
) -> Domain:
    """A Domain from a name that the `datasets` library knows, by its cache or the network; `hint` is for errors."""
    import datasets

    try:
        with _offline_without_network(text):
            loaded = datasets.load_dataset(text)
    except Exception as wrong:  # the library raises its own, the network's and the builder's errors
        reason = next(iter(str(wrong).strip().splitlines()), type(wrong).__name__)
        raise CrossgraftError(
            f"there is no file or folder {text}, and the datasets library finds no data set of that name ({reason})",
            f"{hint or 'check the path or the name'}; without a network only what was loaded before is found",
        ) from None
    return dataset_domain(loaded, name, input=input, label=label, split=split, group=group)


def dataset_domain(
    data: Any, name: str, *, input: str | None, label: str | None, split: str | None, group: str | None = None
) -> Domain:
    """A Domain from a `datasets.Dataset`, or a `DatasetDict` whose keys are splits; words beside tags are tagged
    sentences."""
    import datasets

    if isinstance(data, (datasets.IterableDataset, datasets.IterableDatasetDict)):
        raise CrossgraftError(f"{name} is a stream", "load the data set without streaming=True")
    parts: list[str] | None = None
    rows = [f"[{i}]" for i in range(len(data))]
    notes: tuple[str, ...] = ()
    if isinstance(data, datasets.DatasetDict):
        data, parts, rows, notes = _joined(data, name)
    if (tagged := _sentences(data, name, label, parts, rows, notes)) is not None:
        return tagged
    chosen = choose(data.column_names, name, input, label, split)
    if chosen.split is not None and (parts is None or split is not None):
        parts = list(data[chosen.split])
    features = data.features
    own = features.get(chosen.label)
    class_names = getattr(getattr(own, "feature", own), "names", None)  # of several classes an example, of each
    pictures = [c for c, f in features.items() if isinstance(f, datasets.Image)]
    picture = next((c for c in pictures if input in (None, c)), None)
    if picture is None:
        columns = {c: _values(data, c) for c in data.column_names if c != chosen.split}
        if parts is not None:
            columns["split"] = parts
        names = {chosen.label: list(class_names)} if chosen.label and class_names else {}
        table = Table(columns, rows, [], names)
        called = None if parts is None else "split"
        return rows_domain(table, Path(), name, name, input=input, label=chosen.label, split=called, group=group)
    n = len(data)
    labels, said = tidy(None if chosen.label is None else list(data[chosen.label]), n, class_names)
    read = _Encoded(data.select_columns([picture]).cast_column(picture, datasets.Image(decode=False)), picture)
    groups = group_names(data[group]) if group in data.column_names else None
    return Domain(
        name, "image", range(n), labels, np.array(rows), tidy_splits(parts, n),
        read.decoded, read.digest, (), notes + said, read.decoded, groups,
    )  # fmt: skip


def _sentences(
    data: Any, name: str, label: str | None, parts: list[str] | None, rows: list[str], notes: tuple[str, ...]
) -> Domain | None:
    """Tagged sentences, or None where no column of words stands beside one of tags."""
    features, lists = data.features, {}
    for column in data.column_names:
        if (inner := getattr(features[column], "feature", None)) is not None:
            lists[column] = inner
    words = next((c for c in WORDS if getattr(lists.get(c), "dtype", "") == "string"), None)
    tags = next((c for c in (label, *TAGS) if c in lists), None)
    if words is None or tags is None:
        return None
    named = getattr(lists[tags], "names", None)
    own = [None if t is None else [named[k] if named else k for k in t] for t in data[tags]]
    return sentence_domain(list(data[words]), own, name, names=rows, split=parts, notes=notes)


def torch_domain(data: Any, name: str) -> Domain:
    """A Domain from a map-style data set of (input, label); labels without reading inputs where it lists them.

    Inputs are PIL pictures, tensors (C, H, W) or (H, W), or vectors (D,); `classes` names integer labels.
    """
    n = len(data)
    if n == 0:
        raise CrossgraftError(f"{name} has no example", "give a data set with at least one")
    first = _pair(data, 0, name)[0]
    if isinstance(first, str):
        pairs = [_pair(data, i, name) for i in range(n)]
        return text_domain([p[0] for p in pairs], name, labels=[p[1] for p in pairs])
    listed = [v for a in ("targets", "labels") if (v := getattr(data, a, None)) is not None and np.size(v) == n]
    y = list(as_array(listed[0])) if listed else [_pair(data, i, name)[1] for i in range(n)]
    y = [v.item() if hasattr(v, "item") else v for v in y]
    classes = getattr(data, "classes", None)
    if not isinstance(classes, (list, tuple)) or not all(isinstance(c, str) for c in classes):
        classes = None
    if not hasattr(first, "convert") and as_array(first).ndim == 1:
        vectors = np.stack([as_array(_pair(data, i, name)[0]) for i in range(n)])
        return array_domain(vectors, y, name, class_names=classes)
    labels, said = tidy(y, n, classes)
    read = _Items(data)
    names = np.array([f"[{i}]" for i in range(n)])
    return Domain(name, "image", range(n), labels, names, tidy_splits(None, n), read.decoded, read.digest, (), said)


@dataclass(frozen=True)
class _Encoded:
    """Pictures of a `datasets` column by index, still encoded until they are read."""

    data: Any
    column: str

    def source(self, i: int) -> bytes | str:
        value = self.data[i][self.column]
        if value is None:
            raise Unreadable("the row has no picture")
        found: bytes | str = value["bytes"] or value["path"]
        return found

    def decoded(self, i: int, at_least: int | None = None) -> np.ndarray:
        return decode(self.source(i), at_least)

    def digest(self, i: int) -> bytes:
        return file_digest(self.source(i))


@dataclass(frozen=True)
class _Items:
    """Pictures of a torch data set by index."""

    data: Any

    def decoded(self, i: int) -> np.ndarray:
        item = self.data[i][0]
        if hasattr(item, "convert"):
            return from_pillow(item)
        if hasattr(item, "permute") and item.ndim == 3:
            item = item.permute(1, 2, 0)  # torch's pictures are (C, H, W), whatever H and W
        return from_array(as_array(item))

    def digest(self, i: int) -> bytes:
        return array_digest(self.decoded(i))


@contextmanager
def _offline_without_network(text: str) -> Iterator[None]:
    """One question to the hub decides: without an answer only the cache is asked, not the network six times over."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    before = constants.HF_HUB_OFFLINE
    if not Path(text).exists():
        try:
            HfApi().dataset_info(text, timeout=10)
        except HfHubHTTPError:
            pass  # it answered; what it said is for load_dataset
        except Exception:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _joined(data: Any, name: str) -> tuple[Any, list[str], list[str], tuple[str, ...]]:
    """The splits of a DatasetDict as one data set: with the split and the name of each row, and a note on the rest."""
    import datasets

    known = {key: part for key, part in data.items() if str(key).lower() in SPLIT_NAMES}
    if not known:
        what = f"{name} has the splits {', '.join(map(str, data))}"
        raise CrossgraftError(what, "call them train, val, test or unlabelled")
    parts = [SPLIT_NAMES[str(key).lower()] for key, part in known.items() for _ in range(len(part))]
    rows = [f"{key}[{i}]" for key, part in known.items() for i in range(len(part))]
    left = ", ".join(str(key) for key in data if key not in known)
    notes = (f"{name}: splits that have no meaning here are not used: {left}",) if left else ()
    return datasets.concatenate_datasets(list(known.values())), parts, rows, notes


def _values(data: Any, column: str) -> list[Any] | np.ndarray:
    """A column as it is stored: numbers as an array, NaN where missing."""
    held = list(data.with_format(None)[column])
    numeric = str(getattr(data.features[column], "dtype", "")).startswith(("int", "uint", "float"))
    return np.array([np.nan if v is None else v for v in held]) if numeric and not _nested(held) else held


def _nested(held: Sequence[Any]) -> bool:
    return any(isinstance(v, (list, np.ndarray)) for v in held)


def _pair(data: Any, i: int, name: str) -> tuple[Any, Any]:
    item = data[i]
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise CrossgraftError(f"{name}: example {i} is no pair of input and label", "give a data set of (input, label)")
    return item[0], item[1]
