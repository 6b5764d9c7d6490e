"""Which measure orders sources as their fine-tuned accuracy does? Eight sources, four targets, five labels a class.

Each source trains the small cnn, which is then transferred to the target with five labels a class: fine-tuned on the
target's cross-entropy alone, and jointly with the source's. Reported is the weighted Kendall tau (Vigna, WWW 2015) of
every measure with the accuracy on 1,000 test digits. Nothing in any measure was chosen by these accuracies.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
from cells import RESULTS, arguments, data, table

MEASURES = ("joint_loo", "nce", "leep", "logme", "h_score")
SOURCE_ROWS, TEST_ROWS, SHOTS, SOURCE_STEPS, STEPS = 1000, 1000, 5, 120, 60


def pictures(what: Any) -> tuple[np.ndarray, np.ndarray]:
    from crossgraft.domains import open_domain

    domain = open_domain(what, "digits")
    return np.stack([domain.read(i)[:, :, 0] for i in range(len(domain))]), domain.labels.astype(str)


def rotated(x: np.ndarray) -> np.ndarray:
    from scipy.ndimage import rotate

    return np.asarray(rotate(x, 45, axes=(1, 2), reshape=False, order=1))


def domains(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sources and targets as (X, y); no picture is in both. MNIST as a source is from its training part."""
    import h5py

    from crossgraft.seeds import rng

    folder = data()
    draw = rng(seed, "benchmark/rank")

    def some(x: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        at = draw.permutation(len(y))[:n]
        return x[at], y[at]

    with h5py.File(folder / "digits/usps.h5") as file:
        usps = {
            part: (
                np.rint(255 * np.asarray(file[part]["data"]).reshape(-1, 16, 16)).astype(np.uint8),
                np.asarray(file[part]["target"]).astype(str),
            )
            for part in ("train", "test")
        }
    mnist = pictures("mnist5000")
    scanned = pictures("sklearn-digits")
    with np.load(folder / "images/pneumoniamnist.npz", allow_pickle=False) as file:
        chest = file["train_images"], np.where(file["train_labels"].ravel() == 1, "pneumonia", "normal")
    few = np.isin(mnist[1], list("01234"))
    x, y = some(*mnist, SOURCE_ROWS)
    sources = {
        "MNIST": (x, y),
        "MNIST, 0 to 4": some(mnist[0][few], mnist[1][few], SOURCE_ROWS),
        "MNIST, rotated": (rotated(x), y),
        "MNIST, noise": (np.clip(x + draw.normal(0, 80, x.shape), 0, 255).astype(np.uint8), y),
        "MNIST, labels shuffled": (x, draw.permutation(y)),
        "USPS": some(*usps["train"], SOURCE_ROWS),
        "scanned digits": (scanned[0][:900], scanned[1][:900]),
        "chest X-rays": some(*chest, SOURCE_ROWS),
    }
    x, y = some(*pictures(folder / "digits/mnist/t10k-images-idx3-ubyte.gz"), 3 * TEST_ROWS)
    targets = {
        "MNIST": (x[::2], y[::2]),
        "USPS": usps["test"],
        "scanned digits": (scanned[0][900:], scanned[1][900:]),
        "MNIST, rotated": (rotated(x[1::2]), y[1::2]),
    }
    return sources, targets


def one(seed: int) -> list[dict[str, Any]]:
    """Every source on every target with one seed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from crossgraft.backbones import load
    from crossgraft.candidates import Candidate, candidate, source_side
    from crossgraft.domains import open_domain
    from crossgraft.domains.pool import pool
    from crossgraft.domains.splits import assign_splits
    from crossgraft.objective.algebra import ce
    from crossgraft.ranked import measured
    from crossgraft.recipe import Recipe
    from crossgraft.side import Side
    from crossgraft.solve.fitted import descend, frozen_features, solve_frozen
    from crossgraft.solve.settings import settings_for
    from crossgraft.tasks import Classify, log_softmax

    sources, targets = domains(seed)
    trained: dict[str, Any] = {}
    out = []
    for target_name, given in targets.items():
        whole = assign_splits(open_domain(given, target_name), seed, shots=SHOTS)
        test = whole.take(whole.where("test")[:TEST_ROWS])
        known = whole.take(whole.where("train"))
        task = Classify(known.classes)
        side, held = Side.of(known, task, task.classes), Side.of(test, task, task.classes)
        rows = np.arange(len(known))
        for name, arrays in sources.items():
            recipe = Recipe.of(target=target_name, seed=seed, source_steps=SOURCE_STEPS, steps=STEPS)
            domain = pool([open_domain(arrays, name)])
            own, _ = source_side(domain, side, seed, SOURCE_ROWS)
            if name not in trained:  # no digit of a source is a target's, so that f_s is the same for every target
                trained[name] = candidate(name, load("cnn", known), side, own, recipe, own_head=False).fitted
            f_s = trained[name]
            x = frozen_features(f_s.backbone, side).astype(float)
            theta = np.exp(log_softmax(x @ f_s.weight[:, own.columns] + f_s.bias[own.columns]))
            found = Candidate(name, f_s, own, theta, {})
            row, _ = measured(found, side, seed)
            seconds = row["seconds"]
            accuracy = {}
            for method in ("finetune", "joint"):
                start = solve_frozen(
                    f_s.backbone, side, rows, own, len(f_s.bias), seed,
                    lam=0.0 if method == "finetune" else row["lam"], ridge=row["ridge"] if method == "joint" else None,
                    judged=False,
                )  # fmt: skip
                sides = {"target": (side, rows)}
                if start.lam:
                    sides["source"] = (own, np.arange(len(own.labels)))
                objective = start.objective if start.lam else ce("target")
                tuned = descend(
                    replace(start, objective=objective), sides, objective, "lp_ft",
                    settings_for(recipe, "lp_ft", len(rows), f_s.backbone), head=True, augment="auto", seed=seed,
                    use=method,
                )  # fmt: skip
                accuracy[method] = float((tuned.log_probabilities(held).argmax(1) == held.labels).mean())
            out.append(
                {"seed": seed, "target": target_name, "source": name, "accuracy": accuracy, "lam": row["lam"]}
                | {m: row[m]["value"] for m in MEASURES}
                | {"seconds": {m: seconds[m] for m in MEASURES}}
            )
            print(seed, target_name, name, accuracy, [round(out[-1][m], 3) for m in MEASURES], file=sys.stderr)
    return out


def tau(rows: list[dict[str, Any]], measure: str, method: str) -> float:
    """Weighted Kendall tau of one target and seed; good sources weigh most."""
    from scipy.stats import weightedtau

    sign = -1 if measure == "joint_loo" else 1
    return float(weightedtau([r["accuracy"][method] for r in rows], [sign * r[measure] for r in rows]).statistic)


def main() -> None:
    args = arguments(__doc__ or "")
    path = RESULTS / "rank.cells.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    todo = [s for s in args.seeds if s not in {r["seed"] for r in done}]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool, path.open("a") as out:
        for rows in pool.map(one, todo):
            out.writelines(json.dumps(row) + "\n" for row in rows)
            out.flush()
            done += rows
    rows = [r for r in done if r["seed"] in args.seeds]
    lines = []
    for method in ("finetune", "joint"):
        for measure in MEASURES:
            by = {
                t: [tau([r for r in rows if (r["seed"], r["target"]) == (s, t)], measure, method) for s in args.seeds]
                for t in dict.fromkeys(r["target"] for r in rows)
            }
            cells = [f"{np.mean(v):.2f}" for v in by.values()]
            seconds = np.median([r["seconds"][measure] for r in rows])
            lines.append([method, measure, *cells, f"{np.mean(list(by.values())):.3f}", f"{seconds:.3f}"])
    table("rank", ["accuracy of", "measure", *by, "mean", "seconds a source, median"], lines)


if __name__ == "__main__":
    main()
