"""Transcripts of clips that nobody has transcribed: domain classifiers of frames and of groups, pseudo-transcripts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import audio_kit
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import crossgraft
from crossgraft import adapt
from crossgraft.alignments import cross_entropy
from crossgraft.backbones.audio_models import TOKENS
from crossgraft.backbones.backbone import NO_TOKEN, ZERO, Backbone
from crossgraft.choose import Outcome
from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features.frames import Frames
from crossgraft.measure.transcripts import error_counts
from crossgraft.methods import METHODS
from crossgraft.objective.algebra import Objective
from crossgraft.objective.domain_terms import ramp
from crossgraft.objective.methods import evaluate_terms
from crossgraft.objective.tables import SURE, transcripts
from crossgraft.objective.views import View
from crossgraft.prepare import Job, prepare
from crossgraft.recipe import Recipe
from crossgraft.transfer import Steps, four_steps

DRAW = np.random.default_rng(0)
SPOKEN = [name for name, row in METHODS.items() if row.spoken]

# The terms -----------------------------------------------------------------------------------------------------------


def log_p(*shape: int) -> np.ndarray:
    z = DRAW.normal(0, 1, shape)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


def test_pseudo_transcripts_cost_their_symbols_alignments_and_those_without_one_nothing() -> None:
    frames, z = np.array([4, 3, 5]), torch.tensor(log_p(12, 3), dtype=torch.float32, requires_grad=True)
    table = torch.tensor([[1, 2, -1, -1, -1], [-1] * 5, [2, 2, 1, -1, -1]])
    view = View(z, z, torch.full((3,), -1), rows={"class_balanced": table}, frames=torch.tensor(frames))
    value = evaluate_terms(Objective.parse("pseudo"), {"unlabelled": view}, {})["pseudo"]
    own = z.detach().numpy().astype(float)
    said = own[np.r_[0:4, 7:12]]
    expected = cross_entropy(said, np.array([4, 5]), np.array([1, 2, 2, 2, 1]), np.array([2, 3])).sum() / 5
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    assert z.grad is not None
    assert z.grad[4:7].abs().sum() == 0
    assert (z.grad[[0, 11]].abs().sum(1) > 0).all()
    none = replace(view, rows={"class_balanced": torch.full((3, 5), -1)})
    assert evaluate_terms(Objective.parse("pseudo"), {"unlabelled": none}, {})["pseudo"].item() == 0


def test_a_pseudo_transcript_is_what_is_heard_where_all_of_its_alignments_are_sure() -> None:
    clips = [sharp * log_p(n, 4) for n, sharp in ((1, 3), (4, 0.2), (6, 3), (5, 0.2), (3, 3))]
    clips = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in clips]
    found = transcripts(Frames.of(clips), 6)
    for row, x in zip(found, clips, strict=True):
        said = [k for k, _ in itertools.groupby(x.argmax(1).tolist()) if k]
        p = sum(  # over every alignment, one by one
            np.exp(x[np.arange(len(x)), list(path)].sum())
            for path in itertools.product(range(4), repeat=len(x))
            if [k for k, _ in itertools.groupby(path) if k] == said
        )
        sure = bool(said) and p ** (1 / len(said)) >= SURE
        assert row[row >= 0].tolist() == (said if sure else [])
    assert 0 < (found >= 0).any(1).sum() < len(clips)


@pytest.mark.parametrize("frames", [None, ([2, 3], [1, 4])])
def test_groups_are_told_apart_and_the_gradient_comes_back_reversed(frames: Any) -> None:
    f = [torch.tensor(DRAW.normal(0, 1, (5, 3)), dtype=torch.float32, requires_grad=True) for _ in range(2)]
    weight, progress = torch.tensor(DRAW.normal(0, 1, (3, 4)), dtype=torch.float32), 0.3
    groups = [[0, 1], [2, 3]] if frames else [[0, 1, 1, 0, 2], [3, 3, 2, 3, 3]]
    views = {
        d: View(x, x, torch.zeros(5), rows={"group": torch.tensor(g)}, frames=None if n is None else torch.tensor(n))
        for d, x, g, n in zip(("source", "unlabelled"), f, groups, frames or (None, None), strict=True)
    }
    given = {"groups": lambda x: x @ weight, "progress": progress}
    value = evaluate_terms(Objective.parse("dann_groups"), views, {}, given)["dann_groups"]
    each = [np.repeat(g, n) for g, n in zip(groups, frames, strict=True)] if frames else groups
    plain = [x.detach().clone().requires_grad_() for x in f]
    expected = sum(
        -(x @ weight).log_softmax(1)[torch.arange(5), torch.tensor(np.asarray(g))].mean()
        for x, g in zip(plain, each, strict=True)
    )
    assert value.item() == pytest.approx(expected.item() / 2, rel=1e-5)
    value.backward()
    (expected / 2).backward()
    for own, other in zip(f, plain, strict=True):
        torch.testing.assert_close(own.grad, -ramp(progress) * other.grad)


# Clips of a few samples, heard by a layer ----------------------------------------------------------------------------

WIDE = 8  # samples of a frame
TURN = np.linalg.qr(np.random.default_rng(1).normal(0, 1, (WIDE, WIDE)))[0]


class Layers(nn.Module):
    """Samples (B, L) to frames of eight: (F, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.full = nn.Linear(WIDE, 16)

    def frames(self, samples: Tensor) -> Tensor:
        return (samples != NO_TOKEN).sum(1) // WIDE

    def forward(self, samples: Tensor) -> Tensor:
        x = ((samples[samples != NO_TOKEN].float() - ZERO) / ZERO).view(-1, WIDE)
        return torch.tanh(self.full(8 * x))


def small() -> Backbone:
    def build() -> nn.Module:
        return Layers().eval()

    return Backbone(
        "small", "small", "utterance", 16, build, (("full", ("full",)),), tokens=TOKENS, pretrained=False,
        portable=False, frames=lambda n: np.asarray(n) // WIDE, times=(0.0, 0.1),
    )  # fmt: skip


def clips(name: str, n: int, seed: int, angle: float, split: str, speakers: tuple[str, ...] = ()) -> Domain:
    """Each symbol is two frames of a direction of its own, which the angle turns towards another one."""
    draw = np.random.default_rng(seed)
    sounds, said = [], []
    for _ in range(n):
        symbols = draw.integers(0, 3, draw.integers(2, 6))
        at = np.concatenate([[-1, s, s] for s in symbols] + [[-1]])
        one, two = TURN[at % 3], TURN[3 + at % 3]
        wave = np.where(at[:, None] >= 0, np.cos(angle) * one + np.sin(angle) * two, 0.0)
        sounds.append((0.2 * wave + 0.04 * draw.standard_normal(wave.shape)).astype(np.float32).ravel())
        said.append(" ".join("abc"[s] for s in symbols))
    labels = np.array([None] * n if split == "unlabelled" else said, dtype=object)
    groups = np.array([speakers[i % len(speakers)] for i in range(n)]) if speakers else None
    names = np.array([f"{name}{i}" for i in range(n)])
    return Domain(name, "audio", sounds, labels, names, np.full(n, split), lambda x: x, lambda x: x.tobytes(),
                  groups=groups)  # fmt: skip


def target(angle: float = 1.0) -> Domain:
    free, tested = clips("free", 80, 3, angle, "unlabelled"), clips("tested", 40, 4, angle, "test")
    both = [np.concatenate([getattr(d, a) for d in (free, tested)]) for a in ("labels", "names", "splits")]
    return replace(free, inputs=[*free.inputs, *tested.inputs], labels=both[0], names=both[1], splits=both[2])


def adapted(
    folder: Path, method: str, given: Domain | None = None, log: Callable[[Any], None] = lambda row: None, **more: Any
) -> tuple[Job, Outcome]:
    speakers = ("ann", "ben") if method == "dann_groups" else ()
    asked: dict[str, Any] = {"steps": 120, "source_steps": 100, "lr": 0.01, "batch_size": 16, "baselines": False}
    asked |= {"seed": 1, "method": method} | more
    recipe = Recipe.of(target="target", source=("source",), task="transcribe", backbone="small", **asked)
    source = clips("source", 80, 2, 0.0, "train", speakers)
    job = prepare(recipe, given or target(), [source], small())
    folder.mkdir(exist_ok=True)
    return job, four_steps(Steps(job, folder, log), lambda step: nullcontext())


def errors(job: Job, outcome: Outcome, name: str) -> float:
    test, task = job.target.rows("test"), job.task
    found, truth = outcome.models[name].log_probabilities(job.target, test), job.target.truth[test]
    counts = error_counts(task.texts(truth.flat, truth.lengths), task.decode(found.flat, found.lengths))[:, 0].sum(0)
    return float(counts[0] / counts[1])


@pytest.mark.parametrize("name", ["dann", "dann_groups", "self_training"])
def test_a_method_learns_from_clips_that_nobody_transcribed(name: str, tmp_path: Path) -> None:
    job, outcome = adapted(tmp_path / "run", name, target(angle=0.85))
    assert job.selection == "label_free:im"
    assert errors(job, outcome, "transfer") < 0.75 * errors(job, outcome, "source_only")
    assert outcome.verdict.kept == "transfer"
    assert set(job.validators["transfer"]) == {"im", "dev", "iwv", "source_accuracy", "reverse", "collapse"}


@pytest.mark.parametrize("name", [name for name in SPOKEN if "target" not in METHODS[name].needs])
def test_every_spoken_method_runs_to_its_end(name: str, tmp_path: Path) -> None:
    job, outcome = adapted(tmp_path / "run", name, steps=3, source_steps=10)
    assert all(np.isfinite(value) for value in job.term_values.values())
    assert np.isfinite(outcome.models["transfer"].weight).all()
    assert {str(t) for t in outcome.models["transfer"].objective.terms} >= {"ce(source)"}


def test_what_has_fallen_silent_is_not_kept_whatever_the_validator_says(tmp_path: Path) -> None:
    asked = {"objective": "50*entropy + ce(source)", "selection": "label_free:im"}
    job, outcome = adapted(tmp_path / "run", "auto", **asked)
    assert outcome.verdict.kept == "source_only"
    assert any("symbols of the target are understood as" in w for w in job.warnings)


def test_labelled_clips_judge_by_folds(tmp_path: Path) -> None:
    given = target()
    few = replace(given, splits=np.where(np.arange(len(given)) < 12, "train", given.splits))
    few.labels[:12] = clips("free", 80, 3, 1.0, "train").labels[:12]
    job, outcome = adapted(tmp_path / "run", "self_training", few, steps=8, source_steps=30)
    assert job.selection == "cv"
    assert len(outcome.evidence["transfer"].losses) == 12
    assert "ce(target)" in {t.key for t in outcome.models["transfer"].objective.terms}


@pytest.mark.parametrize("name", ["dann_groups", "self_training"])
def test_killed_in_the_middle_and_resumed_is_the_uninterrupted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = adapt._settings
    monkeypatch.setattr(adapt, "_settings", lambda *given: replace(settings(*given), checkpoint_every=0.0))
    _, whole = adapted(tmp_path / "whole", name, steps=20, source_steps=20)

    def killed(row: dict[str, Any]) -> None:
        if row["model"] == "transfer" and row["step"] > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapted(tmp_path / "run", name, log=killed, steps=20, source_steps=20)
    _, resumed = adapted(tmp_path / "run", name, steps=20, source_steps=20)
    for one, two in ((whole.models[m], resumed.models[m]) for m in whole.models):
        np.testing.assert_array_equal(one.weight, two.weight)
        for a, b in zip(one.backbone.module.parameters(), two.backbone.module.parameters(), strict=True):
            assert torch.equal(a, b)


def test_transcripts_of_the_target_are_not_read_where_they_are_test_data(tmp_path: Path) -> None:
    given = target()
    scrambled = replace(given, labels=np.where(given.labels == None, None, "a b c"))  # noqa: E711
    outcomes = [adapted(tmp_path / str(i), "self_training", d, steps=12, source_steps=20)[1]
                for i, d in enumerate((given, scrambled))]  # fmt: skip
    np.testing.assert_array_equal(*(o.models["transfer"].weight for o in outcomes))
    assert outcomes[0].verdict.why == outcomes[1].verdict.why


# A run, and what cannot work -----------------------------------------------------------------------------------------


def test_a_run_of_files_adapts_to_a_speaker_and_predicts(tmp_path: Path) -> None:
    audio_kit.strings(tmp_path, "low", "ada", 150, 6, seed=1)
    table = audio_kit.strings(tmp_path, "high", "bob", 190, 6, seed=2, tested=4)
    head, *lines = table.read_text().splitlines()
    hidden = [
        ",".join([(f := line.split(","))[0], "", f[2], "unlabelled"]) if "train" in line else line for line in lines
    ]
    table.write_text("\n".join([head, *hidden]) + "\n")
    run = crossgraft.fit(
        target=str(table), source=str(tmp_path / "low.csv"), task="transcribe", backbone="cnn", method="self_training",
        steps=3, source_steps=4, batch_size=4, out=tmp_path / "run",
    )  # fmt: skip
    assert run.result["n"]["target_unlabelled"] == 6
    assert run.result["transfer"]["n"] == 4
    assert run.result["objective"]["formula"] == "ce(source) + pseudo"
    assert "text" in run.predict([str(tmp_path / "clips" / "high-0.wav")])[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "mcd"}, "method mcd does not learn transcripts.*dann, dann_groups"),
        ({"objective": "ce(source) + mcc"}, "mcc does not hold for transcripts.*pseudo"),
        (
            {"method": "dann", "selection": "label_free:snd"},
            "snd does not hold for transcripts.*label_free:im",
        ),
    ],
)
def test_what_does_not_hold_for_transcripts_is_said(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = clips("source", 8, 2, 0.0, "train")
    with pytest.raises(UsageError, match=message):
        crossgraft.fit(target(), source, task="transcribe", backbone="rnn", out=tmp_path / "run", **options)


def test_what_the_data_lack_is_said(tmp_path: Path) -> None:
    given = target()
    only_tested = replace(given, splits=np.full(len(given), "test"), labels=np.full(len(given), "a b", dtype=object))
    with pytest.raises(CrossgraftError, match=r"needs unlabelled target examples.*add inputs without labels"):
        adapted(tmp_path / "a", "self_training", only_tested, source_steps=2)
    recipe = Recipe.of(
        target="t", source=("s",), task="transcribe", backbone="small", method="dann_groups", source_steps=2
    )
    job = prepare(recipe, given, [clips("source", 8, 2, 0.0, "train")], small())
    steps = Steps(job, tmp_path, lambda row: None)
    with pytest.raises(UsageError, match=r"tells speakers or rooms apart.*name their column with --group"):
        four_steps(steps, lambda step: nullcontext())
