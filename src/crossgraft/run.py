"""One folder with all of a run: recipe, weights, measures, predictions, report. Opening it executes nothing from it."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from crossgraft import processes
from crossgraft.domains.arrays import of_kind
from crossgraft.domains.loose import inputs_of, labelled_as
from crossgraft.domains.splits import tolerate
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.scores import measured
from crossgraft.measure.unknown import open_scores
from crossgraft.model import Model, of_classes
from crossgraft.recipe import Recipe
from crossgraft.report import write as write_report
from crossgraft.sayable import leave_out_unsayable
from crossgraft.side import Side
from crossgraft.tracking import Tracker

RECIPE, RESULT, MEASURES, PREDICTIONS = "recipe.toml", "result.json", "measures.jsonl", "predictions.jsonl"
CHECKPOINTS = "checkpoints"  # folder of what an interrupted run goes on from


class Run:
    """A run folder: `predict`, `score` and `report` need nothing else.

    >>> run = Run.open("runs/quickstart")  # doctest: +SKIP
    >>> run.predict(["a.jpg"])[0]["label"]  # doctest: +SKIP
    """

    schema: type[Recipe] = Recipe

    def __init__(self, folder: Path, recipe: Recipe, backbone: Any = None) -> None:
        self.folder, self.recipe, self._layers = folder, recipe, backbone
        self._model: Model | None = None
        self._tracker: Tracker | None = None

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, *, resume: bool = False, backbone: Any = None) -> Self:
        """A folder for a new run; one that holds a run already is only taken up again with `resume`.

        A recipe by itself, of a call that failed before anything was trained, bars nobody. Of several processes the
        first claims the folder, and it alone writes.
        """
        if processes.first():
            cls._claim(folder, recipe, resume)
        processes.together()
        run = cls(folder, recipe, backbone)
        run._tracker = Tracker(recipe, folder) if recipe.tracker and processes.first() else None
        run.write_text(RECIPE, recipe.toml())
        return run

    @classmethod
    def _claim(cls, folder: Path, recipe: Recipe, resume: bool) -> None:
        held = folder / RECIPE
        if held.exists() and (resume or len(list(folder.iterdir())) > 1):
            if not resume:
                raise UsageError(f"{folder} holds a run already", "choose another --out, or continue it with --resume")
            before = cls.schema.read(held)
            if before != recipe:
                changed = [k for k in cls.schema.model_fields if getattr(before, k) != getattr(recipe, k)]
                raise UsageError(
                    f"{folder} was begun with another recipe ({', '.join(changed)} differ)",
                    "resume without other options, or choose another --out",
                )
        elif resume:
            raise UsageError(
                f"there is no run in {folder} to resume", "leave out --resume, or give the folder as --out"
            )

    @classmethod
    def open(cls, folder: str | Path, *, backbone: Any = None) -> Self:
        """A finished run. Raises CrossgraftError where there is none, or where it was interrupted.

        backbone  of a run that was made with layers of one's own: the module, or Backbone, that `fit` was given
        """
        at = Path(folder)
        if not (at / RECIPE).exists():
            raise CrossgraftError(f"there is no run in {at}", "give the folder that crossgraft fit wrote (its --out)")
        if not (at / RESULT).exists():
            raise CrossgraftError(
                f"the run in {at} is not finished", f"continue it with crossgraft fit --resume --out {at}"
            )
        return cls(at, cls.schema.read(at / RECIPE), backbone)

    @property
    def result(self) -> dict[str, Any]:
        """What `crossgraft fit --json` printed."""
        result: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        return result

    @property
    def model(self) -> Model:
        """The model that the run kept."""
        if self._model is None:
            self._model = Model.load(self.folder, self._layers)
        return self._model

    def predict(
        self, inputs: Any, *, name: str = "input", tent: bool = False, unknown: bool = False, **decoding: Any
    ) -> list[dict[str, Any]]:
        """One row an input, in order: name, label, probability of each class, and a score of being unknown; or name and
        error.

        inputs  a list of files, folders or texts, arrays, or anything that opens as a domain
        tent    adapt batch-normalised layers to each batch before it is predicted (Wang et al., ICLR 2021)
        unknown   label `unknown` what looks like no class of the model: a score above the run's threshold
        decoding  of clips that are transcribed: width, words and lines of `transcripts.Decoder`
        """
        rows: list[dict[str, Any]] = []
        for domain in inputs_of(inputs, self.model.backbone.kind, name):
            rows += self.model.predict(
                of_kind(domain, self.model.backbone.kind), tent=tent, unknown=unknown, **decoding
            )
        return rows

    def score(
        self,
        what: Any,
        *,
        input: str | None = None,
        label: str | None = None,
        split: str | None = None,
        unknown: bool = False,
    ) -> dict[str, Any]:
        """Scores with intervals on a labelled domain; the `test` part of `fit`'s result.

        unknown  labels that are no class of the model are unknown ones: `measure.unknown.open_scores`
        """
        kind = self.model.task.kind
        told, between = kind if kind in ("transcribe", "multilabel") else None, getattr(self.recipe, "separator", ";")
        opened = labelled_as(
            what, label, getattr(self.recipe, "label", None), input=input, task=told, separator=between
        )
        domain = of_kind(opened, self.model.backbone.kind)
        if split is not None:
            domain = domain.take(domain.where(split))
        labelled = domain.take([i for i, y in enumerate(domain.labels) if y is not None])
        if len(labelled) == 0:
            raise CrossgraftError(
                f"{what} has no labelled example", "score needs labels; use predict for inputs without"
            )
        task = self.model.task
        above = self.model.threshold if unknown else None
        if task.kind == "classify":
            labelled = of_classes(labelled, task.classes, unknown)
        side = Side.of(labelled, task, task.classes)
        if side.truth is not None:
            leave_out_unsayable(side, self.model.backbone)
        z, failures = (self.model.logits if unknown else self.model.log_probabilities)(side.domain)
        left = side.domain.without(failures)
        tolerate(left.skipped, len(domain), str(what))
        good = np.setdiff1d(np.arange(len(side.labels)), [i for i, _ in failures])
        skipped = [{"domain": left.name, "name": s.name, "reason": s.reason} for s in left.skipped]
        if above is not None:
            scored = open_scores(task, z[good], side.labels[good], above)
        else:
            groups = None if side.domain.groups is None else side.domain.groups[side.examples(good)]
            scored = measured(task, z[good], side.targets(good), side.lengths, groups)
        return dict(finite(scored)) | {"skipped": skipped}

    def report(self) -> Path:
        """(Re)write report.html from the files of the folder."""
        return write_report(self.folder)

    def write_text(self, name: str, text: str) -> None:
        """Write one file of the folder at once: a crash leaves the old one or the new one."""
        if not processes.first():
            return
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(path.name + ".part")
            scratch.write_text(text, encoding="utf-8")
            os.replace(scratch, path)
        except OSError as wrong:
            raise CrossgraftError(
                f"cannot write {path}: {wrong.strerror}", "make room or choose another --out; then --resume"
            ) from None

    def log(self, row: dict[str, Any]) -> None:
        """Add one logged step to measures.jsonl."""
        if not processes.first():
            return
        if self._tracker is not None:
            self._tracker.log(finite(row))
        with (self.folder / MEASURES).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(finite(row)) + "\n")

    def conclude(self, record: Callable[[], None]) -> None:
        """Record what was found, write the report, drop the checkpoints; other processes wait until that is done."""
        if processes.first():
            record()
            self.report()
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        processes.together()

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result: with it the run is finished."""
        if self._tracker is not None:
            self._tracker.finish(finite(result))
        self.write_json(RESULT, result)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON; numbers that JSON lacks become null."""
        self.write_text(name, json.dumps(finite(value), indent=1, ensure_ascii=False) + "\n")

    def write_lines(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows as JSON lines."""
        self.write_text(name, "".join(json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows))


def finite(value: Any) -> Any:
    """The value with NaN and infinities as None and NumPy numbers as Python's, for JSON.

    >>> finite({"a": float("inf"), "b": [1.5]})
    {'a': None, 'b': [1.5]}
    """
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def free_folder(stem: str, parent: Path = Path("runs")) -> Path:
    """The first of runs/stem-1, runs/stem-2, ... that does not exist."""
    n = 1
    while (parent / f"{stem}-{n}").exists():
        n += 1
    return parent / f"{stem}-{n}"
