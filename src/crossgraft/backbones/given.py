"""Any module of torch as a Backbone."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.backbones.groups import groups_of
from crossgraft.backbones.weights import state_revision, with_state
from crossgraft.domains.clips import RATE
from crossgraft.domains.domain import Domain, plural
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.progress import say

if TYPE_CHECKING:
    from torch import Tensor, nn

PHOTO = Preprocess(224, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)  # of ImageNet
TOLD = 32  # features by which layers are known again
PLAIN = (bool, int, float, str, tuple)


def from_module(
    module: nn.Module,
    inputs: Preprocess | int | Literal["audio"],
    *,
    name: str | None = None,
    pretrained: bool = True,
) -> Backbone:
    """A Backbone of somebody's own layers, their groups found from input to output.

    module      normalised pictures (B, C, S, S), vectors (B, inputs), or clips (B, L) in [-1, 1] at 16 kHz, of one
                length at a time, to features (B, D); it is copied
    inputs      how pictures are prepared, the width of the vectors, or "audio"
    name        by default the class and the revision: of the weights and, where Python has it, the code
    pretrained  False for layers that have learned nothing yet

    `fit`, `gap`, `rank`, features and schedules take it as any other. Its code has no name, so its features are in no
    store, and a run is opened with `Run.open(folder, backbone=module)`. Raises UsageError where the module does not
    give one row of features an example.

    >>> from torch import nn
    >>> backbone = from_module(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)), 3)
    >>> backbone.dim, [group for group, _ in backbone.groups]
    (4, ['0', '2'])
    """
    import torch

    own: nn.Module = copy.deepcopy(module).to("cpu", torch.float32).eval().requires_grad_(True)
    revision = code_revision(own)
    tokens = None
    kind: Literal["image", "vector", "audio"] = "vector" if isinstance(inputs, int) else "image"
    if isinstance(inputs, str):
        from crossgraft.backbones.audio_models import TOKENS
        from crossgraft.backbones.waves import GivenClips

        own, kind, tokens = GivenClips(own, TOKENS.length).eval(), "audio", TOKENS
        shape: tuple[int, ...] = (RATE,)
    else:
        shape = (inputs,) if isinstance(inputs, int) else (inputs.channels, inputs.size, inputs.size)
    try:
        with torch.inference_mode():
            seen = tuple(own(_probe(kind, shape)).shape)
    except (RuntimeError, TypeError, AttributeError, ValueError, IndexError) as wrong:
        said = (str(wrong).splitlines() or [type(wrong).__name__])[0][:120]
        raise UsageError(f"the module does not take {(2, *shape)} ({said})", "give layers for such inputs") from None
    if len(seen) != 2 or seen[0] != 2:
        raise UsageError(f"the module gives {seen} for two examples", "end it with pooling and Flatten: (B, D)")
    return Backbone(
        name or called(type(module).__name__, revision), revision, kind, int(seen[1]), lambda: copy.deepcopy(own),
        groups_of(own), inputs if isinstance(inputs, Preprocess) else None, tokens, pretrained=pretrained,
        portable=False, given=shape,
    )  # fmt: skip


def named(layers: Any) -> str:
    """The name of a module, or of a Backbone, in angle brackets where it finds no layers again."""
    import torch

    if isinstance(layers, Backbone):
        known = layers.portable or layers.name.startswith("<")
        return layers.name if known else called(layers.name, layers.revision)
    if isinstance(layers, torch.nn.Module):
        return called(type(layers).__name__, code_revision(layers))
    raise UsageError(f"backbone is a {type(layers).__name__}", "give a name, a torch.nn.Module or a Backbone")


def given(layers: Any, domain: Domain) -> Backbone:
    """The Backbone of layers that were given as an object, for the inputs of this domain.

    Pictures are prepared as a model of timm says itself; otherwise those of up to 40 pixels a side in their own size
    and in [-1, 1], larger ones as 224 pixels with ImageNet's mean and deviation; in as many channels as the first
    convolution has. `from_module(module, Preprocess(...))` says it otherwise.
    """
    name = named(layers)
    if isinstance(layers, Backbone):
        if layers.kind != domain.kind:
            raise UsageError(
                f"backbone {name} reads {plural(layers.kind)}, not {plural(domain.kind)}", "use --backbone auto"
            )
        return replace(layers, name=name)
    if domain.kind == "audio":
        return from_module(layers, "audio")
    if domain.kind not in ("image", "vector"):
        remedy = "save an encoder of transformers with its tokenizer (save_pretrained), and name the folder"
        raise UsageError(f"a module is no backbone of {plural(domain.kind)}", remedy)
    from crossgraft.backbones import small

    if domain.kind == "vector":
        return from_module(layers, small.width(domain))
    if getattr(layers, "pretrained_cfg", None):
        from crossgraft.backbones.timm_models import data_config

        return from_module(layers, data_config(layers))
    widths = [m.in_channels for m in layers.modules() if type(m).__name__ == "Conv2d"]
    channels = int(widths[0]) if widths else None
    if (inputs := small.own_size(domain, channels)) is None:
        colours = channels or 3
        inputs = replace(PHOTO, channels=colours, mean=PHOTO.mean[:colours], std=PHOTO.std[:colours])
    say(f"{name} sees pictures of {inputs.size} pixels, mean {inputs.mean}, deviation {inputs.std}")
    return from_module(layers, inputs)


def opened(layers: Any, spec: Mapping[str, Any], preprocess: Preprocess | None, state: Mapping[str, Any]) -> Backbone:
    """The Backbone of a saved run, from the layers as they were given and the weights that the run kept."""
    if not isinstance(layers, Backbone):
        kind, shape = spec["kind"], spec.get("given", {}).get("shape", [0])
        layers = from_module(layers, preprocess or ("audio" if kind == "audio" else int(shape[0])))
    return with_state(layers, state, preprocess) if state else layers


def agree(found: Backbone, spec: Mapping[str, Any]) -> None:
    """Raises CrossgraftError where layers do not compute what a saved run's layers computed."""
    told = spec.get("given", {}).get("features")
    if told is not None and found.given is not None:
        wanted, got = np.array(told), np.array(signature(found)["features"])
        if wanted.shape != got.shape or np.abs(wanted - got).max(initial=0) > 1e-3 * np.abs(wanted).max(initial=1):
            what = f"the layers given compute other features than {spec['name']}, which the run was made with"
            raise CrossgraftError(what, "give the module of the same code")


