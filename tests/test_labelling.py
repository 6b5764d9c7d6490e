"""Labels to look at again and to ask for next: values, order and bad input."""

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
from crossgraft.measure.acquisition import next_batch
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


def posterior_excess(x: np.ndarray, w: np.ndarray, given: np.ndarray, wg: np.ndarray, a: float) -> float:
    """(1/M) sum_j sum_c w_jc x_j' V_c x_j / 2 by inverting every class's precision."""
    total = 0.0
    for c in range(w.shape[1]):
        v = np.linalg.inv(a * np.eye(x.shape[1]) + (given.T * wg[:, c]) @ given)
        total += (w[:, c] * np.einsum("jd,de,je->j", x, v, x)).sum()
    return total / (2 * len(x))


@pytest.mark.parametrize("labelled", [0, 3, 9])
def test_next_batch_is_greedy_on_the_exact_posterior(labelled: int) -> None:
    draw = np.random.default_rng(labelled)
    x, given = draw.normal(size=(15, 4)), draw.normal(size=(labelled, 4))
    p, pg = (draw.dirichlet(np.ones(3), n) for n in (15, labelled))
    counts = draw.uniform(0.5, 2, labelled)
    found = next_batch(x, p, given, pg, 3, precision=0.3, weights=counts)
    w, wg = p * (1 - p), counts[:, None] * pg * (1 - pg)
    before = posterior_excess(x, w, given, wg, 0.3)
    assert found.excess == pytest.approx(before)
    for i, reduction in zip(found.rows, found.reduction, strict=True):
        after = [posterior_excess(x, w, np.r_[given, x[[j]]], np.r_[wg, w[[j]]], 0.3) for j in range(15)]
        assert min(after) == pytest.approx(after[i])
        assert reduction == pytest.approx(before - after[i])
        given, wg, before = np.r_[given, x[[i]]], np.r_[wg, w[[i]]], after[i]


def test_near_copies_are_not_taken_together() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(6, 8))
    x = np.r_[x, x + draw.normal(0, 0.01, (6, 8))]
    found = next_batch(x, np.full((12, 2), 0.5), x[:0], np.full((0, 2), 0.5), 12, precision=1e-4)
    assert sorted(found.rows[:6] % 6) == list(range(6))
    assert sorted(found.rows) == list(range(12))
    assert (found.reduction >= 0).all()


def partly(n: int = 60, known: int = 6, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x, y = blobs(n, k=k)
    labels = np.array([f"class {c}" for c in range(k)])[y].astype(object)
    labels[known:] = None
    return x, labels


def test_a_group_without_a_label_comes_first() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(0, 0.3, (90, 2)) + np.repeat([[-3.0, 0], [3, 0], [0, 8]], 30, axis=0)
    y = np.full(90, None, dtype=object)
    y[:5], y[30:35] = "left", "right"
    found = crossgraft.label_next((x, y), n=1)
    assert int(found["examples"][0]["name"][1:-1]) >= 60


def test_next_names_only_unlabelled_examples_and_repeats_itself() -> None:
    x, y = partly()
    found = crossgraft.label_next((x, y), n=7)
    rows = [int(e["name"][1:-1]) for e in found["examples"]]
    assert len(set(rows)) == 7
    assert min(rows) >= 6
    assert (found["n_labelled"], found["n_unlabelled"]) == (6, 54)
    assert sum(e["reduction"] for e in found["examples"]) < found["excess"]
    assert crossgraft.label_next((x, y), n=7)["examples"] == found["examples"]


def test_next_with_a_source_no_labels_one_class_and_constant_features() -> None:
    x, y = partly()
    xs, ys = partly(60, 60)
    assert len(crossgraft.label_next((x, y), (xs, ys), n=4)["examples"]) == 4
    unlabelled = crossgraft.label_next((x, None), (xs, ys), n=4)
    assert unlabelled["examples"][0]["guess"].startswith("class")
    for labels in (None, ["class 0"] + [None] * 59):
        found = crossgraft.label_next((x, labels), n=4)
        assert "inputs alone" in found["notes"][0]
        assert len(found["examples"]) == 4
    assert len(crossgraft.label_next((np.ones((60, 3)), y), n=4)["examples"]) == 4
    assert len(crossgraft.label_next((x[:2], ["class 0", None]), n=4)["examples"]) == 1
    two = crossgraft.label_next((x[:4], ["class 0", "class 1", None, None]), n=4)
    assert len(two["examples"]) == 2


def test_next_where_everything_is_labelled_or_nothing_is_asked() -> None:
    x, y = partly(60, 60)
    with pytest.raises(CrossgraftError, match="no unlabelled example"):
        crossgraft.label_next((x, y))
    with pytest.raises(CrossgraftError, match="n is 0"):
        crossgraft.label_next((x, partly()[1]), n=0)


def test_next_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = blobs(40, k=2)
    lines = [f"{a},{b},{'' if i > 5 else c}" for i, ((a, b, *_), c) in enumerate(zip(x, y, strict=True))]
    (tmp_path / "t.csv").write_text("u,v,label\n" + "\n".join(lines))
    status, out, err = call(capsys, "next", "--target", tmp_path / "t.csv", "--label", "label", "--n", 5, "--json")
    assert (status, len(json.loads(out)["examples"])) == (0, 5), err
    status, out, _ = call(capsys, "next", "--target", tmp_path / "t.csv", "--label", "label", "-n", 5)
    assert (status, len(out.splitlines())) == (0, 6)


def test_two_rows_of_many_features_are_solved() -> None:
    x = np.abs(np.random.default_rng(0).normal(size=(2, 1280)))
    found = left_out(Part(x / 40, np.arange(2), np.arange(2)), 2)
    assert (found.log_p.argmax(axis=1) == [1, 0]).all()


def test_a_large_pool_is_drawn_from_and_said_so() -> None:
    x, y = blobs(2600, k=2)
    labels = np.array(["a", "b"])[y].astype(object)
    labels[10:] = None
    found = crossgraft.label_next((x, labels), n=3)
    assert found["n_unlabelled"] == 2590
    assert "2,000 of 2,590" in found["notes"][0]
    assert len(found["examples"]) == 3
