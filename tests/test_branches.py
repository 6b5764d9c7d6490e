"""Layers of which a part is shared: what runs once, what each task has for itself, and what a run keeps of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import crossgraft
from crossgraft.backbones.branches import Branches, branched, of_some
from crossgraft.backbones.given import from_module
from crossgraft.errors import UsageError
from crossgraft.multitask.run import MultiRun, open_run
from crossgraft.solve.branching import confine, of_all_tasks, spread
from crossgraft.solve.net import Net

FAST: dict[str, Any] = {"backbone": "mlp", "steps": 60, "seed": 1, "share": 1}


def blobs(n: int = 200) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, 6)).astype(np.float32)
    side = np.where(x[:, 0] > 0, "right", "left").astype(object)
    most = np.array([f"c{k}" for k in x[:, 1:4].argmax(1)], dtype=object)
    most[::4] = None
    return x, {"side": side, "most": most}, np.where(np.arange(n) < 60, "test", "train").astype("U9")


def layers() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    return nn.Sequential(first, nn.SiLU(inplace=True), nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))


def test_what_is_shared_runs_once_and_its_gradient_is_that_of_all_branches() -> None:
    plain = from_module(layers(), 6)
    made = branched(plain, 3, 1)
    module = made.module
    assert isinstance(module, Branches)
    assert made.dim == 9
    calls = []
    module.each[0][0][0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        module.each[1][2].weight.mul_(2)  # of this branch alone
    x = torch.randn(7, 6)
    out = module(x)
    assert len(calls) == 1
    apart = [branch(x) for branch in module.each]  # in-place layers after what is shared change nothing
    torch.testing.assert_close(out, torch.cat(apart, 1))
    assert not torch.equal(apart[0], apart[1])
    out.square().sum().backward()
    weight = module.each[0][0][0].weight
    together, weight.grad = weight.grad.clone(), None
    sum(branch(x).square().sum() for branch in module.each).backward()
    torch.testing.assert_close(together, weight.grad)
    assert {id(p) for p in module.shared()} == {id(p) for p in module.each[2][0].parameters()}


def test_a_task_reaches_its_own_branch_and_what_is_shared() -> None:
    own = branched(from_module(layers(), 6), 2, 1)
    columns = [np.array([0, 1]), np.array([2, 3, 4])]
    net = Net(own, {"a": columns[0], "b": columns[1], "data": np.arange(5)}, 5, seed=0)
    confine(net, columns)
    features, logits = net({"data": torch.randn(8, 6)})["data"]
    torch.testing.assert_close(logits[:, :2], net.logits(features, "a"))
    logits[:, :2].square().sum().backward()
    first, second = net.layers.each
    assert first[2].weight.grad.abs().sum() > 0
    assert first[0][0].weight.grad.abs().sum() > 0
    assert not second[2].weight.grad.any()
    assert not net.linear.weight.grad[:2, 3:].any()
    shared, rest = of_all_tasks(net)
    assert {id(p) for p in shared} == {id(p) for p in first[0].parameters()}
    assert len({id(p) for p in [*shared, *rest]}) == len(list(net.parameters()))
    weight = spread(np.ones((3, 5)), columns)
    assert weight.shape == (6, 5)
    assert weight[:3, :2].all() and not weight[:3, 2:].any()  # noqa: PT018


def test_some_branches_are_those_of_before() -> None:
    own = branched(from_module(layers(), 6), 3, 1)
    with torch.no_grad():
        own.module.each[2][2].weight.mul_(2)
    x = torch.randn(4, 6)
    whole = own.module(x)
    two = of_some(own, [0, 2])
    torch.testing.assert_close(two.module(x), torch.cat([whole[:, :3], whole[:, 6:]], 1))
    assert (two.dim, two.branches) == (6, (2, 1))
    one = of_some(own, [2])
    torch.testing.assert_close(one.module(x), whole[:, 6:])
    assert (one.dim, one.branches, one.groups) == (3, None, from_module(layers(), 6).groups)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MultiRun:
    return crossgraft.multi({"blobs": blobs()}, ["side", "most"], out=tmp_path_factory.mktemp("b") / "run", **FAST)


def test_a_run_with_branches_predicts_as_it_did_and_keeps_what_is_shared_once(run: MultiRun) -> None:
    from safetensors.numpy import load_file

    assert run.result["share"] == {"shared": ["first"], "own": ["second"]}
    assert "<dd>second</dd>" in (run.folder / "report.html").read_text()
    for name, least in (("side", 0.85), ("most", 0.7)):
        assert run.result["tasks"][name]["joint"]["accuracy"]["value"] > least
    if all(own["kept"]["model"] == "joint" for own in run.result["tasks"].values()):
        kept = load_file(run.folder / "weights.safetensors")
        assert sorted(k for k in kept if k.endswith(".weight") and "backbone" in k) == [
            "backbone.each.0.first.weight", "backbone.each.0.second.weight", "backbone.each.1.second.weight",
        ]  # fmt: skip
    x, y, splits = blobs()
    again = open_run(run.folder).score((x[splits == "test"], {k: v[splits == "test"] for k, v in y.items()}))
    for name in ("side", "most"):
        assert again["tasks"][name]["cross_entropy"]["value"] == pytest.approx(
            run.result["tasks"][name]["test"]["cross_entropy"]["value"], abs=1e-5
        )


def test_branches_are_resumed_as_never_stopped(run: MultiRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgraft.solve.engine import Engine
    from crossgraft.solve.settings import Settings, settings_for

    out = tmp_path / "run"
    descend, seen = Engine.descend, []

    def pulled(self: Engine, *args: Any) -> None:
        seen.append(1)
        if len(seen) in (30, 100):  # within the first training, and with that done within the next
            raise KeyboardInterrupt
        descend(self, *args)

    def at_once(*args: Any) -> Settings:
        return replace(settings_for(*args), checkpoint_every=0.0, log_every=10)

    monkeypatch.setattr("crossgraft.solve.settings.settings_for", at_once)
    monkeypatch.setattr(Engine, "descend", pulled)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            crossgraft.multi({"blobs": blobs()}, ["side", "most"], out=out, resume=resume, **FAST)
        assert (
            b"optimiser/"
            in (out / "checkpoints" / ("side" if resume else "joint")).with_suffix(".safetensors").read_bytes()
        )
    again = crossgraft.multi({"blobs": blobs()}, ["side", "most"], out=out, resume=True, **FAST)
    assert (out / "weights.safetensors").read_bytes() == (run.folder / "weights.safetensors").read_bytes()
    assert again.result["tasks"] == run.result["tasks"]


@pytest.mark.parametrize("weighting", ["uncertainty", "gradnorm"])
def test_weightings_weigh_what_is_shared(weighting: str, tmp_path: Path) -> None:
    found = crossgraft.multi(
        {"blobs": blobs()}, ["side", "most"], out=tmp_path / "run", weighting=weighting, guard=False,
        baselines=False, **FAST | {"share": 0},
    ).result  # fmt: skip
    assert found["tasks"]["side"]["joint"]["accuracy"]["value"] > 0.85


def test_adapters_of_each_task_stand_beside_one_trunk(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from crossgraft.backbones import adapters

    module = from_module(layers(), 6).fresh(0)
    adapters.add(module, 0)
    made = branched(replace(from_module(layers(), 6), build=lambda: module), 2, 0)
    first, second = made.module.each
    assert first[2].base_layer.weight is second[2].base_layer.weight
    assert first[2].lora_A["default"].weight is not second[2].lora_A["default"].weight
    with torch.no_grad():
        second[2].lora_B["default"].weight.add_(1)
    x = torch.randn(3, 6)
    alone = of_some(made, [1])
    torch.testing.assert_close(alone.module(x), made.module(x)[:, 3:])
    assert not any(".lora_" in name for name in alone.module.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 2}, "backbone mlp has 2 groups of layers: first, second"),
        ({"share": -1}, "option share"),
        ({"share": 1, "heads": "shared"}, "heads shared needs features that are shared"),
        ({"share": 0, "backbone": "identity"}, "is of layers that learn"),
    ],
)
def test_what_cannot_branch_is_said(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        crossgraft.multi({"a": blobs()}, ["side", "most"], out=tmp_path / "run", **{"backbone": "mlp"} | options)
