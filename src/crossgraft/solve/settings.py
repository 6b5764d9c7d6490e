"""The numbers of the gradient loop, and what they are for each kind of training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from crossgraft.backbones.backbone import Backbone
from crossgraft.recipe import Recipe

# Chosen by the scanned digits of seeds 100 to 102; the benchmarks report other seeds.
RATES = {"from_nothing": 2e-3, "lp_ft": 1e-3, "gradual": 1e-3, "full": 1e-3, "lora": 1e-3}
MANY = 1000  # examples from which a batch is twice as large
PRETRAINED_RATE = 1e-4  # for layers that came from a package or a hub: large networks move by less


@dataclass(frozen=True)
class Settings:
    """Numbers of the gradient loop.

    lr                largest learning rate; parts multiply it by their rate
    warmup            share of the steps in which it rises in a line
    cosine            whether it then falls to 0 as a cosine, or stays
    weight_decay      of AdamW (Loshchilov and Hutter, ICLR 2019), on matrices and kernels only
    clip              largest norm of the gradient
    class_weights     "balanced": n / (k n_c) in each domain
    mixup             alpha, 0 for none
    eval_every        steps between evaluations
    patience          evaluations without a better one before the training stops
    selection         what the rule behind `evaluate` is called
    log_every         steps between logged rows; about fifty of a training by default
    checkpoint_every  seconds between checkpoints, which are written at logged steps
    """

    lr: float = 1e-3
    steps: int = 300
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.1
    cosine: bool = True
    clip: float = 1.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    mixup: float = 0.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    eval_every: int = 50
    patience: int = 5
    selection: str = "held_out"
    log_every: int | None = None
    checkpoint_every: float = 60.0

    def rate(self, step: int, total: int) -> float:
        """The learning rate of step `step`, from 0, of `total`.

        >>> [round(Settings(lr=1.0, warmup=0.5).rate(t, 4), 3) for t in range(4)]
        [0.5, 1.0, 0.854, 0.146]
        """
        rising = math.ceil(self.warmup * total)
        if step < rising:
            return self.lr * (step + 1) / rising
        if not self.cosine:
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rising + 0.5 * (rising > 0)) / max(total - rising, 1)))


def settings_for(recipe: Recipe, schedule: str, n: int, backbone: Backbone) -> Settings:
    """Settings for a training on n examples.

    From nothing: about eight passes, 150 to 3,000 steps. On the target: about twenty passes of a small network, 150 at
    least; ten of a large one, 40 steps at least, with batches half as large. Never more than 600 steps.
    """
    batch = recipe.batch_size
    if schedule == "from_nothing":
        batch = 2 * batch if n >= MANY else batch
        steps = recipe.source_steps or min(max(8 * n // batch, 150), 3000)
    elif backbone.published:
        batch = (batch + 1) // 2
        steps = recipe.steps or min(max(10 * n // batch, 40), 600)
    else:
        steps = recipe.steps or min(max(20 * n // batch, 150), 600)
    small = backbone.published and schedule not in ("from_nothing", "lora")
    rate = PRETRAINED_RATE if small else RATES[schedule]
    return Settings(
        lr=recipe.lr or rate,
        steps=steps,
        batch_size=batch,
        weight_decay=recipe.weight_decay,
        warmup=recipe.warmup,
        clip=recipe.clip,
        label_smoothing=recipe.label_smoothing,
        class_weights=recipe.class_weights,
        mixup=recipe.mixup,
        precision=recipe.precision,
        eval_every=max(steps // 10, 1),
        patience=recipe.patience,
    )
