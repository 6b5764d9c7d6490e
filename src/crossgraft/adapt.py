"""Adaptation: a method's phases from f_s on source, labelled target and the target's inputs without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.backbones.weights import state_revision
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure import validators
from crossgraft.measure.compare import Verdict
from crossgraft.methods import LABEL_FREE, METHODS, Method
from crossgraft.objective.algebra import Objective
from crossgraft.objective.methods import domains_of, row_of, stated
from crossgraft.objective.reach import reach
from crossgraft.prepare import Job
from crossgraft.progress import say
from crossgraft.seeds import seed_for
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted, frozen_features

Rows = Int[np.ndarray, " n"]
Phases = list[tuple[Objective, str]]
STEPS = (300, 2000)  # fewest and most gradient steps by default: about ten passes over the unlabelled inputs
RATE = 1e-3


def method_of(job: Job) -> Method | None:
    """The row to train by: an objective that was written, or a method that adapts; None for the plain four."""
    if job.recipe.objective is not None:
        needs = domains_of(Objective.parse(job.recipe.objective))
        return Method("objective", job.recipe.objective, needs, citation="as it was given")
    return row if (row := METHODS[job.method]).adapts else None


def check(job: Job, objective: Objective, sides: dict[str, Side], rows: Rows, groups: Sequence[str]) -> None:
    """Before anything is trained: what each term reaches, and what cannot work. Warnings go to the job."""
    labels = {name: side.labels for name, side in sides.items()}
    labels |= {"target": job.target.labels[rows]} if "target" in sides else {}
    columns = {name: side.columns for name, side in sides.items()}
    for finding in reach(objective, columns, groups, labels, classes=job.task.classes):
        if finding.level == "error":
            raise CrossgraftError(finding.message)
        if finding.message not in job.warnings:
            job.warnings.append(finding.message)


def adapt(job: Job, f_s: Fitted, rows: Rows, use: str, folder: Path, log: Callable[[dict[str, Any]], None]) -> Fitted:
    """f_s adapted by the job's method, with the labels of these target rows and all inputs that may be learned from.

    The weights of the last step are kept: a validator without labels is no reason to stop, only to keep or not.
    """
    from crossgraft.solve.augment import augmentation_for, strong_for
    from crossgraft.solve.loop import Stream, train
    from crossgraft.solve.net import Net
    from crossgraft.solve.schedules import cycle, layer_rates
    from crossgraft.solve.statistics import estimate

    method = method_of(job)
    assert method is not None
    sides, free, phases = _sides(job, method, rows)
    backbone, seed = f_s.backbone, job.recipe.seed
    settings = _settings(job, len(free))
    _check_method(job, method, sides, phases, rows, free, settings.batch_size)
    if "/" not in use:
        say(f"{method.name}: {' ; '.join(str(o) for o, _ in phases)}")
    module = backbone.fresh(seed_for(seed, f"{use}/layers"))
    own = replace(backbone, build=lambda: module)
    net = Net(own, {d: s.columns for d, s in sides.items()}, len(f_s.bias), seed=seed_for(seed, f"{use}/head"))
    net.set_head(f_s.weight, f_s.bias)
    net.equip([o for o, _ in phases], {"unlabelled": len(free)}, seed_for(seed, f"{use}/equip"))
    learned = {
        "source": np.arange(0 if job.source is None else len(job.source.labels)),
        "target": rows,
        "unlabelled": free,
    }
    streams, options = {}, {}
    for d in dict.fromkeys(d for o, _ in phases for d in domains_of(o)):
        side, at = sides[d], learned[d]
        augment = augmentation_for(job.recipe.augment, side.domain)
        known = _weights(job, f_s, phases, free) if d == "source" else {}
        hidden = np.full(len(at), -1) if d == "unlabelled" else side.labels[at]
        values = side.pixels(backbone)[at]
        streams[d] = Stream(values, hidden, settings.batch_size, augment, strong_for(augment, values), known)
    if any(row_of(t).name == "cotuning" for o, _ in phases for t in o.active):
        options["target"] = {"relation": _relation(job, f_s, rows)}
    if method.statistics:
        estimate(net, sides[method.statistics].pixels(backbone)[free])
    rates = layer_rates(own) if backbone.portable else dict.fromkeys(layer_rates(own), 1.0)
    last: dict[str, float] = {}

    def note(row: dict[str, Any]) -> None:
        last.update(row.get("terms", {}))
        if "/" not in use:
            log({"model": use} | row)

    if any(o.active for o, _ in phases):
        path = folder / f"{use.replace('/', '-')}.safetensors"
        stages = cycle(phases, rates, settings.steps)
        train(net, stages, streams, settings, seed=seed, use=use, options=options, checkpoint=path, log=note)
    weight, bias = net.head()
    trained = replace(own, pretrained=True, portable=False, revision=state_revision(module))
    terms = tuple({t.key: t for o, _ in phases for t in o.terms}.values())
    job.term_values.update(last if "/" not in use else {})
    return Fitted(trained, weight.astype(np.float64), bias.astype(np.float64), Objective(terms), "adapt")


def _sides(job: Job, method: Method, rows: Rows) -> tuple[dict[str, Side], Rows, Phases]:
    """The domains, the rows of the target whose inputs may be learned from, and the phases.

    Without a target label ce(target) falls away, and the unlabelled inputs are taken for classes of the source.
    """
    free = job.target.unlabelled()
    without = len(rows) == 0 and method.name != "objective"
    phases = []
    for text, parts in method.cycle:
        objective = stated(method, text) if method.name != "objective" else Objective.parse(text)
        kept = tuple(t for t in objective.terms if not (without and t.name == "ce" and t.domain == "target"))
        phases.append((Objective(kept), parts))
    sides = {"target": job.target}
    columns = job.target.columns
    if job.source is not None:
        sides["source"] = job.source
        columns = job.source.columns if len(rows) == 0 else np.union1d(columns, job.source.columns)
    sides["unlabelled"] = job.target.over(columns)
    return sides, free, phases


def _settings(job: Job, n: int) -> Any:
    from crossgraft.solve.settings import MANY, settings_for

    base = settings_for(job.recipe, "full", max(n, 1), job.backbone)
    batch = 2 * job.recipe.batch_size if n >= MANY else job.recipe.batch_size
    steps = job.recipe.steps or min(max(10 * n // batch, STEPS[0]), STEPS[1])
    rate = base.lr if job.backbone.portable else job.recipe.lr or RATE
    return replace(base, lr=rate, steps=steps, batch_size=batch)


def _check_method(
    job: Job, method: Method, sides: dict[str, Side], phases: Phases, rows: Rows, free: Rows, batch: int
) -> None:
    name = f"method {method.name}" if method.name != "objective" else f"objective {method.objective}"
    read = {d for o, _ in phases for d in domains_of(o)} | {d for d in method.needs if d != "target"}
    if job.source is None:
        raise UsageError(f"{name} starts from a source", "give one with --source")
    if "unlabelled" in read and len(free) == 0:
        raise CrossgraftError(
            f"{name} needs unlabelled target examples, and the target has none outside its test part",
            "add inputs without labels to the target, or put some into its train part",
        )
    if "target" in method.needs and len(rows) == 0:
        raise CrossgraftError(f"{name} needs labels of the target", "label a few, or use dann, cdan, mcc, shot or im")
    if len(rows) and "target" not in read:
        said = f"{name} does not use the {len(rows)} labels of the target; a method with ce(target) would"
        if said not in job.warnings:
            job.warnings.append(said)
    missing = set(job.target.columns.tolist()) - set(job.source.columns.tolist())
    if missing and len(rows) == 0:
        classes = ", ".join(job.task.classes[c] for c in sorted(missing)[:5])
        raise CrossgraftError(
            f"no example teaches class {classes} of the target: the source lacks it and no target label is known",
            "label a few examples of it, or add a source that has it",
        )
    groups = [g for g, _ in job.backbone.groups]
    for objective, _ in phases:
        for term in objective.active:
            row = row_of(term)
            if (least := row.least) > min([batch, *(len(free) for d in row.reads(term) if d == "unlabelled")]):
                raise UsageError(
                    f"{term.key} compares the examples of a batch", f"give a batch_size of {least} or more"
                )
            joint = {"conditional", "second"} & set(row.heads)
            if joint and len(sides["source"].columns) != len(sides["unlabelled"].columns):
                raise CrossgraftError(f"{term.key} needs the same classes in source and target", "use dann or mcc")
            if row.through == "features" and not groups:
                raise UsageError(
                    f"{term.key} moves layers and backbone {job.backbone.name} has none",
                    "use mlp, or mcc, im or pseudo",
                )
        check(job, objective, sides, rows, groups)


def _weights(job: Job, f_s: Fitted, phases: Phases, free: Rows) -> dict[str, Float[np.ndarray, " S"]]:
    """Weights of the source's rows, of mean 1, for the terms that ask for them."""
    names = {row_of(t).known for o, _ in phases for t in o.active} & {"odds", "priors"}
    found: dict[str, np.ndarray] = {}
    source = job.source
    if source is None or not names:
        return {}
    if "odds" in names:
        x = [frozen_features(f_s.backbone, source), frozen_features(f_s.backbone, job.target)[free]]
        found["odds"] = validators.odds(*x, seed=job.recipe.seed)
    if "priors" in names:
        from crossgraft.measure.priors import label_shift

        held, seen = _not_fitted(job, source), job.target.over(source.columns)
        p_s, p_t = (np.exp(f_s.log_probabilities(s, at)) for s, at in ((source, held), (seen, free)))
        shift = label_shift(p_s, source.labels[held], p_t, resamples=0, seed=job.recipe.seed)
        found["priors"] = shift.weights[source.labels]
        job.warnings += [n for n in shift.notes if n not in job.warnings]
    return {k: (w / w.mean()).astype(np.float32) for k, w in found.items()}


