"""Keeping a model without target labels, and what a training says of itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgraft.errors import UsageError
from crossgraft.measure import validators
from crossgraft.objective.algebra import Objective
from crossgraft.objective.diagnosis import diagnose
from crossgraft.prepare import Job, prepare
from crossgraft.recipe import Recipe
from crossgraft.report import sections
from crossgraft.solve.fitted import Fitted
from crossgraft.transfer import fit
from crossgraft.validation import label_free

AT = np.array([[0.0, 2.0], [-1.7, -1.0], [1.7, -1.0]])


def blobs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, n)
    return (AT[y] + draw.normal(0, 1.0, (n, 2))).astype(np.float32), np.array(list("abc"))[y]


def judged(selection: str, spoiled: np.ndarray, scale: float) -> tuple[Job, Any]:
    """Source only is an unsure Bayes rule; the other is `scale` times that, its columns taken from `spoiled`."""
    recipe = Recipe(target="t", source=("s",), backbone="identity", method="mcc", shots=0, selection=selection)
    job = prepare(recipe, blobs(600, 1), [blobs(600, 0)])
    weight, bias = 0.3 * AT.T, -0.3 * (AT**2).sum(1) / 2
    plain = Fitted(job.backbone, weight, bias, Objective(), "frozen")
    lower = np.array([0, 1e-3, 2e-3])  # of equal columns the first is named
    other = Fitted(job.backbone, scale * weight[:, spoiled], scale * bias[spoiled] - lower, Objective(), "adapt")
    return job, label_free(job, {"source_only": plain, "transfer": other})


@pytest.mark.parametrize("selection", ["label_free:im", "label_free:snd"])
def test_a_collapse_that_the_validator_prefers_is_not_kept(selection: str) -> None:
    job, verdict = judged(selection, np.array([0, 1, 1]), 50.0)  # class c is never named, and of all it is sure
    name = selection.partition(":")[2]
    if name == "snd":
        job, verdict = judged(selection, np.array([0, 0, 0]), 50.0)
    assert job.validators["transfer"][name] > job.validators["source_only"][name]
    assert verdict.kept == "source_only"
    assert "have collapsed: 0 of 600 target examples are called" in verdict.why
    assert verdict.why.count("collapsed") == len([w for w in job.warnings if "collapsed" in w]) == 1


def test_a_surer_model_of_all_classes_is_kept_and_a_worse_one_is_not() -> None:
    _, surer = judged("label_free:im", np.arange(3), 2.0)
    assert (surer.kept, "collapsed" in surer.why) == ("transfer", False)
    job, vague = judged("label_free:im", np.arange(3), 0.5)
    assert vague.kept == "source_only"
    assert all(set(v) == {*validators_of(job), "collapse"} for v in job.validators.values())


def validators_of(job: Job) -> set[str]:
    return set(job.validators["source_only"]) - {"collapse"}


def test_oracle_goes_by_test_labels_and_says_so() -> None:
    _, verdict = judged("oracle", np.array([1, 0, 2]), 1.0)
    assert verdict.kept == "source_only"
    assert "By the labels of the test part (oracle)" in verdict.why


def test_oracle_goes_by_test_labels_where_the_target_has_labels_to_learn_from_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "mcc", "backbone": "mlp", "steps": 5, "source_steps": 5, "selection": "oracle"}
    run = fit(blobs(200, 1), blobs(200, 0), shots=2, out=tmp_path / "run", **options).result
    at = {"transfer": run["transfer"], **run["baselines"]}
    assert run["kept"]["model"] == min((m for m in at if at[m]), key=lambda m: at[m]["cross_entropy"]["value"])
    assert "oracle" in run["kept"]["why"]
    x, _ = blobs(200, 1)
    with pytest.raises(UsageError, match="oracle reads labels of the test part"):
        fit((x, [None] * len(x)), blobs(200, 0), out=tmp_path / "blind", **options)


def test_reverse_validation_tells_swapped_classes_only_where_the_features_do() -> None:
    (x, y), (z, w) = blobs(300, 0), blobs(300, 1)
    labels, place = (np.searchsorted(list("abc"), each) for each in (y, w))
    right = validators.reverse(z, place, x, labels)
    assert right > 0.8
    assert validators.reverse(z, (place + 1) % 3, x, labels) < 0.2


def logged(**terms: list[float]) -> list[dict[str, Any]]:
    n = len(next(iter(terms.values())))
    return [
        {"step": i, "lr": 0.1, "objective": 1.0, "terms": {_name(k): v[i] for k, v in terms.items()}} for i in range(n)
    ]


def _name(key: str) -> str:
    return "ce(source)" if key == "source" else key


def test_diagnosis_says_what_went_wrong_and_only_that() -> None:
    ln2 = math.log(2)
    healthy = logged(
        source=[2.0, 1.0, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1], dann=[0.69, 0.4, 0.5, 0.6, 0.66, 0.68, 0.69, 0.69]
    )
    assert diagnose(healthy, math.log(10)) == []
    assert "the source is not learned" in diagnose(logged(source=[2.31] * 8), math.log(10))[0]
    assert "is at chance" in diagnose(logged(cdan=[ln2] * 8), math.log(10))[0]
    assert "tells the domains apart to the end" in diagnose(logged(dann=[0.6, *[0.01] * 7]), math.log(10))[0]
    assert "run away" in diagnose(logged(cdan_e=[0.6, 0.7, 1.0, 2.0, 3.0, 3.5, 3.6, 3.7]), math.log(10))[0]
    restless = [*healthy, healthy[-1] | {"flipped": {"centroids": 0.4}}, healthy[-1] | {"flipped": {"centroids": 0.3}}]
    (sentence,) = diagnose(restless, math.log(10))
    assert "30 % of the pseudo-labels (centroids) still change" in sentence
    calm = [*restless, healthy[-1] | {"flipped": {"centroids": 0.02}}]
    assert diagnose(calm, math.log(10)) == []


def test_a_method_logs_how_many_pseudo_labels_flip_and_the_report_shows_the_validators(tmp_path: Path) -> None:
    fast: dict[str, Any] = {"backbone": "mlp", "steps": 60, "source_steps": 60, "baselines": False}
    run = fit(blobs(200, 1), blobs(300, 0), method="self_training", shots=0, out=tmp_path / "run", **fast)
    lines = (tmp_path / "run" / "measures.jsonl").read_text()
    assert '"flipped": {"class_balanced": ' in lines
    shown = sections.validators(run.result)
    assert shown["names"][0] == "IM, nats"
    assert [len(row["cells"]) for row in shown["rows"]] == [7, 7]
    assert [row["kept"] for row in shown["rows"]].count(True) == 1
    assert "Reverse validation" in (tmp_path / "run" / "report.html").read_text()
    assert sections.validators({})["rows"] == []
