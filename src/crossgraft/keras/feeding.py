"""Batches of several domains side by side, each repeated as often as the longest asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.seeds import Passes, rng
from crossgraft.tasks import MISSING

keras = imported()


def joined(domains: Mapping[str, Any], *, batch_size: int = 32, steps: int | None = None, seed: int = 0) -> Any:
    """({"target": x, ...}, {"target": y, ...}) for `fit`, from domains by name: target, source, unlabelled.

    domains     each (x, y) in arrays, y -1 where a label is missing, or x alone for unlabelled; a `PyDataset`, or a
                `tf.data.Dataset` of batches. Where one is a `tf.data.Dataset`, so is what is given back
    batch_size  of arrays; a domain of fewer rows gives all of them at each step
    steps       an epoch's, by default one pass over the longest domain
    seed        of the order of arrays' rows: a function of it, of the domain and of the step
    """
    if any(_of_tensorflow(d) for d in domains.values()):
        return _zipped(domains, batch_size, steps, seed)
    parts = {
        name: d if isinstance(d, keras.utils.PyDataset) else Rows(name, d, batch_size, seed)
        for name, d in domains.items()
    }
    return Joined(parts, steps or max(len(part) for part in parts.values()))


class Joined(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of each domain, its own as often as needed."""

    def __init__(self, parts: Mapping[str, Any], steps: int) -> None:
        super().__init__()
        self.parts, self.steps, self.epoch = parts, steps, 0

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, i: int) -> tuple[dict[str, Any], dict[str, Any]]:
        x, y = {}, {}
        for name, part in self.parts.items():
            at = self.epoch * self.steps + i
            batch = part[at] if isinstance(part, Rows) else part[at % len(part)]
            x[name], own = batch if isinstance(batch, tuple) and len(batch) == 2 else (batch, None)
            if name != "unlabelled":
                if own is None:
                    raise CrossgraftError(
                        f"batches of the {name} have no labels", "give (x, y), -1 where one is missing"
                    )
                y[name] = own
        return x, y

    def on_epoch_end(self) -> None:
        """The next epoch goes on where this one ended."""
        self.epoch += 1


class Rows:
    """Arrays as batches; a pass over them is a permutation, and passes follow each other without a gap."""

    def __init__(self, name: str, given: Any, batch_size: int, seed: int) -> None:
        x, y = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        if name != "unlabelled" and y is None:
            raise UsageError(f"the {name} has no labels", "give (x, y), y -1 where one is missing")
        self.x = keras.tree.map_structure(np.asarray, x)
        self.n = len(keras.tree.flatten(self.x)[0])
        self.y = None if y is None else _labels(name, y, self.n)
        if self.n == 0:
            raise CrossgraftError(f"the {name} has no rows", "give some, or leave it out")
        self.passes, self.use, self.seed = Passes(self.n, batch_size), f"keras/{name}", seed

    def __len__(self) -> int:
        return math.ceil(self.n / self.passes.size)

    def __getitem__(self, at: int) -> Any:
        rows = self.passes.rows(self.seed, self.use, at)
        x = keras.tree.map_structure(lambda values: values[rows], self.x)
        return x if self.y is None else (x, self.y[rows])


def _labels(name: str, y: Any, n: int) -> np.ndarray:
    labels = np.asarray(y).reshape(-1)
    if len(labels) != n:
        raise UsageError(f"the {name} has {n} rows and {len(labels)} labels", "give one label a row, -1 where missing")
    if labels.dtype.kind not in "iub" and not (labels.dtype.kind == "f" and (labels == labels.round()).all()):
        raise UsageError(f"labels of the {name} are {labels.dtype}", "give the places of their classes: 0, 1, ...")
    if (wrong := np.flatnonzero(labels < MISSING)).size:
        raise UsageError(f"row {wrong[0]} of the {name} has label {labels[wrong[0]]}", "-1 is a missing label")
    return labels.astype(np.int32)


def _of_tensorflow(what: Any) -> bool:
    return type(what).__module__.partition(".")[0] == "tensorflow" and hasattr(what, "cardinality")


def _zipped(domains: Mapping[str, Any], batch_size: int, steps: int | None, seed: int) -> Any:
    import tensorflow as tf

    sets, lengths = {}, []
    for name, given in domains.items():
        if _of_tensorflow(given):
            n = int(given.cardinality())
            lengths += [n] if n > 0 else []
            if n == 0:
                raise CrossgraftError(f"the {name} has no batches", "look at what it is made from")
            if n == tf.data.UNKNOWN_CARDINALITY and steps is None:
                raise UsageError(f"how many batches the {name} has is not known", "give steps")
            sets[name] = given if n == tf.data.INFINITE_CARDINALITY else given.repeat()
            continue
        if isinstance(given, keras.utils.PyDataset):
            raise UsageError(f"the {name} is a PyDataset beside a tf.data.Dataset", "give both as the same kind")
        rows = Rows(name, given, batch_size, seed)
        whole = tf.data.Dataset.from_tensor_slices(rows.x if rows.y is None else (rows.x, rows.y))
        sets[name] = whole.shuffle(rows.n, seed=rng(seed, rows.use).integers(1 << 31)).repeat().batch(rows.passes.size)
        lengths.append(len(rows))
    if steps is None and not lengths:
        raise UsageError("all domains are repeated without end", "give steps")

    def apart(batches: Any) -> tuple[Any, Any]:
        x = {name: b[0] if isinstance(b, tuple) else b for name, b in batches.items()}
        for name, b in batches.items():
            if name != "unlabelled" and not isinstance(b, tuple):
                raise CrossgraftError(f"batches of the {name} have no labels", "give (x, y), -1 where one is missing")
        return x, {name: b[1] for name, b in batches.items() if name != "unlabelled"}

    return tf.data.Dataset.zip(sets).map(apart).take(steps or max(lengths)).prefetch(tf.data.AUTOTUNE)
