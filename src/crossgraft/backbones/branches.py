"""A trunk that branches: the first groups of layers are shared, each task has the layers after them for itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossgraft.backbones import adapters
from crossgraft.backbones.backbone import Backbone

BRANCH = "each."  # before the number of a branch in the names of its parameters


class Branches(nn.Module):
    """Branches of one trunk, whose features (B, D) stand beside each other, (B, K D).

    A module that is shared is one object in all of them: a pass goes through it for the first branch, and the others
    take what it gave.

    shared  prefixes of the parameters that are shared
    """

    def __init__(self, each: Sequence[nn.Module], shared: Sequence[str]) -> None:
        super().__init__()
        self.each = nn.ModuleList(each)
        self._once = tuple(_shared(each[0], shared))  # in a tuple: they are modules of the branches

    def forward(self, inputs: Tensor) -> Float[Tensor, "B KD"]:
        """Features of every branch."""
        first, *others = self.each
        said: list[list[Any]] = [[] for _ in self._once]
        with _instead(self._once, [partial(_kept, m.forward, own) for m, own in zip(self._once, said, strict=True)]):
            found = [first(inputs)]
        for branch in others:
            with _instead(self._once, [partial(_again, iter(own)) for own in said]):
                found.append(branch(inputs))
        return torch.cat(found, dim=-1)

    def frames(self, values: Any) -> Any:
        """How many frames clips of so many samples have."""
        return self.each[0].frames(values)  # type: ignore[operator]

    def shared(self) -> list[nn.Parameter]:
        """The parameters that are in every branch."""
        ids = set.intersection(*({id(p) for p in branch.parameters()} for branch in self.each))
        return [p for p in self.each[0].parameters() if id(p) in ids]


def branched(backbone: Backbone, copies: int, shared: int) -> Backbone:
    """The backbone with so many branches after its first `shared` groups of layers.

    Each begins as a copy of the layers. Weights that do not learn, such as those beside which adapters stand, are
    shared wherever they are.
    """
    prefixes = [prefix for _, own in backbone.groups[:shared] for prefix in own]

    def build() -> nn.Module:
        layers = backbone.build()
        tied = [p for n, p in layers.named_parameters() if _under(n, prefixes) or not p.requires_grad]
        same = {id(x): x for x in [*_shared(layers, prefixes), *tied]}
        return Branches([layers, *(copy.deepcopy(layers, dict(same)) for _ in range(copies - 1))], prefixes).eval()

    return _of(backbone, copies, shared, build)


def of_some(backbone: Backbone, places: Sequence[int]) -> Backbone:
    """Some of the branches; one by itself are plain layers, without adapters beside them."""
    assert backbone.branches is not None
    assert isinstance(backbone.module, Branches)
    copies, shared = backbone.branches
    groups = tuple(
        (name, tuple(p.removeprefix(f"{BRANCH}0.") for p in own if p.startswith(f"{BRANCH}0.")))
        for name, own in backbone.groups
    )
    each = [backbone.module.each[k] for k in places]
    if len(each) == 1 and any(".lora_" in name for name in each[0].state_dict()):
        each = [copy.deepcopy(each[0])]
        adapters.merge(each[0])
    plain = replace(backbone, dim=backbone.dim // copies, groups=groups, branches=None, build=lambda: each[0])
    if len(each) == 1:
        return plain
    prefixes = [prefix for _, own in groups[:shared] for prefix in own]
    return _of(plain, len(each), shared, lambda: Branches(each, prefixes))


def of_first(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of the first branch, as plain layers have them."""
    return {k.removeprefix(f"{BRANCH}0."): v for k, v in kept.items() if k.startswith(f"{BRANCH}0.")}


def _of(plain: Backbone, copies: int, shared: int, build: Callable[[], nn.Module]) -> Backbone:
    groups = tuple((n, tuple(f"{BRANCH}{k}.{p}" for k in range(copies) for p in own)) for n, own in plain.groups)
    return replace(plain, dim=plain.dim * copies, groups=groups, branches=(copies, shared), build=build)


def _under(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == p or name.startswith(p if p.endswith(".") else f"{p}.") for p in prefixes)


def _shared(layers: nn.Module, prefixes: Sequence[str], at: str = "") -> Iterator[nn.Module]:
    """The largest modules all of whose parameters are shared."""
    for name, child in layers.named_children():
        names = [f"{at}{name}.{n}" for n, _ in child.named_parameters()]
        if names and all(_under(n, prefixes) for n in names):
            yield child
        else:
            yield from _shared(child, prefixes, f"{at}{name}.")


@contextmanager
def _instead(modules: Sequence[nn.Module], calls: Sequence[Callable[..., Any]]) -> Iterator[None]:
    """Modules that answer by these calls."""
    before = [m.__dict__.get("forward") for m in modules]
    try:
        for module, call in zip(modules, calls, strict=True):
            module.forward = call
        yield
    finally:
        for module, held in zip(modules, before, strict=True):
            del module.forward
            if held is not None:
                module.forward = held


def _kept(forward: Callable[..., Any], own: list[Any], *args: Any, **named: Any) -> Any:
    found = forward(*args, **named)
    own.append(_fresh(found))
    return found


def _again(own: Iterator[Any], *args: Any, **named: Any) -> Any:
    return _fresh(next(own))


def _fresh(found: Any) -> Any:
    """The same values in memory of their own: what comes after may change them in place."""
    if isinstance(found, Tensor):
        return found.clone()
    if isinstance(found, dict):
        return type(found)({k: _fresh(v) for k, v in found.items()})
    return type(found)(map(_fresh, found)) if isinstance(found, (tuple, list)) else found
