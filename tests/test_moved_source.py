"""A source's features at the target's mean: where labels favour it, where they do not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from crossgraft.cli import app
from crossgraft.errors import CrossgraftError
from crossgraft.moved_source import as_frequent, with_company
from crossgraft.printed import fitted
from crossgraft.transfer import fit

VECTORS: dict[str, Any] = {"backbone": "identity", "seed": 1}
Domain = tuple[np.ndarray, np.ndarray]


def tumours() -> tuple[Domain, Domain]:
    """Two halves of the tumours, by draw, standardised."""
    x, y = load_breast_cancer(return_X_y=True)
    x, rows = StandardScaler().fit_transform(x).astype(np.float32), np.random.default_rng(0).permutation(len(y))
    return (x[rows[::2]], y[rows[::2]].astype(str)), (x[rows[1::2]], y[rows[1::2]].astype(str))


def elsewhere(domain: Domain, by: float) -> Domain:
    """The same as an instrument sees it that reads each number too high, or too low."""
    return (domain[0] + by).astype(np.float32), domain[1]


TARGET, SOURCE = tumours()


def test_another_instrument_is_moved_and_found(tmp_path: Path) -> None:
    """Labels favour it, both models of the source gain, and the gap is that of what was given."""
    far = elsewhere(SOURCE, 2.0)
    plain, moved = (fit(TARGET, far, out=tmp_path / a, align=a, shots=6, **VECTORS).result for a in ("none", "auto"))
    found = moved["align"]
    assert plain["align"] is None
    assert found["moved"]
    assert found["difference"]["high"] < 0
    assert found["difference"]["value"] == pytest.approx(found["after"] - found["before"])
    accuracy = [r["baselines"]["source_only"]["accuracy"]["value"] for r in (plain, moved)]
    assert accuracy[1] > accuracy[0] + 0.1
    assert moved["transfer"]["cross_entropy"]["value"] < plain["transfer"]["cross_entropy"]["value"] - 0.02
    assert moved["gap"] == plain["gap"]
    assert any(line.startswith("align: the source's features are moved") for line in fitted(moved))
    assert (
        "features were moved to the target&#39;s mean: left-out labels" in (tmp_path / "auto/report.html").read_text()
    )


def test_a_source_that_is_where_the_target_is_loses_nothing(tmp_path: Path) -> None:
    plain, asked = (fit(TARGET, SOURCE, out=tmp_path / a, align=a, shots=6, **VECTORS).result for a in ("none", "auto"))
    for name in ("transfer", "source_only"):
        entropy = [
            ({**r["baselines"], "transfer": r["transfer"]}[name])["cross_entropy"]["value"] for r in (plain, asked)
        ]
        assert entropy[1] < entropy[0] + 0.01


def test_other_shares_of_the_classes_are_not_taken_for_another_place(tmp_path: Path) -> None:
    """Nine of ten of the target are of one class: its mean lies elsewhere, and moving the source there does harm."""
    draw = np.random.default_rng(3)
    keep = (TARGET[1] == "1") | (draw.random(len(TARGET[1])) < 0.2)
    few = TARGET[0][keep], TARGET[1][keep]
    asked, forced = (fit(few, SOURCE, out=tmp_path / a, align=a, shots=6, **VECTORS).result for a in ("auto", "mean"))
    assert not asked["align"]["moved"]
    assert forced["align"]["moved"]
    entropy = [r["baselines"]["source_only"]["cross_entropy"]["value"] for r in (asked, forced)]
    assert entropy[1] > entropy[0] + 0.02


def test_where_all_labels_are_known_other_shares_do_no_harm(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    keep = (TARGET[1] == "1") | (draw.random(len(TARGET[1])) < 0.2)
    x, y, split = TARGET[0][keep], TARGET[1][keep], np.where(np.arange(keep.sum()) % 2 == 0, "train", "test")
    losses = {}
    for align in ("none", "mean"):
        run = fit((x, y, split), SOURCE, out=tmp_path / align, align=align, **VECTORS).result
        losses[align] = run["baselines"]["source_only"]["cross_entropy"]["value"]
    assert losses["mean"] < losses["none"] + 0.02
    assert as_frequent(np.array([0, 0]), np.array([0, 1])) is None


def test_of_many_labels_some_judge(tmp_path: Path) -> None:
    """More than a path leaves out, the source as good as the target: all models are judged by the same examples."""
    many = np.concatenate([TARGET[0]] * 4), np.concatenate([TARGET[1]] * 4)
    result = fit(many, elsewhere(SOURCE, 2.0), out=tmp_path / "run", shots=210, **VECTORS).result
    assert result["align"]["moved"]
    assert {row["model"] for row in result["guard"]} == {"transfer", "target_only", "source_only"}
    assert result["kept"]["why"].startswith("On 400 held-out examples")


def test_without_labels_it_is_done_where_it_is_asked_for(tmp_path: Path) -> None:
    """By the inputs alone, and each of two sources by itself: together their mean is the target's."""
    halves = [elsewhere((SOURCE[0][i::2], SOURCE[1][i::2]), by) for i, by in enumerate((2.0, -2.0))]
    entropy = {}
    for align in ("auto", "mean"):
        run = fit(TARGET, halves, out=tmp_path / align, align=align, shots=0, **VECTORS).result
        entropy[align] = run["baselines"]["source_only"]["cross_entropy"]["value"]
        assert (run["align"] is not None) == (align == "mean")
    assert entropy["mean"] < entropy["auto"] - 0.05
    assert run["align"] == {"asked": "mean", "moved": True, "before": None, "after": None}
    assert "align: the source's features are moved to the target's mean" in list(fitted(run))