def _not_fitted(job: Job, source: Side) -> Rows:
    """The tenth of the source that f_s was stopped by, not fitted to; all rows where there was none."""
    held = source.held_tenth(np.arange(len(source.labels)), job.recipe.seed, "source")
    return held if len(held) else np.arange(len(source.labels))


def _relation(job: Job, f_s: Fitted, rows: Rows) -> Any:
    """p(y_s | y_t): f_s's mean probabilities of the source's classes over labelled rows of each target class."""
    import torch

    assert job.source is not None
    p = np.exp(f_s.log_probabilities(job.target.over(job.source.columns), rows))
    y, k = job.target.labels[rows], len(job.target.columns)
    table = np.stack([p[y == c].mean(0) if (y == c).any() else p.mean(0) for c in range(k)])
    return torch.from_numpy(table.astype(np.float32))


def label_free(job: Job, models: dict[str, Fitted]) -> Verdict:
    """The better of the models by a validator that reads no target label; at a tie source only."""
    name = job.selection.partition(":")[2]
    free, source = job.target.unlabelled(), job.source
    assert source is not None
    seen, held = job.target.over(source.columns), _not_fitted(job, source)
    for model, fitted in models.items():
        f, f_t = fitted.features(source, held), fitted.features(seen, free)
        p, p_t = (np.exp(fitted.of_features(each, source.columns)) for each in (f, f_t))
        job.validators[model] = validators.all_of(f, p, source.labels[held], f_t, p_t, seed=job.recipe.seed)
    if name not in LABEL_FREE or not job.recipe.guard:
        return Verdict("transfer", "It is what was asked for; nothing was compared.")
    scored = {m: v[name] for m, v in job.validators.items()}
    best = max(scored, key=lambda m: (scored[m], m == "source_only"))
    said = ", ".join(f"{m} {v:.3f}" for m, v in scored.items())
    return Verdict(best, f"By {job.selection}, which reads no label of the target, the higher the better: {said}.")
