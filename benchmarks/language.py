"""Reviews: frozen features of layers that learned the target's texts first, beside those that did not."""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import amazon
import cells
import numpy as np

PAIRS = (("books", "kitchen"), ("dvd", "electronics"))
SHOTS = (8, 64)
MODELS = ("source_only", "target_only", "transfer", "kept")


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """All cells of one target and one seed: what is learned of its texts does not depend on the labels."""
    from crossgraft.prepare import prepare
    from crossgraft.recipe import Recipe
    from crossgraft.transfer import Steps, four_steps

    cells.alone()
    asked, began = cell["fit"], time.perf_counter()
    target, source = (amazon.reviews(asked[side], asked["examples"]) for side in ("target", "source"))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (None, asked["steps"]):
            for shots in SHOTS:
                options = {"shots": shots, "seed": asked["seed"], "schedule": "frozen", "masked_steps": steps}
                job = prepare(Recipe.of(target=asked["target"], **options), target, [source])
                outcome = four_steps(Steps(job, Path(folder), lambda row: None), lambda step: nullcontext())
                test = job.target.rows("test")
                models = {**outcome.models, "kept": outcome.models[outcome.verdict.kept]}
                own = {}
                for name in MODELS:
                    log_p, y = models[name].log_probabilities(job.target, test), job.target.labels[test]
                    nats = -log_p[np.arange(len(y)), y].mean()
                    own[name] = {"accuracy": float((log_p.argmax(1) == y).mean()), "nats": float(nats)}
                found[f"{shots} {'before' if steps is None else 'after'}"] = own
    return cell | {"found": found, "language": job.language, "wall": time.perf_counter() - began}


def main() -> None:
    args = cells.arguments(__doc__ or "", examples=500, steps=100)
    todo = [
        {
            "name": f"{s} to {t}",
            "fit": {"source": s, "target": t, "seed": seed, "examples": args.examples, "steps": args.steps},
        }
        for seed in args.seeds
        for s, t in PAIRS
    ]
    done = cells.run("language", todo, args.jobs, one)
    rows = []
    for s, t in PAIRS:
        of = [row for row in done if row["name"] == f"{s} to {t}"]
        nats = [np.mean([row["language"][when]["value"] for row in of]) for when in ("before", "after")]
        for shots in SHOTS:
            for when, said in (("before", nats[0]), ("after", nats[1])):
                own = [row["found"][f"{shots} {when}"] for row in of]
                accuracy = [f"{100 * np.mean([o[m]['accuracy'] for o in own]):.1f}" for m in MODELS]
                entropy = f"{np.mean([o['kept']['nats'] for o in own]):.3f}"
                rows.append([f"{s} to {t}", shots, when, f"{said:.2f}", *accuracy, entropy])
    head = ["pair", "labels a class", "texts learned", "nats a masked word", *(m.replace("_", " ") for m in MODELS)]
    cells.table("language", [*head, "nats of kept"], rows)


if __name__ == "__main__":
    main()
