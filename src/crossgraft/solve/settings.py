"""The loop's settings for each kind of training, from the recipe and the number of labels."""

from __future__ import annotations

from crossgraft.backbones.backbone import Backbone
from crossgraft.recipe import Recipe
from crossgraft.solve.loop import Settings

# Chosen on seeds 100 and above of the digits, never on test labels of a reported table.
RATES = {"from_nothing": 2e-3, "lp_ft": 1e-3, "gradual": 1e-3, "full": 1e-3}
MANY = 1000  # examples from which a batch is twice as large
PRETRAINED_RATE = 1e-4  # for layers that came from a package or a hub: large networks move by less


def settings_for(recipe: Recipe, schedule: str, n: int, backbone: Backbone) -> Settings:
    """Settings for a training on n examples.

    From nothing: about eight passes, 150 to 3,000 steps. On the target: about twenty passes, up to 600 steps, and at
    least 150 of a small network or 40 of a large one.
    """
    batch = recipe.batch_size
    if schedule == "from_nothing":
        batch = 2 * batch if n >= MANY else batch
        steps = recipe.source_steps or min(max(8 * n // batch, 150), 3000)
    else:
        steps = recipe.steps or min(max(20 * n // batch, 40 if backbone.portable else 150), 600)
    rate = PRETRAINED_RATE if backbone.portable and schedule != "from_nothing" else RATES[schedule]
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
