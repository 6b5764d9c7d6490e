"""The folder of a run of several tasks: one pass through the shared layers predicts all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains.arrays import of_kind
from crossgraft.domains.domain import SEQUENCES, Domain
from crossgraft.domains.loose import inputs_of
from crossgraft.domains.sentences import with_lengths
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.features.frames import each
from crossgraft.measure.scores import measured
from crossgraft.model import MODEL, Model
from crossgraft.multilabel import MultiLabel
from crossgraft.multitask.asked import DATA, MultiRecipe, TaskAsked
from crossgraft.multitask.kinds import side_of
from crossgraft.multitask.opening import bare, opened
from crossgraft.multitask.pool import mean_of
from crossgraft.run import Run, finite
from crossgraft.sayable import needs
from crossgraft.several import Multi
from crossgraft.tasks import Classify

ALONE = "alone"  # folder of the models of tasks that are better by themselves


class MultiRun(Run):
    """A run folder of several tasks: `predict`, `score` and `report` need nothing else.

    >>> run = MultiRun.open("runs/several-1")  # doctest: +SKIP
    >>> run.predict(["a.wav"])[0]["tasks"]["digit"]["label"]  # doctest: +SKIP
    """

    schema = MultiRecipe

    @cached_property
    def models(self) -> list[Model]:
        """The model of the tasks that are kept together, and those of tasks that are better alone."""
        folders = sorted((self.folder / ALONE).glob(f"*/{MODEL}"), key=lambda f: int(f.parent.name))
        return [self.model, *(Model.load(f.parent, self._layers) for f in folders)]

    def predict(
        self, inputs: Any, *, name: str = "input", tent: bool = False, unknown: bool = False, **decoding: Any
    ) -> list[dict[str, Any]]:
        """One row an input, in order: name, and by task what `Run.predict` gives for it; or name and error."""
        _for_one(tent=tent, unknown=unknown)
        rows: list[dict[str, Any]] = []
        kind = self.model.backbone.kind
        for domain in inputs_of(inputs, kind, name):
            rows += self._rows(of_kind(domain, kind), decoding)
        return rows

    def _rows(self, domain: Domain, decoding: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"name": str(n), "tasks": {}} for n in domain.names]
        place = {row["name"]: row for row in found}
        for model in self.models:
            for task, head in heads(model, domain).items():
                assert head.domain is not None
                for row in head.predict(head.domain, **(decoding if head.task.kind == "transcribe" else {})):
                    if "error" in row:
                        place[row["name"]]["error"] = row["error"]
                    else:
                        place[row["name"]]["tasks"][task] = {
                            k: v for k, v in row.items() if k not in ("name", "unknown")
                        }
        return [{"name": r["name"], "error": r["error"]} if "error" in r else r for r in found]

    def score(
        self,
        what: Any,
        *,
        input: str | None = None,
        label: str | None = None,
        split: str | None = None,
        unknown: bool = False,
    ) -> dict[str, Any]:
        """Scores with intervals of every task that a data set has labels of; of one of them with `label`."""
        _for_one(unknown=unknown)
        known = {name: own for m in self.models for name, own in dict(_task(m).parts).items()}
        if label is not None and label not in known:
            raise UsageError(
                f"the run has no task {label!r}", nearest(label, list(known)) or f"it has {', '.join(known)}"
            )
        asked = {n: self._asked(n) for n in ([label] if label is not None else self._named(list(known)))}
        domain, labels = opened("scored", what, asked, input=input, split=None, group=self.recipe.group,
                                separator=self.recipe.separator)  # fmt: skip
        domain = of_kind(bare(domain), self.model.backbone.kind)
        if split is not None:
            at = domain.where(split)
            domain, labels = domain.take(at), {n: y[at] for n, y in labels.items()}
        scored: dict[str, Any] = {}
        for model in self.models:
            for name, head in heads(model, domain).items():
                if name in labels:
                    scored[name] = _score(head, labels[name], domain)
        return {"tasks": scored}

    def _asked(self, name: str) -> TaskAsked:
        assert isinstance(self.recipe, MultiRecipe)
        return self.recipe.asked[name].model_copy(update={"data": ("scored",)})

    def _named(self, known: list[str]) -> list[str]:
        """The tasks whose labels have a column of their own."""
        wanted = [n for n in known if self._asked(n).label not in (None, DATA)]
        if not wanted:
            raise UsageError("which task are the labels of?", f"name it with --label: {', '.join(known)}")
        return wanted

    def report(self) -> Path:
        """(Re)write report.html from the files of the folder."""
        from crossgraft.report.several import write

        return write(self.folder)


@dataclass(eq=False)
class Head(Model):
    """One task of a shared pass: what its head said of a domain."""

    said: Any = None
    failures: list[tuple[int, str]] = field(default_factory=list)
    domain: Domain | None = None

    def logits(self, domain: Domain) -> tuple[Any, list[tuple[int, str]]]:
        """What was said of the domain."""
        return self.said, self.failures


def heads(model: Model, domain: Domain) -> dict[str, Head]:
    """Every task's output for a domain, from one pass through the shared layers."""
    lengths = None
    if domain.kind == "sentence":
        domain, lengths = with_lengths(domain)
    z, failures = model.logits(domain)
    task, made = _task(model), {}
    for name, part in task.parts:
        columns = task.columns_of(name)
        said = each(partial(np.take, indices=columns, axis=1), z)
        if domain.kind in SEQUENCES and type(part) in (Classify, MultiLabel):
            said = mean_of(said, lengths)  # of logits: those of the mean of the features
        w, b = model.weight[:, columns], model.bias[columns]
        made[name] = Head(part, model.backbone, w, b, said=said, failures=failures, domain=domain)
    return made


def open_run(folder: str | Path, *, backbone: Any = None) -> Run:
    """A finished run of one task or of several; `backbone` are the layers of one that was made with some given."""
    recipe = Path(folder) / "recipe.toml"
    try:
        several = "[data]" in recipe.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        several = False
    return (MultiRun if several else Run).open(folder, backbone=backbone)


def _for_one(**asked: bool) -> None:
    """Raises UsageError for what is for one head."""
    if (named := next((name for name, given in asked.items() if given), None)) is not None:
        raise UsageError(f"{named} is for a run of one task", "leave it out for a run of several")


def _task(model: Model) -> Multi:
    if not isinstance(model.task, Multi):
        raise CrossgraftError("the run's model is not of several tasks", "copy the run folder again")
    return model.task


def _score(head: Head, labels: np.ndarray, domain: Domain) -> dict[str, Any]:
    """One task's scores on the labelled examples of a domain."""
    assert head.domain is not None
    place = {str(n): i for i, n in enumerate(domain.names)}
    own = labels[[place[str(n)] for n in head.domain.names]]
    own[[i for i, _ in head.failures]] = None
    lengths = with_lengths(head.domain)[1] if head.domain.kind == "sentence" else None
    side = side_of(replace(head.domain, labels=own), head.task, lengths, np.arange(len(head.task.classes)))
    rows = np.flatnonzero(side.labels >= 0)
    left: dict[str, int] = {}
    if side.truth is not None:  # what no alignment says costs infinitely much
        fit = rows[needs(side.truth[rows]) <= head.said.lengths[rows]]
        left, rows = ({"left_out": len(rows) - len(fit)} if len(fit) < len(rows) else {}), fit
    if not len(rows):
        return {"n": 0} | left
    groups = None if head.domain.groups is None else head.domain.groups[side.examples(rows)]
    said = each(head.task.says, head.said[rows])
    return dict(finite(measured(head.task, said, side.targets(rows), side.words(rows), groups))) | left
