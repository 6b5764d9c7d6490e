"""What was asked of several tasks: data sets, tasks on them, and how they share and are weighed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from crossgraft.errors import UsageError, nearest
from crossgraft.recipe import Recipe

DATA = "@data"  # the label column that is the name of the data set


class TaskAsked(BaseModel):
    """One task: which data sets have its labels, and in which column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: tuple[str, ...] = Field((), description="the data sets that have its labels; by default all")
    label: str | None = Field(default=None, description="their column of labels; @data for the name of the data set")
    kind: Literal["auto", "classify", "multilabel", "tag", "transcribe"] = "auto"
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="of its cross-entropy")


class MultiRecipe(Recipe):
    """Everything that decides a run of several tasks; its folder keeps it as recipe.toml.

    >>> MultiRecipe(data={"clips": "clips.csv"}, tasks={"digit": TaskAsked(label="digit")}).weighting
    'equal'
    """

    unnamed: ClassVar[str] = "write --data before it, --task before a task"
    target: str = Field("several tasks", description="what the run is called")
    data: dict[str, str] = Field(description="data sets by name: folders, tables, .npz, names")
    tasks: dict[str, TaskAsked] = Field({}, description="by name; without, one a data set")
    main: str | None = Field(None, description="the task that matters: what harms it is left out")
    weighting: str = Field("equal", description="a row of the table of weightings")
    sampling: float = Field(
        5.0, gt=0, description="temperature T of data sets in a batch, shares as n^(1/T): 1 by size, large alike"
    )
    heads: Literal["auto", "own", "shared"] = Field(
        "auto",
        description="shared: classes of one name are one class; auto: where data sets differ and classes are alike",
    )
    share: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        "all",
        description="how many groups of layers, from the input, all tasks share; those after them each has for itself",
    )
    first: tuple[str, ...] = Field((), description="tasks that the layers learn before all learn together")
    first_steps: int | None = Field(None, ge=1, description="gradient steps of that; by default as on the target")
    affinity: bool = Field(False, description="measure what each task does to each other")

    @field_validator("weighting")
    @classmethod
    def _known(cls, weighting: str) -> str:
        if weighting != "equal":  # which is in every table; the others bring torch with them
            from crossgraft.solve.weighting import WEIGHTINGS

            if weighting not in WEIGHTINGS:
                raise ValueError(nearest(weighting, list(WEIGHTINGS)) or f"the weightings are {', '.join(WEIGHTINGS)}")
        return weighting

    @property
    def asked(self) -> dict[str, TaskAsked]:
        """The tasks by name, each with its data sets; where none is named, one a data set."""
        tasks = self.tasks or {name: TaskAsked(data=(name,)) for name in self.data}
        return {name: own.model_copy(update={"data": own.data or tuple(self.data)}) for name, own in tasks.items()}

    def refuse(self) -> None:
        """Raises UsageError on what means nothing for several tasks."""
        held = {"source": self.source, "objective": self.objective, "label": self.label, "mixup": self.mixup}
        held |= {"masked-steps": self.masked_steps, "crf": self.crf, "place": self.places}
        held |= {"align": self.align if self.align == "mean" else None}
        for name, value in held.items():
            if value:
                raise UsageError(f"--{name} is not for several tasks", "leave it out; a task names its own labels")
        if self.method != "auto" or self.lam != "auto":
            raise UsageError("method and lam are not for several tasks", "use --weighting, and a weight for each task")
        of_group = [n for n, own in self.tasks.items() if self.group is not None and self.group == (own.label or n)]
        if of_group:
            what = (
                f"--group {self.group} is the label of task {of_group[0]!r}, and a test part of others has none of it"
            )
            raise UsageError(what, "leave out one of the two")
        if self.share != "all" and self.heads == "shared":
            raise UsageError("heads shared needs features that are shared", "leave out --share, or --heads")
        if self.selection not in ("auto", "cv", "target_val"):
            raise UsageError(f"selection {self.selection} is not for several tasks", "use cv or target_val")
        names = list(self.asked)
        if len(names) < 2:
            raise UsageError(f"there is one task ({names[0]!r})" if names else "there is no task",
                             "name another one, or use crossgraft fit")  # fmt: skip
        if self.main is not None and self.main not in names:
            raise UsageError(
                f"there is no task {self.main!r} to be the main one",
                nearest(self.main, names) or f"the tasks are {', '.join(names)}",
            )
        self._first(names)
        for task, own in self.tasks.items():
            for name in own.data:
                if name not in self.data:
                    raise UsageError(
                        f"task {task!r} names data set {name!r}, which there is not",
                        nearest(name, list(self.data)) or f"the data sets are {', '.join(self.data)}",
                    )

    def _first(self, names: list[str]) -> None:
        """Raises UsageError where no task is first, or none joins."""
        for task in self.first:
            if task not in names:
                raise UsageError(
                    f"there is no task {task!r} to be first",
                    nearest(task, names) or f"the tasks are {', '.join(names)}",
                )
        if set(self.first) == set(names):
            raise UsageError("all tasks are first, and none joins them", "leave out --first, or a task of it")
        if self.first_steps is not None and not self.first:
            raise UsageError("first-steps are of tasks that are first", "name them: --first TASK")


def tasks_of(tasks: Any) -> dict[str, dict[str, Any]]:
    """Tasks as the recipe has them, from a list of label columns, or by name a column or the fields of `TaskAsked`.

    >>> tasks_of(["digit"])
    {'digit': {'label': 'digit'}}
    """
    if tasks is None:
        return {}
    if isinstance(tasks, Mapping):
        return {
            str(name): {"label": own} if isinstance(own, str) else {} if own is None else dict(own)
            for name, own in tasks.items()
        }
    names = list(tasks)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two tasks are called {name!r}", "give each task its own name")
    return {str(name): {"label": str(name)} for name in names}
