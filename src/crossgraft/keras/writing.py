"""A program of torch as a `.keras` file, and as a TensorFlow SavedModel; and what they answer once they are loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import CrossgraftError
from crossgraft.keras.convert import to_keras

if TYPE_CHECKING:
    from torch.export import ExportedProgram


Said = Float[np.ndarray, "B K"] | dict[str, Float[np.ndarray, "B K"]]


def write_keras(
    program: ExportedProgram, examples: Sequence[np.ndarray], path: Path, names: Sequence[str] | None = None,
    given: str = "x",
) -> list[Said]:  # fmt: skip
    """The file; what the model in it says of each batch of examples.

    names  of the outputs, where the program has several: the model then answers with a dict
    given  name of the input
    """
    keras = imported()
    to_keras(program, "crossgraft", names, given).save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    return [keras.tree.map_structure(np.asarray, loaded.predict(x, verbose=0)) for x in examples]


def write_saved_model(
    program: ExportedProgram,
    examples: Sequence[np.ndarray],
    path: Path,
    spec: dict[str, Any],
    names: Sequence[str] | None = None,
    given: str = "x",
) -> list[Said]:
    """The folder, written by TensorFlow in a process of its own: two frameworks in one disturb each other."""
    with tempfile.TemporaryDirectory() as scratch:
        file, inputs, outputs = (Path(scratch) / name for name in ("model.keras", "x.npz", "y.npz"))
        write_keras(program, [], file, names, given)
        named: dict[str, Any] = {f"x{i}": x for i, x in enumerate(examples)}
        np.savez(inputs, **named)
        env = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-m", "crossgraft.keras.saved_model", file, path, inputs, outputs],
            env=env, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception)", line)]
            why = (said or done.stderr.strip().splitlines() or ["it said nothing"])[-1][:160]
            raise CrossgraftError(f"TensorFlow did not write the model ({why})", "pip install 'crossgraft[tensorflow]'")
        (path / "crossgraft.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        with np.load(outputs) as said:
            each = [f"x{i}" for i in range(len(examples))]
            return [said[x] if names is None else {n: said[f"{x}/{n}"] for n in names} for x in each]
