"""Logged steps and final scores to an experiment tracker, by the trackers of accelerate."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.recipe import Recipe

PROJECT = "crossgraft"


class Tracker:
    """One run in one tracker; it is begun with the first row, so that a run that is only opened leaves none.

    Rows of several models follow each other in one count of steps, since some trackers drop steps that go back.

    Raises UsageError for a tracker that is unknown, or whose package is not installed, before anything is trained.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder, self.name = recipe, folder, str(recipe.tracker)
        known: dict[str, Any] = {
            str(k): v for k, v in import_module("accelerate.tracking").LOGGER_TYPE_TO_CLASS.items()
        }
        if self.name not in known:
            remedy = nearest(self.name, list(known)) or f"accelerate knows {', '.join(known)}"
            raise UsageError(f"unknown tracker {self.name!r}", remedy)
        self.kind = known[self.name]
        ours = self.kind.__module__.startswith("accelerate.")  # not one that somebody registered
        packages = {"tensorboard": ("tensorboard", "tensorboardX")}.get(self.name, (self.name,))
        if ours and not any(map(find_spec, packages)):
            raise UsageError(f"tracker {self.name} needs a package that is not installed", f"pip install {packages[0]}")
        self.begun: Any = None
        self.last = self.before = 0

    def log(self, row: dict[str, Any]) -> None:
        """One row of measures.jsonl."""
        step = int(row.get("step", 0))
        if step < self.last:
            self.before += self.last
        self.last = step
        under = "/".join(str(row[k]) for k in ("model", "phase") if row.get(k) is not None)
        self._send({f"{under}/{k}": v for k, v in numbers(row).items()}, self.before + step)

    def finish(self, result: dict[str, Any]) -> None:
        """The scores of result.json, and the end."""
        scores = {k: result[k] for k in ("test", "transfer", "baselines") if result.get(k) is not None}
        self._send(numbers(scores), self.before + self.last)
        self.begun.finish()
        self.begun = None

    def _send(self, values: dict[str, float], step: int) -> None:
        try:
            if self.begun is None:
                self.begun = self._begin()
            self.begun.log({plain(name): value for name, value in values.items()}, step=step)
        except Exception as wrong:  # whatever a tracker, or the server behind it, raises
            said = (str(wrong).splitlines() or [type(wrong).__name__])[0][:160]
            remedy = "set it up, or leave out --tracker"
            raise CrossgraftError(f"tracker {self.name} does not take the run ({said})", remedy) from wrong

    def _begin(self) -> Any:
        import_module("accelerate").PartialState()  # accelerate's own messages need it
        names = {"mlflow": {"run_name": self.folder.name}, "wandb": {"name": self.folder.name}}
        if self.kind.requires_logging_directory:
            begun = self.kind(self.name, logging_dir=str(self.folder))
        else:
            begun = self.kind(PROJECT, **names.get(self.name, {}))
        if hasattr(begun, "start"):
            begun.start()
        options = self.recipe.model_dump(exclude_none=True)
        begun.store_init_configuration({k: ", ".join(v) if isinstance(v, tuple) else v for k, v in options.items()})
        return begun


def numbers(values: dict[str, Any], under: str = "") -> dict[str, float]:
    """The numbers of nested tables by their path; `value` is that of the table it is in, and others of it are no paths
    below it, since MLflow may keep names as files.

    >>> numbers({"test": {"n": 3, "accuracy": {"value": 0.5, "low": 0.1}, "why": "..."}})
    {'test/n': 3, 'test/accuracy': 0.5, 'test/accuracy_low': 0.1}
    """
    found: dict[str, float] = {}
    between = "_" if "value" in values else "/"
    for key, value in values.items():
        path = under if key == "value" else f"{under}{between}{key}".strip("/")
        if isinstance(value, dict):
            found |= numbers(value, path)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[path] = value
    return found


def plain(name: str) -> str:
    """A name that every tracker takes: MLflow refuses brackets.

    >>> plain("transfer/joint/terms/ce(target)")
    'transfer/joint/terms/ce_target'
    """
    return re.sub(r"[^\w./-]+", "_", name).rstrip("_")
