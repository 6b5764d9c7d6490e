"""Layers of torch as a functional model of Keras's own layers and operations: what is saved opens without crossgraft.

The program that torch.export writes is walked operation by operation; operations.py and arrangement.py have a row for
each. Feature maps stay channels last, where TensorFlow is fast: a value knows in which order its axes are, so that a
permutation costs nothing until an operation needs another order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import CrossgraftError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

keras = imported()
MAPS = (0, 2, 3, 1)  # channels last: axis i of the Keras tensor is axis MAPS[i] of torch's
OTHER = "use --format onnx, torch or openvino"
Row = Callable[..., Any]


@dataclass(frozen=True)
class Held:
    """A tensor of Keras; its axis i is axis order[i] of torch's, the batch first in both."""

    tensor: Any
    order: tuple[int, ...]

    def arranged(self, order: tuple[int, ...]) -> Any:
        """The tensor with its axes in this order."""
        moves = tuple(self.order.index(axis) for axis in order)
        if moves == tuple(range(len(moves))):
            return self.tensor
        if moves[0] != 0:
            raise CrossgraftError("the layers move the batch to another axis, which Keras's do not", OTHER)
        return keras.layers.Permute(moves[1:])(self.tensor)

    @property
    def plain(self) -> Any:
        """The tensor with its axes as torch has them."""
        return self.arranged(tuple(range(len(self.order))))

    def axis(self, of_torch: int) -> int:
        """Where an axis of torch's is."""
        return self.order.index(of_torch % len(self.order))


@dataclass
class Conversion:
    """The row that is written now: shape of its result as torch has it, without the batch, and names for layers."""

    shape: tuple[Any, ...]
    counts: dict[str, itertools.count[int]]

    def name(self, kind: str) -> str:
        """conv_1, conv_2, ..."""
        return f"{kind}_{next(self.counts.setdefault(kind, itertools.count(1)))}"

    def with_weights(self, layer: Any, x: Any, *weights: Any) -> Any:
        """What a layer with these weights makes of x."""
        out = layer(x)
        layer.set_weights([w for w in weights if w is not None])
        return out


def to_keras(
    program: ExportedProgram, name: str, outputs: Sequence[str] | None = None, given: str | None = None
) -> Any:
    """A Keras model with the weights of a program of one input. Raises CrossgraftError for an operation without a row.

    name     of the model
    outputs  names of what comes out, where that is a dict: the model then gives one too
    given    name of the input; by default that of the program
    """
    from crossgraft.keras.arrangement import OPERATIONS

    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    weights |= signature.inputs_to_lifted_tensor_constants
    held: dict[str, Any] = {}
    x: Any = None
    counts: dict[str, itertools.count[int]] = {}

    def value(arg: Any) -> Any:
        if isinstance(arg, (list, tuple)):
            return [value(a) for a in arg]
        return held[arg.name] if hasattr(arg, "meta") else arg

    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in weights:
            held[node.name] = state[weights[node.name]].detach().cpu().numpy()
        elif node.op == "placeholder":
            val = node.meta["val"]
            assert x is None, "a program of several inputs"
            x = keras.Input(tuple(val.shape[1:]), dtype=str(val.dtype).removeprefix("torch."), name=given or node.name)
            held[node.name] = Held(x, tuple(range(val.ndim)))
        elif node.op == "call_function":
            kind = getattr(node.target, "_opname", node.target.__name__)
            if (folded := _folded(node, value)) is not None:
                held[node.name] = folded
                continue
            row: Row | None = OPERATIONS.get(kind.removesuffix("_"))
            if row is None:
                raise CrossgraftError(f"the layers use {node.target}, which has no counterpart here", OTHER)
            out = row(Conversion(_shape(node), counts), **_named(node, value))
            held[node.name] = out
            if kind.endswith("_"):  # in place: whoever reads the argument later reads the result
                held[node.args[0].name] = out
        else:
            assert node.op == "output", node.op
            said = [held[out.name].plain for out in node.args[0]]
            return keras.Model(x, said[0] if outputs is None else dict(zip(outputs, said, strict=True)), name=name)
    raise AssertionError("a program without an output")


def _folded(node: Any, value: Callable[[Any], Any]) -> np.ndarray | None:
    """What an operation on weights alone gives, computed now; None for any other."""
    import torch

    given = keras.tree.flatten(value(list(node.args)))
    if not any(isinstance(v, np.ndarray) for v in given) or any(isinstance(v, Held) for v in given):
        return None
    shape = getattr(node.meta.get("val"), "shape", None)
    if shape is None or not all(isinstance(n, int) for n in shape):  # repeated for each example: expand
        return None
    args = keras.tree.map_structure(
        lambda v: torch.from_numpy(v) if isinstance(v, np.ndarray) else v, value(list(node.args))
    )
    return np.asarray(node.target(*args, **node.kwargs).numpy())


def _shape(node: Any) -> tuple[Any, ...]:
    val = node.meta.get("val")
    return tuple(val.shape[1:]) if hasattr(val, "shape") else ()


def _named(node: Any, value: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments of a call by name, those that are left out with their defaults."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {"self": value(node.args[0]), "index": value(node.args[1])}
    out = {}
    for i, arg in enumerate(schema.arguments):
        if i < len(node.args):
            out[arg.name] = value(node.args[i])
        elif arg.name in node.kwargs:
            out[arg.name] = value(node.kwargs[arg.name])
        elif arg.has_default_value():
            out[arg.name] = arg.default_value
    return out


def constant(x: Any) -> np.ndarray:
    """A weight as an array."""
    return np.asarray(x, dtype=np.float32)
