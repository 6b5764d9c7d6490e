"""A run's model as ONNX, a torch.export program, for OpenVINO, Keras or TensorFlow, checked against the run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.assembled import Outputs, Parts
from crossgraft.errors import CrossgraftError, UsageError, nearest

if TYPE_CHECKING:
    from torch import nn

    from crossgraft.run import Run

SUFFIX = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml", "keras": ".keras", "savedmodel": ".savedmodel"}
MOST = 1e-4  # difference of probabilities above which an export is refused
BATCHES = (1, 5)  # sizes that are tried: the batch is dynamic
NEEDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch": (),
    "openvino": ("openvino",),
    "keras": ("keras",),
    "savedmodel": ("keras", "tensorflow"),
}
INPUT = "crossgraft"  # what values of an ONNX graph are called until they have their names
EXTRA = {"keras": "keras", "savedmodel": "tensorflow"}
Said = list[Outputs]  # for each batch of examples, once the export is loaded again


def export(run: Run, format: str = "onnx", out: str | Path | None = None) -> dict[str, Any]:
    """Write the run's model and a JSON file beside it that says what goes in and what comes out.

    format  onnx, torch, openvino, keras, or savedmodel, which is a folder
    out     the file; by default RUN/model.onnx, .pt2, .xml, .keras or .savedmodel

    Pictures go in as uint8 (B, S, S, C), resized and cropped as the JSON file says, and are normalised inside; vectors
    as float32 (B, D). Probabilities (B, K) come out, of a run of several tasks one output a task, by its name, from one
    pass through the layers they share. Raises CrossgraftError where a library is missing, or where a probability
    differs by more than 1e-4: then nothing is left behind.
    """
    if format not in SUFFIX:
        raise UsageError(
            f"unknown format {format!r}", nearest(format, list(SUFFIX)) or f"use one of {', '.join(SUFFIX)}"
        )
    if missing := [name for name in NEEDS[format] if find_spec(name) is None]:
        extra = EXTRA.get(format, "export")
        raise CrossgraftError(f"{' and '.join(missing)} not installed", f"pip install 'crossgraft[{extra}]'")
    parts = Parts.of(run)
    path = Path(out) if out is not None else run.folder / f"model{SUFFIX[format]}"
    if path.suffix != SUFFIX[format]:
        raise UsageError(f"{path} does not end in {SUFFIX[format]}", "choose another --out")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise UsageError(f"{path} is a folder of something else", "choose another --out")
    examples = [parts.inputs(n) for n in BATCHES]
    spec: dict[str, Any] = {"format": format, **parts.described()}
    scratch = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = _WRITERS[format](parts, examples, scratch, spec)
        worst = max(_apart(found, parts.said(x)) for found, x in zip(said, examples, strict=True))
        if not worst <= MOST:
            raise CrossgraftError(
                f"probabilities of the export differ by {worst:.1e}",
                "use another format; this one does not fit the layers",
            )
        for part in sorted(scratch.parent.glob(f"{scratch.stem}.*")):
            _remove(path.with_suffix(part.suffix))
            part.replace(path.with_suffix(part.suffix))
        spec |= {"max_difference": worst, "checked_batches": list(BATCHES)}
        path.with_name(path.name + ".json").write_text(
            json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    except OSError as wrong:
        raise CrossgraftError(f"cannot write {path}: {wrong.strerror}", "make room or choose another --out") from None
    finally:
        for part in scratch.parent.glob(f"{scratch.stem}.*"):
            _remove(part)
    return {"run": str(run.folder), "file": str(path), **spec}


def _apart(found: Outputs, said: Outputs) -> float:
    return max(float(np.abs(found[name] - p).max()) for name, p in said.items())


def program_of(module: nn.Module, x: np.ndarray) -> Any:
    """Layers as a program of torch.export whose batch is of any size; x: an example of its one input."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch", min=1)},)
        return torch.export.export(module, (torch.from_numpy(x),), dynamic_shapes=shapes)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _onnx(parts: Parts, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    import onnx
    import onnxruntime
    import torch

    given, names = parts.input_name, list(parts.heads)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            parts.module(), (torch.from_numpy(examples[-1]),), dynamo=True, verbose=False, input_names=[INPUT],
            output_names=[f"{INPUT}.{i}" for i in range(len(names))],
            dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}},
        )  # fmt: skip
    assert made is not None
    proto = made.model_proto
    _call(proto.graph, {INPUT: given} | {f"{INPUT}.{i}": name for i, name in enumerate(names)})
    onnx.helper.set_model_props(proto, {"crossgraft": json.dumps(spec, ensure_ascii=False)})
    path.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [dict(zip(names, map(np.asarray, session.run(names, {given: x})), strict=True)) for x in examples]


def _call(graph: Any, new: dict[str, str]) -> None:
    """Rename values of an ONNX graph; others that have one of the new names get out of their way."""
    taken = set(new.values())
    held = {n for node in graph.node for n in (*node.input, *node.output)} | {i.name for i in graph.initializer}
    new = {n: f"{n}.inside" for n in held & taken} | new
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new.get(n, n) for n in ends]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)


def _torch(parts: Parts, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    import torch

    program = program_of(parts.module(), examples[-1])
    torch.export.save(program, path, extra_files={"crossgraft.json": json.dumps(spec)})
    loaded = torch.export.load(path).module()
    said = [loaded(torch.from_numpy(x)) for x in examples]
    return [{n: own.detach().numpy() for n, own in parts.named(found).items()} for found in said]


def _openvino(parts: Parts, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    import openvino as ov

    made = ov.convert_model(program_of(parts.module(), examples[-1]))
    made.inputs[0].get_tensor().set_names({parts.input_name})
    for name, output in zip(parts.heads, made.outputs, strict=True):
        output.get_tensor().set_names({name})
    ov.save_model(made, path, compress_to_fp16=False)
    compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said = [compiled([x]) for x in examples]
    return [{n: np.array(found[n]) for n in parts.heads} for found in said]


def _keras(parts: Parts, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.keras.writing import write_keras

    said = write_keras(program_of(parts.module(), examples[-1]), examples, path, parts.output_names, parts.input_name)
    return [parts.named(found) for found in said]


def _savedmodel(parts: Parts, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.keras.writing import write_saved_model

    program = program_of(parts.module(), examples[-1])
    said = write_saved_model(program, examples, path, spec, parts.output_names, parts.input_name)
    return [parts.named(found) for found in said]


_WRITERS: dict[str, Callable[[Parts, list[np.ndarray], Path, dict[str, Any]], Said]] = {
    "onnx": _onnx, "torch": _torch, "openvino": _openvino, "keras": _keras, "savedmodel": _savedmodel,
}  # fmt: skip
