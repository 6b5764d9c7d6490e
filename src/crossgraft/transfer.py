"""The four steps, the baselines beside them, and the guard. The only module that knows all of the road.

1 initialise   f_s trained on the source, or a pretrained backbone        source CE
2 graft        the feature layers of f_s into f_t, a head for the target
3 target       minimise the target CE                                     frozen, lp_ft, gradual or full schedule
4 joint        + lambda x source CE                                       lambda chosen by target evidence
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft import backbones
from crossgraft.adapt import adapt, refuse_early
from crossgraft.asked import asked_for
from crossgraft.backbones.backbone import Backbone
from crossgraft.checks import check, method_of, refuse
from crossgraft.choose import HeldOut, Learn, Outcome, Rows, held_out, judge, judged_on, keep, schedule_for
from crossgraft.errors import CrossgraftError
from crossgraft.from_run import first, prepared
from crossgraft.lam_search import search_lam
from crossgraft.language import learn_language
from crossgraft.moved_source import move_source
from crossgraft.objective.algebra import Objective, ce
from crossgraft.objective.reach import stuck
from crossgraft.prepare import Job
from crossgraft.processes import agreed
from crossgraft.progress import clock, say
from crossgraft.record import record
from crossgraft.run import CHECKPOINTS, RESULT, Run, free_folder
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted, descend, for_moving_layers, nothing, solve_frozen, solve_source, with_lam
from crossgraft.sources import weigh
from crossgraft.tempered import tempered
from crossgraft.validation import label_free


@dataclass(eq=False)
class Steps:
    """One transfer: what the steps share.

    folder  keeps the checkpoints
    log     takes a row a logged step
    solved  frozen solutions on all labelled target rows, by backbone revision and whether the source is in them
    """

    job: Job
    folder: Path
    log: Callable[[dict[str, Any]], None]
    solved: dict[tuple[str, bool], Fitted] = field(default_factory=dict)

    def initialise(self) -> Fitted:
        """Step 1: f_s. A network that knows nothing learns the source; a pretrained backbone gets a source head, and
        learns the source below it where `source_steps` are asked for."""
        job, source = self.job, weigh(self.job)
        if source is None:
            return first(job)
        rows = np.arange(len(source.labels))
        if job.backbone.pretrained:
            f_s = solve_source(job.backbone, source, len(job.task.classes), job.recipe.seed)
            moves = job.recipe.source_steps is not None
            return self._descend(f_s, {"source": (source, rows)}, ce("source"), "lp_ft", "source") if moves else f_s
        say("1 initialise: train f_s on the source")
        return self._from_nothing(job.backbone, "source", source, rows, "source")

    def graft(self, f_s: Fitted, rows: Rows, schedule: str, source: Side | None) -> Fitted:
        """Step 2: the layers of f_s, and a head: solved on frozen features, or copied where classes are shared.

        Lambda and ridge are chosen once, on all labelled target rows; a fold is solved at what was chosen.
        """
        recipe, target, n_columns = self.job.recipe, self.job.target, len(self.job.task.classes)
        key = (f_s.backbone.revision, source is not None)
        if key not in self.solved:
            lam = 0.0 if self.job.method == "finetune" else recipe.lam if isinstance(recipe.lam, float) else None
            ridge = None if recipe.ridge == "auto" else recipe.ridge
            self.solved[key] = solve_frozen(
                f_s.backbone, target, self.job.rows, source, n_columns, recipe.seed, lam=lam, ridge=ridge, start=f_s
            )
        solved = self.solved[key]
        if len(rows) < len(self.job.rows):
            solved = solve_frozen(
                f_s.backbone, target, rows, source, n_columns, recipe.seed,
                lam=solved.lam or 0.0, ridge=solved.ridge, judged=False, start=f_s,
            )  # fmt: skip
        if schedule == "full":  # from the source's head, not from the solved one
            return replace(solved, weight=f_s.weight, bias=f_s.bias, transitions=f_s.transitions)
        return solved

    def transfer(
        self, f_s: Fitted, rows: Rows, schedule: str, use: str, source: Side | None, lam: float | None = None
    ) -> Fitted:
        """Steps 2 to 4 on these target rows: the layers that the schedule names learn CE(target) + lam * CE(source)."""
        job = self.job
        start = self.graft(f_s, rows, schedule, source)
        if schedule != "frozen" and not isinstance(job.recipe.lam, float):
            per_class = len(job.rows) / len(job.target.columns)
            start = for_moving_layers(start, per_class) if lam is None else with_lam(start, lam)
            if job.recipe.lam == "search" and lam is None and source is not None and job.method == "joint":
                at: Callable[[float], Learn] = lambda x: lambda r, u: self.transfer(f_s, r, schedule, u, source, x)  # noqa: E731
                start = with_lam(start, search_lam(job, at, start.lam or 0.0, schedule))
        if "/" not in use:  # folds say nothing new
            whole = source is not None and not isinstance(job.recipe.lam, float) and job.method == "joint"
            both = {"target": job.target} | ({} if source is None else {"source": source})
            groups = [g for g, _ in job.backbone.groups if schedule != "frozen"]
            check(job, ce("target") + ce("source") if whole else start.objective, both, rows, groups)
        if schedule == "frozen":
            return start
        sides = {"target": (job.target, rows)}
        sides |= {"source": (source, np.arange(len(source.labels)))} if source is not None and start.lam else {}
        fresh = schedule == "full" and not f_s.objective.terms
        trained = self._descend(start, sides, start.objective, schedule, use, head=not fresh)
        return replace(trained, lam=start.lam, ridge=start.ridge, path=start.path, point=start.point)

    def target_only(self, rows: Rows, schedule: str, use: str) -> Fitted:
        """No transfer: without the source, or, where the backbone is what transfers, a network from nothing."""
        job = self.job
        if not job.backbone.pretrained:
            return self._from_nothing(job.backbone, "target", job.target, rows, use)
        if job.source is None and job.backbone.name != "identity":
            small = backbones.load(backbones.FROM_NOTHING[job.backbone.kind], job.target.domain)
            return self._from_nothing(small, "target", job.target, rows, use)
        return self.transfer(nothing(job.backbone, len(job.task.classes)), rows, schedule, use, None)

    def _from_nothing(self, backbone: Backbone, name: str, side: Side, rows: Rows, use: str) -> Fitted:
        """A network that knows nothing learns one domain; where there is enough, a tenth of it stops the training."""
        start = nothing(backbone, len(self.job.task.classes))
        held = side.held_tenth(rows, self.job.recipe.seed, use)
        learning = rows[np.setdiff1d(np.arange(len(rows)), held)]
        history: list[dict[str, Any]] = []
        trained = self._descend(
            start, {name: (side, learning)}, ce(name), "from_nothing", use,
            head=False, evaluate=(side, rows[held]) if len(held) else None, history=history,
        )  # fmt: skip
        if (warning := stuck(history, side.blind)) is not None:
            self.job.warnings.append(warning)
        return trained

    def _descend(
        self, start: Fitted, sides: dict[str, tuple[Side, Rows]], objective: Objective, schedule: str, use: str, *,
        head: bool = True, evaluate: tuple[Side, Rows] | None = None, history: list[dict[str, Any]] | None = None,
    ) -> Fitted:  # fmt: skip
        from crossgraft.solve.settings import settings_for

        job = self.job
        counts = {name: len(side.examples(rows)) for name, (side, rows) in sides.items()}
        n = max(counts.values()) if schedule == "from_nothing" else counts.get("target", 0)
        recipe = job.recipe if n else job.recipe.model_copy(update={"steps": job.recipe.source_steps})
        layers = job.backbone if start.backbone.name == job.backbone.name else start.backbone  # whose rate is known
        if evaluate is None and (rows := job.watched) is not None and "target" in sides:
            evaluate = (job.target, rows)

        def log(row: dict[str, Any]) -> None:
            if history is not None:
                history.append(row)
            if "/" not in use:  # folds are evidence, not a training to look at
                self.log({"model": use} | row)

        return descend(
            start, sides, objective, schedule, settings_for(recipe, schedule, n, layers),
            head=head, augment=job.recipe.augment, seed=job.recipe.seed, use=use, evaluate=evaluate,
            checkpoint=self.folder / f"{use.replace('/', '-')}.safetensors", log=log,
        )  # fmt: skip


def four_steps(steps: Steps, timed: Callable[[str], AbstractContextManager[None]]) -> Outcome:
    """All of it: the steps, the baselines beside them, and the guard."""
    job = steps.job
    models: dict[str, Fitted] = {}
    evidence: dict[str, HeldOut] = {}
    refuse_early(job)
    if job.recipe.masked_steps is not None:
        with timed("language"):
            learn_language(job, steps.folder, steps.log)
    with timed("1 initialise"):
        move_source(job)
        f_s = steps.initialise()
    if job.covered:
        models["source_only"] = f_s
        evidence["source_only"] = judge(f_s, job.target, judged_on(job))
    asked = job.recipe.schedule if job.method == "target_only" else "auto"
    schedule: str = "from_nothing" if not job.backbone.pretrained else "frozen" if asked == "auto" else asked
    if job.method in ("joint", "finetune") and len(job.rows):
        with timed("2-4 graft, target, joint"):
            by: Callable[[str], Learn] = lambda s: lambda rows, use: steps.transfer(f_s, rows, s, use, job.source)  # noqa: E731
            schedule, tried = schedule_for(job, by)
            models["transfer"] = by(schedule)(job.rows, "transfer")
            if job.recipe.guard:
                evidence["transfer"] = tried or held_out(job, by(schedule), "transfer", models["transfer"])
    blind = (adapts := method_of(job) is not None) and (not len(job.rows) or job.selection.startswith("label_free"))
    if adapts:
        with timed("2-4 adapt"):
            learn: Learn = lambda rows, use: adapt(job, f_s, rows, use, steps.folder, steps.log)  # noqa: E731
            own = models["transfer"] = learn(job.rows, "transfer")
            if job.recipe.guard and not blind:
                models["transfer"], evidence["transfer"] = tempered(job, own, held_out(job, learn, "transfer", own))
    if (job.method == "target_only" or (job.recipe.baselines and job.method != "source_only")) and len(job.rows):
        with timed("target only"):
            alone: Learn = lambda rows, use: steps.target_only(rows, schedule, use)  # noqa: E731
            models["target_only"] = alone(job.rows, "target_only")
            if job.recipe.guard and job.method != "target_only":
                evidence["target_only"] = held_out(job, alone, "target_only", models["target_only"])
    if not models:
        what = "nothing can be trained: the target has no labels and no source has all of its classes"
        raise CrossgraftError(what, "label a few examples of the target, or give a source that has all of its classes")
    verdict = label_free(job, models) if blind else keep(job, models, evidence)
    return Outcome(models, evidence, verdict, "adapt" if adapts else schedule)


def fit(
    target: Any = None, source: Any = (), *, recipe: Any = None, out: Any = None, resume: bool = False, **options: Any
) -> Run:
    """Train a model that is good on the target, with the proof beside it.

    target, source   a path, a Domain, a `datasets.Dataset`, a torch data set, or arrays (X, y); sources may be a list
                     or the folder of a run, whose model is f_s, without its data
    recipe           a TOML file with options; those given here take precedence
    out, resume      the run's folder, and whether to continue what it holds
    options          the fields of `Recipe`: backbone (also a torch.nn.Module), method, schedule, lam, shots, seed, ...

    Raises CrossgraftError where the data, and UsageError where the options are wrong.

    >>> run = fit(target="photos", source="catalogue", shots=5)  # doctest: +SKIP
    >>> run.result["test"]["accuracy"]  # doctest: +SKIP
    """
    began = time.perf_counter()
    options, layers = backbones.named(options)
    asked, what, sources = asked_for(target, source, recipe, out if resume else None, options)
    refuse(asked)
    folder = agreed(Path(out) if out is not None else free_folder(Path(asked.target).stem or "run"))
    run = Run.create(folder, asked, resume=resume, backbone=layers)
    if resume and (folder / RESULT).exists():
        return run
    seconds: dict[str, float] = {}
    timed = clock(seconds)
    say(f"run {folder}: reading the domains")
    with timed("prepare"):
        job = prepared(asked, what, sources, layers)
    refuse(asked, job.task.kind)
    outcome = four_steps(Steps(job, folder / CHECKPOINTS, run.log), timed)
    seconds["rest"] = time.perf_counter() - began - sum(seconds.values())
    found = outcome.models, outcome.evidence, outcome.verdict, outcome.schedule
    run.conclude(lambda: record(run, job, *found, seconds, f"crossgraft fit {folder / 'recipe.toml'}"))
    return run
