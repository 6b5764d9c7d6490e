"""Fine-tuning MiniLM on reviews: the gradient loop beside a bare PyTorch loop and the Trainer of transformers.

    python benchmarks/text_loop.py [--steps 12] [--batch 16] [--repeats 5]

The same reviews of at most 256 tokens in the same batches, all layers, AdamW, clipping, float32, no evaluation. The
bare loop runs the same layers on the same tokens; the Trainer runs transformers' own classes for texts, whose batches
are filled up to their longest text. All run in turn, in alternating order; ratios are medians, of processor times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from typing import Any

import amazon
import cells
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from crossgraft import backbones
from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.text_models import _folder
from crossgraft.domains import open_domain
from crossgraft.features import pixels
from crossgraft.features.ragged import tensor
from crossgraft.objective.algebra import ce
from crossgraft.solve.loop import Settings, Stream, train
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import plan

LONGEST, CLASSES = 256, 2


def reviews(n: int) -> tuple[list[str], np.ndarray, Backbone, Any]:
    """As many reviews that fit one chunk, their labels, the backbone and their tokens."""
    texts, labels = amazon.reviews("kitchen", 2 * n)
    domain = open_domain(texts, "reviews")
    backbone = backbones.load("auto", domain)
    tokens = pixels(domain, backbone).values
    short = np.random.default_rng(0).permutation(np.flatnonzero(tokens.lengths <= LONGEST))[:n]
    y = np.array([int(labels[i] == "positive") for i in short])
    return [texts[i] for i in short], y, backbone, tokens[short]


def net(backbone: Backbone) -> Net:
    module = backbone.fresh(0)
    return Net(replace(backbone, build=lambda: module), {"target": np.arange(CLASSES)}, CLASSES, 0)


def ours(model: Net, stream: Stream, settings: Settings) -> None:
    stages = plan("full", ce("target"), model.backbone, settings, head_is_solved=False)
    train(model, stages, {"target": stream}, settings, seed=0, use="benchmark", log=lambda row: None)


def bare(model: Net, stream: Stream, settings: Settings) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, fused=True)
    for step in range(settings.steps):
        rows = stream.rows(0, "benchmark/target", step)
        logits = model.linear(model.layers(tensor(stream.values[rows])))
        loss = F.cross_entropy(logits, torch.from_numpy(stream.labels[rows]))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, settings.steps)
        optimizer.step()
        optimizer.zero_grad()


def trainer(texts: list[str], stream: Stream, settings: Settings, folder: str) -> Any:
    """transformers' Trainer before it trains, on the batches of the stream."""
    from torch.utils.data import SequentialSampler
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    class InOrder(Trainer):
        def _get_train_sampler(self, *given: Any) -> Any:
            return SequentialSampler(given[0] if given else self.train_dataset)

    tokenizer = AutoTokenizer.from_pretrained(_folder("auto"))
    rows = np.concatenate([stream.rows(0, "benchmark/target", s) for s in range(settings.steps)])
    given = [tokenizer(texts[i], truncation=True, max_length=LONGEST) | {"label": int(stream.labels[i])} for i in rows]
    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=settings.batch_size, num_train_epochs=1, report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, optim="adamw_torch_fused", use_cpu=True,
        learning_rate=settings.lr, max_grad_norm=settings.clip,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_pretrained(_folder("auto"), num_labels=CLASSES)
    return InOrder(model, arguments, train_dataset=given, data_collator=DataCollatorWithPadding(tokenizer))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("steps", 12), ("batch", 16), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    texts, y, backbone, tokens = reviews(args.batch * args.steps)
    settings = Settings(lr=1e-4, steps=args.steps, batch_size=args.batch)
    stream = Stream(tokens, y, args.batch)
    seconds: dict[str, list[float]] = {"crossgraft": [], "bare loop": [], "Trainer": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.repeats + 1):  # the first warms up
            for way in list(seconds) if turn % 2 else list(seconds)[::-1]:
                made = trainer(texts, stream, settings, folder) if way == "Trainer" else net(backbone)
                cpu = time.process_time()
                if way == "Trainer":
                    made.train()
                else:
                    (ours if way == "crossgraft" else bare)(made, stream, settings)
                if turn:
                    seconds[way].append(time.process_time() - cpu)
    rows = []
    for way, own in seconds.items():
        ratio = statistics.median(o / s for o, s in zip(seconds["crossgraft"], own, strict=True))
        rows.append([way, f"{1e3 * statistics.median(own) / args.steps:.0f}", f"{ratio:.3f}"])
    cells.table("text-loop", ["loop", "ms a step", "crossgraft's time over its"], rows)


if __name__ == "__main__":
    main()
