"""CoNLL-2003 news to four fields with entity types of their own (CrossNER), 100 tagged sentences: F1 of spans.

Frozen features, and layers that learn: target only; source, then target; source and target together. Also news to
biomedicine, where the only type is new, and of whose test part 500 sentences are drawn once for all seeds:

    python benchmarks/entities.py --precision bf16 --fields bc5cdr-disease --tests 500 [--sentences 1000]

With --adapt dann,coral methods that see words as rows, too, from the layers that learned the source; the inputs of the
field that they learn from are those of its tagged sentences, since CrossNER's training part has no others.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import cells
import numpy as np

FIELDS = ("ai", "science", "politics", "music")
# Held for layers that move, whose frozen head is only a start; the better of two settings looked at on ai, seed 100.
HELD: dict[str, Any] = {"lam": 0.3, "ridge": 1e-4, "schedule": "lp_ft", "lr": 5e-4}
ARMS: dict[str, dict[str, Any]] = {
    "frozen": {"schedule": "frozen"},
    "joint": HELD,
    "sequential": HELD | {"method": "finetune", "baselines": False},
    "both": HELD | {"baselines": False},  # the source alone, then both together
}
COLUMNS = (
    ("frozen", "target_only"), ("frozen", "transfer"), ("joint", "target_only"), ("sequential", "transfer"),
    ("joint", "transfer"), ("both", "transfer"),
)  # fmt: skip


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """The four steps of one fit, without the report; F1 and cross-entropy of each model on the test part."""
    from crossgraft.domains import open_domain
    from crossgraft.measure import entity_scores
    from crossgraft.recipe import Recipe
    from crossgraft.tasks import Tag

    cells.alone()
    asked = cell["fit"]
    draw = np.random.default_rng(asked["seed"])
    folder = cells.data() / "ner"
    news, field = open_domain(folder / "conll2003", "source"), open_domain(folder / asked["target"], "target")
    some = np.sort(draw.permutation(news.where("train"))[: asked["source"]])
    known = draw.permutation(field.where("train"))[: asked["sentences"]]
    test = field.where("test")
    if asked.get("tests"):
        test = np.random.default_rng(0).permutation(test)[: asked["tests"]]
    target = field.take(np.sort(np.concatenate([known, test])))  # the validation part is not read
    options = ARMS.get(asked["arm"]) or {"method": asked["arm"], "lr": HELD["lr"], "baselines": False}
    if asked["arm"] != "frozen":
        options = options | {"steps": asked["steps"], "precision": asked["precision"]}
    if asked["arm"] not in ("frozen", "joint"):
        options = options | {"source_steps": asked["source_steps"]}
    began = time.perf_counter()
    recipe = Recipe.of(target=asked["target"], source=("conll2003",), seed=asked["seed"], guard=False, **options)
    same = ("target", "seed", "source", "source_steps", "precision")  # what the source's layers depend on
    f_s = Path(cell["layers"]) / f"{'-'.join(str(asked[k]) for k in same)}.safetensors"
    job, outcome = cells.four(recipe, target, news.take(some), f_s=f_s if "source_steps" in options else None)
    side, test = job.target, job.target.rows("test")
    task, words = Tag(tuple(job.task.classes[c] for c in side.columns)), side.words(test)
    assert words is not None
    scored = {}
    for name, model in outcome.models.items():
        found = entity_scores(task, model.log_probabilities(side, test), side.labels[test], words)
        scored[name] = {m: found[m]["value"] for m in ("f1", "precision", "recall", "cross_entropy")}
    return cell | {"scores": scored, "lam": outcome.models["transfer"].lam, "wall": time.perf_counter() - began}


def main() -> None:
    args = cells.arguments(
        __doc__ or "", sentences=100, source=1500, steps=60, source_steps=150, fields=",".join(FIELDS), precision="no",
        tests=0, adapt="",
    )  # fmt: skip
    arms = [*ARMS, *filter(None, args.adapt.split(","))]
    fields = args.fields.split(",")
    moving = ("sentences", "source", "steps", "source_steps", "precision", *(("tests",) if args.tests else ()))
    todo = [
        {
            "name": f"{field}, {arm}",
            "fit": {"target": field, "arm": arm, "seed": seed} | {k: getattr(args, k) for k in moving},
        }
        for seed in args.seeds
        for field in fields
        for arm in arms
    ]
    with tempfile.TemporaryDirectory() as layers:
        done = cells.run("entities", [cell | {"layers": layers} for cell in todo], args.jobs, one)
    head = [
        "field",
        "frozen: target only",
        "joint",
        "layers learn: target only",
        "source, then target",
        "joint",
        "source, then joint",
    ]
    columns = [*COLUMNS, *((arm, "transfer") for arm in arms[len(ARMS) :])]
    head += arms[len(ARMS) :]
    rows, means = [], []
    for field in fields:
        found = {
            (arm, model): [r["scores"][model]["f1"] for r in done if r["name"] == f"{field}, {arm}"]
            for arm, model in columns
        }
        rows.append([field, *(cells.mean(found[c]) for c in columns)])
        means.append([100 * float(np.mean(found[c])) for c in columns])
    if len(fields) > 1:
        rows.append(["mean", *(f"{m:.1f}" for m in np.mean(means, 0))])
    print(f"F1 of spans, %, {args.sentences} sentences, {args.source} of the source, seeds {list(args.seeds)}")
    name = "entities" if args.fields == ",".join(FIELDS) else f"entities-{args.fields}-{args.sentences}"
    cells.table(name, head, rows)


if __name__ == "__main__":
    main()
