"""Keras, imported when it is asked for, on a backend that is installed."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossgraft.errors import CrossgraftError
from crossgraft.loading import apart_from_tensorflow


def imported(needs: str | None = None) -> Any:
    """The module `keras`, of version 3.

    needs  the backend that it must run on, for layers that are trained as modules of torch; None for any: the one that
           KERAS_BACKEND or keras.json names, or torch where that is not installed, or where torch is loaded already,
           since TensorFlow beside it may crash

    Raises CrossgraftError where Keras is missing or too old, or runs on another backend in this process already.
    """
    if find_spec("keras") is None:
        raise CrossgraftError("keras is not installed", "pip install 'crossgraft[keras]'")
    if "keras" not in sys.modules and not os.environ.get("KERAS_BACKEND"):
        named = needs or ("torch" if "torch" in sys.modules else _configured())
        os.environ["KERAS_BACKEND"] = named if find_spec(named) is not None else "torch"
    import keras

    apart_from_tensorflow()
    if int(keras.__version__.split(".")[0]) < 3:
        raise CrossgraftError(f"keras {keras.__version__} is too old", "pip install 'keras>=3.10'")
    if needs is not None and keras.backend.backend() != needs:
        raise CrossgraftError(
            f"keras runs on {keras.backend.backend()} in this process and layers of crossgraft on {needs}",
            f"set KERAS_BACKEND={needs} before keras is imported",
        )
    return keras


def _configured() -> str:
    """The backend that keras.json names, by default tensorflow, as Keras itself reads it."""
    folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        return str(json.loads((Path(folder) / "keras.json").read_text(encoding="utf-8")).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"
