"""The table of weightings, each against its formula; streams of several tasks in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgraft import backbones
from crossgraft.domains import open_domain
from crossgraft.errors import UsageError
from crossgraft.features.ragged import Ragged
from crossgraft.objective.algebra import ce
from crossgraft.solve import seeing
from crossgraft.solve.batches import Batch, Stream, TaskRows
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import plan
from crossgraft.solve.settings import Settings
from crossgraft.solve.weighting import RATE, STRETCH, TEMPERATURE, WEIGHTINGS, Weighting, row_of

LIBRARY = ("pcgrad", "mgda", "nash", "imtl", "aligned")


class Plain:
    """What the weighting needs of accelerate in one process."""

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    num_processes = 1

    def reduce(self, value: Tensor, how: str) -> Tensor:
        return value


def step(name: str, targets: Sequence[Sequence[float]], scales: Sequence[float] = (1.0, 1.0)) -> tuple[Any, Tensor]:
    """One step on quadratic losses L_k = s_k/2 |theta - t_k|^2 from theta = 0: the state and theta's gradient."""
    theta = nn.Parameter(torch.zeros(2))
    heads = nn.Parameter(torch.zeros(2))
    each = enumerate(zip(targets, scales, strict=True))
    losses = [s / 2 * ((theta - torch.tensor(t)) ** 2).sum() + heads[k] for k, (t, s) in each]
    state = Weighting(name, len(losses))
    state.backward(losses, [theta], [heads], Plain())
    assert theta.grad is not None
    if name not in ("uncertainty", "dwa"):
        assert heads.grad is not None
        assert heads.grad.tolist() == [1.0, 1.0]  # a head descends its own loss, unweighted
    return state, theta.grad


def test_every_row_has_a_source_and_one_function() -> None:
    for name, row in WEIGHTINGS.items():
        assert row.name == name
        assert any(c.isdigit() for c in row.citation)
        assert (row.loss is None) != (row.weigh is None)
    with pytest.raises(UsageError, match="did you mean 'pcgrad'"):
        row_of("pcgard")


def test_equal_is_the_sum() -> None:
    _, g = step("equal", [[1.0, 0.0], [0.0, 1.0]])
    assert g.tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("name", LIBRARY)
def test_alike_tasks_weigh_alike(name: str) -> None:
    pytest.importorskip("torchjd")
    state, g = step(name, [[1.0, 0.1], [0.1, 1.0]])
    assert state.weights[0].item() == pytest.approx(state.weights[1].item(), rel=1e-3)
    assert g[0].item() == pytest.approx(g[1].item(), rel=1e-3)
    assert g[0] < 0


def test_pcgrad_takes_away_what_conflicts() -> None:
    pytest.importorskip("torchjd")
    _, g = step("pcgrad", [[1.0, 1.0], [-1.0, 0.5]])
    a, b = -torch.tensor([1.0, 1.0]), -torch.tensor([-1.0, 0.5])
    a_, b_ = a - (a @ b) / (b @ b) * b, b - (a @ b) / (a @ a) * a
    torch.testing.assert_close(g, a_ + b_)


def test_mgda_is_the_shortest_of_the_convex_combinations() -> None:
    pytest.importorskip("torchjd")
    state, g = step("mgda", [[2.0, 0.0], [0.0, 1.0]])
    assert state.weights.tolist() == pytest.approx([0.2, 0.8], abs=1e-3)  # |b|^2 / (|a|^2 + |b|^2)
    assert g.tolist() == pytest.approx([-0.4, -0.8], abs=2e-3)


def test_nash_solves_its_equation() -> None:
    pytest.importorskip("torchjd")
    state, _ = step("nash", [[2.0, 0.0], [0.5, 1.0]])
    g = torch.tensor([[2.0, 0.0], [0.5, 1.0]])
    torch.testing.assert_close((g @ g.T) @ state.weights, 1 / state.weights, rtol=1e-3, atol=1e-3)


def test_gradnorm_moves_weight_to_the_task_whose_gradient_is_small() -> None:
    state, _ = step("gradnorm", [[1.0, 0.0], [0.0, 1.0]], scales=(1.0, 9.0))
    norms = torch.tensor([1.0, 9.0])
    slope = torch.tensor([-1.0, 1.0]) * norms / norms.mean()
    wanted = 1 - RATE * slope
    torch.testing.assert_close(state.weights, 2 * wanted / wanted.sum())


def test_dynamic_weight_average_follows_the_rates() -> None:
    state = Weighting("dwa", 2)
    for t in range(2 * STRETCH + 1):
        a = 2.0 if t < STRETCH else 1.0  # the first task halves, the second stays
        losses = torch.tensor([a, 1.0], requires_grad=True)
        state.backward(list(losses), [], [], Plain())
    w = 2 * torch.softmax(torch.tensor([0.5, 1.0]) / TEMPERATURE, 0)
    torch.testing.assert_close(state.weights, w)


