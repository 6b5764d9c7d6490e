"""Frozen layers made fast: OpenVINO on x86, else torch; pixels in, features out, several batches in flight."""

from __future__ import annotations

import glob
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.errors import UsageError
from crossgraft.features.store import cache_folder
from crossgraft.progress import say

if TYPE_CHECKING:
    from torch import nn

BATCH = 8


@contextmanager
def in_inference(module: nn.Module) -> Iterator[None]:
    """Layers in inference mode; afterwards each is in the mode that it was in."""
    modes = {m: m.training for m in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode


class Unfit(Exception):
    """These layers cannot be converted for this engine."""


Done = Callable[[Any, Any], None]  # (what was submitted beside the batch, features)


@cache
def bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def engine_for(asked: str | None = None) -> str:
    """openvino-f32, openvino-bf16, torch-f32 or cuda-bf16; `asked` (or CROSSGRAFT_ENGINE) may be auto or torch."""
    asked = asked or os.environ.get("CROSSGRAFT_ENGINE") or "auto"
    if asked not in ("auto", "torch"):
        raise UsageError(f"unknown engine {asked!r}", "use auto or torch")
    if asked == "torch":
        return "torch-f32"
    if glob.glob("/dev/nvidia[0-9]*"):
        import torch

        if torch.cuda.is_available():
            return "cuda-bf16"
    if platform.machine().lower() in ("x86_64", "amd64") and find_spec("openvino"):
        return "openvino-bf16" if bfloat16() else "openvino-f32"
    return "torch-f32"


def wrapped(module: nn.Module, p: Preprocess) -> nn.Module:
    """uint8 (B, S, S, C) to features: (x / 255 - mean) / std, then the layers."""
    import torch
    from torch import Tensor, nn

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            mean, std = (torch.tensor(v[: p.channels]).view(1, -1, 1, 1) for v in (p.mean, p.std))
            self.scale: Tensor
            self.shift: Tensor
            self.register_buffer("scale", 1 / (255 * std))
            self.register_buffer("shift", -mean / std)
            self.layers = module

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layers(x.permute(0, 3, 1, 2).float() * self.scale + self.shift)
            return y

    return Normalised()


class Torch:
    """torch in inference mode, channels last; on a GPU in bfloat16."""

    def __init__(self, backbone: Backbone, device: str, done: Done) -> None:
        import torch

        assert backbone.preprocess is not None
        self.device, self.done = torch.device(device), done
        # A copy: the backbone's own module stays where it is.
        self.net = wrapped(backbone.fresh(0), backbone.preprocess).eval().to(self.device)
        self.net = self.net.to(memory_format=torch.channels_last)

    def submit(self, batch: np.ndarray, beside: Any) -> None:
        """Compute one batch now."""
        import torch

        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"),
        ):
            self.done(beside, self.net(torch.from_numpy(batch).to(self.device)).float().cpu().numpy())

    def wait(self) -> None:
        """Nothing is in flight."""


class OpenVino:
    """The layers converted once (kept in the cache folder), compiled for this CPU, batches in flight on all cores.

    keep  False for layers that only this run has: the conversion is not kept
    """

    def __init__(self, backbone: Backbone, precision: str, done: Done, *, keep: bool = True) -> None:
        import openvino as ov

        p = backbone.preprocess
        assert p is not None
        core = ov.Core()
        model = _converted(core, backbone, p) if keep else _convert(backbone, p)
        model.reshape([BATCH, p.size, p.size, p.channels])
        config = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        self.queue = ov.AsyncInferQueue(core.compile_model(model, "CPU", config))
        self.failed: list[BaseException] = []

        def finished(request: Any, beside: tuple[Any, int]) -> None:
            try:
                done(beside[0], request.get_output_tensor(0).data[: beside[1]].copy())
            except BaseException as wrong:  # an exception cannot leave OpenVINO's thread
                self.failed.append(wrong)

        self.queue.set_callback(finished)

    def submit(self, batch: np.ndarray, beside: Any) -> None:
        """Start one batch of up to BATCH pictures; returns when one of the requests is free."""
        self._raise()
        full = (
            batch
            if len(batch) == BATCH
            else np.concatenate([batch, np.zeros((BATCH - len(batch), *batch.shape[1:]), np.uint8)])
        )
        self.queue.start_async([full], (beside, len(batch)))

    def wait(self) -> None:
        """Until everything that was submitted is done."""
        self.queue.wait_all()
        self._raise()

    def _raise(self) -> None:
        if self.failed:
            raise self.failed[0]


def make(backbone: Backbone, engine: str, done: Done) -> Torch | OpenVino:
    """The engine of this name for these layers; calls done(beside, features) for each batch, from any thread."""
    kind, precision = engine.split("-")
    if kind == "openvino":
        return OpenVino(backbone, precision, done)
    return Torch(backbone, "cuda" if kind == "cuda" else "cpu", done)


def _convert(backbone: Backbone, p: Preprocess) -> Any:
    """The layers as OpenVINO's model, uint8 (B, S, S, C) to features. Raises Unfit where they cannot be converted."""
    import openvino as ov
    import torch

    example = torch.zeros((1, p.size, p.size, p.channels), dtype=torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one picture: on a busy machine waiting for the other threads takes far longer
    with torch.inference_mode():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tracing is what OpenVINO calls; torch deprecates it
                # Tracing it twice to compare, and modules that are not frozen, take twice the time.
                traced = torch.jit.trace(wrapped(backbone.fresh(0), p).eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
                return ov.convert_model(torch.jit.freeze(traced), example_input=example)
        except Exception as wrong:  # an operation that OpenVINO does not know, or a graph that cannot be traced
            raise Unfit(str(wrong).splitlines()[0][:120]) from None
        finally:
            torch.set_num_threads(threads)


def _converted(core: Any, backbone: Backbone, p: Preprocess) -> Any:
    """OpenVINO's model of a backbone, from the cache, or converted now and kept there where there is room."""
    from importlib.metadata import version

    name = f"{backbone.name}/{backbone.revision}/{p}/{version('openvino')}"
    folder = cache_folder() / "engines"
    at = folder / blake2b(name.encode(), digest_size=20).hexdigest()
    if (at / "model.xml").is_file():
        return core.read_model(at / "model.xml")
    import openvino as ov

    model = _convert(backbone, p)
    scratch = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder))
        ov.save_model(model, scratch / "model.xml", compress_to_fp16=False)
        scratch.rename(at)  # whole or not at all, whoever is first
    except (OSError, RuntimeError) as wrong:  # RuntimeError: how OpenVINO says that the disk is full
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if not at.is_dir():
            say(f"{backbone.name} is converted again next time: it cannot be kept in {folder} ({wrong})")
    return model
