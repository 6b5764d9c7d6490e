"""Weightings of tasks at the same budget, and a step of each beside plain PyTorch and torchjd at the same network.

The tasks are the digit, whether it is even, and which scanner it came from: MNIST and USPS, 10 labels a class.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
import numpy as np

TIMED, WARM, ROUNDS = 40, 10, 3


def tasks_of(seed: int, test: int = 2000) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data sets with three labels each, and how they are asked for."""
    from multi import scanners

    data, options = scanners(seed, test)
    del data["scanned"]
    for name, domain in data.items():
        even = np.array([("even", "odd")[int(y) % 2] for y in domain.labels], dtype=object)
        data[name] = replace(domain, more={"digit": domain.labels, "parity": even})
    tasks = {"digit": {"label": "digit"}, "parity": {"label": "parity"}, "scanner": {"label": "@data"}}
    return data, options | {"tasks": tasks}


def pool_of(seed: int, **more: Any) -> Any:
    """The pool of examples of a seed."""
    from crossgraft.multitask.asked import MultiRecipe
    from crossgraft.multitask.given import given

    data, options = tasks_of(seed)
    return given(MultiRecipe.of(data=dict.fromkeys(data, "given"), seed=seed, **options, **more), data)


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """One training of all three tasks; accuracy of each on the test part."""
    from crossgraft.multitask.learning import Steps

    cells.alone()
    began = time.perf_counter()
    asked = dict(cell["fit"])
    pool = pool_of(asked.pop("seed"), **asked)
    with tempfile.TemporaryDirectory() as folder:
        model = Steps(pool, Path(folder), lambda row: None).learn(pool.names)
    test = pool.examples("test")
    log_p = model.log_probabilities(pool, test)
    rows = {n: pool.sides[n].labels[pool.labelled(n, test)] for n in pool.names}
    accuracy = {n: float((log_p[n].argmax(1) == rows[n]).mean()) for n in pool.names}
    entropy = {n: float(-log_p[n][np.arange(len(y)), y].mean()) for n, y in rows.items()}
    return cell | {
        "accuracy": accuracy, "entropy": entropy, "weights": dict(model.weights), "wall": time.perf_counter() - began
    }  # fmt: skip


def step_times() -> list[list[Any]]:
    """Milliseconds of a step: ours, and a plain loop of PyTorch or torchjd on the same net, batches and optimiser."""
    import torch
    from torchjd import aggregation
    from torchjd.autojac import jac_to_grad, mtl_backward

    cells.alone()
    pool = pool_of(100)
    aggregators = {"pcgrad": "PCGrad", "mgda": "MGDA", "imtl": "IMTLG", "aligned": "AlignedMTL"}
    rows = []
    for name in ("equal", *aggregators):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_ours(pool, name))
            batches, net, columns = _plain(pool)
            optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
            aggregator = None if name == "equal" else getattr(aggregation, aggregators[name])()
            net.train()
            for t, (values, labels) in enumerate(batches):
                if t == WARM:
                    began = time.perf_counter()
                features = net.features(values)
                z = net.linear(features)
                losses = [torch.nn.functional.cross_entropy(z[:, c], y) for c, y in zip(columns, labels, strict=True)]
                if aggregator is None:
                    sum(losses).backward()
                else:
                    mtl_backward(losses, features=features, retain_graph=True)
                    jac_to_grad(net.layers.parameters(), aggregator)
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
            theirs.append((time.perf_counter() - began) / (TIMED - WARM))
        a, b = (1000 * float(np.median(x)) for x in (ours, theirs))
        rows.append([name, f"{a:.1f}", f"{b:.1f}", f"{a / b:.2f}", "PyTorch" if name == "equal" else "torchjd"])
    return rows


def _ours(pool: Any, name: str) -> float:
    """Seconds a step of our loop: of TIMED steps less those of WARM, with what begins and ends a training."""
    from crossgraft.multitask.moving import moving

    seconds = []
    for steps in (WARM, TIMED):
        recipe = pool.recipe.model_copy(update={"weighting": name, "source_steps": steps, "augment": "none"})
        own = replace(pool, recipe=recipe)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            moving(
                own, pool.names, pool.examples("train"), "from_nothing", "t", folder=Path(folder), log=lambda row: None
            )
            seconds.append(time.perf_counter() - began)
    return (seconds[1] - seconds[0]) / (TIMED - WARM)


def _plain(pool: Any) -> tuple[list[Any], Any, list[Any]]:
    """Batches of the same size, the same net, and the columns of each task."""
    import torch

    from crossgraft.solve.net import Net

    train, draw = pool.examples("train"), np.random.default_rng(0)
    values = pool.inputs(pool.backbone)
    module = pool.backbone.fresh(0)
    columns = [pool.task.columns_of(n) for n in pool.names]
    named = dict(zip(pool.names, columns, strict=True))
    net = Net(
        replace(pool.backbone, build=lambda: module), named, len(pool.task.classes), seed=0, learn_statistics=True
    )
    size = 2 * pool.recipe.batch_size
    batches = []
    for _ in range(TIMED):
        at = draw.permutation(train)[:size]
        labels = [torch.from_numpy(pool.sides[n].labels[at]) for n in pool.names]
        batches.append((torch.from_numpy(np.ascontiguousarray(values[at])), labels))
    return batches, net, [torch.from_numpy(c) for c in columns]


def main() -> None:
    args = cells.arguments(__doc__ or "")
    from crossgraft.solve.weighting import WEIGHTINGS

    todo = [{"name": w, "fit": {"weighting": w, "seed": seed}} for seed in args.seeds for w in WEIGHTINGS]
    done = cells.run("weightings", todo, args.jobs, one)
    names = list(done[0]["accuracy"])
    of = {w: [row for row in done if row["name"] == w] for w in WEIGHTINGS}
    mean = {w: np.array([np.mean(list(r["accuracy"].values())) for r in rows]) for w, rows in of.items()}
    rows = [
        [
            w,
            *(cells.mean([r["accuracy"][n] for r in of[w]]) for n in names),
            cells.mean(mean[w]),
            cells.mean(mean[w] - mean["equal"]),
            f"{np.mean([np.mean(list(r['entropy'].values())) for r in of[w]]):.3f}",
        ]
        for w in WEIGHTINGS
    ]
    cells.table("weightings", ["weighting", *names, "mean", "less equal", "mean cross-entropy, nats"], rows)
    print()
    cells.table("weightings-speed", ["weighting", "ms a step", "theirs", "ratio", "beside"], step_times())


if __name__ == "__main__":
    main()