def test_uncertainty_learns_its_variances() -> None:
    state, g = step("uncertainty", [[1.0, 0.0], [0.0, 3.0]])
    assert g.tolist() == [-1.0, -3.0]  # s = 0 at first
    assert state.log_variance.grad is not None
    torch.testing.assert_close(state.log_variance.grad, 0.5 - torch.tensor([0.5, 4.5]))


# The loop ----------------------------------------------------------------------------------------------------------


def tasks(n: int = 24) -> tuple[np.ndarray, dict[str, TaskRows]]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, 4)).astype(np.float32)
    first, second = (x[:, 0] > 0).astype(np.int64), x[:, 1:4].argmax(1)
    second[::3] = -1
    return x, {"a": TaskRows(first, first >= 0), "b": TaskRows(second, second >= 0)}


def net(x: np.ndarray) -> Net:
    backbone = backbones.load("mlp", open_domain((x, None), "x"))
    module = backbone.fresh(0)
    columns = {"a": np.arange(2), "b": np.arange(2, 5), "data x": np.arange(5)}
    return Net(replace(backbone, build=lambda: module), columns, 5, seed=1, learn_statistics=True)


def test_a_stream_of_two_tasks_is_one_pass_and_masks_what_is_missing() -> None:
    x, labels = tasks()
    model = net(x)
    passes = []
    model.layers.register_forward_hook(lambda *_: passes.append(1))
    stream = Stream(x, np.zeros(len(x), np.int64), 8, tasks=labels)
    phase = plan("full", ce("a") + ce("b"), model.backbone, Settings(steps=1), head_is_solved=False)[0].phases[0]
    batch = stream.batch(0, "t/data x", 0, 0)
    views = seeing.views(model, model, phase, {"data x": batch})
    assert passes == [1]
    rows = stream.rows(0, "t/data x", 0)
    assert views["b"].labels.tolist() == labels["b"].labels[rows].tolist()
    assert views["a"].logits.shape == (8, 2)
    torch.testing.assert_close(views["b"].logits, model.linear(views["b"].features)[:, 2:])
    assert seeing.read({"data x": stream}, ["a"]) == ["data x"]
    assert seeing.read({"data x": stream}, ["c"]) == []
    assert isinstance(batch, Batch)


def test_of_two_data_sets_a_task_sees_both() -> None:
    x, labels = tasks()
    model = net(x)
    model.columns["data y"] = None
    few = TaskRows(labels["b"].labels[:5], labels["b"].known[:5])
    streams = {
        "data x": Stream(x, np.zeros(24, np.int64), 6, tasks=labels),
        "data y": Stream(x[:5], np.zeros(5, np.int64), 4, tasks={"b": few}),
    }
    phase = plan("full", ce("b"), model.backbone, Settings(steps=1), head_is_solved=False)[0].phases[0]
    batches = {d: s.batch(0, f"t/{d}", 0, 0) for d, s in streams.items()}
    assert len(seeing.views(model, model, phase, batches)["b"].labels) == 10
    assert {k: len(v) for k, v in seeing.labels(streams).items()} == {"a": 24, "b": 29}


def test_words_and_sentences_of_one_pass() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 2.0]])
    mean = seeing.mean_by(features, torch.tensor([2, 1]))
    assert mean.tolist() == [[2.0, 0.0], [5.0, 2.0]]
    rows = TaskRows(Ragged(np.array([0, 1, 1]), np.array([2, 3])), np.array([True, False]))
    taken = rows.take(np.array([1]))
    assert taken.labels.tolist() == [1]
    assert taken.known.tolist() == [False]
    assert taken.lengths is not None
    assert taken.lengths.tolist() == [1]


@pytest.mark.parametrize("name", ["equal", "uncertainty", "dwa", "gradnorm", "mgda"])
def test_a_resumed_training_goes_on_bit_for_bit(name: str, tmp_path: Any) -> None:
    if name in LIBRARY:
        pytest.importorskip("torchjd")
    x, labels = tasks()
    from crossgraft.solve.moving import learn

    backbone = backbones.load("mlp", open_domain((x, None), "x"))
    start = (np.zeros((backbone.dim, 5)), np.zeros(5))
    columns = {"a": np.arange(2), "b": np.arange(2, 5), "data x": np.arange(5)}
    stream = {"data x": Stream(x, np.zeros(len(x), np.int64), 8, tasks=labels)}

    def learned(stop: int | None, where: Any) -> np.ndarray:
        def log(row: dict[str, Any]) -> None:
            if stop is not None and row["step"] >= stop:
                raise KeyboardInterrupt

        settings = Settings(steps=2 * STRETCH + 10, batch_size=8, log_every=5, checkpoint_every=0.0, lr=3e-3)
        found = learn(
            backbone, stream, columns, ce("a") + ce("b"), "from_nothing", settings, start, copied=False, seed=0,
            use="joint", weighting=None if name == "equal" else name, checkpoint=where, log=log,
        )  # fmt: skip
        return found.head[1]

    whole = learned(None, None)
    with pytest.raises(KeyboardInterrupt):
        learned(STRETCH + 10, tmp_path / "c.safetensors")
    np.testing.assert_array_equal(learned(None, tmp_path / "c.safetensors"), whole)
