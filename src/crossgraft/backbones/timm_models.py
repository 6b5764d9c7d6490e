"""Any model of timm, by name, with published or local weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crossgraft.backbones.backbone import Backbone, Preprocess, SourceHead
from crossgraft.backbones.groups import groups_of
from crossgraft.backbones.weights import file_revision, fill, read_state, state_revision
from crossgraft.errors import CrossgraftError, UsageError, nearest

if TYPE_CHECKING:
    from torch import nn


def timm_model(name: str, weights: str | None) -> Backbone:
    """A backbone from timm: features after global pooling, preprocessing from the model's own data configuration."""
    import timm

    bare = name.removeprefix("timm/")
    hub = bare.startswith("hf_hub:") or bare.startswith("hf-hub:")
    if not hub and not timm.is_model(bare.split(".")[0]):
        known = [*timm.list_models(), "auto", "cnn", "mlp", "identity"]
        remedy = nearest(bare, known) or "timm.list_models() lists the names"
        raise UsageError(f"unknown backbone {name!r}", remedy)
    module = _published(name, bare, hub) if weights is None else _created(name, bare)
    head: SourceHead | None = None
    if weights is None:
        head = _split_head(module)
        revision = state_revision(module)
    elif weights == "random":
        _split_head(module)
        revision = f"random-{bare}-{timm.__version__}"
    else:
        head = _local(module, Path(weights))
        revision = file_revision(Path(weights))
    taken: nn.Module = module.eval()

    def build() -> nn.Module:
        if weights != "random":
            return taken
        drawn: nn.Module = _created(name, bare)
        _split_head(drawn)
        return drawn.eval()

    return Backbone(
        name=name,
        revision=revision,
        kind="image",
        dim=int(module.num_features if not hasattr(module, "head_hidden_size") else module.head_hidden_size),
        build=build,
        groups=groups_of(module),
        preprocess=data_config(module),
        pretrained=weights != "random",
        portable=weights is None,
        source_head=None if head is None else lambda: head,
    )


def _created(name: str, bare: str) -> Any:
    import timm

    try:
        return timm.create_model(bare, pretrained=False)
    except Exception as wrong:
        raise _unreachable(name, wrong) from None


def _published(name: str, bare: str, hub: bool) -> Any:
    import timm

    try:
        if not hub and not timm.get_pretrained_cfg(bare):
            raise RuntimeError("no published weights")
        return timm.create_model(bare, pretrained=True)
    except Exception as wrong:
        raise _unreachable(name, wrong) from None


def _unreachable(name: str, wrong: Exception) -> CrossgraftError:
    why = (str(wrong).splitlines() or [type(wrong).__name__])[0][:120]
    return CrossgraftError(
        f"the weights of backbone {name} cannot be had from the hub ({why})",
        "give them with --weights FILE, or use --backbone auto, which needs no network",
    )


def _split_head(module: Any) -> SourceHead | None:
    """Take the classifier off; give it where it is one linear layer."""
    from torch import nn

    from crossgraft.backbones.packaged import head_of

    last = module.get_classifier()
    classes = int(getattr(module, "num_classes", 0))
    module.reset_classifier(0)
    if not isinstance(last, nn.Linear) or last.bias is None:
        return None
    return head_of(last.weight, last.bias, tuple(map(str, range(classes))))


def _local(module: Any, path: Path) -> SourceHead | None:
    """Fill from a file that has the whole model, with any number of classes, or the model without its head."""
    state = read_state(path)
    wanted = module.state_dict()
    bodies = {k for k, _ in module.named_parameters()}
    head = module.pretrained_cfg.get("classifier")
    key = f"{head}.weight" if isinstance(head, str) else ""
    if key in state and key in bodies:
        if len(state[key]) != len(wanted[key]):
            module.reset_classifier(len(state[key]))
        fill(module, state, str(path))
        return _split_head(module)
    _split_head(module)
    fill(module, state, str(path))
    return None


def data_config(module: Any) -> Preprocess:
    """How a model of timm says that pictures are prepared."""
    from timm.data.config import resolve_model_data_config

    found = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    channels, size = int(found["input_size"][0]), int(found["input_size"][-1])
    mean, std = (tuple(float(v) for v in found[k]) for k in ("mean", "std"))
    kind: Literal["bilinear", "bicubic"] = "bilinear" if found["interpolation"] == "bilinear" else "bicubic"
    return Preprocess(size, channels, mean, std, kind, float(found["crop_pct"]))
