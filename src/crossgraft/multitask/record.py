"""What a finished run of several tasks leaves in its folder: models, result, predictions, report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.measure.compare import Difference, mcnemar, paired
from crossgraft.measure.scores import measured
from crossgraft.model import Model
from crossgraft.multilabel import MultiLabel
from crossgraft.multitask.outputs import Joined
from crossgraft.multitask.pool import Pool
from crossgraft.multitask.run import ALONE, MultiRun
from crossgraft.record import PACKAGES, installed, once
from crossgraft.run import PREDICTIONS
from crossgraft.several import Multi, stated
from crossgraft.tasks import Classify, Tag
from crossgraft.transcripts import Transcribe

if TYPE_CHECKING:
    from crossgraft.multitask.learning import Steps
    from crossgraft.multitask.steps import Outcome


def record(run: MultiRun, steps: Steps, outcome: Outcome, seconds: Mapping[str, float]) -> None:
    """Score every model on the test parts, once, and write everything down; with result.json the run is finished."""
    pool = steps.pool
    test = pool.examples("test")
    log_p: dict[str, dict[str, Any]] = {"joint": outcome.joint.log_probabilities(pool, test)}
    log_p["alone"] = {n: own.log_probabilities(pool, test)[n] for n, own in outcome.alone.items()}
    _save(run, pool, outcome)
    rows: list[dict[str, Any]] = []
    tasks = {}
    for name in pool.names:
        kept = outcome.kept[name].model
        scored = {m: _scores(pool, name, log_p[m][name]) for m in log_p if name in log_p[m]}
        side = pool.sides[name]
        tasks[name] = {
            **stated(pool.task.part(name)),
            "n": {part: len(pool.examples(split, name)) for part, split in
                  (("train", "train"), ("val", "val"), ("test", "test"))},
            "test": scored[kept],
            "joint": scored.get("joint"),
            "alone": scored.get("alone"),
            "paired": _paired(pool, name, log_p),
            "kept": {"model": kept, "why": outcome.kept[name].why},
            "lam": outcome.joint.lams.get(name),
            "weight": outcome.joint.weights.get(name),
        }  # fmt: skip
        rows += _predictions(pool, name, log_p[kept][name], side)
    run.write_lines(PREDICTIONS, rows)
    once(run)
    recipe = pool.recipe
    run.finish({
        "run": str(run.folder),
        "name": run.folder.name,
        "task": {"kind": Multi.kind, "tasks": list(pool.names)},
        "tasks": tasks,
        "main": recipe.main,
        "together": list(outcome.sharing.together),
        "dropped": outcome.sharing.dropped,
        "lowered": outcome.sharing.lowered,
        "shared_classes": [sorted(own) for own in pool.alike],
        "affinity": [
            {"of": x.of, "on": x.on, **_difference(x.change), "pair": _difference(x.pair)} for x in outcome.affinity
        ],
        "grouping": outcome.groups,
        "backbone": {
            "name": pool.backbone.name, "revision": pool.backbone.revision, "dim": pool.backbone.dim,
            "pretrained": pool.backbone.pretrained,
        },
        "schedule": steps.schedule,
        "share": _shared(pool),
        "first": list(recipe.first),
        "weighting": recipe.weighting,
        "selection": steps.selection,
        "objective": {"formula": outcome.joint.formula},
        "skipped": [{"domain": pool.domain.name, "name": s.name, "reason": s.reason} for s in pool.domain.skipped],
        "warnings": pool.warnings + _notes(steps),
        "seconds": dict(seconds),
        "versions": {p: version(p) for p in PACKAGES if installed(p)},
        "command": f"crossgraft multi {run.folder / 'recipe.toml'}",
        "seed": recipe.seed,
    })  # fmt: skip


def _save(run: MultiRun, pool: Pool, outcome: Outcome) -> None:
    """One model of all tasks that are kept together; on features that stand still also of those kept alone."""
    kept = {n: outcome.kept[n].model for n in pool.names}
    together = [n for n in outcome.sharing.together if kept[n] == "joint"]
    apart = [n for n in pool.names if n not in together]
    if outcome.joint.fitted.schedule == "frozen":
        each = [outcome.joint if n in together else outcome.alone[n] for n in pool.names]
        head = [
            (m.fitted.weight[:, c], m.fitted.bias[c])
            for n, m in zip(pool.names, each, strict=True)
            for c in [m.task.columns_of(n)]
        ]
        task = Multi.of_tasks(dict(pool.task.parts))
        weight, bias = np.concatenate([w for w, _ in head], axis=1), np.concatenate([b for _, b in head])
        Model(task, pool.backbone, weight, bias).save(run.folder)
        return
    models = [(outcome.joint, together), *((outcome.alone[n], [n]) for n in apart)]
    for i, (model, names) in enumerate((model, names) for model, names in models if names):
        folder = run.folder / ALONE / str(i) if i else run.folder
        folder.mkdir(parents=True, exist_ok=True)
        _part(model, names).save(folder)


def _part(model: Joined, names: list[str]) -> Model:
    """The model of some of its tasks."""
    columns = np.unique(np.concatenate([model.task.columns_of(n) for n in names]))
    place = {int(c): i for i, c in enumerate(columns)}
    task = Multi(
        tuple(model.task.classes[c] for c in columns),
        tuple((n, model.task.part(n)) for n in names),
        tuple(tuple(place[int(c)] for c in model.task.columns_of(n)) for n in names),
    )
    own = model.fitted
    backbone, weight = own.backbone, own.weight[:, columns]
    if backbone.branches is not None:
        from crossgraft.backbones.branches import of_some

        places = [model.task.names.index(n) for n in names]
        weight = np.concatenate([np.split(weight, backbone.branches[0])[k] for k in places])
        backbone = of_some(backbone, places)
    return Model(task, backbone, weight, own.bias[columns])


def _scores(pool: Pool, name: str, log_p: Any) -> dict[str, Any]:
    side = pool.sides[name]
    rows = pool.labelled(name, pool.examples("test"))
    examples = side.examples(rows)
    groups = None if pool.domain.groups is None else pool.domain.groups[examples]
    return measured(pool.task.part(name), log_p, side.targets(rows), side.words(rows), groups)


def _paired(pool: Pool, name: str, log_p: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The joint model against the task alone, on the same test examples."""
    if name not in log_p["joint"] or name not in log_p["alone"]:
        return None
    side, rows = pool.sides[name], pool.labelled(name, pool.examples("test"))
    task = pool.task.part(name)
    d = paired(side.losses(log_p["joint"][name], rows), side.losses(log_p["alone"][name], rows))
    found: dict[str, Any] = {"cross_entropy": _difference(d)}
    if type(task) is Classify:
        hits, others = (task.hits(log_p[m][name], side.labels[rows]) for m in ("joint", "alone"))
        found["accuracy"] = _difference(paired(hits, others)) | {"p_value": mcnemar(hits, others)}
    return found


