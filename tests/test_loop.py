"""The gradient loop: the same weights as plain PyTorch, resumed or not, and nothing moves that should not."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from crossgraft.backbones.backbone import Backbone, Preprocess
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.objective.algebra import Objective, ce
from crossgraft.objective.methods import METHODS, objective_for
from crossgraft.solve.batches import class_weights
from crossgraft.solve.checkpoint import read
from crossgraft.solve.loop import Settings, Stream, Trained, train
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import HEAD, Phase, Stage, plan

COLUMNS = {"same": ([0, 1, 2], [0, 1, 2]), "overlapping": ([0, 1, 2], [1, 3]), "disjoint": ([0, 1], [2, 3, 4])}
SETTINGS = Settings(lr=3e-3, steps=12, batch_size=8, log_every=4, eval_every=4)


def pictures(seed: int = 0) -> Backbone:
    """A small CNN with batch normalisation and dropout, statistics that are not those of a batch."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ]  # fmt: skip
    layers[1].running_mean.uniform_(-0.2, 0.2)
    module = nn.Sequential(*layers)
    groups = (("first", ("0", "1", "3")), ("second", ("4", "5")))
    return Backbone("tiny", "r", "image", 8, lambda: module, groups, Preprocess(10, 1, (0.4,), (0.3,)))


def vectors(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
    return Backbone("mlp", "r", "vector", 7, lambda: module, (("layers", ("0",)),))


def streams(kind: str, columns: str, n: int = 30, missing: bool = True) -> dict[str, Stream]:
    draw, made = np.random.default_rng(0), {}
    for name, own in zip(("target", "source"), COLUMNS[columns], strict=True):
        y = draw.integers(0, len(own), n)
        if kind == "image":
            x = np.clip(draw.normal(80 + 60 * y[:, None, None, None], 30, (n, 10, 10, 1)), 0, 255).astype(np.uint8)
        else:
            x = (draw.normal(0, 1, (n, 5)) + y[:, None]).astype(np.float32)
        y[::7] = -1 if missing else y[::7]
        made[name] = Stream(x, y, 8)
    return made


def net_of(backbone: Backbone, columns: str = "same", **options: Any) -> Net:
    own = {d: np.array(c) for d, c in zip(("target", "source"), COLUMNS[columns], strict=True)}
    return Net(backbone, own, 1 + max(max(c) for c in COLUMNS[columns]), 0, **options)


def weights(net: Net) -> dict[str, torch.Tensor]:
    return {k: t.clone() for k, t in net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


def run(
    objective: Objective,
    schedule: str = "full",
    settings: Settings = SETTINGS,
    kind: str = "image",
    columns: str = "same",
    **options: Any,
) -> tuple[Net, Trained]:
    backbone = pictures() if kind == "image" else vectors()
    net = net_of(backbone, columns)
    stages = plan(schedule, objective, backbone, settings, head_is_solved=False)
    return net, train(net, stages, streams(kind, columns), settings, seed=0, use="test", **options)


@pytest.mark.parametrize("kind", ["image", "vector"])
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("schedule", ["frozen", "lp_ft", "gradual", "full"])
@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if not row.adapts])
def test_every_method_moves_exactly_what_its_gradient_should_reach(
    method: str, schedule: str, columns: str, kind: str
) -> None:
    objective = objective_for(method)
    before = weights(net_of(pictures() if kind == "image" else vectors(), columns))
    rows: list[dict[str, Any]] = []
    settings = replace(SETTINGS, weight_decay=0.0)
    net, _ = run(objective, schedule, settings, kind, columns, log=rows.append)
    after = weights(net)
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    layers = {k for k in before if k.startswith("layers.") and "running" not in k and "num_batches" not in k}
    assert moved - {"linear.weight", "linear.bias"} == (set() if schedule == "frozen" else layers)
    seen = {
        c
        for d, c in zip(("target", "source"), COLUMNS[columns], strict=True)
        if any(t.domain == d for t in objective.terms)
        for c in c
    }
    columns_moved = (before["linear.weight"] != after["linear.weight"]).any(1).nonzero().flatten().tolist()
    assert set(columns_moved) == seen
    assert rows[-1]["step"] == settings.steps
    assert set(rows[-1]["terms"]) == {t.key for t in objective.terms}
    assert rows[-1]["objective"] == pytest.approx(sum(t.weight * rows[-1]["terms"][t.key] for t in objective.terms))


