"""Which source, which backbone: values by hand, orders that are known, and input that is bad in places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import call

import crossgraft
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.ranking import leep, leep_terms, nce, nce_terms
from crossgraft.ranked import POWER, mixed_without, rank

CENTRES = 2.0 * np.eye(3, 6)


def drawn(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in six dimensions, moved as a whole by `shift`."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (CENTRES[y] + draw.normal(0, 1, (n, 6)) + shift).astype(np.float32), np.array(list("abc"))[y]


def shuffled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = drawn(n, seed)
    return x, np.random.default_rng(seed).permutation(y)


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["ranking"]}


def test_nce_by_hand() -> None:
    z, y = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    np.testing.assert_allclose(nce_terms(z, y), np.log([2 / 3, 2 / 3, 1 / 3, 1]))
    assert nce(z, y) == pytest.approx((2 * np.log(2 / 3) + np.log(1 / 3)) / 4)


def test_leep_by_hand() -> None:
    theta, y = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 1])
    # P(y,z) = [[1/4, 1/4], [1/2, 0]], P(y|z) = [[1/3, 1], [2/3, 0]]
    assert leep(theta, y) == pytest.approx((np.log(0.5 / 3 + 0.5) + np.log(2 / 3)) / 2)


def test_terms_are_what_each_example_does() -> None:
    """The first-order effect against the weighted formula, differentiated numerically in the weight of an example."""
    draw = np.random.default_rng(0)
    theta, y = draw.dirichlet(np.ones(3), 12), draw.integers(0, 2, 12)
    z = theta.argmax(1)

    def weighted(w: np.ndarray, soft: bool) -> float:
        p = theta if soft else np.eye(3)[z]
        joint = np.stack([(w[:, None] * p * (y == c)[:, None]).sum(0) for c in (0, 1)])
        conditional = joint / np.maximum(joint.sum(0), 1e-300)
        return float((w * np.log((conditional[y] * p).sum(1))).sum())

    for terms, soft in ((nce_terms(z, y), False), (leep_terms(theta, y), True)):
        n, h = len(y), 1e-5
        value = weighted(np.full(n, 1 / n), soft)
        assert terms.mean() == pytest.approx(value)
        for i in range(n):
            up, down = (np.full(n, (1 - e) / n) + e * (np.arange(n) == i) for e in (h, -h))
            slope = (weighted(up, soft) - weighted(down, soft)) / (2 * h)
            assert terms[i] - value == pytest.approx(slope, abs=1e-6)


def test_the_heads_of_an_example_are_weighed_without_it() -> None:
    losses = np.array([[[0.0, 3.0, 1.0], [1.0, 1.0, 2.0]]])
    sums = np.array([[4.0, 3.0], [1.0, 3.0], [3.0, 2.0]])  # of the others: of each example, at both points
    w = np.exp(-POWER * sums)
    w /= w.sum(1, keepdims=True)
    np.testing.assert_allclose(mixed_without(losses), -np.log((w * np.exp(-losses[0].T)).sum(1)))


def test_the_mixture_is_not_optimistic_about_itself() -> None:
    noise = np.random.default_rng(0).normal(1, 1, (400, 9, 9, 21))
    inside = np.mean([mixed_without(n[:, :, :20]).mean() for n in noise])
    outside = np.mean([mixed_without(n)[20] for n in noise])  # the last one weighs nothing
    least = np.mean([n[:, :, :20].mean(2).min() for n in noise])
    assert inside == pytest.approx(outside, abs=0.06)
    assert least < 0.6


def test_a_source_that_is_like_the_target_beats_a_shuffled_one() -> None:
    sources = [shuffled(300, 1), drawn(300, 3)]
    found = rank(drawn(60, 0), sources)
    assert [row["name"] for row in found["ranking"]] == ["source 2", "source 1"]
    rows = by_name(found)
    for measure in ("nce", "leep"):
        assert rows["source 2"][measure]["value"] > rows["source 1"][measure]["value"]
    assert rows["source 1"]["behind"]["value"] == pytest.approx(
        rows["source 1"]["joint_loo"]["value"] - rows["source 2"]["joint_loo"]["value"]
    )
    assert found["n_target"] == 45
    for row in found["ranking"]:
        for measure in ("joint_loo", "nce", "leep"):
            assert row[measure]["low"] <= row[measure]["value"] <= row[measure]["high"]
        assert {"features", "joint_loo", "nce", "leep", "logme", "h_score"} <= set(row["seconds"])
    assert json.loads(json.dumps(found)) == found


def test_the_measures_are_those_of_the_target_rows() -> None:
    from crossgraft.measure.ranking import h_score, logme

    x, y = drawn(45, 0)
    split = np.array(["train"] * 30 + ["test"] * 15)
    row = rank((x, y, split), [drawn(90, 2)])["ranking"][0]
    labels = np.searchsorted(["a", "b", "c"], y[:30])
    assert row["logme"]["value"] == pytest.approx(logme(x[:30], labels))
    assert row["h_score"]["value"] == pytest.approx(h_score(x[:30], labels))
    assert (row["logme"]["low"], row["logme"]["high"]) == (None, None)


def test_test_labels_change_nothing() -> None:
    x, y = drawn(60, 0)
    split = np.array(["train"] * 30 + ["test"] * 30)
    other = y.copy()
    other[30:] = np.roll(y[30:], 1)
    a, b = (rank((x, labels, split), [drawn(90, 2)])["ranking"][0] for labels in (y, other))
    assert [a[m] for m in ("joint_loo", "leep", "logme")] == [b[m] for m in ("joint_loo", "leep", "logme")]


def test_same_seed_same_answer() -> None:
    found = [rank(drawn(60, 0), [shuffled(60, 1), drawn(60, 2)], seed=4) for _ in range(2)]
    for rows in found:
        for row in rows["ranking"]:
            del row["seconds"]
    assert found[0] == found[1]


def test_copies_of_target_rows_do_not_speak_for_themselves() -> None:
    x, y = drawn(60, 0)
    split = np.array(["train"] * 30 + ["test"] * 30)
    more = drawn(90, 2)
    joined = np.concatenate([x[:30], more[0]]), np.concatenate([y[:30], more[1]])
    alone, beside = (rank((x, y, split), [source])["ranking"][0] for source in (more, joined))
    assert beside["n_source"] == 90
    assert beside["joint_loo"] == alone["joint_loo"]
    assert "30 examples" in beside["notes"][0]
    with pytest.raises(CrossgraftError, match="source of its own"):
        rank((x, y, split), [(x[:30], y[:30])])


def test_what_cannot_be_used_does_not_cost_the_others() -> None:
    x, y = drawn(90, 2)
    bad = [(x, None), (x[:, :4], y), "no/such/file.npz", (x, ["a"] * 90)]
    found = rank(drawn(60, 0), [*bad, (x, y)])
    assert [row["name"] for row in found["ranking"]] == ["source 5"]
    told = {s["name"]: s["reason"] for s in found["skipped"]}
    assert set(told) == {"source 1", "source 2", "no/such/file.npz", "source 4"}
    assert "labelled" in told["source 1"]
    assert "4 numbers a row, and the target reads 6" in told["source 2"]
    assert "one class" in told["source 4"]
    with pytest.raises(CrossgraftError, match="none of the 2"):
        rank(drawn(60, 0), bad[:2])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ((drawn(30, 0)[0], None), "no labelled example"),
        ((drawn(30, 0)[0], ["a"] * 30), "one class"),
    ],
)
def test_a_target_that_says_nothing_ends_in_a_sentence(target: Any, said: str) -> None:
    with pytest.raises(CrossgraftError, match=said) as wrong:
        rank(target, [drawn(60, 1)])
    assert wrong.value.remedy


def test_calls_that_mean_nothing() -> None:
    t, s = drawn(30, 0), [drawn(30, 1)]
    for wrong in ({}, {"sources": s, "backbones": ["identity"]}, {"sources": s, "source": s[0]}):
        with pytest.raises(UsageError):
            rank(t, **wrong)


def test_a_class_with_one_example_and_two_rows_have_an_answer() -> None:
    x, y = drawn(30, 0)
    split = np.full(30, "test", dtype="<U5")
    split[[0, 1]] = "train"
    found = rank((x, y, split), [drawn(60, 1)])
    assert found["n_target"] == 2
    assert "one labelled example" in found["notes"][-1]
    row = found["ranking"][0]
    assert row["joint_loo"]["low"] <= row["joint_loo"]["value"] <= row["joint_loo"]["high"]


def test_constant_features_are_said() -> None:
    y = drawn(30, 0)[1]
    row = rank((np.zeros((30, 6)), y), [drawn(60, 1)])["ranking"][0]
    assert row["logme"]["value"] is None
    assert "zero" in row["logme"]["reason"]
    assert row["h_score"]["value"] == 0
    assert any("same for every" in note for note in row["notes"])
    assert any("same class" in note for note in row["notes"])


def test_a_source_that_shares_no_class_is_said() -> None:
    x, y = drawn(60, 1)
    row = rank(drawn(30, 0), [(x, np.char.add("other ", y))])["ranking"][0]
    assert any("share no class" in note for note in row["notes"])
    assert row["leep"]["value"] > -np.log(3)


def test_backbones_with_a_source_and_without() -> None:
    found = rank(drawn(60, 0), backbones=["identity", "nonsense", "mlp"], source=drawn(90, 1), source_steps=30)
    rows = by_name(found)
    assert set(rows) == {"identity", "mlp"}
    assert [s["name"] for s in found["skipped"]] == ["nonsense"]
    assert "source_training" in rows["mlp"]["seconds"]
    bare = rank(drawn(60, 0), backbones=["identity", "mlp"])
    assert bare["ranking"][0]["nce"]["value"] is None
    assert "no head" in bare["ranking"][0]["nce"]["reason"]
    assert "knows nothing" in bare["skipped"][0]["reason"]


@pytest.mark.slow
def test_the_head_that_came_with_a_backbone(pictures: Path) -> None:
    row = rank(pictures, backbones=["auto"])["ranking"][0]
    assert -np.log(2) <= row["leep"]["value"] < 0
    assert np.isfinite(row["logme"]["value"])


def test_a_network_learns_each_source() -> None:
    sources = [shuffled(300, 1), drawn(300, 2)]
    found = rank(drawn(24, 0), sources, backbone="mlp", source_steps=60)
    assert [row["name"] for row in found["ranking"]] == ["source 2", "source 1"]
    assert all(row["seconds"]["source_training"] > 0 for row in found["ranking"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (x, y) in {"t": drawn(60, 0), "good": drawn(300, 3), "bad": shuffled(300, 1)}.items():
        np.savez(tmp_path / f"{name}.npz", X=x, y=y)
    good, bad, missing = (tmp_path / f"{n}.npz" for n in ("good", "bad", "missing"))
    base = ["rank", "--target", tmp_path / "t.npz"]
    status, out, _ = call(capsys, *base, "--sources", bad, good, missing, "--json")
    found = json.loads(out)
    assert status == 0
    assert [row["name"] for row in found["ranking"]] == [str(good), str(bad)]
    assert [s["name"] for s in found["skipped"]] == [str(missing)]
    status, again, _ = call(capsys, *base, "--sources", bad, "--sources", good, "--json")
    assert [r["joint_loo"] for r in json.loads(again)["ranking"]] == [r["joint_loo"] for r in found["ranking"]]
    status, out, err = call(capsys, *base, "--sources", bad, good)
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["1", str(good)]
    assert "measuring" in err
    assert crossgraft.rank(tmp_path / "t.npz", [good])["ranking"][0]["joint_loo"] == found["ranking"][0]["joint_loo"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--target", "t.npz"], 2, "nothing to rank"),
        (["--target", "t.npz", "a.npz"], 2, "belongs to no option"),
        (["--target", "t.npz", "--sources", "a.npz"], 1, "t.npz"),
        (["--target", "sklearn-digits", "--backbones", "resnet81"], 2, "resnet"),
    ],
)
def test_wrong_calls_end_in_a_sentence(
    arguments: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    got, out, err = call(capsys, "rank", *arguments, "--json")
    assert (got, "Traceback" in err) == (status, False)
    assert said in json.loads(out)["error"]
