"""The guard against negative transfer, on real domains as vectors and on hostile sources.

    python benchmarks/guard.py [--seeds 5] [--first 10] [--jobs 1] [--families digits,aerial,reviews,speakers]

A cell is a source, a target and a number of labels a class. What is kept is judged on the target's hidden rest by its
cross-entropy: against target only, and against the better of transfer and target only in hindsight.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import vectors
from cells import alone, arguments, four, run, table

SOURCE_ROWS = 500
BUDGETS = {"digits": (1, 5, 10), "aerial": (1, 5, 10), "reviews": (5, 20, 100), "speakers": (1, 5, 10)}
HOSTILE = ("shuffled", "rolled", "X-rays", "insects")
Cell = tuple[str, str, str, int]


def cells(family: str) -> Iterator[Cell]:
    """Family, source, target, labels a class. A source is `name`, or `name: how` its labels were altered."""
    names = {
        "digits": ("MNIST", "USPS", "scans"),
        "aerial": ("grey", "blurred", "tiny", "negative"),
        "reviews": ("books", "dvd", "electronics", "kitchen"),
        "speakers": ("george", "jackson", "nicolas", "theo", "yweweler"),
    }[family]
    if family == "digits":
        pairs = [(s, t) for s in names for t in names if s != t]
        pairs += [("MNIST: shuffled", "USPS"), ("USPS: rolled", "MNIST"), ("MNIST: half", "scans"), ("X-rays", "scans")]
    elif family == "aerial":
        others = ("grey: shuffled", "negative: rolled", "grey: half", "insects")
        pairs = [(s, "target") for s in (*names, *others)]
    elif family == "reviews":
        pairs = [(s, t) for s in names for t in names if s != t]
        pairs += [("books: shuffled", "dvd"), ("kitchen: shuffled", "books"), ("dvd: rolled", "electronics")]
    else:
        pairs = [("others", s) for s in names] + [("others: shuffled", names[0]), ("theo", names[1])]
    for source, target in pairs:
        for shots in BUDGETS[family]:
            yield family, source, target, shots


def source_of(family: str, what: str, target: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some examples of a source by the seed; labels as they are, shuffled, rolled or of half of the classes."""
    domains = getattr(vectors, family)()
    name, _, how = what.partition(": ")
    if name == "others":
        x, y = (np.concatenate(a) for a in zip(*(d for n, d in domains.items() if n != target), strict=True))
    else:
        x, y = domains[name]
    draw = vectors.rng(seed, f"guard {what}")
    rows = draw.permutation(len(y))[:SOURCE_ROWS]
    x, y = x[rows], y[rows]
    classes, at = np.unique(y, return_inverse=True)
    if how == "shuffled":
        y = draw.permutation(y)
    elif how == "rolled":
        y = np.roll(classes, 1)[at]
    elif how == "half":
        x, y = x[at < len(classes) // 2], y[at < len(classes) // 2]
    return x, y


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """What the guard keeps of one cell, with the losses of every model on the target's hidden rest."""
    from crossgraft.measure.compare import paired
    from crossgraft.recipe import Recipe

    alone()
    family, source, target, shots, seed = (cell["fit"][k] for k in ("family", "source", "target", "shots", "seed"))
    began = time.perf_counter()
    recipe = Recipe.of(target=target, source=(source,), backbone="identity", shots=shots, seed=seed)
    job, found = four(recipe, getattr(vectors, family)()[target], source_of(family, source, target, seed))
    test = job.target.rows("test")
    labels = job.target.labels[test]
    losses = {
        name: -model.log_probabilities(job.target, test)[np.arange(len(test)), labels]
        for name, model in found.models.items()
    }
    kept = found.verdict.kept
    than = paired(losses[kept], losses["target_only"]) if kept != "target_only" else None
    return cell | {
        "kept": kept,
        "test": {name: float(each.mean()) for name, each in losses.items()},
        "evidence": {name: h.losses.round(4).tolist() for name, h in found.evidence.items()},
        "worse": than is not None and than.low > 0,  # than target only, beyond the noise of the test part
        **{"lam": found.models["transfer"].lam, "n": len(test), "wall": time.perf_counter() - began},
    }


def harm(rows: list[dict[str, Any]]) -> np.ndarray:
    """Cross-entropy of what was kept less that of target only, nats."""
    return np.array([r["test"][r["kept"]] - r["test"]["target_only"] for r in rows])


def regret(rows: list[dict[str, Any]]) -> np.ndarray:
    """Cross-entropy of what was kept less that of the better of transfer and target only, nats."""
    return np.array([r["test"][r["kept"]] - min(r["test"]["transfer"], r["test"]["target_only"]) for r in rows])


def beyond_noise(rows: list[dict[str, Any]]) -> bool:
    """Whether the mean harm of a cell over its seeds is above zero by its interval; of one seed by the test part."""
    from scipy import stats

    found = harm(rows)
    if len(found) == 1:
        return bool(rows[0]["worse"])
    half = stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return bool(found.mean() > half and found.any())


def main() -> None:
    args = arguments(__doc__ or "", families="digits,aerial,reviews,speakers")
    families = args.families.split(",")
    keys = ("family", "source", "target", "shots")
    wanted = [
        {"name": f"{' '.join(map(str, cell))}, seed {seed}", "fit": dict(zip(keys, cell, strict=True)) | {"seed": seed}}
        for seed in args.seeds
        for family in families
        for cell in cells(family)
    ]
    rows = [row | row["fit"] for row in run("guard", wanted, args.jobs, one)]
    hostile = [r for r in rows if any(word in r["source"] for word in HOSTILE)]
    groups = {f: [r for r in rows if r["family"] == f] for f in families} | {"of these hostile": hostile, "all": rows}
    lines = []
    for name, some in groups.items():
        by: dict[Cell, list[dict[str, Any]]] = {}
        for r in some:
            by.setdefault((r["family"], r["source"], r["target"], r["shots"]), []).append(r)
        worse = sum(beyond_noise(cell) for cell in by.values())
        draws = np.mean([r["worse"] for r in some])
        always = np.mean([r["test"]["transfer"] - min(r["test"]["transfer"], r["test"]["target_only"]) for r in some])
        never = np.mean([r["test"]["target_only"] - min(r["test"]["transfer"], r["test"]["target_only"]) for r in some])
        kept = [
            f"{100 * np.mean([r['kept'] == m for r in some]):.0f}" for m in ("transfer", "target_only", "source_only")
        ]
        share = f"{worse} ({100 * worse / len(by):.1f} %)"
        regrets = [f"{value:.3f}" for value in (regret(some).mean(), always, never)]
        lines.append([name, len(by), share, f"{100 * draws:.1f} %", *regrets, " / ".join(kept)])
    head = ["domains", "cells", "worse than target only, mean of seeds", "single draws", "regret, nats"]
    table("guard", [*head, "of always transfer", "of never", "kept transfer / target only / source only, %"], lines)


if __name__ == "__main__":
    main()
