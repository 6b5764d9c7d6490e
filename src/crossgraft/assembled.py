"""A run's model as one module of torch: inputs go in, probabilities come out, of several tasks a tensor for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crossgraft import features
from crossgraft.backbones.backbone import Backbone
from crossgraft.errors import CrossgraftError
from crossgraft.model import Model
from crossgraft.multilabel import Bernoullis, MultiLabel
from crossgraft.multitask.run import MultiRun
from crossgraft.run import Run
from crossgraft.seeds import rng
from crossgraft.several import Multi
from crossgraft.tasks import log_softmax

if TYPE_CHECKING:
    from torch import nn

OUTPUT = "probabilities"  # what comes out of a run of one task
Outputs = dict[str, np.ndarray]  # probabilities (B, K) by output


@dataclass(frozen=True, eq=False)
class Head:
    """One output: its classes, and weights (D, K) and bias (K,) on the features of one of the trunks.

    sets  whether each class has a probability of its own: sigmoid in place of softmax
    """

    classes: tuple[str, ...]
    trunk: int
    weight: Float[np.ndarray, "D K"]
    bias: Float[np.ndarray, " K"]
    sets: bool = False


@dataclass(frozen=True, eq=False)
class Parts:
    """Layers and heads that are exported together; tasks that a run predicts alone bring layers of their own.

    several  whether the outputs are named tasks
    """

    trunks: tuple[Backbone, ...]
    heads: Mapping[str, Head]
    several: bool

    @classmethod
    def of(cls, run: Run) -> Parts:
        """What a run keeps. Raises CrossgraftError for inputs that no format takes."""
        models: Sequence[Model] = run.models if isinstance(run, MultiRun) else [run.model]
        kind = models[0].backbone.kind
        if kind not in ("image", "vector"):
            raise CrossgraftError(
                f"a model of {kind}s cannot be exported yet", "use crossgraft predict, or Run.open in Python"
            )
        heads: dict[str, Head] = {}
        for i, model in enumerate(models):
            if not isinstance(model.task, Multi):
                sets = isinstance(model.task, MultiLabel)
                heads[OUTPUT] = Head(model.task.classes, i, model.weight, model.bias, sets)
                continue
            for name, part in model.task.parts:
                columns = model.task.columns_of(name)
                heads[name] = Head(part.classes, i, model.weight[:, columns], model.bias[columns])
        order = [n for n in (run.result["tasks"] if isinstance(run, MultiRun) else heads) if n in heads]
        trunks = tuple(model.backbone for model in models)
        return cls(trunks, {name: heads[name] for name in order}, isinstance(run, MultiRun))

    @property
    def input_name(self) -> str:
        """What the input is called: x, unless a task is."""
        return next(name for name in ("x", *(f"x{i}" for i in range(len(self.heads)))) if name not in self.heads)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """The tasks' names; None where one tensor comes out."""
        return tuple(self.heads) if self.several else None

    def named(self, found: Any) -> dict[str, Any]:
        """What an export answered, by output."""
        return {name: found[name] for name in self.heads} if self.several else {OUTPUT: found}

    def module(self) -> nn.Module:
        """Inputs to probabilities in float32: normalisation, layers, heads, softmax or sigmoid; each trunk once."""
        import torch
        from torch import Tensor, nn

        from crossgraft.features.engine import wrapped

        layers = []
        for b in self.trunks:
            fresh = b.fresh(0)
            layers.append(fresh if b.preprocess is None else wrapped(fresh, b.preprocess))
        names, heads, several = list(self.heads), list(self.heads.values()), self.several

        class Assembled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                linear = [nn.Linear(*head.weight.shape) for head in heads]
                with torch.no_grad():
                    for own, head in zip(linear, heads, strict=True):
                        own.weight.copy_(torch.from_numpy(head.weight.T))
                        own.bias.copy_(torch.from_numpy(head.bias))
                self.layers, self.heads = nn.ModuleList(layers), nn.ModuleList(linear)

            def forward(self, x: Tensor) -> Any:
                found = [trunk(x) for trunk in self.layers]
                z = [own(found[head.trunk]) for own, head in zip(self.heads, heads, strict=True)]
                said = [own.sigmoid() if head.sets else own.softmax(1) for own, head in zip(z, heads, strict=True)]
                return dict(zip(names, said, strict=True)) if several else said[0]

        return Assembled().eval()

    def said(self, inputs: np.ndarray) -> Outputs:
        """What the run says of inputs as its backbone takes them."""
        found = [features.embed(b, inputs).astype(np.float64) for b in self.trunks]
        z = {name: found[h.trunk] @ h.weight + h.bias for name, h in self.heads.items()}
        return {
            name: Bernoullis(z[name]).probabilities if h.sets else np.exp(log_softmax(z[name]))
            for name, h in self.heads.items()
        }

    def inputs(self, n: int) -> np.ndarray:
        """So many examples, drawn."""
        first = self.trunks[0]
        draw, p = rng(0, f"export/{n}"), first.preprocess
        if p is not None:
            return draw.integers(0, 256, (n, p.size, p.size, p.channels), dtype=np.uint8)
        width = first.dim
        if first.name != "identity":
            width = next(iter(first.module.parameters())).shape[-1]
        return draw.normal(0, 1, (n, width)).astype(np.float32)

    def described(self) -> dict[str, Any]:
        """What goes in and what comes out, as the file beside an export has it."""
        x = self.inputs(1)
        spec: dict[str, Any] = {"name": self.input_name, "type": str(x.dtype), "shape": ["batch", *x.shape[1:]]}
        if (p := self.trunks[0].preprocess) is not None:
            spec["prepared"] = {
                "resize_shorter_side_to": round(p.size / p.crop),
                "centre_crop": p.size,
                "interpolation": p.interpolation,
                "channels": "RGB" if p.channels == 3 else "luminance",
                "inside": "scaling to [0, 1], mean and std",
                **{k: v for k, v in asdict(p).items() if k in ("mean", "std")},
            }
        return {"input": spec, "output": {name: list(head.classes) for name, head in self.heads.items()}}
