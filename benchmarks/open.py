"""Class sets that differ: a target that lacks classes of the source (partial), and one that has more (open).

Partial: the ten digits of the source to scanned digits 0 to 4, no label of the target; accuracy over all ten classes of
each method that needs none, by the last step, and by what label_free:im keeps. Open: six digits drawn by the seed are
known, the other four are in the target without a label; AUROC, H-score and both shares of it of the kept model, with
five labels a known class, and without any. All scores are of target images that were learned from without labels.

    python benchmarks/open.py --seeds 3
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import IMAGES, PAIRS, images
from cells import alone, arguments, mean, run, table

METHODS = ("dann", "cdan", "cdan_e", "mcc", "im", "shot", "pada")
PRESENT = tuple("01234")
KNOWN = 6  # of ten digits


def domains(pair: str, seed: int) -> list[Any]:
    """Source and target of a pair."""
    return [images(name, IMAGES[name], seed) for name in PAIRS[pair]]


def partial(cell: dict[str, Any]) -> dict[str, Any]:
    """Every method from one f_s, on a target of five classes that nobody knows to be five."""
    from crossgraft.adapt import adapt
    from crossgraft.prepare import prepare
    from crossgraft.recipe import Recipe
    from crossgraft.transfer import Steps
    from crossgraft.validation import label_free

    alone()
    began, asked = time.perf_counter(), cell["fit"]
    source, target = domains(asked["pair"], asked["seed"])
    target = target.take(np.flatnonzero(np.isin(target.labels, PRESENT)))
    hidden = replace(target, labels=np.full(len(target), None), splits=np.full(len(target), "unlabelled"))
    truth, f_s, found, kept = target.labels, None, {}, {}
    for method in asked["methods"].split(","):
        options = {"objective": method} if set("(+") & set(method) else {"method": method}
        recipe = Recipe.of(target="t", source=("s",), backbone="cnn", seed=asked["seed"], augment="none", **options)
        with tempfile.TemporaryDirectory() as folder:
            job = prepare(recipe, hidden, [source])
            f_s = f_s or Steps(job, Path(folder), lambda row: None).initialise()
            models = {"source_only": f_s}
            models["transfer"] = adapt(job, f_s, job.rows, "transfer", Path(folder), lambda row: None)
        classes = np.array(job.task.classes)
        named = {m: classes[f.log_probabilities(job.target).argmax(1)] for m, f in models.items()}
        right = {m: float((n == truth).mean()) for m, n in named.items()}
        found |= {"source_only": right["source_only"], method: right["transfer"]}
        kept[method] = right[label_free(job, models).kept]
    return cell | {"accuracy": found, "kept": kept, "wall": time.perf_counter() - began}


def open_set(cell: dict[str, Any]) -> dict[str, Any]:
    """One fit, and how its kept model tells four digits that it was never shown."""
    import crossgraft

    alone()
    began, asked = time.perf_counter(), cell["fit"]
    source, target = domains(asked["pair"], asked["seed"])
    draw = np.random.default_rng([asked["seed"], KNOWN])
    known = draw.permutation(10)[:KNOWN].astype(str)
    source = source.take(np.flatnonzero(np.isin(source.labels, known)))
    labels, splits = np.full(len(target), None), np.full(len(target), "unlabelled")
    for digit in known:
        at = draw.permutation(np.flatnonzero(target.labels == digit))[: asked["shots"]]
        labels[at], splits[at] = digit, "train"
    shown = replace(target, labels=labels, splits=splits)
    options = {"backbone": "cnn", "seed": asked["seed"], "baselines": False, "guard": bool(asked["shots"])}
    options |= {"schedule": "lp_ft"} if asked["method"] == "auto" else {"method": asked["method"]}
    with tempfile.TemporaryDirectory() as folder:
        made = crossgraft.fit(shown, source, out=Path(folder) / "run", **options)
        rest = target.take(np.flatnonzero(splits == "unlabelled"))
        scored = made.score(rest, unknown=True)
        told = made.result["unknown"]
    return cell | {"scores": scored, "threshold": told, "wall": time.perf_counter() - began}


def work(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell of either kind."""
    return partial(cell) if cell["fit"]["kind"] == "partial" else open_set(cell)


def main() -> None:
    args = arguments(__doc__ or "", methods=",".join(METHODS), pairs="ms", name="open")
    cells = []
    for seed in args.seeds:
        if args.methods:
            cells.append({"kind": "partial", "pair": "ms", "methods": args.methods})
        cells += [
            {"kind": "open", "pair": pair, "method": method, "shots": shots}
            for pair in args.pairs.split(",")
            if pair
            for method, shots in (("auto", 5), ("source_only", 0), ("dann", 0))
        ]
        for cell in cells:
            cell.setdefault("seed", seed)
    named = [
        {"name": " ".join(str(c.get(k, "")) for k in ("kind", "pair", "method", "shots")), "fit": c} for c in cells
    ]
    rows = run(args.name, named, args.jobs, work)
    closed = [r for r in rows if r["fit"]["kind"] == "partial"]
    out = []
    for method in closed[0]["accuracy"] if closed else ():
        own = [r["accuracy"][method] for r in closed]
        kept = mean([r["kept"][method] for r in closed]) if method != "source_only" else ""
        out.append(["partial", "MNIST to scanned 0-4", method, 0, mean(own), kept, "", "", "", ""])
    for name in dict.fromkeys(r["name"] for r in rows if r["fit"]["kind"] == "open"):
        own = [r for r in rows if r["name"] == name]
        asked, scores = own[0]["fit"], [r["scores"] for r in own]
        cells = [mean([s[k]["value"] for s in scores]) for k in ("accuracy", "auroc", "h_score")]
        cells += [
            mean([1 - s["accuracy_known"]["value"] for s in scores]),
            mean([s["rejected_unknown"]["value"] for s in scores]),
        ]
        out.append(
            ["open", " to ".join(PAIRS[asked["pair"]]), asked["method"], asked["shots"], cells[0], "", *cells[1:]]
        )
    head = ["", "pair", "method", "labels a class", "accuracy on known", "kept by im", "AUROC", "H-score",
            "known wrong or rejected", "unknown rejected"]  # fmt: skip
    table(args.name, head, out)


if __name__ == "__main__":
    main()
