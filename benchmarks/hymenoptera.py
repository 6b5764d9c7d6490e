"""Hymenoptera, frozen EfficientNet-Lite0: PyTorch's tutorial loop, and features computed once with a convex head.

    CROSSGRAFT_DATA=... python benchmarks/hymenoptera.py [--no-tutorial]

Both start when the libraries are imported. Cold: an empty cache folder, so the network is converted too. Warm: features
in the store. The tutorial: "ConvNet as fixed feature extractor" as published, with the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm  # noqa: F401
import torch
from cells import RESULTS, data

import crossgraft
from crossgraft import backbones, features
from crossgraft.domains import open_domain
from crossgraft.domains.domain import Domain
from crossgraft.solve.convex import Part
from crossgraft.solve.path import path, scaling
from crossgraft.tasks import Classify


def ours(folder: Path) -> dict[str, Any]:
    """Folder to accuracy on the validation part. The ridge by leave-one-out on the training part."""
    began = time.perf_counter()
    domain = open_domain(folder, "hymenoptera")
    got = features.features(domain, backbones.load("auto", domain))
    extracted = time.perf_counter()
    domain_x, y = got.values, Classify(domain.classes).encode(domain.labels)
    held = held_out(domain)
    bad = [i for i, _ in got.failures]
    train = np.setdiff1d(np.flatnonzero(~held), bad)
    test = np.setdiff1d(np.flatnonzero(held), bad)
    scale = scaling(domain_x[train])
    solved = path(Part(scale.apply(domain_x[train]), y[train], np.arange(2)), None, 2, lams=np.zeros(1))
    head = scale.fold(solved.choose().head)
    right = (domain_x[test] @ head.weight + head.bias).argmax(1) == y[test]
    done = time.perf_counter()
    return {
        "seconds": done - began,
        "features_seconds": extracted - began,
        "head_seconds": done - extracted,
        "accuracy": float(right.mean()),
        "n_train": len(train),
        "n_test": len(test),
    }


def whole(folder: Path) -> dict[str, Any]:
    """All of `crossgraft fit`: reading, leaks, features, path, test scores, report; without the baselines' training."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        run = crossgraft.fit(folder, schedule="frozen", baselines=False, out=Path(out) / "run")
        seconds = time.perf_counter() - began
        result = run.result
    return {"seconds": seconds, "accuracy": result["test"]["accuracy"]["value"], "n_test": result["test"]["n"]}


def held_out(domain: Domain) -> np.ndarray:
    """The folder's own validation part."""
    return np.isin(domain.splits, ["val", "test"])


def tutorial(folder: Path, epochs: int = 25) -> dict[str, Any]:
    """The published loop; only the model is another one."""
    from torch import nn, optim
    from torch.optim import lr_scheduler
    from torchvision import datasets, transforms

    torch.manual_seed(0)
    normalise = transforms.Normalize([0.5] * 3, [0.5] * 3)
    shapes: dict[str, list[Any]] = {
        "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()],
        "val": [transforms.Resize(256), transforms.CenterCrop(224)],
    }
    sets = {
        part: datasets.ImageFolder(folder / part, transforms.Compose([*shape, transforms.ToTensor(), normalise]))
        for part, shape in shapes.items()
    }
    loaders = {
        part: torch.utils.data.DataLoader(s, batch_size=4, shuffle=True, num_workers=4) for part, s in sets.items()
    }
    domain = open_domain(folder, "hymenoptera")
    backbone = backbones.load("auto", domain)
    model = nn.Sequential(backbone.module, nn.Linear(backbone.dim, 2))
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model[1].parameters(), lr=0.001, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    accuracies = []
    began = time.perf_counter()
    for epoch in range(epochs):
        for part in ("train", "val"):
            model.train(part == "train")
            right = 0
            for inputs, labels in loaders[part]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(part == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if part == "train":
                        loss.backward()
                        optimizer.step()
                right += int((outputs.argmax(1) == labels).sum())
            if part == "train":
                scheduler.step()
        accuracies.append(right / len(sets["val"]))
        print(f"  epoch {epoch + 1}: {accuracies[-1]:.3f}, {time.perf_counter() - began:.0f} s", flush=True)
    return {
        "seconds": time.perf_counter() - began,
        "accuracy": accuracies[-1],
        "best": max(accuracies),
        "epochs": epochs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-tutorial", action="store_true", help="leave the tutorial's loop out")
    args = parser.parse_args()
    folder = data() / "images" / "hymenoptera"
    import openvino  # noqa: F401

    with tempfile.TemporaryDirectory() as cache:
        os.environ["CROSSGRAFT_CACHE"] = cache
        rows = {"fit, cold": whole(folder), "fit, warm": whole(folder), "head, warm": ours(folder)}
    if not args.no_tutorial:
        rows["tutorial"] = tutorial(folder)
    print(f"{'':12}{'seconds':>9}{'accuracy':>10}{'times faster':>14}")
    for name, row in rows.items():
        if "tutorial" in rows:
            row["times_faster"] = rows["tutorial"]["seconds"] / row["seconds"]
        print(f"{name:12}{row['seconds']:9.2f}{row['accuracy']:10.3f}{row.get('times_faster', float('nan')):14.1f}")
    machine = {
        "load": os.getloadavg(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hymenoptera.json").write_text(json.dumps({"rows": rows, "machine": machine}, indent=1) + "\n")


if __name__ == "__main__":
    main()
