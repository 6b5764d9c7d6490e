"""DANN, CDAN and CDAN+E of pytorch-adapt and skada beside ours: the same images, network, f_s and steps; seconds too.

Run with a Python that has pytorch-adapt and skada[deep], and crossgraft on its path:

    PYTHON benchmarks/adaptation_peers.py --seeds 5 --steps 400 [--tensorflow PYTHON]

Theirs with Adam at our rate of 1e-3 (--rate), a domain classifier of our three layers, and all else as it comes: no
schedule of the reversal, features of any size. pytorch-adapt gets our batches, skada draws its own. Seconds are
processor time of 1,000 steps with their batches, one thread; each cell runs all of them in turn, ours in bfloat16 too
(--precision bf16 of `fit`). With --tensorflow, a
Python that has adapt and TensorFlow, adapt too (adaptation_adapt.py), beside ours once more.
"""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import PAIRS, accuracy_of, job_of, source_model
from cells import alone, arguments, mean, run, table

from crossgraft.objective.heads import WIDTH

BATCH = 32
WIDEST = 4096  # columns that skada's CDAN sees


class Start:
    """What all begin at: copies of f_s, prepared images of both domains, and our batches."""

    def __init__(self, cell: dict[str, Any], job: Any, f_s: Any) -> None:
        import torch
        from torch import nn

        self.own, self.job, self.dim, self.k = cell["fit"], job, f_s.backbone.dim, len(job.source.columns)
        torch.manual_seed(self.own["seed"])
        self.layers = copy.deepcopy(f_s.backbone.module).to(memory_format=torch.channels_last).train()
        self.head = nn.Linear(self.dim, self.k)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(f_s.weight.T))
            self.head.bias.copy_(torch.from_numpy(f_s.bias))
        self.pixels = [side.pixels(f_s.backbone) for side in (job.source, job.target)]
        self.preprocess = f_s.backbone.preprocess

    def seen(self, values: Any) -> Any:
        """Pixels as the layers take them."""
        return (values.permute(0, 3, 1, 2).float() / 255 - self.preprocess.mean[0]) / self.preprocess.std[0]

    def accuracy(self) -> float:
        """Of all target images."""
        import torch

        self.layers.eval()
        with torch.no_grad():
            parts = torch.from_numpy(self.pixels[1]).split(256)
            return accuracy_of(self.job, torch.cat([self.head(self.layers(self.seen(p))) for p in parts]).numpy())


def pytorch_adapt(start: Start) -> int:
    """Train by pytorch-adapt; the steps that it took."""
    import torch
    from pytorch_adapt.adapters import CDAN, CDANNE, DANN
    from pytorch_adapt.containers import Misc, Models, Optimizers
    from pytorch_adapt.layers import RandomizedDotProduct
    from pytorch_adapt.models import Discriminator

    from crossgraft.solve.batches import Stream

    own, job, k = start.own, start.job, start.k
    models = {"G": start.layers, "C": start.head, "D": Discriminator(in_size=start.dim, h=WIDTH)}
    given: dict[str, Any] = {"optimizers": Optimizers((torch.optim.Adam, {"lr": own["lr"]}))}
    if own["method"] != "dann":
        given["misc"] = Misc({"feature_combiner": RandomizedDotProduct([start.dim, k], start.dim)})
    adapter = {"dann": DANN, "cdan": CDAN, "cdan_e": CDANNE}[own["method"]](models=Models(models), **given)
    labels = (job.source.labels, np.full(len(start.pixels[1]), -1))
    names = ("source", "unlabelled")
    streams = {d: Stream(x, y, BATCH) for d, x, y in zip(names, start.pixels, labels, strict=True)}
    domains = {"src_domain": torch.zeros(BATCH), "target_domain": torch.ones(BATCH)}
    for step in range(own["steps"]):
        batch = {d: s.batch(own["seed"], f"transfer/{d}", step, k) for d, s in streams.items()}
        adapter.training_step(
            {
                "src_imgs": start.seen(batch["source"].values),
                "src_labels": batch["source"].labels,
                "target_imgs": start.seen(batch["unlabelled"].values),
                **domains,
            }
        )
    return int(own["steps"])


