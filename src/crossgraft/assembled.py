"""A run's model as one module of torch: inputs go in, probabilities come out, of several tasks a tensor for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crossgraft.backbones.backbone import Backbone
from crossgraft.entrances import Entrance, Inputs, entrance_of
from crossgraft.errors import CrossgraftError
from crossgraft.model import Model
from crossgraft.multilabel import Bernoullis, MultiLabel
from crossgraft.multitask.run import MultiRun
from crossgraft.run import Run
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

    several   whether the outputs are named tasks
    entrance  what goes in
    """

    trunks: tuple[Backbone, ...]
    heads: Mapping[str, Head]
    several: bool
    entrance: Entrance

    @classmethod
    def of(cls, run: Run) -> Parts:
        """What a run keeps. Raises CrossgraftError for inputs that no format takes."""
        models: Sequence[Model] = run.models if isinstance(run, MultiRun) else [run.model]
        if any(model.transitions is not None for model in models):
            what = "the tags of a CRF depend on each other, and no format here sums over all of them"
            raise CrossgraftError(what, "use crossgraft predict, or train without --crf")
        if not all(map(_is_one, models)):
            raise CrossgraftError(
                "classes of whole texts or clips beside sequences are not exported", "export them alone"
            )
        heads: dict[str, Head] = {}
        for i, model in enumerate(models):
            if not isinstance(model.task, Multi):
                sets = isinstance(model.task, MultiLabel)
                heads[OUTPUT] = Head(model.task.classes, i, model.weight, model.bias, sets)
                continue
            for name, part in model.task.parts:
                columns = model.task.columns_of(name)
                sets = isinstance(part, MultiLabel)
                heads[name] = Head(part.classes, i, model.weight[:, columns], model.bias[columns], sets)
        order = [n for n in (run.result["tasks"] if isinstance(run, MultiRun) else heads) if n in heads]
        trunks, several = tuple(model.backbone for model in models), isinstance(run, MultiRun)
        return cls(
            trunks, {name: heads[name] for name in order}, several, entrance_of(trunks, order if several else ())
        )

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """The tasks' names, and what counts frames; None where one tensor comes out."""
        counted = self.entrance.counted
        return (*self.heads, *([counted] if counted else ())) if self.several or counted else None

    def named(self, found: Any) -> dict[str, Any]:
        """What an export answered, by output."""
        return {OUTPUT: found} if (names := self.output_names) is None else {name: found[name] for name in names}

    def module(self) -> nn.Module:
        """Inputs to probabilities in float32: normalisation, layers, heads, softmax or sigmoid; each trunk once."""
        import torch
        from torch import Tensor, nn

        layers = [self.entrance.layers(b, b.fresh(0)) for b in self.trunks]
        names, heads, outputs = list(self.heads), list(self.heads.values()), self.output_names
        counted = self.entrance.counted

        class Assembled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                linear = [nn.Linear(*head.weight.shape) for head in heads]
                with torch.no_grad():
                    for own, head in zip(linear, heads, strict=True):
                        own.weight.copy_(torch.from_numpy(head.weight.T))
                        own.bias.copy_(torch.from_numpy(head.bias))
                self.layers, self.heads = nn.ModuleList(layers), nn.ModuleList(linear)

            # with *x torch 2.9 writes guards that name nothing
            def forward(self, x: Tensor, second: Tensor | None = None, third: Tensor | None = None) -> Any:
                given = [part for part in (x, second, third) if part is not None]
                found: list[Any] = [trunk(*given) for trunk in self.layers]
                counts = None
                if counted is not None:
                    counts, found = found[0][1], [own for own, _ in found]
                z = [own(found[head.trunk]) for own, head in zip(self.heads, heads, strict=True)]
                said = [own.sigmoid() if head.sets else own.softmax(-1) for own, head in zip(z, heads, strict=True)]
                if outputs is None:
                    return said[0]
                return dict(zip(names, said, strict=True)) | ({} if counts is None else {counted: counts})

        return Assembled().eval()

    def said(self, inputs: np.ndarray | Inputs) -> Outputs:
        """What the run says of inputs; a row a word or frame of sequences, those of all examples."""
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        found = [self.entrance.features(b, given).astype(np.float64) for b in self.trunks]
        z = {name: found[h.trunk] @ h.weight + h.bias for name, h in self.heads.items()}
        return {
            name: Bernoullis(z[name]).probabilities if h.sets else np.exp(log_softmax(z[name]))
            for name, h in self.heads.items()
        }

    def own(self, found: Mapping[str, np.ndarray], inputs: Inputs) -> Outputs:
        """Of what an export answered the probabilities that mean something."""
        return {name: self.entrance.own(found[name], found, inputs) for name in self.heads}

    def described(self) -> dict[str, Any]:
        """What goes in and what comes out, as the file beside an export has it."""
        return {**self.entrance.described(), "output": {name: list(head.classes) for name, head in self.heads.items()}}


def _is_one(model: Model) -> bool:
    """Whether the labels of a model are what its inputs have: a class a text, a tag a word, a transcript a clip."""
    kinds = {"sentence": "tag", "utterance": "transcribe"}
    parts = [part for _, part in model.task.parts] if isinstance(model.task, Multi) else [model.task]
    return all((kinds.get(model.backbone.kind) or part.kind) == part.kind for part in parts)
