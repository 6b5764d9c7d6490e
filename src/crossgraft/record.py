"""What a finished transfer leaves in its folder: model, result, predictions, pictures, report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from crossgraft.choose import HeldOut
from crossgraft.elsewhere import elsewhere
from crossgraft.measure.compare import Verdict, paired
from crossgraft.measure.scores import mean_interval, measured
from crossgraft.model import Model
from crossgraft.multilabel import MultiLabel
from crossgraft.multilabelled import multilabelled
from crossgraft.portraits import portrayed
from crossgraft.prepare import Job
from crossgraft.proof import proof, with_outputs
from crossgraft.rejection import rejection
from crossgraft.run import MEASURES, PREDICTIONS, Run
from crossgraft.seeds import rng
from crossgraft.several import stated
from crossgraft.solve.fitted import Fitted
from crossgraft.tagged import tagged
from crossgraft.tasks import Classify, Tag
from crossgraft.transcribed import transcribed
from crossgraft.transcripts import Transcribe
from crossgraft.wording import deciding, shown

PACKAGES = (
    "crossgraft", "numpy", "scipy", "scikit-learn", "torch", "torchvision", "timm", "transformers", "tokenizers",
    "accelerate", "openvino", "pillow", "simplejpeg",
)  # fmt: skip
EXPLAINED = 4  # of these, texts whose deciding words are looked for
SHOWN = 12  # most confident mistakes that the report shows
SOURCE_SAMPLE = 1000  # source examples from which the value of the source term is taken


def record(
    run: Run,
    job: Job,
    models: Mapping[str, Fitted],
    evidence: Mapping[str, HeldOut],
    verdict: Verdict,
    schedule: str,
    seconds: Mapping[str, float],
    command: str,
) -> None:
    """Score the models on the test part, once, and write everything down; with result.json the run is finished."""
    test = job.target.rows("test")
    targets = job.target.targets(test)
    task = job.task.over(job.target.columns)
    groups = None if job.target.domain.groups is None else job.target.domain.groups[job.target.examples(test)]
    words = job.target.words(test)
    log_p = {name: model.log_probabilities(job.target, test) for name, model in models.items()} if len(test) else {}
    kept, places = models[verdict.kept], elsewhere(job, task, models)

    def score(name: str) -> dict[str, Any] | None:
        if name not in models:
            return None
        own = measured(task, log_p[name], targets, words, groups) if len(test) else {"n": 0}
        return own | places.get(name, {})

    columns = job.target.columns
    began = time.perf_counter()
    held = with_outputs(job, kept, evidence.get(verdict.kept))
    unknown = rejection(job, kept, held, verdict.kept)
    chained = None if kept.transitions is None else kept.transitions[np.ix_(columns, columns)]
    Model(task, kept.backbone, kept.weight[:, columns], kept.bias[columns], unknown, chained).save(run.folder)
    if len(test):
        _predictions(run, job, task, test, log_p[verdict.kept], kept)
    train_model = models.get("transfer", kept)
    proven = proof(job, models, held, verdict.kept, log_p) | {"sources": job.sources, "unknown": unknown}
    seconds = {**seconds, "proof": time.perf_counter() - began}
    result = {
        "run": str(run.folder),
        "name": run.folder.name,
        "task": stated(task),
        "backbone": {
            "name": job.backbone.name,
            "revision": job.backbone.revision,
            "dim": job.backbone.dim,
            "pretrained": job.backbone.pretrained,
        },
        "method": job.method,
        "schedule": schedule,
        "selection": job.selection,
        "language": job.language,
        "align": job.alignment,
        "lam": train_model.lam,
        "ridge": train_model.ridge,
        "temperature": train_model.temperature,
        "objective": {"formula": str(train_model.objective), "terms": _terms(job, train_model)},
        "n": {
            "target_labelled": len(job.target.examples(job.rows)),
            "target_unlabelled": len(job.target.examples(np.flatnonzero(job.target.labels < 0))),
            "target_val": len(job.target.examples(job.target.rows("val"))),
            "source": 0 if job.source is None else len(job.source.domain),
            "test": len(job.target.examples(test)),
        },
        "test": score(verdict.kept),
        "baselines": {
            name: score(name) for name in ("target_only", "source_only") if name == "target_only" or len(job.known)
        },
        "transfer": score("transfer"),
        "kept": {"model": verdict.kept, "why": verdict.why},
        "guard": _guard(evidence, verdict),
        "validators": job.validators,
        "path": _path(train_model),
        "lam_search": job.searched.get(schedule),
        **proven,
        "skipped": [
            {"domain": side.domain.name, "name": s.name, "reason": s.reason}
            for side in (job.target, job.source)
            if side is not None
            for s in side.domain.skipped
        ],
        "leaks": [{"train": x.train, "test": x.test, "kind": x.kind, "distance": x.distance} for x in job.leaks],
        "warnings": job.warnings,
        "seconds": seconds,
        "versions": {p: version(p) for p in PACKAGES if installed(p)},
        "command": command,
        "seed": job.recipe.seed,
    }
    once(run)
    run.finish(result)


def _terms(job: Job, model: Fitted) -> list[dict[str, Any]]:
    """Each term of the objective with its weight and its value under the trained model, nats, without augmentation."""
    sides = {"target": (job.target, job.rows)}
    if job.source is not None:
        n = len(job.source.domain)
        sample = np.sort(rng(job.recipe.seed, "source term").permutation(n)[:SOURCE_SAMPLE])
        sides["source"] = (job.source, job.source.rows_of(sample))
    rows = []
    for term in model.objective.terms:
        if term.key in job.term_values:  # of a method that adapts: the mean over its last logged steps
            rows.append({"term": term.key, "weight": term.weight, "value": job.term_values[term.key]})
            continue
        side, at = sides.get(term.domain, (job.target, job.rows[:0]))  # of a run that is the source no rows are there
        value = None
        if term.weight and len(at):
            value = side.loss(model.log_probabilities(side, at), at)
        rows.append({"term": term.key, "weight": term.weight, "value": value, "n": len(at)})
    return rows


def _guard(evidence: Mapping[str, HeldOut], verdict: Verdict) -> list[dict[str, Any]]:
    """Held-out cross-entropy of each model as it was compared, and its paired difference from the one that was kept.

    A model that was left out of the comparison stands there with its held-out losses.
    """
    table = []
    judged = {name: held.losses for name, held in evidence.items()} | dict(verdict.judged)
    for name, losses in judged.items():
        against = judged.get(verdict.kept)
        difference = None
        if name != verdict.kept and against is not None and 1 < len(losses) == len(against):
            d = paired(losses, against)
            difference = {"value": d.value, "low": d.low, "high": d.high}
        entry = mean_interval(losses, seed=0).json() if len(losses) else None
        table.append({"model": name, "cross_entropy": entry, "n": len(losses), "difference": difference})
    return table


def _path(model: Fitted) -> dict[str, Any] | None:
    if model.path is None or model.point is None:
        return None
    chosen = {"lam": model.point.lam, "ridge": model.point.ridge}
    return {"lams": model.path.lams, "ridges": model.path.ridges, "loo": model.path.mean, "chosen": chosen}


def _predictions(run: Run, job: Job, task: Classify, test: np.ndarray, log_p: Any, kept: Fitted) -> None:
    if isinstance(task, Tag):
        tagged(run, job.target, task, test, log_p)
        return
    if isinstance(task, Transcribe):
        transcribed(run, job.target, task, test, log_p, kept)
        return
    if isinstance(task, MultiLabel):
        multilabelled(run, job.target, task, test, log_p)
        return
    labels, names = task.decode(log_p), job.target.domain.names[test]
    truth = [task.classes[k] for k in job.target.labels[test]]
    run.write_lines(
        PREDICTIONS,
        [
            {"name": str(n), "label": y, "predicted": z, "log_probabilities": lp}
            for n, y, z, lp in zip(names, truth, labels, log_p, strict=True)
        ],
    )
    if job.target.domain.kind == "vector":
        return
    sure = log_p.max(1)
    wrong = [i for i in np.argsort(-sure, kind="stable") if labels[i] != truth[i]][:SHOWN]
    texts = job.target.domain.kind == "text"
    words: list[Any] = []
    if texts:
        few = wrong[:EXPLAINED]
        found = [job.target.domain.read(int(test[i])) for i in few]
        words = deciding(kept, found, log_p[few].argmax(1), job.target.columns)
    index: list[dict[str, Any]] = []
    for k, i in enumerate(wrong):
        if texts:
            text = shown(job.target.domain.read(int(test[i])))
            own: dict[str, Any] = {"text": text, "words": words[k] if k < len(words) else []}
        else:
            own = portrayed(run, job.target.domain, int(test[i]), k)
        row = own | {
            "name": str(names[i]),
            "label": truth[i],
            "predicted": labels[i],
            "probability": float(np.exp(sure[i])),
        }
        index.append(row)
    run.write_json("texts.json" if texts else "pictures/index.json", index)


def once(run: Run) -> None:
    """Logged steps in order, each once: a resumed run has logged some of them twice."""
    path = run.folder / MEASURES
    if not path.exists():
        return
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that was killed while writing
            continue
        rows[row["model"], row.get("phase"), row["step"], "evaluation" in row] = row
    run.write_lines(MEASURES, list(rows.values()))


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    from importlib.util import find_spec

    module = {"scikit-learn": "sklearn", "pillow": "PIL"}.get(package, package)
    return find_spec(module) is not None