def test_lambda_zero_is_the_target_only_run_to_the_last_bit_and_the_source_is_not_read() -> None:
    class Never:
        shape, labels, flat = (1,), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        tasks: ClassVar[dict[str, Any]] = {}
        batch_size = 1

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("the source was read")

        @property
        def values(self) -> Any:
            return self

        def __getitem__(self, at: Any) -> Any:
            raise AssertionError("the source was read")

    alone, _ = run(objective_for("target_only"))
    zero = net_of(pictures())
    given = streams("image", "same") | {"source": Never()}
    stages = plan("full", objective_for("joint", 0.0), zero.backbone, SETTINGS, head_is_solved=False)
    train(zero, stages, given, SETTINGS, seed=0, use="test")  # type: ignore[arg-type]
    assert same(weights(alone), weights(zero))
    joint, _ = run(objective_for("joint", 0.1))
    assert not same(weights(alone), weights(joint))


def plain(net: Net, given: dict[str, Stream], settings: Settings, lam: float) -> None:
    """The same training as a person would write it in PyTorch."""
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)
    net.train()
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm2d, nn.Dropout)):
            m.eval()
    for step in range(settings.steps):
        loss = torch.zeros(())
        for domain, weight in (("target", 1.0), ("source", lam)):
            rows = given[domain].rows(0, f"test/{domain}", step)
            x = torch.tensor(given[domain].values[rows]).permute(0, 3, 1, 2) / 255
            f = net.backbone.module((x - 0.4) / 0.3)
            loss = loss + weight * nn.functional.cross_entropy(net.linear(f), torch.tensor(given[domain].labels[rows]))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step, settings.steps)
        optimiser.step()


def test_the_loop_equals_plain_pytorch() -> None:
    settings = replace(SETTINGS, steps=20)
    given = streams("image", "same", missing=False)
    ours, theirs = net_of(pictures()), net_of(pictures())
    for net in (ours, theirs):
        net.layers[3].p = 0.0
    train(
        ours,
        plan("from_nothing", objective_for("joint", 0.3), ours.backbone, settings, head_is_solved=False),
        given,
        settings,
        seed=0,
        use="test",
    )
    plain(theirs, given, settings, 0.3)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0, msg=name)


def test_batches_are_epochs_and_a_small_set_is_read_whole() -> None:
    stream = Stream(np.zeros((10, 2), np.float32), np.arange(10) % 2, 4)
    read = np.concatenate([stream.rows(0, "u", t) for t in range(5)])
    assert sorted(read[:10]) == sorted(read[10:]) == list(range(10))
    assert read[:10].tolist() != read[10:].tolist()
    assert stream.rows(0, "u", 3).tolist() == Stream(stream.values, stream.labels, 4).rows(0, "u", 3).tolist()
    small = Stream(np.zeros((3, 2), np.float32), np.arange(3) % 2, 8)
    assert all(sorted(small.rows(0, "u", t)) == [0, 1, 2] for t in range(4))
    parts = [stream.batch(0, "u", 2, 2, rank=r, ranks=2).labels.tolist() for r in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(stream.labels[stream.rows(0, "u", 2)].tolist())


def test_mixup_mixes_inputs_and_labels_alike() -> None:
    y = np.arange(8) % 4
    stream = Stream(np.eye(4, dtype=np.float32)[y], np.where(np.arange(8) == 3, -1, y), 8)
    batch = stream.batch(0, "u", 0, 4, mixup=0.8)
    known = batch.labels >= 0
    assert 5 <= int(known.sum()) <= 7
    torch.testing.assert_close(batch.soft[known], batch.values[known])  # type: ignore[index]
    torch.testing.assert_close(batch.soft.sum(1), torch.ones(8))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "options",
    [{"label_smoothing": 0.1, "class_weights": "balanced"}, {"mixup": 0.4}, {"precision": "bf16"}, {"cosine": False}],
)
def test_options_change_the_training_and_are_repeatable(options: dict[str, Any]) -> None:
    settings = replace(SETTINGS, **options)
    one, two, without = (run(objective_for("joint", 0.3), settings=s)[0] for s in (settings, settings, SETTINGS))
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(without))
    assert all(torch.isfinite(t).all() for t in weights(one).values())


def test_class_weights_are_inverse_frequencies() -> None:
    stream = Stream(np.zeros((6, 1), np.float32), np.array([0, 0, 0, 1, -1, -1]), 2)
    torch.testing.assert_close(class_weights(stream.labels, 3), torch.tensor([4 / 6, 4 / 2, 0.0]))


