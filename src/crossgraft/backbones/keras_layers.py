"""A Keras model on the torch backend as a module of torch whose parameters are its own."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from crossgraft.backbones.groups import Groups


class Structure:
    """The Keras model behind its copies: they share what computes, and have weights of their own."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __deepcopy__(self, memo: Any) -> Structure:
        return self


class KerasLayers(nn.Module):
    """Normalised pictures (B, C, S, S) or vectors (B, D_in) to features (B, D).

    The layers are always in inference mode: no Dropout, statistics of BatchNormalization fixed, as everywhere in
    transfer. What learns is a parameter; statistics are buffers.

    model  of Keras, on the torch backend
    bgr    whether it was trained on pictures whose channels are blue, green, red
    """

    def __init__(self, model: Any, bgr: bool = False) -> None:
        super().__init__()
        model.trainable = True
        self.structure, self.bgr = Structure(model), bgr
        self.learning = _names(model.trainable_variables)
        # States of random generators stay where they are: they have another name each time a file is read.
        names = _names(model.non_trainable_variables)
        drawn = [not variable.dtype.startswith("float") for variable in model.non_trainable_variables]
        self.fixed = [None if skip else name for skip, name in zip(drawn, names, strict=True)]
        for name, variable in zip(self.learning, model.trainable_variables, strict=True):
            value = nn.Parameter(variable.value.detach().cpu().clone())
            self._place(name).register_parameter(name.rpartition(".")[2], value)
        for fixed, variable in zip(self.fixed, model.non_trainable_variables, strict=True):
            if fixed is not None:
                value = variable.value.detach().cpu().clone()
                self._place(fixed).register_buffer(fixed.rpartition(".")[2], value)

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        import keras

        if x.ndim == 4:
            x = (x.flip(1) if self.bgr else x).permute(0, 2, 3, 1)
        learning = [self.get_parameter(name) for name in self.learning]
        own = self.structure.model.non_trainable_variables
        fixed = [self.get_buffer(n) if n else v.value for n, v in zip(self.fixed, own, strict=True)]
        with keras.device(x.device.type):
            out, _ = self.structure.model.stateless_call(learning, fixed, x, training=False)
        features: Tensor = out.mean((1, 2)) if out.ndim == 4 else out
        return features

    def groups(self) -> Groups:
        """Runs of layers whose names begin alike, from input to output: block_1, block_2, conv2_block1, ..."""
        found: list[tuple[str, list[str]]] = []
        for layer in dict.fromkeys(name.rpartition(".")[0] for name in self.learning):
            begins = re.search(r"([A-Za-z]+_?\d+[a-z]?(_block\d+)?)(_|$)", layer)
            label = begins[1] if begins else found[-1][0] if found else layer
            if not found or found[-1][0] != label:
                found.append((label, []))
            found[-1][1].append(layer)
        labels = [label for label, _ in found]
        return tuple(
            (f"{i}:{label}" if labels.count(label) > 1 else label, tuple(layers))
            for i, (label, layers) in enumerate(found)
        )

    def _place(self, name: str) -> nn.Module:
        layer = name.rpartition(".")[0]
        if layer not in self._modules:
            self.add_module(layer, nn.Module())
        return self.get_submodule(layer)


def _names(variables: list[Any]) -> list[str]:
    """layer.variable, each once: block_1_expand.kernel."""
    names: list[str] = []
    for variable in variables:
        *layers, own = variable.path.replace(".", "_").split("/")
        name = f"{'-'.join(layers) or 'model'}.{own}"
        while name in names:
            name += "_"
        names.append(name)
    return names
