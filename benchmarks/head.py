"""The convex head beside scikit-learn's solvers: seconds, and the objective each one reached.

    python benchmarks/head.py [--quick] [--out benchmarks/results/head.json]

The same objective for all: mean cross-entropy + ridge/2 |W|^2, the bias a feature of constant 1 under the same ridge.
scikit-learn has C = 1/(N ridge), no intercept, its own default tolerance and the precision of the features (float32). A
cell is reached where ours is faster than the fastest of its solvers at an objective at least as low (float64, all
alike). Seconds are of the processor, which other work beside it does not lengthen; the sides take turns, and each has
the median of its runs. A solver that takes `--limit` times ours is stopped: it is not the fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
import warnings
from pathlib import Path

import numpy as np

from crossgraft.seeds import rng
from crossgraft.solve.convex import Head, Part, solve
from crossgraft.tasks import log_softmax

FULL = ((50_000, 768, 100), (2_000, 1_280, 10))
QUICK = ((4_000, 256, 20), (1_000, 640, 10))
RIDGES = (1e-2, 1e-3, 1e-4, 1e-5)


def features(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Like a backbone's: rectified, correlated, a decaying spectrum, classes that overlap; not scaled."""
    g = rng(0, f"head benchmark {n} {d} {k}")
    y = g.integers(0, k, n)
    latent = 64
    centres = 0.35 * g.normal(size=(k, latent))
    hidden = (centres[y] + 1.5 * g.normal(size=(n, latent))) * 4.5 / np.sqrt(np.arange(1, latent + 1))
    mix = g.normal(size=(latent, d)) / np.sqrt(latent)
    x = np.maximum(hidden @ mix + 0.5 * g.normal(size=(n, d)), 0)
    return x.astype(np.float32), y


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, ridge: float) -> float:
    total = 0.0
    for i in range(0, len(x), 8192):
        z = x[i : i + 8192].astype(np.float64) @ weight + bias
        total -= float(log_softmax(z)[np.arange(len(z)), y[i : i + 8192]].sum())
    return total / len(x) + ridge / 2 * float((weight**2).sum() + (bias**2).sum())


def sklearn_head(x: np.ndarray, y: np.ndarray, ridge: float, solver: str, limit: float) -> tuple[float, Head | None]:
    """Seconds and head; None where it was stopped at the limit, in seconds."""
    from sklearn.linear_model import LogisticRegression

    one = np.hstack([x, np.ones((len(x), 1), dtype=x.dtype)])
    model = LogisticRegression(C=1 / (len(x) * ridge), solver=solver, fit_intercept=False, max_iter=10_000)

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        model.fit(one, y)
    except TimeoutError:
        return time.process_time() - began, None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - began
    w = model.coef_.T.astype(np.float64)
    return seconds, Head(w[:-1], w[-1])


def our_head(x: np.ndarray, y: np.ndarray, ridge: float, k: int) -> tuple[float, Head]:
    began = time.process_time()
    head = solve([Part(x, y, np.arange(k))], k, ridge=ridge)
    return time.process_time() - began, head


def cell(n: int, d: int, k: int, ridge: float, repeats: int, limit: float) -> dict[str, object]:
    x, y = features(n, d, k)
    runs: dict[str, dict[str, object]] = {}
    solvers = ["lbfgs", "newton-cg", "newton-cholesky"]
    if (hessian := 8 * ((d + 1) * k) ** 2) > 2**29:
        solvers.remove("newton-cholesky")
        runs["newton-cholesky"] = {"left_out": f"its Hessian alone takes {hessian / 2**30:.1f} GiB"}
    ours, theirs = [our_head(x, y, ridge, k)], {solver: [] for solver in solvers}
    for turn in range(repeats):
        for solver in solvers:
            theirs[solver].append(sklearn_head(x, y, ridge, solver, limit * ours[0][0]))
        if turn:
            ours.append(our_head(x, y, ridge, k))
    mine = objective(x, y, ours[0][1].weight, ours[0][1].bias, ridge)
    seconds = float(np.median([s for s, _ in ours]))
    runs["crossgraft"] = {"seconds": seconds, "objective": mine, "gap": ours[0][1].gap}
    for solver, timed in theirs.items():
        if (head := timed[0][1]) is None:
            runs[solver] = {"stopped_after": float(np.median([s for s, _ in timed]))}
        else:
            value = objective(x, y, head.weight, head.bias, ridge)
            runs[solver] = {"seconds": float(np.median([s for s, _ in timed])), "objective": value}
    done = {s: r for s, r in runs.items() if s != "crossgraft" and "seconds" in r}
    fastest = min(done, key=lambda s: float(str(done[s]["seconds"]))) if done else ""
    ratio = float(str(done[fastest]["seconds"])) / seconds if done else limit
    excess = mine - float(str(done[fastest]["objective"])) if done else float("nan")
    return {
        **{"n": n, "d": d, "k": k, "ridge": ridge, "runs": runs, "fastest": fastest, "times_faster": ratio},
        **{"above_fastest": excess, "reached": bool(ratio > 1 and not excess > 1e-9)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--only", type=int, help="one size by its place in the list, 0 or 1")
    parser.add_argument("--repeats", type=int, default=1, help="the median of so many runs")
    parser.add_argument("--limit", type=float, default=4.0, help="times ours after which a solver is stopped")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/head.json"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    sizes = QUICK if args.quick else FULL
    sizes = sizes if args.only is None else sizes[args.only : args.only + 1]
    cells = []
    print(
        f"{'N':>6} {'D':>5} {'K':>4} {'ridge':>6}  {'ours s':>8} {'fastest s':>9} "
        f"{'solver':<16} {'times':>6} {'objective above it':>19}"
    )
    for n, d, k in sizes:
        for ridge in RIDGES:
            c = cell(n, d, k, ridge, args.repeats, args.limit)
            cells.append(c)
            runs = c["runs"]
            assert isinstance(runs, dict)
            other = runs[c["fastest"]]["seconds"] if c["fastest"] else float("nan")
            print(
                f"{n:>6} {d:>5} {k:>4} {ridge:>6g}  {runs['crossgraft']['seconds']:>8.3f} {other:>9.3f} "
                f"{c['fastest'] or 'all were stopped':<16} {c['times_faster']:>6.2f} {c['above_fastest']:>19.2e}",
                flush=True,
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "cpu": platform.processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    args.out.write_text(json.dumps({"machine": machine, "cells": cells}, indent=1) + "\n")


if __name__ == "__main__":
    main()
