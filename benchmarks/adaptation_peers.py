"""DANN and CDAN+E of pytorch-adapt beside ours: the same images, network, f_s, batches and steps; seconds beside them.

Run with a Python that has pytorch-adapt, and crossgraft on its path:

    PYTHON benchmarks/adaptation_peers.py --seeds 3

Theirs with Adam at our rate of 1e-3 (--rate), their own discriminator, and no schedule of the reversal, as it comes.
Seconds are processor time of 1,000 steps with their batches, one thread; each cell runs ours and theirs in turn.
"""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import accuracy_of, job_of, source_model
from cells import alone, arguments, mean, run, table

STEPS = 800


def theirs(cell: dict[str, Any], job: Any, f_s: Any) -> tuple[float, float]:
    """Accuracy and processor seconds of pytorch-adapt."""
    import torch
    from pytorch_adapt.adapters import CDANNE, DANN
    from pytorch_adapt.containers import Misc, Models, Optimizers
    from pytorch_adapt.layers import RandomizedDotProduct
    from pytorch_adapt.models import Discriminator
    from torch import nn

    from crossgraft.solve.batches import Stream

    own, k = cell["fit"], len(job.source.columns)
    torch.manual_seed(own["seed"])
    layers = copy.deepcopy(f_s.backbone.module).to(memory_format=torch.channels_last).train()
    head = nn.Linear(f_s.backbone.dim, k)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(f_s.weight.T))
        head.bias.copy_(torch.from_numpy(f_s.bias))
    conditional = own["method"] == "cdan_e"
    models = {"G": layers, "C": head, "D": Discriminator(in_size=f_s.backbone.dim, h=256)}
    given: dict[str, Any] = {"optimizers": Optimizers((torch.optim.Adam, {"lr": own["lr"]}))}
    if conditional:
        combiner = RandomizedDotProduct([f_s.backbone.dim, k], f_s.backbone.dim)
        given["misc"] = Misc({"feature_combiner": combiner})
    adapter = (CDANNE if conditional else DANN)(models=Models(models), **given)
    p = f_s.backbone.preprocess
    pixels = {d: side.pixels(f_s.backbone) for d, side in (("source", job.source), ("unlabelled", job.target))}
    streams = {d: Stream(x, job.source.labels if d == "source" else np.full(len(x), -1), 32) for d, x in pixels.items()}
    domains = {"src_domain": torch.zeros(32), "target_domain": torch.ones(32)}

    def seen(values: torch.Tensor) -> torch.Tensor:
        return (values.permute(0, 3, 1, 2).float() / 255 - p.mean[0]) / p.std[0]

    used = time.process_time()
    for step in range(STEPS):
        batch = {d: s.batch(own["seed"], f"transfer/{d}", step, k) for d, s in streams.items()}
        adapter.training_step(
            {
                "src_imgs": seen(batch["source"].values),
                "src_labels": batch["source"].labels,
                "target_imgs": seen(batch["unlabelled"].values),
                **domains,
            }
        )
    used = time.process_time() - used
    layers.eval()
    with torch.no_grad():
        x = torch.from_numpy(pixels["unlabelled"])
        z = torch.cat([head(layers(seen(part))) for part in x.split(256)])
    return accuracy_of(job, z.numpy()), used


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Ours and theirs from one f_s."""
    from crossgraft.adapt import adapt

    alone()
    began = time.perf_counter()
    job = job_of(cell)
    f_s = source_model(job, cell)
    found = {"source only": accuracy_of(job, f_s.log_probabilities(job.target))}
    with tempfile.TemporaryDirectory() as folder:
        used = time.process_time()
        ours = adapt(job, f_s, job.rows, "transfer", Path(folder), lambda row: None)
        used = time.process_time() - used
    found["ours"] = accuracy_of(job, ours.log_probabilities(job.target))
    found["pytorch-adapt"], their = theirs(cell, job, f_s)
    return cell | {"accuracy": found, "seconds": [1000 / STEPS * used, 1000 / STEPS * their]} | {
        "wall": time.perf_counter() - began
    }  # fmt: skip


def main() -> None:
    args = arguments(__doc__ or "", pairs="mu,um", methods="dann,cdan_e", rate=1e-3, images=1)
    cells = [
        {
            "name": f"{pair} {method}",
            "fit": {"pair": pair, "method": method, "seed": seed, "augment": "none", "images": args.images}
            | {"lr": args.rate, "steps": STEPS},
        }
        for seed in args.seeds
        for method in args.methods.split(",")
        for pair in args.pairs.split(",")
    ]  # fmt: skip
    rows = run("adaptation-peers", cells, args.jobs, one)
    out = []
    for method in args.methods.split(","):
        for pair in args.pairs.split(","):
            here = [r for r in rows if r["fit"]["method"] == method and r["fit"]["pair"] == pair]
            who = ("source only", "ours", "pytorch-adapt")
            seconds = np.median([r["seconds"] for r in here], axis=0)
            out.append([method, pair, *(mean([r["accuracy"][w] for r in here]) for w in who)])
            out[-1] += [f"{s:.1f}" for s in seconds] + [
                f"{np.median([a / b for a, b in (r['seconds'] for r in here)]):.2f}"
            ]
    head = ["", "pair", "source only", "ours", "pytorch-adapt", "s per 1,000 steps", "theirs", "ratio"]
    table("adaptation-peers", head, out)


if __name__ == "__main__":
    main()
