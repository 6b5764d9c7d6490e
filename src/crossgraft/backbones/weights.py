"""Files of weights: read without executing anything, named by their content, checked key by key."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.errors import CrossgraftError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

REMEDY = "give weights of the model that --backbone names"


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .pt file, by name. Raises where it is missing, damaged or holds more."""
    import torch

    if not path.is_file():
        raise CrossgraftError(
            f"there is no file of weights {path}", "give the path of a .safetensors, .pth or .pt file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix not in (".pth", ".pt"):
            raise UsageError(f"{path} is of no kind that is read", "give a .safetensors, .pth or .pt file")
        read: Any = torch.load(path, map_location="cpu", weights_only=True)
    except CrossgraftError:
        raise
    except pickle.UnpicklingError:
        raise CrossgraftError(
            f"{path} holds more than tensors, or is damaged", "save its state_dict() alone, best as .safetensors"
        ) from None
    except Exception as wrong:  # damaged files raise whatever their reader likes
        raise CrossgraftError(f"{path} cannot be read ({str(wrong).splitlines()[0][:120]})", "copy it again") from None
    for key in ("state_dict", "model"):
        if isinstance(read, dict) and isinstance(read.get(key), dict):
            read = read[key]
    if not isinstance(read, dict) or not all(isinstance(v, torch.Tensor) for v in read.values()):
        raise CrossgraftError(f"{path} is no table of tensors", "save the model's state_dict()")
    return {str(k).removeprefix("module."): v for k, v in read.items()}


def fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict; every key and every shape must agree. Raises CrossgraftError naming the first that do not."""
    own = module.state_dict()
    missing, extra = [k for k in own if k not in state], [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or extra:
        parts = [f"{len(k)} {w} (first {k[0]!r})" for k, w in ((missing, "missing"), (extra, "unknown")) if k]
        raise CrossgraftError(f"{where} does not fit: keys {' and '.join(parts)}", REMEDY)
    if shapes:
        k = shapes[0]
        found = f"{k!r} has shape {tuple(state[k].shape)}, the model {tuple(own[k].shape)}"
        raise CrossgraftError(f"{where} does not fit: {found}", REMEDY)
    module.load_state_dict(dict(state))


def file_revision(path: Path) -> str:
    """BLAKE2b of a file's bytes; hashed once a process for one path, size and time of change."""
    at = path.stat()
    return _file_revision(str(path), at.st_size, at.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_revision(path: str, size: int, changed: int) -> str:
    digest = blake2b(digest_size=20)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def state_revision(module: nn.Module) -> str:
    """BLAKE2b of the names and bytes of a module's weights."""
    digest = blake2b(digest_size=20)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def kept_once(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights by name, what it has under several names under the first."""
    first: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    return {name: t.detach() for name, t in state.items() if first.setdefault(id(t), name) == name}


def everywhere(module: nn.Module, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `kept_once` gave, under all names that it has in a module."""
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(t), name) for name, t in module.state_dict(keep_vars=True).items()}
    return {name: kept[own] for name, own in names.items() if own in kept}


def with_state(backbone: Backbone, state: Mapping[str, np.ndarray], preprocess: Preprocess | None) -> Backbone:
    """The same architecture with weights from a run."""

    def build() -> nn.Module:
        import torch

        module = backbone.build()
        given = {k: torch.as_tensor(np.array(v)) for k, v in state.items()}
        fill(module, given | everywhere(module, given), "the run's weights")
        return module.eval()

    return replace(
        backbone, build=build, preprocess=preprocess, pretrained=True, portable=False, source_head=None, revision="run"
    )
