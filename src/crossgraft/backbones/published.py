"""Models of transformers by name or folder: where their files are, what their JSON says, built without chatter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from crossgraft.backbones.weights import file_revision
from crossgraft.errors import CrossgraftError

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]


def model_folder(name: str) -> Path:
    """Where the files of a model are: a local folder, or the hub's cache, filled where needed."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS, ignore_patterns=["onnx/*", "openvino/*"]))
    except Exception as wrong:  # the network's, the hub's and the cache's errors
        why = (str(wrong).splitlines() or [type(wrong).__name__])[0][:120]
        raise CrossgraftError(
            f"backbone {name} is no local folder and cannot be had from the hub ({why})",
            "give a folder with config.json, safetensors and what prepares its inputs, or auto, which needs no network",
        ) from None


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A JSON object of a model's folder. Raises CrossgraftError where there is none."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        read = None
    if not isinstance(read, dict):
        raise CrossgraftError(f"backbone {name}: {path} is missing or damaged", "give the folder of a whole model")
    return read


def revision(folder: Path, name: str, weights: str | None, *parts: str) -> str:
    """Hash of the weights that a model will have, and of `parts`, what else decides its features.

    Raises CrossgraftError where the folder has no safetensors and no other weights are given.
    """
    own = sorted(folder.glob("*.safetensors"))
    if weights is None and not own:
        raise CrossgraftError(
            f"backbone {name} has no weights in safetensors", "convert them, or give a file with --weights"
        )
    if weights == "random":
        import transformers

        return hashed(*parts, f"random-{transformers.__version__}")
    return hashed(*parts, *(file_revision(f) for f in (own if weights is None else [Path(weights)])))


def hashed(*parts: str) -> str:
    """One revision of several."""
    return blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()


def built(folder: Path, weights: str | None, what: str) -> Any:
    """The model in a folder with its own weights where `weights` is None, else new ones to be filled.

    Raises CrossgraftError with `what` as the remedy where it cannot be built.
    """
    from transformers import AutoConfig, AutoModel

    with quiet():
        try:
            if weights is None:
                return AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
            return AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        except Exception as wrong:  # whatever a damaged or unknown model raises
            why = (str(wrong).splitlines() or [type(wrong).__name__])[0][:160]
            raise CrossgraftError(f"the model in {folder} cannot be built ({why})", what) from None


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no chatter of transformers; its level is as it was afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
