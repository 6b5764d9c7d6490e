"""A run's model as ONNX, a torch.export program, for OpenVINO, Keras or TensorFlow, checked against the run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crossgraft import features
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.model import Model
from crossgraft.seeds import rng
from crossgraft.tasks import log_softmax

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
EXTRA = {"keras": "keras", "savedmodel": "tensorflow"}
Said = list[Float[np.ndarray, "B K"]]  # probabilities for each batch of examples, once the export is loaded again


def export(run: Run, format: str = "onnx", out: str | Path | None = None) -> dict[str, Any]:
    """Write the run's model and a JSON file beside it that says what goes in and what comes out.

    format  onnx, torch, openvino, keras, or savedmodel, which is a folder
    out     the file; by default RUN/model.onnx, .pt2, .xml, .keras or .savedmodel

    Pictures go in as uint8 (B, S, S, C), resized and cropped as the JSON file says, and are normalised inside; vectors
    as float32 (B, D). Probabilities (B, K) come out. Raises CrossgraftError where a library is missing, or where a
    probability differs by more than 1e-4: then nothing is left behind.
    """
    if format not in SUFFIX:
        raise UsageError(
            f"unknown format {format!r}", nearest(format, list(SUFFIX)) or f"use one of {', '.join(SUFFIX)}"
        )
    if missing := [name for name in NEEDS[format] if find_spec(name) is None]:
        extra = EXTRA.get(format, "export")
        raise CrossgraftError(f"{' and '.join(missing)} not installed", f"pip install 'crossgraft[{extra}]'")
    model = run.model
    if model.backbone.kind not in ("image", "vector"):
        raise CrossgraftError(
            f"a model of {model.backbone.kind}s cannot be exported yet", "use crossgraft predict, or Run.open in Python"
        )
    path = Path(out) if out is not None else run.folder / f"model{SUFFIX[format]}"
    if path.suffix != SUFFIX[format]:
        raise UsageError(f"{path} does not end in {SUFFIX[format]}", "choose another --out")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise UsageError(f"{path} is a folder of something else", "choose another --out")
    module = assembled(model)
    examples = [_inputs(model, n) for n in BATCHES]
    spec: dict[str, Any] = {
        "format": format,
        "input": _described(model),
        "output": {"probabilities": list(model.task.classes)},
    }
    scratch = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = _WRITERS[format](module, examples, scratch, spec)
        worst = max(float(np.abs(p - reference(model, x)).max()) for p, x in zip(said, examples, strict=True))
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


def assembled(model: Model) -> nn.Module:
    """Inputs to probabilities in one module of float32: normalisation, layers, head, softmax."""
    import torch
    from torch import Tensor, nn

    from crossgraft.features.engine import wrapped

    b = model.backbone
    layers = b.fresh(0)
    layers = layers if b.preprocess is None else wrapped(layers, b.preprocess)

    class Assembled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers
            self.head = nn.Linear(*model.weight.shape)
            with torch.no_grad():
                self.head.weight.copy_(torch.from_numpy(model.weight.T))
                self.head.bias.copy_(torch.from_numpy(model.bias))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layers(x)).softmax(1)  # type: ignore[no-any-return]

    return Assembled().eval()


def reference(model: Model, inputs: np.ndarray) -> Float[np.ndarray, "B K"]:
    """What the run says of inputs as its backbone takes them."""
    x = features.embed(model.backbone, inputs)
    return np.asarray(np.exp(log_softmax(x.astype(np.float64) @ model.weight + model.bias)))


def _inputs(model: Model, n: int) -> np.ndarray:
    draw, p = rng(0, f"export/{n}"), model.backbone.preprocess
    if p is not None:
        return draw.integers(0, 256, (n, p.size, p.size, p.channels), dtype=np.uint8)
    width = model.backbone.dim
    if model.backbone.name != "identity":
        width = next(iter(model.backbone.module.parameters())).shape[-1]
    return draw.normal(0, 1, (n, width)).astype(np.float32)


def _described(model: Model) -> dict[str, Any]:
    x = _inputs(model, 1)
    spec: dict[str, Any] = {"name": "x", "type": str(x.dtype), "shape": ["batch", *x.shape[1:]]}
    if (p := model.backbone.preprocess) is not None:
        spec["prepared"] = {
            "resize_shorter_side_to": round(p.size / p.crop),
            "centre_crop": p.size,
            "interpolation": p.interpolation,
            "channels": "RGB" if p.channels == 3 else "luminance",
            "inside": "scaling to [0, 1], mean and std",
            **{k: v for k, v in asdict(p).items() if k in ("mean", "std")},
        }
    return spec


def program_of(module: nn.Module, x: np.ndarray) -> Any:
    """Layers as a program of torch.export whose batch is of any size; x: an example of its one input."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch", min=1)},)
        return torch.export.export(module, (torch.from_numpy(x),), dynamic_shapes=shapes)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _onnx(module: nn.Module, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    import onnx
    import onnxruntime
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            module, (torch.from_numpy(examples[-1]),), dynamo=True, verbose=False, input_names=["x"],
            output_names=["probabilities"], dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}},
        )  # fmt: skip
    assert made is not None
    proto = made.model_proto
    onnx.helper.set_model_props(proto, {"crossgraft": json.dumps(spec, ensure_ascii=False)})
    path.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [np.asarray(session.run(None, {"x": x})[0]) for x in examples]


def _torch(module: nn.Module, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    import torch

    torch.export.save(program_of(module, examples[-1]), path, extra_files={"crossgraft.json": json.dumps(spec)})
    loaded = torch.export.load(path).module()
    return [np.asarray(loaded(torch.from_numpy(x)).detach().numpy()) for x in examples]


def _openvino(module: nn.Module, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    import openvino as ov

    made = ov.convert_model(program_of(module, examples[-1]))
    made.inputs[0].get_tensor().set_names({"x"})
    made.outputs[0].get_tensor().set_names({"probabilities"})
    ov.save_model(made, path, compress_to_fp16=False)
    compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.asarray(compiled([x])[0]) for x in examples]


def _keras(module: nn.Module, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.keras.writing import write_keras

    return write_keras(program_of(module, examples[-1]), examples, path)


def _savedmodel(module: nn.Module, examples: list[np.ndarray], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.keras.writing import write_saved_model

    return write_saved_model(program_of(module, examples[-1]), examples, path, spec)


_WRITERS: dict[str, Callable[[nn.Module, list[np.ndarray], Path, dict[str, Any]], Said]] = {
    "onnx": _onnx, "torch": _torch, "openvino": _openvino, "keras": _keras, "savedmodel": _savedmodel,
}  # fmt: skip
