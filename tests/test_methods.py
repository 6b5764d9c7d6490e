"""Methods for targets without labels: every term against an independent calculation, every method end to end."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from crossgraft import adapt
from crossgraft.backbones.given import from_module
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure import validators
from crossgraft.methods import METHODS
from crossgraft.objective.algebra import Objective
from crossgraft.objective.domain_terms import ramp, reverse
from crossgraft.objective.heads import Conditional
from crossgraft.objective.methods import TERMS, evaluate_terms
from crossgraft.objective.tables import centroids, class_balanced
from crossgraft.objective.views import View
from crossgraft.run import Run
from crossgraft.solve import seeing
from crossgraft.solve.batches import Stream
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Phase
from crossgraft.solve.test_time import tent
from crossgraft.transfer import Steps, fit

N, D, K = 7, 3, 4
DRAW = np.random.default_rng(0)
X = {d: DRAW.normal(0, 1, (N, D)) for d in ("target", "source", "unlabelled")}
W, V, W2 = DRAW.normal(0, 1, (D, K)), DRAW.normal(0, 1, (D, 1)), DRAW.normal(0, 1, (D, K))
U = DRAW.normal(0, 1, (D * K, 1))
Y = DRAW.integers(0, K, N)
WEIGHTS, TABLE = DRAW.uniform(0.2, 2, N), np.array([0, -1, 2, 3, -1, 1, 0])
RELATION = DRAW.dirichlet(np.ones(K), K)
P = 0.3
LAM = 2 / (1 + math.exp(-10 * P)) - 1


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def h(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p)).sum(1)


def bce(z: np.ndarray, is_source: bool) -> np.ndarray:
    return np.log1p(np.exp(-z if is_source else z))[:, 0]


def product(f: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nk->ndk", f, g).reshape(len(f), -1)


def by_cdan(x: dict[str, np.ndarray], held: dict[str, np.ndarray], weighting: str) -> float:
    """Domain loss as the classifier sees it; `held` gives what is detached."""
    g = {d: softmax((x if weighting == "none" else held)[d] @ W) for d in held}
    s, t = (bce(product(x[d], g[d]) @ U, d == "source") for d in ("source", "unlabelled"))
    w_s, w_t = (
        1 + np.exp(-h(softmax((x if weighting == "per_domain" else held)[d] @ W))) for d in ("source", "unlabelled")
    )
    c_s, c_t = (1 + np.exp(-h(g[d])) for d in ("source", "unlabelled"))
    if weighting == "joint":
        return float(((w_s * s).sum() + (w_t * t).sum()) / (w_s.sum() + w_t.sum()))
    if weighting == "none":
        return float((s.mean() + t.mean()) / 2)
    return float(((w_s * s).sum() / c_s.sum() + (w_t * t).sum() / c_t.sum()) / 2)


def by_mcc(x: dict[str, np.ndarray], held: dict[str, np.ndarray]) -> float:
    p = softmax(x["unlabelled"] @ W / 2.5)
    w = 1 + np.exp(-h(softmax(held["unlabelled"] @ W / 2.5)))
    w = N * w / w.sum()
    c = np.zeros((K, K))
    for i in range(N):
        c += w[i] * np.outer(p[i], p[i])
    c /= c.sum(1, keepdims=True)
    return float((c.sum() - np.trace(c)) / K)


def by_mmd(x: dict[str, np.ndarray], held: dict[str, np.ndarray]) -> float:
    f, g = (np.concatenate([v["source"], v["unlabelled"]]) for v in (x, held))
    b = sum(((a - c) ** 2).sum() for a in g for c in g) / (2 * N * (2 * N - 1))
    total = 0.0
    for i in range(2 * N):
        for j in range(2 * N):
            k = np.mean([np.exp(-((f[i] - f[j]) ** 2).sum() / (m * b)) for m in (0.25, 0.5, 1, 2, 4)])
            total += k / N**2 * (1 if (i < N) == (j < N) else -1)
    return total


def by_ce(z: np.ndarray, y: np.ndarray, w: np.ndarray | None = None) -> float:
    known = y >= 0
    losses = -np.log(softmax(z)[np.arange(len(y))[known], y[known]])
    return float((losses * w[known]).sum() / len(y)) if w is not None else float(losses.mean())


def by_im(x: dict[str, np.ndarray]) -> float:
    p = softmax(x["unlabelled"] @ W)
    return float(h(p).mean() + (p.mean(0) * np.log(p.mean(0))).sum())


def by_fixmatch(x: dict[str, np.ndarray], held: dict[str, np.ndarray]) -> float:
    p, q = softmax(20 * held["unlabelled"] @ W), softmax(x["unlabelled"] @ W2)
    return float((-np.log(q[np.arange(N), p.argmax(1)]) * (p.max(1) >= 0.95)).mean())


def by_lwf(x: dict[str, np.ndarray], held: dict[str, np.ndarray]) -> float:
    return float(-4 * (softmax(held["target"] @ W2 / 2) * np.log(softmax(x["target"] @ W / 2))).sum(1).mean())


# term: value from moving features x and detached ones, and by what its gradient below the head is scaled
EXPECTED: dict[str, tuple[Any, float]] = {
    "dann": (lambda x, c: (bce(x["source"] @ V, True).mean() + bce(x["unlabelled"] @ V, False).mean()) / 2, -LAM),
    "pada": (
        lambda x, c: ((WEIGHTS * bce(x["source"] @ V, True)).mean() + bce(x["unlabelled"] @ V, False).mean()) / 2, -LAM
    ),
    "cdan": (lambda x, c: by_cdan(x, c, "none"), -LAM),
    "cdan_e": (lambda x, c: by_cdan(x, c, "per_domain"), -LAM),
    "cdan_e_joint": (lambda x, c: by_cdan(x, c, "joint"), -LAM),
    "adda": (lambda x, c: (bce(c["source"] @ V, True).mean() + bce(c["unlabelled"] @ V, False).mean()) / 2, 1.0),
    "fooled": (lambda x, c: bce(x["unlabelled"] @ V, True).mean(), 1.0),
    "coral": (lambda x, c: ((np.cov(x["source"].T) - np.cov(x["unlabelled"].T)) ** 2).sum() / (4 * D**2), 1.0),
    "mmd": (by_mmd, 1.0),
    "entropy": (lambda x, c: h(softmax(x["unlabelled"] @ W)).mean(), 1.0),
    "im": (lambda x, c: by_im(x), 1.0),
    "mcc": (by_mcc, 1.0),
    "pseudo": (lambda x, c: by_ce(x["unlabelled"] @ W, TABLE), 1.0),
    "centroid": (lambda x, c: by_ce(x["unlabelled"] @ W, TABLE), 1.0),
    "fixmatch": (by_fixmatch, 1.0),
    "odds": (lambda x, c: by_ce(x["source"] @ W, Y, WEIGHTS), 1.0),
    "named": (lambda x, c: by_ce(x["source"] @ W, Y, WEIGHTS), 1.0),
    "priors": (lambda x, c: by_ce(x["source"] @ W, Y, WEIGHTS), 1.0),
    "second": (lambda x, c: by_ce(x["source"] @ W2, Y), 1.0),
    "discrepancy": (lambda x, c: np.abs(softmax(x["unlabelled"] @ W) - softmax(x["unlabelled"] @ W2)).mean(), 1.0),
    "agreement": (lambda x, c: -np.abs(softmax(x["unlabelled"] @ W) - softmax(x["unlabelled"] @ W2)).mean(), 1.0),
    "balance": (lambda x, c: -np.log(softmax(x["unlabelled"] @ W).mean(0)).mean(), 1.0),
    "bss": (lambda x, c: np.linalg.svd(x["target"])[1][-1] ** 2, 1.0),
    "lwf": (by_lwf, 1.0),
    "cotuning": (lambda x, c: -(RELATION[Y] * np.log(softmax(x["target"] @ W))).sum(1).mean(), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_value_and_gradient_of_a_term(name: str) -> None:
    f = {d: torch.tensor(x, dtype=torch.float32).requires_grad_() for d, x in X.items()}
    w, v, w2, u = (torch.tensor(a, dtype=torch.float32) for a in (W, V, W2, U))
    known = {"odds": WEIGHTS, "priors": WEIGHTS, "named": WEIGHTS, "class_balanced": TABLE, "centroids": TABLE}
    rows = {k: torch.tensor(a, dtype=torch.long if k[0] == "c" else torch.float32) for k, a in known.items()}
    scale = 20 if name == "fixmatch" else 1  # so that some rows are sure and some are not
    views = {
        d: View(
            x, scale * x @ w, torch.tensor(Y), strong=View(x, x @ w2, torch.tensor(Y)),
            teacher=View(x.detach(), x.detach() @ w2, torch.tensor(Y)), rows=rows,
        )
        for d, x in f.items()
    }  # fmt: skip
    given = {
        "domain": lambda x: x @ v, "second": lambda x: x @ w2, "source": lambda x: x @ w, "progress": P,
        "conditional": lambda x, g: (x[:, :, None] * g[:, None, :]).flatten(1) @ u,
    }  # fmt: skip
    options = {"target": {"relation": torch.tensor(RELATION, dtype=torch.float32)}}
    value = evaluate_terms(Objective.parse(name), views, options, given)[name]
    expected, scale = EXPECTED[name]
    assert value.item() == pytest.approx(float(expected(X, X)), rel=1e-4, abs=1e-6)
    if value.requires_grad:
        value.backward()
    for d in X:
        numeric = np.zeros((N, D))
        for i in range(N):
            for j in range(D):
                ends = []
                for e in (1e-5, -1e-5):
                    moved = {k: x.copy() for k, x in X.items()}
                    moved[d][i, j] += e
                    ends.append(float(expected(moved, X)))
                numeric[i, j] = scale * (ends[0] - ends[1]) / 2e-5
        found = np.zeros((N, D)) if f[d].grad is None else f[d].grad.numpy()
        np.testing.assert_allclose(found, numeric, atol=2e-3 * max(1.0, np.abs(numeric).max()))


def test_every_row_of_terms_has_a_row_here() -> None:
    assert set(EXPECTED) | {"ce", "l2_sp", "words", "dann_groups"} == set(TERMS)


def ways(one: str) -> dict[str, Any]:
    """Views of a batch and what terms take beside it: of one example, or of several that are of one class throughout,
    and of which the model is as sure as float32 allows."""
    n = 1 if one == "example" else 4
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(0)).requires_grad_()
    z = x @ torch.tensor(W, dtype=torch.float32)
    z = z + torch.tensor([100.0, 0.0, 0.0, 0.0]) if one == "class" else z
    y, ones = torch.zeros(n, dtype=torch.long), torch.ones(n)
    rows = {"odds": ones, "priors": ones, "named": ones, "class_balanced": y, "centroids": y}
    own = View(x, z, y, strong=View(x, z, y), teacher=View(x.detach(), z.detach(), y), rows=rows)
    w, v, u = (torch.tensor(a, dtype=torch.float32) for a in (W2, V, U))
    given = {
        "domain": lambda f: f @ v, "second": lambda f: f @ w, "source": lambda f: f @ w, "progress": P,
        "conditional": lambda f, g: (f[:, :, None] * g[:, None, :]).flatten(1) @ u,
    }  # fmt: skip
    return {"views": dict.fromkeys(("target", "source", "unlabelled"), own), "given": given, "x": x}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("one", ["example", "class"])
def test_a_batch_of_one_example_or_of_one_class_is_finite_or_refused(name: str, one: str) -> None:
    batch, least = ways(one), TERMS[name].least
    if one == "example" and least > 1:
        return  # refused before anything is trained: test_wrong_calls_say_what_to_do_before_anything_is_trained
    relation = {"target": {"relation": torch.tensor(RELATION, dtype=torch.float32)}}
    value = evaluate_terms(Objective.parse(name), batch["views"], relation, batch["given"])[name]
    assert torch.isfinite(value)
    if value.requires_grad:
        value.backward()
        assert batch["x"].grad is None or torch.isfinite(batch["x"].grad).all()


CODE = Path(adapt.__file__).parent
ADAPT = {name for name, row in METHODS.items() if row.adapts}


def lines_of(node: ast.AST) -> int:
    """Lines of code of a function, without its docstring."""
    assert isinstance(node, ast.FunctionDef)
    said = ast.get_docstring(node, clean=False)
    return (node.end_lineno or 0) - node.lineno + 1 - (len(said.splitlines()) if said else 0)


def test_a_method_is_short_enough_to_read() -> None:
    """At most 30 lines of code a row: its function in a file of terms, and its row in either table."""
    files = [*(CODE / "objective").glob("*_terms.py"), *(CODE / "objective" / f"{n}.py" for n in ("terms", "tables"))]
    functions = {n.name: n for p in files for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.FunctionDef)}
    for row in TERMS.values():
        own = row.function.func if isinstance(row.function, partial) else row.function
        assert lines_of(functions[own.__name__]) <= 28, row.name
        assert ast.get_docstring(functions[own.__name__]), row.name
    for path, rows in (("methods.py", METHODS), ("objective/methods.py", TERMS)):
        found = {}
        for node in ast.walk(ast.parse((CODE / path).read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                found[node.args[0].value] = (node.end_lineno or 0) - node.lineno + 1
        assert all(found[name] <= 5 for name in rows)
    assert all(row.citation for row in METHODS.values() if row.adapts)


def test_no_method_is_known_to_the_loop() -> None:
    for path in (CODE / "solve").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Constant) and node.value in ADAPT | set(TERMS) - {"second"}), path.name


def test_l2_sp_by_hand() -> None:
    now, start = torch.tensor([2.0, 1.0], requires_grad=True), torch.tensor([1.0, 1.0])
    head = torch.tensor([3.0], requires_grad=True)
    given = {"now": [now], "start": [start], "new": [head]}
    value = evaluate_terms(Objective.parse("l2_sp"), {}, {}, given)["l2_sp"]
    value.backward()
    assert value.item() == 5.0
    assert (now.grad.tolist(), head.grad.tolist()) == ([1.0, 0.0], [3.0])


def test_reversal_and_its_ramp() -> None:
    x = torch.ones(2, requires_grad=True)
    (3 * reverse(x, 0.5)).sum().backward()
    assert x.grad.tolist() == [-1.5, -1.5]
    assert ramp(0) == 0
    assert ramp(1) == pytest.approx(0.9999092, abs=1e-6)


def test_randomised_product_keeps_inner_products_on_average() -> None:
    torch.manual_seed(0)
    head = Conditional(400, 20)
    f, g = torch.randn(2, 400), torch.randn(2, 20)
    assert not head.wide
    mapped = (f @ head.project_f) * (g @ head.project_g) / 1024**0.5
    exact = (f[0] @ f[0]) * (g[0] @ g[0])
    assert float(mapped[0] @ mapped[0]) == pytest.approx(float(exact), rel=0.3)
    assert head(f, F.softmax(g, 1)).shape == (2, 1)


def test_tables_of_pseudo_labels() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
    assert class_balanced(np.zeros((5, 1)), p, 1 / 6).tolist() == [0, -1, -1, 1, -1]  # 0.3 of 3 and of 2: one each
    f = np.array([[3.0, 0.0], [2.0, 0.1], [0.0, 3.0], [0.1, 2.0], [0.0, 2.0]])
    q = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.6, 0.4]])  # the last looks like class 1
    assert centroids(f, q, 0.0).tolist() == [0, 0, 1, 1, 1]


def test_source_rows_weigh_what_the_model_names_their_class_on_the_target() -> None:
    layers, columns = from_module(nn.Identity(), 3), {"source": np.arange(3), "unlabelled": np.arange(3)}
    net = Net(layers, columns, 3, seed=0)
    net.set_head(50 * np.eye(3), np.zeros(3))
    phase = Phase(Objective.parse("named(source)"), {})
    net.equip([phase.objective], {"unlabelled": 4}, 0)
    x = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]  # class 2 is named nowhere
    streams = {"source": Stream(x, np.array([0, 1, 2, 2]), 4), "unlabelled": Stream(x, np.full(4, -1), 4)}
    seeing.refresh(net, phase, streams, 0, 10)
    batches = {d: stream.batch(0, d, 0, 3) for d, stream in streams.items()}
    seen = seeing.views(net, net, phase, batches)["source"]
    np.testing.assert_allclose(seen.rows["named"], np.array([2.25, 0.75, 0.0])[seen.labels], atol=1e-6)


def test_pada_names_none_of_the_classes_that_the_target_lacks(tmp_path: Path) -> None:
    few = np.flatnonzero(TARGET[1] != "c")
    run = fit((TARGET[0][few], None), SOURCE, objective="named(source) + pada", out=tmp_path / "run", **FAST)
    named = np.array([r["label"] for r in run.predict(TARGET[0][few])])
    assert "c" not in named
    assert (named == TARGET[1][few]).mean() > 0.85
    strange = np.where(TARGET[1] == "c", "d", TARGET[1])
    with pytest.raises(CrossgraftError, match="same classes in source and target"):
        fit((TARGET[0], strange), SOURCE, method="pada", shots=2, out=tmp_path / "b", **FAST)


def test_validators_by_hand() -> None:
    p = np.array([[0.75, 0.25], [0.25, 0.75]])
    assert validators.im(p) == pytest.approx(math.log(2) - h(p).mean())
    assert validators.snd(np.eye(2)[[0, 0, 1]]) == pytest.approx(math.log(2) / 3, abs=1e-6)  # row 2 sees both alike
    w, losses = np.array([0.5, 1.0, 2.0]), np.array([1.0, 3.0, 2.0])
    assert validators.iwv(losses, w) == pytest.approx(-7.5 / 3)
    eta = -np.cov(w * losses, w)[0, 1] / np.var(w, ddof=1)
    assert validators.dev(losses, w) == pytest.approx(-((w * losses).mean() + eta * w.mean() - eta))


def blobs(n: int, angle: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians on a circle, turned by an angle: beyond 60 degrees source only names the wrong neighbour."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, n)
    at = np.stack([np.cos(2 * np.pi * y / 3 + angle), np.sin(2 * np.pi * y / 3 + angle)], 1)
    return (3 * at + draw.normal(0, 0.5, (n, 2))).astype(np.float32), np.array(list("abc"))[y]


SOURCE, TARGET = blobs(360, 0.0, 0), blobs(300, 0.85, 1)
FAST: dict[str, Any] = {"backbone": "mlp", "steps": 150, "source_steps": 150, "baselines": False, "guard": False}
NO_LABELS = [name for name, row in METHODS.items() if row.adapts and "target" not in row.needs]


# pada takes a class that is named too seldom for one that the target lacks: it has a test of its own.
@pytest.mark.parametrize("name", [n for n in NO_LABELS if not METHODS[n].statistics and n != "pada"])
def test_a_method_without_target_labels_ends_no_worse_and_the_strong_ones_better(name: str, tmp_path: Path) -> None:
    several = [tuple(a[:180] for a in SOURCE), tuple(a[180:] for a in SOURCE)]  # as speakers, or rooms, are
    given: Any = several if name == "dann_groups" else SOURCE
    result = fit(TARGET, given, method=name, shots=0, out=tmp_path / "run", **FAST).result
    source_only = result["baselines"]["source_only"]["accuracy"]["value"]
    adapted = result["transfer"]["accuracy"]["value"]
    if name in ("im", "mcc", "shot", "self_training", "mmd"):
        assert adapted > source_only
    # Sure of wrong neighbours, entropy and fixmatch lose on this rotation, and so does cdan, whose classifier gives way
    # too: that adaptation can lose is known. cdan hangs on the draw, with domain classifiers of two layers as of three.
    assert adapted > source_only - {"entropy": 0.2, "fixmatch": 0.2, "cdan": 0.25}.get(name, 0.03)
    assert result["selection"] == "label_free:im"
    assert set(result["validators"]) == {"source_only", "transfer"}
    assert all(t["value"] is not None for t in result["objective"]["terms"])


@pytest.mark.parametrize("name", ["entropy", "fixmatch", "cdan"])
def test_what_loses_where_neighbours_are_wrong_keeps_what_is_named_right(name: str, tmp_path: Path) -> None:
    result = fit(blobs(300, 0.5, 1), SOURCE, method=name, shots=0, out=tmp_path / "run", **FAST).result
    source_only = result["baselines"]["source_only"]["accuracy"]["value"]
    assert source_only > 0.97
    assert result["transfer"]["accuracy"]["value"] > source_only - 0.02


@pytest.mark.parametrize("name", [n for n, row in METHODS.items() if row.adapts and "target" in row.needs])
def test_a_method_with_target_labels_runs_to_its_end(name: str, tmp_path: Path) -> None:
    result = fit(TARGET, SOURCE, method=name, shots=3, out=tmp_path / "run", **FAST).result
    assert result["transfer"]["accuracy"]["value"] > 0.8
    assert result["method"] == name


def test_test_labels_are_never_read(tmp_path: Path) -> None:
    x, y = TARGET
    scrambled = np.random.default_rng(5).permutation(y)
    one, two = (
        fit((x, labels), SOURCE, method="mcc", shots=0, out=tmp_path / str(i), **FAST)
        for i, labels in enumerate((y, scrambled))
    )
    assert one.predict(x) == two.predict(x)


def test_an_objective_of_terms_and_an_unlabelled_target(tmp_path: Path) -> None:
    run = fit((TARGET[0], None), SOURCE, objective="ce(source) + 0.5*im + 0.1*dann", out=tmp_path / "run", **FAST)
    assert run.result["objective"]["formula"] == "ce(source) + 0.5*im + 0.1*dann"
    assert {t["term"] for t in run.result["objective"]["terms"]} == {"ce(source)", "im", "dann"}
    assert np.mean([r["label"] == y for r, y in zip(run.predict(TARGET[0]), TARGET[1], strict=True)]) > 0.9


@pytest.mark.parametrize("name", ["self_training", "mcd", "cdan_e"])
def test_killed_in_the_middle_and_resumed_is_the_uninterrupted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = adapt._settings
    monkeypatch.setattr(adapt, "_settings", lambda *given: replace(settings(*given), checkpoint_every=0.0))
    whole, asked = Run.log, {"method": name, "shots": 0} | FAST
    fit(TARGET, SOURCE, out=tmp_path / "whole", **asked)

    def killed(run: Run, row: dict[str, Any]) -> None:
        whole(run, row)
        if row["model"] == "transfer" and row["step"] > 70:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(TARGET, SOURCE, out=tmp_path / "run", **asked)
    monkeypatch.setattr(Run, "log", whole)
    with (tmp_path / "run" / "measures.jsonl").open() as lines:
        before = len(list(lines))
    fit(TARGET, SOURCE, out=tmp_path / "run", resume=True, **asked)
    with (tmp_path / "run" / "measures.jsonl").open() as lines:
        assert len(list(lines)) > before
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]


def test_tent_learns_nothing_but_normalising_layers() -> None:
    layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU())
    net = Net(from_module(layers, 2), {"unlabelled": np.arange(3)}, 3, seed=0).only_norms()
    net.learn(net.groups)
    assert [n for n, p in net.layers.named_parameters() if p.requires_grad] == ["1.weight", "1.bias"]


def test_tent_by_batches_is_reset_and_makes_each_batch_surer() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU())
    backbone, head = from_module(layers, 2), (DRAW.normal(0, 1, (8, 3)), np.zeros(3))
    x = TARGET[0][:65]
    before = {k: v.clone() for k, v in backbone.module.state_dict().items()}
    found = tent(backbone, *head, x, batch_size=32, lr=0.02)
    np.testing.assert_array_equal(found[32:], tent(backbone, *head, x[32:], batch_size=32, lr=0.02))
    assert not np.allclose(found[32:], tent(backbone, *head, x, batch_size=32, lr=0.02, reset=False)[32:])
    assert all(torch.equal(v, before[k]) for k, v in backbone.module.state_dict().items())
    still = tent(backbone, *head, x, batch_size=32, lr=0.0)
    assert h(np.exp(found)).mean() < h(np.exp(still)).mean()
    layers[1].train()
    z = layers(torch.from_numpy(x[:32])).detach().numpy() @ head[0]
    np.testing.assert_allclose(np.exp(still[:32]), softmax(z), atol=1e-5)
    with pytest.raises(UsageError, match="no batch normalisation"):
        tent(from_module(nn.Linear(2, 8), 2), *head, x)
    with pytest.raises(UsageError, match="statistics of one input"):
        tent(backbone, *head, x[:1])


def test_the_statistics_rows_adapt_a_network_that_normalises_batches(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    labels = np.array(["a", "b"] * 40)
    pictures = draw.integers(0, 60, (80, 12, 12), dtype=np.uint8)
    pictures[labels == "a", :6] += 120
    options = FAST | {"backbone": "cnn_bn", "steps": 20, "source_steps": 40, "shots": 0, "augment": "none"}
    for name in ("adabn", "tent"):
        run = fit((255 - pictures, labels), (pictures, labels), method=name, out=tmp_path / name, **options)
        assert run.result["validators"]["transfer"] != run.result["validators"]["source_only"]
    assert len(run.predict(pictures, tent=True)) == 80


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "cotuning", "shots": 0}, "needs labels of the target"),
        ({"method": "dan"}, "did you mean 'dann'"),
        ({"method": "mcc", "shots": 0, "batch_size": 1}, "compares the examples of a batch"),
        ({"method": "dann_groups", "shots": 0}, "there are only source and target.*take dann"),
        ({"method": "dann", "shots": 0, "backbone": "identity"}, "backbone identity has none"),
        ({"method": "adabn", "shots": 0}, "no batch normalisation"),
        ({"objective": "ce(target) + dann", "shots": 0}, "needs labels of the target"),
        ({"objective": "ce(source) + dan", "shots": 0}, "unknown term 'dan'.*did you mean 'dann'"),
        ({"objective": "ce(sorce) + dann", "shots": 0}, "did you mean 'source'"),
        ({"objective": "ce(source) + dann", "method": "mcc"}, "give one of the two"),
        ({"method": "dann", "shots": 0, "schedule": "frozen"}, "says itself which layers learn"),
        ({"method": "dann", "shots": 0, "lam": 0.3}, "lam is the weight of method joint"),
    ],
)
def test_wrong_calls_say_what_to_do_before_anything_is_trained(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(steps: Steps) -> None:
        raise AssertionError("f_s was trained first")

    monkeypatch.setattr(Steps, "initialise", trained)
    with pytest.raises((CrossgraftError, UsageError), match=message):
        fit(TARGET, SOURCE, out=tmp_path / "run", **(FAST | options))


def test_an_unknown_term_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown term"):
        fit(tmp_path / "no such folder", SOURCE, objective="ce(source) + dan", out=tmp_path / "run")


def test_wrong_data_say_what_to_do(tmp_path: Path) -> None:
    few = np.flatnonzero(SOURCE[1] != "c")
    with pytest.raises(CrossgraftError, match="no example teaches class c"):
        fit(TARGET, (SOURCE[0][few], SOURCE[1][few]), method="dann", shots=0, out=tmp_path / "a", **FAST)
    with pytest.raises(CrossgraftError, match="needs unlabelled target examples"):
        fit((*TARGET, ["test"] * 300), SOURCE, method="dann", out=tmp_path / "b", **FAST)
    with pytest.raises(CrossgraftError, match=r"needs a source|starts from a source"):
        fit((*TARGET,), method="dann", out=tmp_path / "c", **FAST)
    result = fit(TARGET, SOURCE, method="shot", shots=2, out=tmp_path / "d", **FAST).result
    assert any("does not use the 6 labels" in w for w in result["warnings"])
