"""Classifiers of torchvision, such as the resnet18 of PyTorch's transfer-learning tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crossgraft.backbones.backbone import Backbone, Preprocess, SourceHead
from crossgraft.backbones.groups import groups_of
from crossgraft.backbones.packaged import head_of
from crossgraft.backbones.weights import file_revision, fill, read_state, state_revision
from crossgraft.errors import CrossgraftError, UsageError, nearest

if TYPE_CHECKING:
    from torch import nn


def torchvision_model(name: str, weights: str | None) -> Backbone:
    """torchvision/NAME without its last linear layer; the first published weights (the tutorial's), or a local file."""
    import torchvision
    from torchvision import models

    bare = name.removeprefix("torchvision/")
    known = models.list_models(module=models)
    if bare not in known:
        remedy = nearest(bare, known) or "torchvision.models.list_models() lists the names"
        raise UsageError(f"unknown backbone {name!r}", remedy)
    entry: Any = next(iter(models.get_model_weights(bare)), None)
    try:
        module = models.get_model(bare, weights=entry if weights is None else None)
    except Exception as wrong:
        raise CrossgraftError(
            f"the weights of backbone {name} cannot be downloaded ({type(wrong).__name__})",
            "give them with --weights FILE, or use --backbone auto, which needs no network",
        ) from None
    classes = tuple(entry.meta["categories"]) if entry is not None else ()
    if weights not in (None, "random"):
        fill(module, read_state(Path(str(weights))), str(weights))
    head, dim = _split_head(module, classes)
    taken: nn.Module = module.eval()
    revision = f"random-{name}-{torchvision.__version__}"
    if weights != "random":
        revision = state_revision(module) if weights is None else file_revision(Path(str(weights)))

    def build() -> nn.Module:
        if weights != "random":
            return taken
        drawn: nn.Module = models.get_model(bare, weights=None)
        _split_head(drawn, classes)
        return drawn.eval()

    known_good = weights != "random"
    return Backbone(
        name, revision, "image", dim, build, groups_of(module), _preprocess(entry), pretrained=known_good,
        portable=weights is None, source_head=(lambda: head) if known_good else None,
    )  # fmt: skip


def _split_head(module: nn.Module, classes: tuple[str, ...]) -> tuple[SourceHead, int]:
    """Replace the last linear layer by nothing; its weights and the number of features before it."""
    from torch import nn

    path, last = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear)][-1]
    parent, _, leaf = path.rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Identity())
    names = classes if len(classes) == last.out_features else tuple(map(str, range(last.out_features)))
    return head_of(last.weight, last.bias, names), last.in_features


def _preprocess(entry: Any) -> Preprocess:
    if entry is None:
        return Preprocess(224, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875)
    made = entry.transforms()
    size, resize = made.crop_size[0], made.resize_size[0]
    kind: Literal["bilinear", "bicubic"] = "bicubic" if made.interpolation.value == "bicubic" else "bilinear"
    return Preprocess(size, 3, tuple(made.mean), tuple(made.std), kind, size / resize)