def _difference(d: Difference) -> dict[str, Any]:
    return {"value": d.value, "low": d.low, "high": d.high, "p_value": d.p}


def _predictions(pool: Pool, name: str, log_p: Any, side: Any) -> list[dict[str, Any]]:
    """A line an example of the test part: what it is and what was predicted."""
    task = pool.task.part(name)
    examples = pool.examples("test", name)
    names = [str(n) for n in pool.domain.names[examples]]
    if isinstance(task, Transcribe):
        return [
            {"task": name, "name": n, "label": side.domain.labels[i], "predicted": task.decode(log_p.clip(k))[0]}
            for k, (n, i) in enumerate(zip(names, examples, strict=True))
        ]
    if isinstance(task, Tag):
        words = side.lengths[examples]
        found, ends = task.decode(log_p, words), np.cumsum(words)
        return [
            {"task": name, "name": n, "label": list(side.domain.labels[i]), "predicted": found[e - w : e]}
            for n, i, w, e in zip(names, examples, words.tolist(), ends.tolist(), strict=True)
        ]
    if isinstance(task, MultiLabel):
        each = zip(names, task.named(side.sets[examples]), task.names(log_p), log_p.probabilities.tolist(), strict=True)
        return [{"task": name, "name": n, "label": y, "predicted": z, "probabilities": p} for n, y, z, p in each]
    return [
        {"task": name, "name": n, "label": side.domain.labels[i], "predicted": y, "log_probabilities": row}
        for n, i, y, row in zip(names, examples, task.decode(log_p), log_p, strict=True)
    ]


def _shared(pool: Pool) -> dict[str, list[str]] | None:
    """Which groups of layers all tasks share, and which each has for itself; None where they share all."""
    if pool.recipe.share == "all":
        return None
    names = [name for name, _ in pool.backbone.groups]
    return {"shared": names[: pool.recipe.share], "own": names[pool.recipe.share :]}


def _notes(steps: Steps) -> list[str]:
    found = []
    if steps.schedule == "frozen" and steps.pool.recipe.weighting != "equal":
        what = f"weighting {steps.pool.recipe.weighting} weighs gradients of shared layers, and they stand still"
        found.append(f"{what}: it changed nothing; use --schedule lp_ft")
    if steps.schedule == "frozen" and not steps.pool.alike:
        found.append(
            "the layers stand still and no class is common: the tasks share features and nothing else, and each head "
            "is what it would be alone; --schedule lp_ft lets the layers learn from all of them"
        )
    return found