def test_statistics_are_fixed_in_transfer_and_learn_only_in_step_one() -> None:
    for learn in (False, True):
        net = net_of(pictures(), learn_statistics=learn)
        before = weights(net)
        stages = plan("from_nothing", ce("target"), net.backbone, SETTINGS, head_is_solved=False)
        train(net, stages, streams("image", "same"), SETTINGS, seed=0, use="test")
        assert torch.equal(before["layers.1.running_mean"], net.layers[1].running_mean) is not learn


def test_what_is_trained_is_what_is_used() -> None:
    net = net_of(pictures()).learn({"second", HEAD})
    assert [net.layers[i].training for i in (1, 3, 5)] == [False, False, False]
    assert net.layers[4].training
    x = streams("image", "same")["target"].values
    with torch.no_grad():
        features, logits = net({"target": torch.from_numpy(x)})["target"]
    np.testing.assert_allclose(net.embed(x, batch_size=7), features, atol=1e-6)
    np.testing.assert_allclose(net.log_probabilities(x, "target", batch_size=7), logits.log_softmax(1), atol=1e-5)
    assert net.training
    assert net.log_probabilities(x[:0], "target").shape == (0, 3)


def test_the_head_goes_in_and_out_as_arrays() -> None:
    net, draw = net_of(vectors(), "overlapping"), np.random.default_rng(0)
    weight, bias = draw.normal(size=(7, 4)).astype(np.float32), draw.normal(size=4).astype(np.float32)
    net.set_head(weight, bias)
    np.testing.assert_array_equal(net.head()[0], weight)
    x = streams("vector", "overlapping")["source"].values
    z = net.embed(x) @ weight[:, [1, 3]] + bias[[1, 3]]
    np.testing.assert_allclose(
        net.log_probabilities(x, "source"), z - np.log(np.exp(z).sum(1, keepdims=True)), atol=1e-5
    )


def test_a_cycle_of_phases_moves_each_part_in_its_own() -> None:
    """As methods that alternate do: the head on the target, then the layers on the source."""
    net = net_of(vectors())
    stage = Stage("cycle", (Phase(ce("target"), {HEAD: 1.0}), Phase(ce("source"), {"layers": 1.0})), 1)
    before = weights(net)
    train(net, [stage], streams("vector", "same"), SETTINGS, seed=0, use="test")
    first = weights(net)
    assert torch.equal(before["layers.0.weight"], first["layers.0.weight"])
    assert not torch.equal(before["linear.weight"], first["linear.weight"])
    net = net_of(vectors())
    rows: list[dict[str, Any]] = []
    train(net, [replace(stage, steps=2)], streams("vector", "same"), SETTINGS, seed=0, use="test", log=rows.append)
    assert not torch.equal(first["layers.0.weight"], weights(net)["layers.0.weight"])
    assert set(rows[-1]["terms"]) == {"ce(target)", "ce(source)"}


def test_early_stopping_keeps_the_best_weights() -> None:
    values = iter([5.0, 3.0, 4.0, 3.5, 9.0, 9.0])
    kept: list[dict[str, torch.Tensor]] = []

    def evaluate(net: Net) -> float:
        kept.append(weights(net))
        return next(values)

    settings = replace(SETTINGS, steps=40, patience=2, selection="target_val")
    net, trained = run(ce("target"), settings=settings, evaluate=evaluate)
    assert (trained.steps, trained.best_step, trained.selection, trained.value) == (12, 4, "target_val", 3.0)
    assert same(weights(net), kept[1])
    assert run(ce("target"))[1].selection == "last"


def test_a_loss_that_is_not_finite_names_step_and_term_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    given = streams("vector", "same", missing=False)["target"]
    before = np.concatenate([given.rows(0, "test/source", t) for t in range(2)])
    poisoned = next(i for i in given.rows(0, "test/source", 2) if i not in before)
    given = streams("vector", "same", missing=False)
    given["source"].values[poisoned] = np.nan
    net, path = net_of(vectors()), tmp_path / "c.safetensors"
    settings = replace(SETTINGS, log_every=1, checkpoint_every=0.0)
    stages = plan("full", objective_for("joint", 0.5), net.backbone, settings, head_is_solved=False)
    with pytest.raises(CrossgraftError, match=r"ce\(source\) is nan at step 3.*lr"):
        train(net, stages, given, settings, seed=0, use="test", checkpoint=path)
    tensors, state = read(path)  # type: ignore[misc]
    assert state["step"] == 2
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_no_active_term_is_refused() -> None:
    with pytest.raises(UsageError, match="no term"):
        run(0.0 * ce("target"))


