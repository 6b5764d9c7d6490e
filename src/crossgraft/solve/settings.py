"""The loop's settings for each kind of training, from the recipe and the number of labels."""

from __future__ import annotations

from crossgraft.backbones.backbone import Backbone
from crossgraft.recipe import Recipe
from crossgraft.solve.loop import Settings

# Chosen on seeds 100 and above of the digits, never on test labels of a reported table.
RATES = {"from_nothing": 2e-3, "lp_ft": 3e-4, "gradual": 3e-4, "full": 3e-4}
PRETRAINED_RATE = 1e-4  # for layers that came from a package or a hub: large networks move by less


def settings_for(recipe: Recipe, schedule: str, n: int, backbone: Backbone) -> Settings:
    """Settings for a training on n examples.

    From nothing: about ten passes, between 300 and 3,000 steps. On the target: about twenty passes, between 60 and 600.
    """
    batch = recipe.batch_size
    if schedule == "from_nothing":
        steps = recipe.source_steps or min(max(10 * n // batch, 300), 3000)
    else:
        steps = recipe.steps or min(max(20 * n // batch, 60), 600)
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
