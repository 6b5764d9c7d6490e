"""The gradient loop beside a bare PyTorch loop on the same batches: seconds, and how far the weights lie apart.

    python benchmarks/loop.py [--steps 150] [--batches 32 128] [--repeats 7] [--out benchmarks/results/loop.json]

The bare loop does the same work (batches in order, forward, cross-entropy, clipping, rate, AdamW) and nothing else: no
log, no checkpoint, no progress. Both run in turn, in alternating order; the ratio is the median within repetitions, of
processor times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.objective.algebra import Objective, ce
from crossgraft.seeds import rng
from crossgraft.solve.loop import Settings, Stream, train
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import plan

CLASSES = 10


def small_cnn() -> Backbone:
    """About 100,000 weights on 28 x 28 pixels."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, o in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    groups = tuple((f"block{b}", tuple(str(4 * b + i) for i in range(4))) for b in range(3))
    return Backbone(
        "small", "r", "image", 128, lambda: module, groups, Preprocess(28, 1, (0.13,), (0.31,)), pretrained=False
    )


def streams(batch_size: int) -> dict[str, Stream]:
    draw = rng(0, "loop benchmark")
    made = {}
    for name in ("target", "source"):
        y = draw.integers(0, CLASSES, 4000)
        x = np.clip(draw.normal(20 * y[:, None, None, None], 40, (4000, 28, 28, 1)), 0, 255).astype(np.uint8)
        made[name] = Stream(x, y, batch_size)
    return made


def net() -> Net:
    return Net(small_cnn(), {d: np.arange(CLASSES) for d in ("target", "source")}, CLASSES, 0, learn_statistics=True)


def ours(given: dict[str, Stream], objective: Objective, settings: Settings) -> tuple[Net, float]:
    model = net()
    stages = plan("from_nothing", objective, model.backbone, settings, head_is_solved=False)
    began = time.process_time()
    train(model, stages, given, settings, seed=0, use="benchmark", log=lambda row: None)
    return model, time.process_time() - began


def bare(given: dict[str, Stream], objective: Objective, settings: Settings, fused: bool) -> tuple[Net, float]:
    model = net().train()
    rows = {
        t.domain: [given[t.domain].rows(0, f"benchmark/{t.domain}", s) for s in range(settings.steps)]
        for t in objective.terms
    }
    rates = [settings.rate(s, settings.steps) for s in range(settings.steps)]
    weights = {t.domain: t.weight for t in objective.terms}
    scale, shift = 1 / (255 * torch.tensor(0.31)), -torch.tensor(0.13) / 0.31
    began = time.process_time()
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, fused=fused)
    everything = list(model.parameters())
    for step in range(settings.steps):
        x = torch.cat([torch.from_numpy(given[d].values[rows[d][step]]) for d in weights])
        y = [torch.from_numpy(given[d].labels[rows[d][step]]) for d in weights]
        x = x.permute(0, 3, 1, 2).float() * scale + shift
        logits = [model.linear(f) for f in model.layers(x).split([len(part) for part in y])]
        loss = sum(w * F.cross_entropy(z, part) for w, z, part in zip(weights.values(), logits, y, strict=True))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(everything, settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.step()
    return model, time.process_time() - began


def apart(a: Net, b: Net) -> float:
    return max(float((p - q).detach().abs().max()) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "loop.json")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    cases = {"target": ce("target"), "joint": ce("target") + 0.3 * ce("source")}
    table = []
    for name, objective in cases.items():
        for batch_size in args.batches:
            settings, given = Settings(lr=1e-3, steps=args.steps, batch_size=batch_size), streams(batch_size)
            few = Settings(lr=1e-3, steps=20, batch_size=batch_size)
            distance = apart(ours(given, objective, few)[0], bare(given, objective, few, fused=True)[0])
            kinds = {
                "ours": lambda g=given, o=objective, s=settings: ours(g, o, s)[1],
                "bare": lambda g=given, o=objective, s=settings: bare(g, o, s, True)[1],
                "bare, default AdamW": lambda g=given, o=objective, s=settings: bare(g, o, s, False)[1],
            }
            seconds: dict[str, list[float]] = {k: [] for k in kinds}
            for r in range(args.repeats):
                for kind in list(kinds) if r % 2 else list(kinds)[::-1]:
                    seconds[kind].append(kinds[kind]())
            ratio = {
                k: statistics.median(o / s for o, s in zip(seconds["ours"], seconds[k], strict=True)) for k in kinds
            }
            step = {k: 1e3 * statistics.median(s) / args.steps for k, s in seconds.items()}
            table.append(
                {"objective": str(objective), "batch": batch_size, "ms_a_step": step, "ratio": ratio, "apart": distance}
            )
            print(
                f"{name:8} batch {batch_size:4}: ours {step['ours']:6.2f} ms a step, bare {step['bare']:6.2f} "
                f"(x{ratio['bare']:.3f}), bare with default AdamW {step['bare, default AdamW']:6.2f} "
                f"(x{ratio['bare, default AdamW']:.3f}); weights {distance:.1e} apart after 20 steps",
                flush=True,
            )
    args.out.parent.mkdir(exist_ok=True)
    where = {"torch": torch.__version__, "machine": platform.machine(), "threads": torch.get_num_threads()}
    args.out.write_text(
        json.dumps({"where": where, "steps": args.steps, "repeats": args.repeats, "rows": table}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
