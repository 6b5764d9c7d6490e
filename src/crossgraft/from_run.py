"""A finished run in place of a source: its model is f_s, and its data are not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossgraft.asked import SourceModel
from crossgraft.errors import UsageError
from crossgraft.objective.algebra import ce
from crossgraft.prepare import Job, prepare
from crossgraft.recipe import Recipe
from crossgraft.run import RECIPE, Run
from crossgraft.solve.fitted import Fitted, nothing


def prepared(recipe: Recipe, target: Any, sources: Sequence[Any], layers: Any = None) -> Job:
    """As `prepare`, where the source may also be a `Run`, or its folder.

    Raises UsageError where the run is not the only source, or does not tell one class an example.
    """
    runs = [run for s in sources if (run := _opened(s, layers)) is not None]
    if not runs:
        return prepare(recipe, target, sources, layers)
    folder, model = runs[0].folder, runs[0].model
    if len(sources) > 1:
        raise UsageError(f"{folder} is a run, and there are other sources", "give a run alone: its model is f_s")
    if model.task.kind != "classify":
        raise UsageError(f"the run in {folder} does not tell one class an example", "give its data as the source")
    if recipe.backbone not in ("auto", model.backbone.name):
        raise UsageError(
            f"the run in {folder} has backbone {model.backbone.name}, not {recipe.backbone}", "leave out --backbone"
        )
    known = SourceModel(str(folder), model.backbone.kind, model.task.classes, model.weight, model.bias)
    return prepare(recipe, target, [], model.backbone, known)


def _opened(source: Any, layers: Any) -> Run | None:
    """The run that a source is, or whose folder it names."""
    if isinstance(source, Run):
        return source
    held = isinstance(source, (str, Path)) and (Path(source) / RECIPE).exists()
    return Run.open(source, backbone=layers) if held else None


def first(job: Job) -> Fitted:
    """f_s where there are no data of a source: the model of the run, or layers without a head."""
    found = nothing(job.backbone, len(job.task.classes))
    if (own := job.taught) is not None:
        columns = job.task.columns(own.classes)
        found.weight[:, columns], found.bias[columns], found.objective = own.weight, own.bias, ce("source")
    return found