def skada(start: Start) -> int:
    """Train by skada, in whole passes over the larger domain; the steps that it took."""
    import torch
    from skada.deep import CDAN, DANN
    from skada.deep.modules import DomainClassifier
    from torch import nn

    own, k = start.own, start.k
    wide = start.dim if own["method"] == "dann" else min(start.dim * k, WIDEST)
    classifier = DomainClassifier(num_features=wide)
    # Its own one ends in a softmax over one column, which is 1 whatever it sees.
    hidden: list[nn.Module] = [nn.Linear(wide, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    classifier.classifier = nn.Sequential(*hidden, nn.Linear(WIDTH, 1), nn.Sigmoid())
    each = max(len(x) // BATCH for x in start.pixels)
    epochs = max(round(own["steps"] / each), 1)
    net = {"dann": DANN, "cdan": CDAN}[own["method"]](
        nn.Sequential(OrderedDict(layers=start.layers, head=start.head)), "layers", domain_classifier=classifier,
        optimizer=torch.optim.Adam, lr=own["lr"], batch_size=BATCH, max_epochs=epochs, train_split=None, verbose=0,
    )  # fmt: skip
    x = torch.cat([start.seen(torch.from_numpy(p)) for p in start.pixels]).numpy()
    n = [len(p) for p in start.pixels]
    net.fit(x, np.r_[start.job.source.labels, np.full(n[1], -1)], sample_domain=np.repeat([1, -2], n))
    found = net.module_.base_module_
    start.layers, start.head = found.layers, found.head
    return epochs * each


PEERS: dict[str, tuple[Callable[[Start], int], tuple[str, ...]]] = {
    "pytorch-adapt": (pytorch_adapt, ("dann", "cdan", "cdan_e")),
    "skada": (skada, ("dann", "cdan")),  # it has no entropy conditioning
}


OURS = ("ours", "ours, bf16")


def ours(job: Any, f_s: Any, steps: int, precision: str = "no") -> tuple[float, float]:
    """Accuracy on the target, and seconds of 1,000 steps."""
    from crossgraft.adapt import adapt

    job = replace(job, recipe=job.recipe.model_copy(update={"precision": precision}))
    with tempfile.TemporaryDirectory() as folder:
        used = time.process_time()
        adapted = adapt(job, f_s, job.rows, "transfer", Path(folder), lambda row: None)
        seconds = 1000 * (time.process_time() - used) / steps
    return accuracy_of(job, adapted.log_probabilities(job.target)), seconds


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Ours and theirs from one f_s."""
    alone()
    began = time.perf_counter()
    job, own = job_of(cell), cell["fit"]
    f_s = source_model(job, cell)
    found = {"source only": accuracy_of(job, f_s.log_probabilities(job.target))}
    seconds: dict[str, float] = {}
    found["ours"], seconds["ours"] = ours(job, f_s, own["steps"])
    found["ours, bf16"], seconds["ours, bf16"] = ours(job, f_s, own["steps"], "bf16")
    for name, (train, methods) in PEERS.items():
        if own["method"] in methods:
            start = Start(cell, job, f_s)
            used = time.process_time()
            steps = train(start)
            seconds[name] = 1000 * (time.process_time() - used) / steps
            found[name] = start.accuracy()
    return cell | {"accuracy": found, "seconds": seconds, "wall": time.perf_counter() - began}


def adapt_too(cell: dict[str, Any]) -> dict[str, Any]:
    """Ours and adapt's, which trains in its own Python."""
    alone()
    began = time.perf_counter()
    job, own = job_of(cell), cell["fit"]
    f_s = source_model(job, cell)
    start = Start(cell, job, f_s)
    pixels = dict(zip(("source", "target"), start.pixels, strict=True))
    scale = [float(v[0]) for v in (start.preprocess.mean, start.preprocess.std)]
    held = {d: (x.astype(np.float32) / 255 - scale[0]) / scale[1] for d, x in pixels.items()}
    held |= {name: t.numpy() for name, t in f_s.backbone.module.state_dict().items()}
    held |= {"weight": f_s.weight.astype(np.float32), "bias": f_s.bias.astype(np.float32)}
    held |= {"labels": job.source.labels, "truth": job.target.labels}
    held["said"] = f_s.log_probabilities(job.source, np.arange(256)).argmax(1)
    found = {"source only": accuracy_of(job, f_s.log_probabilities(job.target))}
    seconds: dict[str, float] = {}
    found["ours"], seconds["ours"] = ours(job, f_s, own["steps"])
    found["ours, bf16"], seconds["ours, bf16"] = ours(job, f_s, own["steps"], "bf16")
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "start.npz", **held)
        asked = [Path(folder) / "start.npz", *(own[name] for name in ("method", "steps", "lr", "seed")), WIDTH]
        here = [cell["tensorflow"], str(Path(__file__).parent / "adaptation_adapt.py"), *map(str, asked)]
        told = subprocess.run(here, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]
    found["adapt"], seconds["adapt"] = json.loads(told)["accuracy"], json.loads(told)["seconds"]
    return cell | {"accuracy": found, "seconds": seconds, "wall": time.perf_counter() - began}


def main() -> None:
    args = arguments(
        __doc__ or "", pairs="mu,um", methods="dann,cdan,cdan_e", rate=1e-3, images=1, steps=400, tensorflow=""
    )
    pairs = args.pairs.split(",")
    cells = [
        {
            "name": f"{pair} {method}",
            "fit": {"pair": pair, "method": method, "seed": seed, "augment": "none", "images": args.images}
            | {"lr": args.rate, "steps": args.steps},
        }
        for seed in args.seeds
        for method in args.methods.split(",")
        for pair in pairs
    ]  # fmt: skip
    rows = run("adaptation-peers", cells, args.jobs, one)
    if args.tensorflow:
        cells = [cell | {"tensorflow": args.tensorflow} for cell in cells]
        rows += run("adaptation-adapt", cells, args.jobs, adapt_too)
    out = []
    for method in args.methods.split(","):
        for who in ("source only", *OURS, *PEERS, "adapt"):
            # adapt's rows hold the first three once more
            found = {json.dumps(r["fit"]): r for r in rows if r["fit"]["method"] == method and who in r["accuracy"]}
            here = list(found.values())
            if not here:
                continue
            by = {p: [r for r in here if r["fit"]["pair"] == p] for p in pairs}
            gains = [
                np.mean([r["accuracy"][who] - r["accuracy"]["source only"] for r in here if r["fit"]["seed"] == seed])
                for seed in args.seeds
            ]
            ratios = ["", ""]
            if who in (*PEERS, "adapt"):
                both = ([r["seconds"][own] / r["seconds"][who] for r in here] for own in OURS)
                ratios = [f"{np.median(each):.2f}" for each in both]
            shown = [mean([r["accuracy"][who] for r in own]) for own in by.values()]
            out.append([method, who, *shown, "" if who == "source only" else mean(gains), *ratios])
    heads = [" to ".join(PAIRS[p]) for p in pairs]
    table("adaptation-peers", ["", "by", *heads, "gain", "our seconds by theirs", "in bfloat16"], out)


if __name__ == "__main__":
    main()
