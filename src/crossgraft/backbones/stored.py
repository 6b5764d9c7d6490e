"""A Backbone as a run keeps it: what is written of it as JSON, and the weights that a name cannot find again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft import backbones
from crossgraft.backbones import given
from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.errors import CrossgraftError


def stored(b: Backbone) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a run writes of a Backbone, and the weights beside it."""
    spec: dict[str, Any] = {
        "name": b.name,
        "revision": b.revision,
        "dim": b.dim,
        "kind": b.kind,
        "stored": not b.portable,
        "preprocess": asdict(b.preprocess) if b.preprocess else None,
    }
    if b.kind == "vector":
        spec |= {"width": b.width, "columns": list(b.columns)}
    state: dict[str, Any] = {}
    if not b.portable:
        from crossgraft.backbones.weights import kept_once

        state = b.module.state_dict() if b.branches is None else kept_once(b.module)
    if b.given is not None:
        spec["given"] = given.signature(b)
    if b.branches is not None:
        adapters = any(".lora_" in name for name in state)
        spec["branches"] = {"number": b.branches[0], "after": b.branches[1], "adapters": adapters}
    return spec, {k: v.detach().cpu().numpy() for k, v in state.items()}


def restored(spec: dict[str, Any], state: dict[str, np.ndarray], folder: Path, layers: Any) -> Backbone:
    """The Backbone that `stored` wrote. Raises CrossgraftError where it cannot be found again."""
    if "branches" in spec:
        found = _branched(spec, state, folder, layers)
    else:
        found = _plain(spec, state, folder, layers)
        if spec["name"].startswith("<"):
            given.agree(found, spec)
    return replace(found, width=spec.get("width", 0), columns=tuple(spec.get("columns", ())))


def _plain(spec: dict[str, Any], state: Mapping[str, np.ndarray], folder: Path, layers: Any) -> Backbone:
    numbers: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in (spec["preprocess"] or {}).items()}
    preprocess = Preprocess(**numbers) if numbers else None
    if spec["name"].startswith("<"):
        if layers is None:
            what = f"the run in {folder} was made with layers of your own, {spec['name']}, whose code no run holds"
            raise CrossgraftError(what, "open it in Python: Run.open(folder, backbone=module)")
        return given.opened(layers, spec, preprocess, state)
    backbone = backbones.rebuild(
        spec["name"], preprocess=preprocess, dim=spec["dim"], state=state if spec["stored"] else None, kind=spec["kind"]
    )
    if backbone.dim != spec["dim"] or (not spec["stored"] and backbone.revision != spec["revision"]):
        raise CrossgraftError(
            f"backbone {spec['name']} is not the one that the run in {folder} was trained with",
            f"install the package or weights of revision {spec['revision'][:12]}",
        )
    if spec["stored"]:
        backbone.revision = spec["revision"]
    return backbone


def _branched(spec: dict[str, Any], state: Mapping[str, np.ndarray], folder: Path, layers: Any) -> Backbone:
    """Branches of the layers that the first of them consists of, with the weights of all."""
    from crossgraft.backbones import adapters
    from crossgraft.backbones.branches import branched, of_first
    from crossgraft.backbones.weights import with_state

    said = spec["branches"]
    first = {k.replace(".base_layer.", "."): v for k, v in of_first(state).items() if ".lora_" not in k}
    plain = _plain(spec | {"dim": spec["dim"] // said["number"]}, first, folder, layers)
    if said["adapters"]:
        module = plain.fresh(0)
        adapters.add(module, 0)
        plain = replace(plain, build=lambda: module)
    made = branched(plain, said["number"], said["after"])
    found = replace(with_state(made, state, plain.preprocess), revision=spec["revision"])
    if found.given is not None:
        given.agree(found, spec)
    return found