def test_one_label_a_class_says_nothing(tmp_path: Path) -> None:
    """Left out, only the source speaks for its class, and from the wrong place it may be right by luck."""
    assert with_company(np.array([0, 1, 1, 2])).tolist() == [False, True, True, False]
    assert fit(TARGET, elsewhere(SOURCE, 2.0), out=tmp_path / "r", shots=1, **VECTORS).result["align"] is None


def test_classes_of_its_own_keep_a_source_where_it_is(tmp_path: Path) -> None:
    own = SOURCE[0], np.where(np.arange(len(SOURCE[1])) % 3 == 0, "2", SOURCE[1])
    assert fit(TARGET, own, out=tmp_path / "r", shots=6, **VECTORS).result["align"] is None


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"align": "median"}, "align is 'median'.*mean"),
        ({"align": "mean", "schedule": "lp_ft"}, "stand still.*schedule frozen"),
        ({"align": "mean", "method": "dann"}, "joint and source_only, and method dann"),
        ({"align": "mean", "objective": "ce(target) + ce(source)"}, "an objective was asked for"),
        ({"align": "mean", "backbone": "mlp"}, "mlp learns them from nothing"),
        ({"align": "mean", "source": ()}, "there is none.*--source"),
    ],
)
def test_what_it_cannot_be_asked_with(tmp_path: Path, options: dict[str, Any], what: str) -> None:
    asked: dict[str, Any] = VECTORS | {"shots": 6, "source": SOURCE} | options
    with pytest.raises(CrossgraftError, match=f"(?s){what}"):
        fit(TARGET, out=tmp_path / "r", **asked)


def test_a_model_without_its_data_cannot_be_moved(tmp_path: Path) -> None:
    fit(SOURCE, out=tmp_path / "source", **VECTORS)
    with pytest.raises(CrossgraftError, match=r"align mean moves examples of a source.*without them"):
        fit(TARGET, tmp_path / "source", out=tmp_path / "r", align="mean", shots=6, **VECTORS)


def test_the_command_takes_it(tmp_path: Path) -> None:
    for name, (x, y) in (("target", TARGET), ("source", elsewhere(SOURCE, 2.0))):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    given = [f"--{name}={tmp_path / name}.npz" for name in ("target", "source")]
    asked = [*given, "--align=mean", "--shots=0", "--backbone=identity", f"--out={tmp_path / 'run'}", "--json"]
    said = CliRunner().invoke(app, ["fit", *asked])
    assert json.loads(said.stdout)["align"]["moved"], said.output
