"""Reviews, fine-tuned on the whole of one kind of product, one training a source, tested on the other three kinds.

    python benchmarks/whole_source.py --seeds 1 [--tests 0 --sources books --lr 5e-4]

The road of `--method source_only --source_steps N`: a head is solved on frozen features, then all layers learn. A
tenth of the source learns nothing; it is what numbers are chosen by (--tests 0 looks at no other kind of product).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import amazon
import cells
import numpy as np

HELD = 10  # one in so many of the source's reviews is its validation part


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """One training on one source: accuracy and cross-entropy on its validation part and on each other domain."""
    from crossgraft.domains import open_domain
    from crossgraft.prepare import prepare
    from crossgraft.recipe import Recipe
    from crossgraft.transfer import Steps

    cells.alone()
    asked = cell["fit"]
    texts, labels = amazon.reviews(asked["source"], asked["examples"])
    held = np.arange(len(texts)) % HELD == 0
    tested = {asked["source"]: [(texts[i], labels[i]) for i in np.flatnonzero(held)]}
    for name in amazon.DOMAINS:
        if name != asked["source"] and asked["tests"]:
            tested[name] = list(zip(*amazon.reviews(name, asked["tests"]), strict=True))
    x, y = zip(*(row for rows in tested.values() for row in rows), strict=True)
    target = open_domain((list(x), list(y)), "reviews")
    target.splits[:] = "test"
    learned = ([texts[i] for i in np.flatnonzero(~held)], [labels[i] for i in np.flatnonzero(~held)])
    began = time.perf_counter()
    steps = asked["epochs"] * len(learned[0]) // (asked["batch"] // 2)  # published layers learn in half batches
    options = {"lr": asked["lr"], "batch_size": asked["batch"], "precision": asked["precision"]}
    recipe = Recipe.of(
        target="reviews", source=(asked["source"],), method="source_only", source_steps=steps, seed=asked["seed"],
        **options,
    )  # fmt: skip
    job = prepare(recipe, target, [learned])
    with tempfile.TemporaryDirectory() as folder:
        f_s = Steps(job, Path(folder), lambda row: print(row, file=sys.stderr)).initialise()
    log_p = f_s.log_probabilities(job.target, job.target.rows("test"))
    hits, start = log_p.argmax(1) == job.target.labels, 0
    nats = -log_p[np.arange(len(hits)), job.target.labels]
    scores = {}
    for name, rows in tested.items():
        part = slice(start, start := start + len(rows))
        scores[name] = {"accuracy": float(hits[part].mean()), "nats": float(nats[part].mean()), "n": len(rows)}
    return cell | {"scores": scores, "steps": steps, "wall": time.perf_counter() - began}


def main() -> None:
    args = cells.arguments(
        __doc__ or "", examples=2000, tests=1000, epochs=2, batch=64, lr=5e-4, precision="bf16",
        sources=",".join(amazon.DOMAINS),
    )  # fmt: skip
    options = ("examples", "tests", "epochs", "batch", "lr", "precision")
    todo = [
        {"name": source, "fit": {"source": source, "seed": seed} | {k: getattr(args, k) for k in options}}
        for seed in args.seeds
        for source in args.sources.split(",")
    ]
    done = cells.run("whole-source", todo, args.jobs, one)
    rows, pairs = [], []
    for source in args.sources.split(","):
        of = [row["scores"] for row in done if row["name"] == source]
        means = {d: 100 * float(np.mean([s[d]["accuracy"] for s in of])) for d in amazon.DOMAINS if d in of[0]}
        pairs += [m for d, m in means.items() if d != source]
        others = (f"{means[d]:.1f}" if d != source and d in means else "" for d in amazon.DOMAINS)
        rows.append([source, f"{means[source]:.1f}", *others])
    cells.table("whole-source", ["source", "held out of the source", *(f"to {d}" for d in amazon.DOMAINS)], rows)
    if pairs:
        print(f"mean of {len(pairs)} pairs: {np.mean(pairs):.1f} %")


if __name__ == "__main__":
    main()
