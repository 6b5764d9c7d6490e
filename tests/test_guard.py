"""The guard's evidence where few labels deceive."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from crossgraft.choose import HeldOut, fair, keep, leave_one_out
from crossgraft.measure.compare import guard
from crossgraft.side import Side
from crossgraft.solve.convex import Part
from crossgraft.solve.path import Path, path
from crossgraft.solve.pick import POWER, pick, smoothed


def blobs(n: int, seed: int, classes: int = 2, shuffled: bool = False) -> Part:
    draw = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = draw.normal(size=(n, 6)) * 0.4
    x[np.arange(n), y] += 0.7
    return Part(x, draw.permutation(y) if shuffled else y, np.arange(classes))


def test_losses_are_at_the_mean_of_the_path() -> None:
    found = path(blobs(12, 0), blobs(80, 1), 2)
    point = found.choose("posterior")
    total = (found.losses.sum(2) + found.uniform)[1:]
    w = np.exp(-POWER * (total - total.min()))
    w /= w.sum()
    lam, ridge = np.log(found.lams[1:]), np.log(found.ridges)
    i, j = np.abs(lam - w.sum(1) @ lam).argmin() + 1, np.abs(ridge - w.sum(0) @ ridge).argmin()
    assert (point.lam, point.ridge) == (found.lams[i], found.ridges[j])
    np.testing.assert_array_equal(leave_one_out(found), found.losses[i, j])
    assert found.exact[i, j].all()


def test_the_mean_of_the_path_does_not_flatter_a_source_that_tells_nothing() -> None:
    """The loss at the point of least mean does."""
    least, middle, true = [], [], []
    for seed in range(12):
        found = path(blobs(10, seed, shuffled=True), blobs(60, 100 + seed, shuffled=True), 2)
        test = blobs(2000, 1000 + seed)
        least.append(found.choose("min").losses.mean())
        found.choose("posterior")
        middle.append(leave_one_out(found).mean())
        true.append([])
        for rule in ("min", "posterior"):
            head = found.choose(rule).head
            z = test.x @ head.weight + head.bias
            true[-1].append(np.logaddexp(0, z[np.arange(2000), 1 - test.y] - z[np.arange(2000), test.y]).mean())
    of_least, of_middle = np.mean(true, axis=0)
    assert np.mean(least) < of_least
    assert abs(np.mean(middle) - of_middle) < of_least - np.mean(least)


def one_label_a_class() -> Path:
    """Four labels of as many classes; a source with other noise, its classes half as far apart."""
    few, many = blobs(4, 3, classes=4), blobs(200, 4, classes=4)
    return path(few, Part(0.5 * many.x + 0.2, many.y, many.columns), 4)


def test_one_label_a_class_takes_the_middle_of_the_path() -> None:
    found = one_label_a_class()
    assert found.alone.all()
    point = found.choose("posterior")
    middle = np.exp(np.log(found.lams[1:]).mean())
    assert abs(np.log(point.lam / middle)) == np.abs(np.log(found.lams[1:] / middle)).min()
    assert point.ridge == found.ridges[len(found.ridges) // 2]
    args = (found.losses, found.uniform, found.lams, found.ridges)
    by_left_out = found.lams[pick(*args, "min", None, None)[0]]
    assert by_left_out > point.lam  # left out, only the source speaks


def test_the_only_label_of_a_class_is_judged_where_the_source_speaks() -> None:
    found = one_label_a_class()
    losses = leave_one_out(found)
    last = int(found.lams.argmax())
    for row in range(4):
        mean = smoothed(np.delete(found.losses[last], row, axis=1), found.uniform[last])
        assert losses[row] == found.losses[last, int(mean.argmin()), row]


def test_without_transfer_a_class_with_one_label_costs_at_most_what_nothing_costs() -> None:
    losses = np.array([5.0, 0.3, 4.0, 0.2])
    assert fair(losses, np.array([0, 1, 1, 2]), 3) == pytest.approx([np.log(3), 0.3, 4.0, 0.2])


def job(labels: list[int], **options: Any) -> Any:
    side = Side(cast(Any, SimpleNamespace(groups=None)), np.arange(max(labels) + 1), np.array(labels))
    recipe = SimpleNamespace(guard=True)
    return SimpleNamespace(
        target=side, rows=np.arange(len(labels)), method="joint", recipe=recipe, selection="loo", **options
    )


def held(**losses: list[float]) -> dict[str, HeldOut]:
    return {name: HeldOut(np.array(each)) for name, each in losses.items()}


def test_a_source_that_knows_nothing_is_not_kept_with_one_label_a_class() -> None:
    nothing = np.log(3)
    found = held(target_only=[2.2, 2.3, 2.25], transfer=[1.6, 1.5, 1.7], source_only=[nothing - 0.01] * 3)
    verdict = keep(job([0, 1, 2]), dict.fromkeys(found), found)  # type: ignore[arg-type]
    assert verdict.kept == "target_only"
    assert verdict.judged["target_only"] == pytest.approx([nothing] * 3)  # as they were compared, so shown
    assert "source_only" not in verdict.judged


def test_a_model_that_is_not_beyond_noise_does_not_take_the_next_best_with_it() -> None:
    draw = np.random.default_rng(0).normal(size=50)
    evidence = {
        "target_only": np.full(50, 2.0),
        "transfer": 1.5 + 0.1 * draw,
        "source_only": 1.4 + 5 * (draw - draw.mean()),
    }
    verdict = guard(evidence, list(evidence), {"source_only": 2.0})
    assert verdict.kept == "transfer"
    assert "source only is better than another model by less than 2 standard errors" in verdict.why
