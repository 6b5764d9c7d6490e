"""Every method on frozen features: what it gains over source only, honest and oracle selection, the gap, ranks.

Photographs and aerial scenes to the other half of them, grey, turned and blurred; books to kitchen; four speakers to
each fifth. A small network (mlp) learns on the features, centred and scaled by the sources'. Without target labels all
target rows are learned from and scored (transductive). With labels the four steps run whole, with the guard, and what
is kept is compared with target only on the rest.

    python benchmarks/methods.py --seeds 3
    python benchmarks/methods.py --seeds 3 --shots 1,5,10 --sets digits
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import APPLY
from cells import alone, arguments, four, mean, run, table
from feature_sets import Vectors, features
from method_tables import tables

from crossgraft.methods import METHODS
from crossgraft.seeds import rng

PAIRS = {
    "insects": ["insects: plain to altered"],
    "aerial": ["aerial: plain to altered"],
    "reviews": ["reviews: books to kitchen"],
    "speakers": ["speakers: others to george"],
    "fifths": [f"speakers: others to {s}" for s in ("jackson", "nicolas", "theo", "yweweler")],
    "digits": ["digits: MNIST to USPS", "digits: USPS to MNIST"],
}
BEFORE: dict[str, dict[str, float]] = {}  # gaps before any method, by the revision of f_s
STATISTICS = [n for n, row in METHODS.items() if row.statistics]  # of layers that an mlp has not


def domains(pair: str, seed: int) -> tuple[Vectors, list[Vectors]]:
    """Target and sources of a pair, scaled by the sources; photographs by halves that a seed draws."""
    name, _, what = pair.partition(": ")
    source, target = what.split(" to ")
    found = features(name)
    if target == "altered":
        order = rng(seed, f"halves {name}").permutation(len(found["plain"][1]))
        half = len(order) // 2
        sources, own = (
            [tuple(a[order[:half]] for a in found["plain"])],
            tuple(a[order[half:]] for a in found["altered"]),
        )
    else:
        sources = [found[n] for n in found if (n != target if source == "others" else n == source)]
        own = found[target]
    x = np.concatenate([s[0] for s in sources])
    middle, spread = x.mean(0), np.sqrt(x.var(0).mean())  # one for all: what hardly moves must not be blown up
    scaled = [(((x - middle) / spread).astype(np.float32), y) for x, y in (own, *sources)]
    return scaled[0], scaled[1:]


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """One method on one pair and seed."""
    from crossgraft.recipe import Recipe

    alone()
    began, asked = time.perf_counter(), cell["fit"]
    target, sources = domains(asked["pair"], asked["seed"])
    recipe = Recipe.of(
        target="target", source=tuple(f"source {i}" for i in range(len(sources))), backbone="mlp",
        method=asked["method"], shots=asked["shots"], seed=asked["seed"],
    )  # fmt: skip
    kind = few if asked["shots"] else blind
    return cell | kind(recipe, target, sources) | {"wall": time.perf_counter() - began}


def blind(recipe: Any, target: Vectors, sources: list[Vectors]) -> dict[str, Any]:
    """Without target labels: source only and the method, what each validator says of them, and the gaps."""
    from crossgraft.adapt import adapt
    from crossgraft.measure import gap
    from crossgraft.prepare import prepare
    from crossgraft.transfer import Steps
    from crossgraft.validation import label_free

    with tempfile.TemporaryDirectory() as folder:
        job = prepare(recipe, target, sources)
        f_s = Steps(job, Path(folder), lambda row: None).initialise()
        used = time.process_time()
        models = {"source_only": f_s, "transfer": adapt(job, f_s, job.rows, "transfer", Path(folder), lambda row: None)}
        used = time.process_time() - used
    kept, y, sides = label_free(job, models).kept, job.target.labels, (job.source, job.target)
    seen = {m: [fitted.features(s) for s in sides] for m, fitted in models.items()}
    if f_s.backbone.revision not in BEFORE:
        seen["given"] = [s.pixels(job.backbone) for s in sides]
    else:  # the same for every method: measured once a process
        del seen["source_only"]
    apart = {m: gap(f, g, permutations=1, seed=recipe.seed).jsd.value for m, (f, g) in seen.items()}
    before = BEFORE.setdefault(f_s.backbone.revision, {m: v for m, v in apart.items() if m != "transfer"})
    log_p = {m: fitted.log_probabilities(job.target) for m, fitted in models.items()}
    return {
        "accuracy": {m: float((p.argmax(1) == y).mean()) for m, p in log_p.items()},
        "entropy": {m: float(-p[np.arange(len(y)), y].mean()) for m, p in log_p.items()},
        "gap": before | apart, "validators": job.validators, "kept": kept, "warnings": job.warnings, "cpu": used,
    }  # fmt: skip


def few(recipe: Any, target: Vectors, sources: list[Vectors]) -> dict[str, Any]:
    """With a few labels a class: the models of the four steps, and what the guard keeps."""
    from crossgraft.measure.compare import paired

    job, outcome = four(recipe, target, *sources)
    side, rows = job.target, job.target.rows("test")
    log_p = {m: fitted.log_probabilities(side, rows) for m, fitted in outcome.models.items()}
    losses, kept = {m: side.losses(p, rows) for m, p in log_p.items()}, outcome.verdict.kept
    than = paired(losses[kept], losses["target_only"])
    return {
        "accuracy": {m: float((p.argmax(1) == side.labels[rows]).mean()) for m, p in log_p.items()},
        "entropy": {m: float(each.mean()) for m, each in losses.items()},
        "kept": kept, "worse": bool(kept != "target_only" and than.low > 0),
    }  # fmt: skip


def with_labels(rows: list[dict[str, Any]], shots: int, name: str) -> None:
    """Methods beside target only: as they end, and as the guard keeps them."""

    def over(own: list[dict[str, Any]], model: str) -> np.ndarray:
        """Accuracy of a model, or of the one that is kept, one mean over the pairs a seed."""
        seeds = dict.fromkeys(r["fit"]["seed"] for r in own)
        pick = lambda r: r["accuracy"][r["kept"] if model == "kept" else model]  # noqa: E731
        return np.array([np.mean([pick(r) for r in own if r["fit"]["seed"] == s]) for s in seeds])

    lines: list[tuple[float, list[Any]]] = []
    for method in dict.fromkeys(r["fit"]["method"] for r in rows):
        own = [r for r in rows if r["fit"]["method"] == method]
        ended, kept, alone = (over(own, model) for model in ("transfer", "kept", "target_only"))
        share = "/".join(str(sum(r["kept"] == m for r in own)) for m in ("transfer", "target_only", "source_only"))
        worse = f"{sum(r['worse'] for r in own)} of {len(own)}"
        lines.append((kept.mean(), [method, mean(ended), mean(kept), mean(kept - alone), share, worse]))
    plain = [r for r in rows if r["fit"]["method"] == rows[0]["fit"]["method"]]
    first = [[m.replace("_", " "), mean(over(plain, m)), *[""] * 4] for m in ("target_only", "source_only")]
    head = [f"{shots} labels a class", "as it ends", "kept", "kept less target only",
            "kept: it / target only / source only", "worse than target only beyond noise"]  # fmt: skip
    table(f"{name}-{shots}", head, [*first, *(row for _, row in sorted(lines, key=lambda line: -line[0]))])
    print()


def main() -> None:
    args = arguments(__doc__ or "", methods="", sets="insects,aerial,reviews,speakers", shots="0")
    pairs = [pair for name in args.sets.split(",") for pair in PAIRS[name]]
    for shots in map(int, args.shots.split(",")):
        apply = APPLY if not shots else [n for n in METHODS if n not in ("target_only", "source_only", *STATISTICS)]
        wanted = args.methods.split(",") if args.methods else apply
        cells = [
            {"name": f"{pair} {method} {shots}",
             "fit": {"pair": pair, "method": method, "shots": shots, "seed": seed}}
            for seed in args.seeds for pair in pairs for method in wanted
            if method != "dann_groups" or pair.startswith("speakers")  # who spoke is known of nothing else
        ]  # fmt: skip
        rows = run("methods", cells, args.jobs, one)
        name = f"methods-{args.sets.replace(',', '-')}" if args.sets.count(",") < 3 else "methods"
        if shots:
            with_labels(rows, shots, name)
        else:
            tables(rows, {s: PAIRS[s] for s in args.sets.split(",")}, name)


if __name__ == "__main__":
    main()
