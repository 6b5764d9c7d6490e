"""A training on disk: safetensors with JSON in its header, replaced in one motion or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from crossgraft.errors import CrossgraftError


def write(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write and rename: whatever happens meanwhile, `path` holds the old checkpoint or the new one, never a half.

    Raises CrossgraftError where it cannot be written; what was there stays.
    """
    data = save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, {"state": json.dumps(state)})
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as wrong:
        remedy = "free some space or give another folder, then resume: the checkpoint before it is intact"
        raise CrossgraftError(f"checkpoint {path} cannot be written ({wrong.strerror or wrong})", remedy) from None
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Without it, a rename may be lost with the power."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the state of a checkpoint; None without one. Raises CrossgraftError where it is no checkpoint."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return {key: file.get_tensor(key) for key in file.keys()}, state  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as wrong:
        raise CrossgraftError(f"{path} is no checkpoint ({wrong})", "delete it; the training starts afresh") from None
