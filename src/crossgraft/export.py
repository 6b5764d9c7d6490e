"""A run's model as ONNX, a torch.export program, for OpenVINO, Keras or TensorFlow, checked against the run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.assembled import Outputs, Parts
from crossgraft.domains.domain import plural
from crossgraft.entrances import Inputs
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.program import program_of, tensors

if TYPE_CHECKING:
    from crossgraft.run import Run

SUFFIX = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml", "keras": ".keras", "savedmodel": ".savedmodel",
          "transformers": ".transformers"}  # fmt: skip
MOST = 1e-4  # difference of probabilities above which an export is refused
BATCHES = (1, 5)  # sizes that are tried: the batch is dynamic
NEEDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch": (),
    "openvino": ("openvino",),
    "keras": ("keras",),
    "savedmodel": ("keras", "tensorflow"),
    "transformers": (),
}
INPUT = "crossgraft"  # what values of an ONNX graph are called until they have their names
EXTRA = {"keras": "keras", "savedmodel": "tensorflow"}
Said = list[Outputs]  # for each batch of examples, once the export is loaded again


def export(run: Run, format: str = "onnx", out: str | Path | None = None) -> dict[str, Any]:
    """Write the run's model and a JSON file beside it that says what goes in and what comes out.

    format  onnx, torch, openvino, keras, or savedmodel and transformers, which are folders
    out     the file; by default RUN/model.onnx, .pt2, .xml, .keras, .savedmodel or .transformers

    Pictures go in as uint8 (B, S, S, C), resized and cropped as the JSON file says, and are normalised inside; vectors
    as float32 (B, D); texts as input_ids, attention_mask and perhaps token_type_ids (B, L), the tokenizer's files in a
    folder beside the model, of transformers in it; clips as samples (B, L) and lengths (B,). Probabilities (B, K) come
    out, of tags (B, L, K) at every token, of transcripts (B, T, K) at every frame, with how many frames (B,) each has;
    of a run of several tasks one output a task, by its name, from one pass through the layers they share. A folder for
    transformers takes texts and tags, and is opened by `pipeline` after `import crossgraft.transformers`; one of an
    encoder's tags needs nothing of this library.

    Raises CrossgraftError where a library is missing, where a format cannot hold the layers, or where a probability
    differs by more than 1e-4 from the run's in float32: then nothing is left behind.
    """
    if format not in SUFFIX:
        raise UsageError(
            f"unknown format {format!r}", nearest(format, list(SUFFIX)) or f"use one of {', '.join(SUFFIX)}"
        )
    parts = Parts.of(run)
    if format in EXTRA and parts.entrance.sequences:
        what = f"layers of {plural(parts.trunks[0].kind)} have no counterpart in Keras"
        raise CrossgraftError(what, "use onnx, torch or openvino")
    if missing := [name for name in NEEDS[format] if find_spec(name) is None]:
        extra = EXTRA.get(format, "export")
        raise CrossgraftError(f"{' and '.join(missing)} not installed", f"pip install 'crossgraft[{extra}]'")
    path = Path(out) if out is not None else run.folder / f"model{SUFFIX[format]}"
    if path.suffix != SUFFIX[format]:
        raise UsageError(f"{path} does not end in {SUFFIX[format]}", "choose another --out")
    if path.is_dir() and not any((path / name).is_file() for name in ("saved_model.pb", "config.json")):
        raise UsageError(f"{path} is a folder of something else", "choose another --out")
    examples = [parts.entrance.inputs(n) for n in BATCHES]
    spec: dict[str, Any] = {"format": format, **parts.described()}
    scratch = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = _written(format, parts, examples, scratch, spec)
        worst = max(_apart(parts.own(found, x), parts.said(x)) for found, x in zip(said, examples, strict=True))
        if not worst <= MOST:
            raise CrossgraftError(
                f"probabilities of the export differ by {worst:.1e}",
                "use another format; this one does not fit the layers",
            )
        for part in sorted(scratch.parent.glob(f"{scratch.stem}.*")):
            _remove(path.with_suffix(part.suffix))
            part.replace(path.with_suffix(part.suffix))
        if parts.entrance.files and format != "transformers":
            spec["tokenizer"] = _tokenizer(path, parts.entrance.files)
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


def _tokenizer(path: Path, files: Sequence[Path]) -> str:
    """The tokenizer's files in a folder beside an export, as `AutoTokenizer.from_pretrained` reads them; its name."""
    folder = path.with_name(f"{path.stem}.tokenizer")
    folder.mkdir(exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return folder.name


def _written(format: str, parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    """What the writer of a format wrote and read again says. Raises CrossgraftError where it cannot hold the layers."""
    try:
        return _WRITERS[format](parts, examples, path, spec)
    except (OSError, CrossgraftError):
        raise
    except Exception as wrong:  # each library has kinds of its own
        if not parts.entrance.sequences:
            raise
        why = next((line for line in str(wrong).splitlines() if line.strip()), type(wrong).__name__)[:160]
        raise CrossgraftError(
            f"{format} cannot hold the layers of backbone {parts.trunks[0].name} ({why})", "use another format"
        ) from None


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _onnx(parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    import onnx
    import onnxruntime
    import torch

    given, names = parts.entrance.names, list(parts.output_names or parts.heads)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program_of(parts.module(), examples[-1], parts.entrance.axes), dynamo=True, verbose=False,
            input_names=[f"{INPUT}.x{i}" for i in range(len(given))],
            output_names=[f"{INPUT}.{i}" for i in range(len(names))],
        )  # fmt: skip
    assert made is not None
    proto = made.model_proto
    inner = {f"{INPUT}.x{i}": name for i, name in enumerate(given)}
    _call(proto.graph, inner | {f"{INPUT}.{i}": name for i, name in enumerate(names)})
    onnx.helper.set_model_props(proto, {"crossgraft": json.dumps(spec, ensure_ascii=False)})
    path.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    said = [session.run(names, dict(zip(given, x, strict=True))) for x in examples]
    return [dict(zip(names, map(np.asarray, found), strict=True)) for found in said]


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


def _torch(parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    import torch

    program = program_of(parts.module(), examples[-1], parts.entrance.axes)
    torch.export.save(program, path, extra_files={"crossgraft.json": json.dumps(spec)})
    loaded = torch.export.load(path).module()
    said = [loaded(*tensors(x)) for x in examples]
    return [{n: own.detach().numpy() for n, own in parts.named(found).items()} for found in said]


def _openvino(parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    import openvino as ov

    names = parts.output_names or tuple(parts.heads)
    made = ov.convert_model(program_of(parts.module(), examples[-1], parts.entrance.axes))
    for name, given in zip(parts.entrance.names, made.inputs, strict=True):
        given.get_tensor().set_names({name})
    for name, output in zip(names, made.outputs, strict=True):
        output.get_tensor().set_names({name})
    ov.save_model(made, path, compress_to_fp16=False)
    compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said = [compiled(list(x)) for x in examples]
    return [{n: np.array(found[n]) for n in names} for found in said]


def _keras(parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.keras.writing import write_keras

    program, arrays = program_of(parts.module(), examples[-1]), [x for (x,) in examples]
    said = write_keras(program, arrays, path, parts.output_names, parts.entrance.names[0])
    return [parts.named(found) for found in said]


def _savedmodel(parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.keras.writing import write_saved_model

    program, arrays = program_of(parts.module(), examples[-1]), [x for (x,) in examples]
    said = write_saved_model(program, arrays, path, spec, parts.output_names, parts.entrance.names[0])
    return [parts.named(found) for found in said]


def _transformers(parts: Parts, examples: list[Inputs], path: Path, spec: dict[str, Any]) -> Said:
    from crossgraft.transformers.writing import write_transformers

    return write_transformers(parts, examples, path, spec)


_WRITERS: dict[str, Callable[[Parts, list[Inputs], Path, dict[str, Any]], Said]] = {
    "onnx": _onnx, "torch": _torch, "openvino": _openvino, "keras": _keras, "savedmodel": _savedmodel,
    "transformers": _transformers,
}  # fmt: skip