def signature(backbone: Backbone) -> dict[str, Any]:
    """The shape of an example, and the first features of one that is always the same."""
    import torch

    assert backbone.given is not None
    with torch.inference_mode():
        out = backbone.module.cpu()(_probe(backbone.kind, backbone.given))[0, :TOLD]
    return {"shape": list(backbone.given), "features": [float(f"{v:.6g}") for v in out.tolist()]}


def called(what: str, revision: str) -> str:
    """A name for what no name finds again."""
    return f"<{what} {revision[:12]}>"


def code_revision(module: nn.Module) -> str:
    """A hash of weights, of what the layers are, and of the code of those that are not torch's own."""
    digest = blake2b(f"{state_revision(module)}{module!r}".encode(), digest_size=20)
    for layer in module.modules():
        if type(layer).__module__.startswith("torch."):
            continue
        own = {k: v for k, v in vars(layer).items() if isinstance(v, PLAIN) and k != "training"}
        try:
            code = inspect.getsource(type(layer))
        except (OSError, TypeError):  # of a session without files
            code = type(layer).__qualname__
        digest.update(f"{code}{sorted(own.items())}".encode())
    return digest.hexdigest()


def _probe(kind: str, shape: tuple[int, ...]) -> Tensor:
    """Two examples that are always the same."""
    import torch

    draw = torch.Generator().manual_seed(0)
    if kind == "audio":
        return torch.randint(0, 1 << 16, (2, *shape), generator=draw)
    return torch.randn((2, *shape), generator=draw)
