"""Layer groups from input to output, for schedules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Groups = tuple[tuple[str, tuple[str, ...]], ...]


def groups_of(module: nn.Module) -> Groups:
    """timm's own coarse groups where the model has them, else its children in order; every parameter in exactly one.

    >>> from torch import nn
    >>> groups_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)))
    (('0', ('0',)), ('2', ('2',)))
    """
    names = [name for name, _ in module.named_parameters()]
    by: dict[Any, list[str]] = {}
    matcher = getattr(module, "group_matcher", None)
    if matcher is not None:
        from timm.models import group_parameters

        by = dict(sorted(group_parameters(module, matcher(coarse=True)).items()))
    if sorted(n for members in by.values() for n in members) != sorted(names) or len(by) < 2:
        by = {}
        for name in names:
            by.setdefault(name.split(".")[0], []).append(name)
    found = [_shortest(members, names) for members in by.values()]
    labels = [_label(prefixes) for prefixes in found]
    labels = [f"{i}:{label}" if labels.count(label) > 1 else label for i, label in enumerate(labels)]
    return tuple(zip(labels, found, strict=True))


def groups_of_encoder(module: nn.Module) -> Groups:
    """What comes before a transformer's layers, each layer, and what comes after; every parameter in exactly one.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Embedding(2, 2), nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]))
    >>> groups_of_encoder(net)
    (('embeddings', ('0',)), ('layer.0', ('1.0',)), ('layer.1', ('1.1',)))
    """
    names = [name for name, _ in module.named_parameters()]
    lists = [
        (path, len(found))
        for path, found in module.named_modules()
        if type(found).__name__ == "ModuleList" and any(name.startswith(f"{path}.0.") for name in names)
    ]
    if not lists:
        return groups_of(module)
    path, n = max(lists, key=lambda each: each[1])
    inside = [name for name in names if name.startswith(f"{path}.")]
    first = names.index(inside[0])
    before = [name for name in names[:first] if name not in inside]
    after = [name for name in names[first:] if name not in inside]
    found = [
        ("embeddings", before),
        *((f"layer.{k}", [x for x in inside if x.startswith(f"{path}.{k}.")]) for k in range(n)),
    ]
    return tuple((label, _shortest(members, names)) for label, members in [*found, ("top", after)] if members)


def _shortest(members: list[str], names: list[str]) -> tuple[str, ...]:
    """The fewest prefixes that hold these parameters and no others."""
    own = set(members)
    prefixes: list[str] = []
    for name in members:
        if any(name == p or name.startswith(p + ".") for p in prefixes):
            continue
        parts = name.split(".")
        candidates = (".".join(parts[:k]) for k in range(1, len(parts) + 1))
        prefixes.append(next(c for c in candidates if all(n in own for n in names if n == c or n.startswith(c + "."))))
    return tuple(prefixes)


def _label(prefixes: tuple[str, ...]) -> str:
    """The name that a group is called: its first prefix, without .weight."""
    return re.sub(r"\.(weight|bias)$", "", prefixes[0])
