"""Labels to look at again: values, order and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

import crossgraft
from crossgraft.cli import main
from crossgraft.errors import CrossgraftError
from crossgraft.measure.doubt import doubt, noise
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.left_out import groups_of, left_out


def blobs(n: int, seed: int = 0, k: int = 3, d: int = 4, apart: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    y = np.arange(n) % k
    return draw.normal(size=(n, d)) + apart * np.eye(k, d)[y], y


def flipped(y: np.ndarray, k: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    at = draw.permutation(len(y))[:n]
    z = y.copy()
    z[at] = (y[at] + draw.integers(1, k, n)) % k
    return z, at


def loss(head: np.ndarray, x: np.ndarray, y: np.ndarray, rows: np.ndarray, ridge: float, k: int) -> float:
    w = head.reshape(-1, k)
    logp = log_softmax(np.c_[x, np.ones(len(x))][rows] @ w, axis=1)
    return -logp[np.arange(len(rows)), y[rows]].sum() / len(x) + ridge / 2 * (w**2).sum()


def test_left_out_is_the_exact_refit_without_each_row() -> None:
    x, y = blobs(12)
    found = left_out(Part(x, y, np.arange(3)), 3, ridges=[0.01])
    for i in range(0, 12, 5):
        rest = np.delete(np.arange(12), i)
        head = minimize(loss, np.zeros(15), (x, y, rest, 0.01, 3), tol=1e-9).x.reshape(-1, 3)
        assert found.log_p[i] == pytest.approx(log_softmax(np.append(x[i], 1) @ head), abs=0.02)
    assert found.loss == pytest.approx(-found.log_p[np.arange(12), y].mean())


def test_groups_above_sixty_rows_are_exact_refits_too_with_a_source() -> None:
    x, y = blobs(90)
    xs, ys = blobs(40, seed=1)
    source = Part(xs, ys, np.arange(3))
    found = left_out(Part(x, y, np.arange(3)), 3, other=source, lams=[0.5], ridges=[0.003], seed=2)
    groups = groups_of(x, y, 2)
    assert np.bincount(groups).tolist() == [5] * 10 + [4] * 10
    out = np.flatnonzero(groups == 7)
    kept = np.where(groups == 7, -1, y)
    head = solve(
        [Part(x, kept, np.arange(3), weight=(90 - len(out)) / 90), Part(xs, ys, np.arange(3), weight=0.5)],
        3, ridge=0.003, tolerance=1e-9,
    )  # fmt: skip
    assert found.log_p[out] == pytest.approx(log_softmax(x[out] @ head.weight + head.bias, axis=1), abs=0.02)


def test_lambda_and_ridge_are_those_of_the_least_loss() -> None:
    x, y = blobs(30)
    part, wrong = Part(x, y, np.arange(3)), Part(x, (y + 1) % 3, np.arange(3))
    assert left_out(part, 3, other=wrong, lams=[0.0, 1.0]).lam == 0
    losses = {r: left_out(part, 3, ridges=[r]).loss for r in (0.1, 0.01, 0.001)}
    assert left_out(part, 3, ridges=list(losses)).ridge == min(losses, key=losses.__getitem__)


def test_copies_are_left_out_together() -> None:
    x, y = blobs(30)
    x[1], y[1] = x[0], y[0]
    groups = groups_of(x, y, 0)
    assert groups[0] == groups[1]
    assert len(set(groups)) == 29


def test_noise_is_its_maximum_likelihood_and_covers_the_truth() -> None:
    draw = np.random.default_rng(0)
    log_p = log_softmax(draw.normal(0, 4, (500, 4)), axis=1)
    inside, rates = 0, []
    for i in range(20):
        y = np.array([draw.choice(4, p=np.exp(row)) for row in log_p])
        z, at = flipped(y, 4, 50, seed=i)
        found = noise(log_p, z)
        inside += found.low <= len(at) <= found.high
        rates.append(found.value)
    assert inside >= 18
    assert np.mean(rates) == pytest.approx(50, abs=6)

    def nll(a: np.ndarray) -> float:
        q = np.exp(log_softmax(log_p / np.exp(a[1]), axis=1)[np.arange(500), z])
        e = 1 / (1 + np.exp(-a[0]))
        return -np.log((1 - e) * q + e * (1 - q) / 3).sum()

    best = minimize(nll, [-2, 0.0], method="Nelder-Mead").x
    assert found.rate == pytest.approx(1 / (1 + np.exp(-best[0])), abs=0.003)


def test_p_wrong_is_the_posterior() -> None:
    x, y = blobs(200, apart=4)
    z, _ = flipped(y, 3, 20)
    out = left_out(Part(x, z, np.arange(3)), 3)
    found = doubt(out.log_p, z)
    i, t, e = found.order[0], found.wrong.temperature, found.wrong.rate
    q = np.exp(log_softmax(out.log_p[i] / t))[z[i]]
    assert found.p_wrong[i] == pytest.approx(e * (1 - q) / 2 / (e * (1 - q) / 2 + (1 - e) * q))
    assert found.loss[i] == found.loss.max() == pytest.approx(-np.log(found.probability[i]))
    assert (found.suggested != z).all()


def test_flipped_labels_come_first_in_both_domains() -> None:
    x, y = blobs(150, apart=5)
    xs, ys = blobs(90, seed=3, apart=5)
    z, at = flipped(y, 3, 12)
    zs, its = flipped(ys, 3, 6, seed=1)
    names = np.array(["a", "b", "c"])
    found = crossgraft.doubt((x, names[z]), (xs + 0.3, names[zs]))
    top = {(e["domain"], e["name"]) for e in found["examples"][:18]}
    truth = {("target", f"[{i}]") for i in at} | {("source", f"[{i}]") for i in its}
    assert len(top & truth) >= 16
    for side, n in (("target", 12), ("source", 6)):
        assert found["wrong"][side]["low"] <= n <= found["wrong"][side]["high"]
    assert [e["loss"] for e in found["examples"]] == sorted((e["loss"] for e in found["examples"]), reverse=True)
    again = crossgraft.doubt((x, names[z]), (xs + 0.3, names[zs]))
    assert again["examples"] == found["examples"]


def test_nothing_is_wrong_where_nothing_was_flipped() -> None:
    x, y = blobs(150, apart=3)
    found = crossgraft.doubt((x, y))["wrong"]["target"]
    assert (found["low"], round(found["value"])) == (0, 0)


def test_a_label_alone_in_its_class_is_not_judged_without_a_source() -> None:
    x, y = blobs(31, k=2)
    labels = np.array(["a", "b"])[y].astype(object)
    labels[0] = "c"
    found = crossgraft.doubt((x, labels))
    assert found["n"] == 30
    assert "'c' is alone" in found["notes"][0]
    assert crossgraft.doubt((x, labels), (x, np.where(y == 0, "c", "b")))["n"] == 30 + 31 + 1


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.eye(2), ["a", "b"], "two labelled examples or more"),
        (np.eye(4), [None] * 4, "0 classes"),
        (np.eye(4), ["a"] * 4, "1 classes"),
        (np.ones((6, 2)), ["a", "b"] * 3, "none can judge another"),
    ],
)
def test_where_nothing_can_be_doubted_a_sentence_says_so(x: np.ndarray, y: list[str], said: str) -> None:
    with pytest.raises(CrossgraftError, match=said) as wrong:
        crossgraft.doubt((x, y))
    assert wrong.value.remedy


def test_rows_that_repeat_get_an_answer() -> None:
    x, y = blobs(20, k=2)
    found = crossgraft.doubt((np.tile(x, (3, 1)), np.tile(y, 3)))
    losses = {e["name"]: e["loss"] for e in found["examples"]}
    assert losses["[0]"] == pytest.approx(losses["[40]"], abs=1e-6)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_doubt_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = blobs(80, k=2, apart=4)
    y[0] = 1
    np.savez(tmp_path / "t.npz", X=x, y=y)
    asked = ["doubt", "--target", tmp_path / "t.npz", "--out", tmp_path / "doubt.csv", "--top", 3]
    status, out, _ = call(capsys, *asked, "--json")
    found = json.loads(out)
    assert (status, len(found["examples"])) == (0, 3)
    assert found["examples"][0]["name"] == "[0]"
    assert len((tmp_path / "doubt.csv").read_text().splitlines()) == 81
    status, out, _ = call(capsys, *asked)
    assert out.splitlines()[1].startswith("target\t[0]")
    status, _, err = call(capsys, "doubt", "--target", tmp_path / "none.npz")
    assert (status, "remedy" in err) == (1, True)