# What is interrupted goes on as if it had never been.


class Pulled(Exception):
    pass


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_resumed_is_bit_for_bit_the_uninterrupted(tmp_path: Path, precision: Any) -> None:
    settings = replace(
        SETTINGS, steps=30, log_every=3, eval_every=6, checkpoint_every=0.0, mixup=0.2, precision=precision
    )
    given = streams("image", "same")["target"]

    def evaluate(net: Net) -> float:
        return -float(net.log_probabilities(given.values, "target")[:, 0].mean())

    rows: list[dict[str, Any]] = []
    whole, expected = run(objective_for("joint", 0.3), "gradual", settings, evaluate=evaluate, log=rows.append)
    path, logged = tmp_path / "c.safetensors", []

    def pull(at: int) -> Any:
        def log(row: dict[str, Any]) -> None:
            if row["step"] >= at:
                raise Pulled
            logged.append(row)

        return log

    for at in (7, 8, 15, 29):
        with pytest.raises(Pulled):
            run(objective_for("joint", 0.3), "gradual", settings, evaluate=evaluate, checkpoint=path, log=pull(at))
    net, trained = run(
        objective_for("joint", 0.3), "gradual", settings, evaluate=evaluate, checkpoint=path, log=logged.append
    )
    assert same(weights(net), weights(whole))
    assert replace(trained, seconds=0) == replace(expected, seconds=0)
    assert logged == rows
    again, loaded = run(objective_for("joint", 0.3), "gradual", settings, evaluate=lambda net: 1 / 0, checkpoint=path)
    assert loaded == trained
    assert same(weights(again), weights(whole))


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    run(ce("target"), checkpoint=path)
    with pytest.raises(CrossgraftError, match="another training"):
        run(ce("target"), settings=replace(SETTINGS, lr=1e-4), checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CrossgraftError, match="no checkpoint"):
        run(ce("target"), checkpoint=path)


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, settings = tmp_path / "c.safetensors", replace(SETTINGS, checkpoint_every=0.0)
    whole, _ = run(ce("target"), settings=settings)
    calls = iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CrossgraftError, match=r"c\.safetensors.*No space left.*free"):
            run(ce("target"), settings=settings, checkpoint=path)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    resumed, _ = run(ce("target"), settings=settings, checkpoint=path)
    assert same(weights(resumed), weights(whole))


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from test_loop import *
torch.set_num_threads(1)
run(objective_for("joint", 0.3), "lp_ft", LONG, checkpoint=Path(sys.argv[1]))
"""
LONG = replace(SETTINGS, steps=600, log_every=1, checkpoint_every=0.0)


def test_killed_at_a_random_moment_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(tests=str(Path(__file__).parent)), str(path)])
    try:
        while not path.exists():
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(random.Random().uniform(0, 0.3))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    _, state = read(path)  # type: ignore[misc]
    assert not state["done"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        resumed, _ = run(objective_for("joint", 0.3), "lp_ft", replace(LONG, checkpoint_every=60.0), checkpoint=path)
        whole, _ = run(objective_for("joint", 0.3), "lp_ft", LONG)
    finally:
        torch.set_num_threads(threads)
    assert same(weights(resumed), weights(whole))


PROCESS = """
import sys
sys.path.insert(0, {tests!r})
from test_loop import *
from crossgraft.solve.engine import Engine
init = Engine.__init__
def late(self, *arguments):  # the threads of the process group run last: one that still holds a tensor at the end shows
    init(self, *arguments)
    for thread in map(int, os.listdir("/proc/self/task") if sys.platform == "linux" else []):
        if thread != os.getpid():
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
Engine.__init__ = late
net = net_of(vectors())
settings = replace(SETTINGS, steps=6)
stages = plan("gradual", objective_for("joint", 0.3), net.backbone, settings, head_is_solved=False)
train(net, stages, streams("vector", "same", missing=False, n=32), settings, seed=0, use="test")
from safetensors.torch import save_file
if os.environ.get("RANK", "0") == "0":
    save_file({{k: t.contiguous() for k, t in net.state_dict().items()}}, sys.argv[1])
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    script = tmp_path / "process.py"
    script.write_text(PROCESS.format(tests=str(Path(__file__).parent)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, str(script), str(tmp_path / "one")], env=environment, check=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611"]
    subprocess.run([*launch, str(script), str(tmp_path / "two")], env=environment, check=True)
    one, two = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-5, rtol=0, msg=name)
