"""Clips to transcripts, from files to report: frames, the head on them, layers that move, errors, and a live stream."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import audio_kit
import numpy as np
import pytest

import crossgraft
from crossgraft import backbones, features
from crossgraft.alignments import cross_entropy
from crossgraft.backbones.backbone import Backbone
from crossgraft.choose import HeldOut, keep
from crossgraft.domains import Domain, open_domain
from crossgraft.domains.arrays import as_utterances
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.recipe import Recipe
from crossgraft.run import Run
from crossgraft.solve.moved import steps, to_the_target
from crossgraft.solve.sequences import Sequences, choose, losses, solve
from crossgraft.stream import BLOCK, LONGEST, blocks, listen, pieces


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("said")
    audio_kit.strings(at, "low", "ada", 150, 24, seed=1)
    audio_kit.strings(at, "high", "bob", 230, 10, seed=2, tested=16)
    return at


def fitted(folder: Path, out: Path, **more: Any) -> Run:
    asked: dict[str, Any] = {"task": "transcribe", "schedule": "frozen", "seed": 1} | more
    return crossgraft.fit(target=str(folder / "high.csv"), source=str(folder / "low.csv"), out=out, **asked)


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fitted(folder, tmp_path_factory.mktemp("runs") / "run")


def low_clips(folder: Path, backbone: str, most: int) -> tuple[Domain, Backbone]:
    """The first clips of the low voice, and the layers of that name for them."""
    domain = as_utterances(open_domain(str(folder / "low.csv"), "low", task="transcribe")).take(range(most))
    return domain, backbones.load(backbone, domain)


# Frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auto", "cnn", "rnn"])
def test_layers_give_as_many_frames_as_they_say_whatever_lies_beside_a_clip(folder: Path, name: str) -> None:
    domain, backbone = low_clips(folder, name, 6)
    assert backbone.frames is not None
    pixels = features.pixels(domain, backbone).values
    whole = features.embed(backbone, pixels)
    assert whole.flat.shape == (whole.ends[-1], backbone.dim)
    np.testing.assert_array_equal(whole.lengths, backbone.frames(pixels.lengths))
    for i in range(6):
        np.testing.assert_allclose(features.embed(backbone, pixels[np.array([i])]).flat, whole.clip(i), atol=2e-4)
    stored = features.features(domain, backbone).values
    np.testing.assert_allclose(stored.flat, whole.flat, atol=2e-4)
    again = features.features(domain.take([3, 1]), backbone).values
    np.testing.assert_array_equal(again.clip(1), stored.clip(1))


def test_frames_are_indexed_by_clip() -> None:
    held = Frames.of([np.full((n, 2), n, float) for n in (3, 1, 2)])
    assert held[np.array([2, 0])].flat[:, 0].tolist() == [2, 2, 3, 3, 3]
    assert held[1:].lengths.tolist() == [1, 2]
    assert held.places().tolist() == [[0, 3, 4], [1, 3, 5], [2, 3, 5]]


# The head ----------------------------------------------------------------------------------------------------------


def noisy(n: int, seed: int, shift: float = 0.0) -> Sequences:
    """Clips in which symbol k shows as feature k, in some noise."""
    draw = np.random.default_rng(seed)
    clips, said = [], []
    for _ in range(n):
        symbols = draw.integers(1, 4, draw.integers(1, 5))
        path = np.concatenate([[0, s, s] for s in symbols] + [[0]])
        clips.append(np.eye(5)[path + 0] + shift * np.eye(5)[4] + 0.3 * draw.standard_normal((len(path), 5)))
        said.append(symbols)
    return Sequences(Frames.of(clips), Ragged.of(said), np.arange(4))


def test_the_solution_is_a_minimum_that_says_what_was_said() -> None:
    part = noisy(30, 0)
    head = solve([part], 4, 1e-4)

    def objective(weight: np.ndarray) -> float:
        return float(losses(replace(head, weight=weight), part).mean() + 1e-4 / 2 * (weight**2).sum())

    here, draw = objective(head.weight), np.random.default_rng(1)
    assert head.objective == pytest.approx(here, abs=2e-3)
    for _ in range(5):
        assert objective(head.weight + 0.3 * draw.standard_normal(head.weight.shape)) > here
    assert losses(head, noisy(30, 1)).mean() < 0.3 < losses(replace(head, weight=0 * head.weight), part).mean()


def test_a_source_counts_by_its_weight_and_lambda_is_chosen_by_folds() -> None:
    target, source = noisy(6, 2, shift=1.0), noisy(60, 3)
    folds = [np.arange(6)[i::3] for i in range(3)]
    lam, ridge = choose(target, source, 4, 0, folds)
    assert lam > 0
    joint = solve([target, replace(source, weight=lam)], 4, ridge)
    alone = solve([target], 4, choose(target, None, 4, 0, folds)[1])
    new = noisy(80, 4, shift=1.0)
    assert losses(joint, new).mean() < losses(alone, new).mean()
    assert choose(target, source, 4, 0, folds, lam=0.3, ridge=1e-3) == (0.3, 1e-3)


def test_each_speakers_frames_are_brought_to_the_targets_mean() -> None:
    target, ann, bob = noisy(20, 6, shift=1.0), noisy(30, 7), noisy(30, 8, shift=3.0)
    x, said = (
        kind(np.concatenate([a.flat, b.flat]), np.concatenate([a.ends, a.ends[-1] + b.ends]))
        for kind, a, b in ((Frames, ann.x, bob.x), (Ragged, ann.labels, bob.labels))
    )
    source = Sequences(x, said, np.arange(4))
    moved = steps(source.x, target.x, np.array(["ann"] * 30 + ["bob"] * 30))
    np.testing.assert_allclose(moved[[0, 59], 4], [1, -2], atol=0.15)
    assert np.abs(moved[:, :4]).max() < 0.15
    assert not steps(ann.x, target.x[:1]).any()  # one clip tells no mean
    head = solve([source], 4, 1e-3)
    there, start = to_the_target(source, target, None, head)
    assert start is not None
    np.testing.assert_allclose(losses(start, there), losses(head, source), atol=1e-6)


def test_a_source_of_other_means_teaches_more_once_it_is_moved() -> None:
    target, source, new = noisy(4, 9, shift=4.0), noisy(60, 10), noisy(80, 11, shift=4.0)
    there, _ = to_the_target(source, target, None, None)
    plain, moved = (losses(solve([target, s], 4, 1e-3), new).mean() for s in (source, there))
    assert moved < plain


@pytest.mark.parametrize(
    ("ahead", "kept"), [(0.02, "transfer"), (-0.02, "transfer"), (-0.5, "target_only")]
)  # nats a transcript by which the transfer is ahead, with an error of 0.07
def test_of_transcripts_the_transfer_is_left_where_target_only_is_better_beyond_noise(ahead: float, kept: str) -> None:
    draw = np.random.default_rng(0).normal(size=16)
    own = 1.0 + 0.3 * (draw - draw.mean())
    found = {"target_only": HeldOut(np.ones(16)), "transfer": HeldOut(own - ahead)}
    side = SimpleNamespace(truth=(), labels=np.zeros(16, int), columns=np.arange(4), groups=lambda rows: None,
                           independent=lambda losses, rows: losses)  # fmt: skip
    job: Any = SimpleNamespace(target=side, rows=np.arange(16), method="joint", selection="cv")
    job.recipe = Recipe(target="x")
    assert keep(job, dict.fromkeys(found), found).kept == kept  # type: ignore[arg-type]
    job.method = "dann"  # another is judged as ever
    assert keep(job, dict.fromkeys(found), found).kept == ("transfer" if ahead > 0 else "target_only")  # type: ignore[arg-type]


# A run -------------------------------------------------------------------------------------------------------------


def test_a_run_says_word_and_character_errors_beside_its_baselines(run: Run) -> None:
    result = run.result
    assert result["task"] == {"kind": "transcribe", "classes": ["", "fall", "flat", "rise"], "unit": "words"}
    for scored in (result["test"], *result["baselines"].values(), result["transfer"]):
        assert scored["n"] == 16
        for name in ("word_error_rate", "character_error_rate", "cross_entropy"):
            assert scored[name]["low"] <= scored[name]["value"] <= scored[name]["high"]
    assert result["test"]["word_error_rate"]["value"] < 0.2
    assert result["n"]["source"] == 24
    assert result["gap"]["jsd"]["value"] > 0.1  # one speaker is not the other
    assert {row["model"] for row in result["paired"]} == {"target_only", "source_only", "transfer"} - {
        result["kept"]["model"]
    }
    assert "word_error_rate" in result["paired"][0]
    assert result["skipped"] == []


def test_a_temperature_undoes_a_scale_of_the_frames_and_changes_no_text() -> None:
    from crossgraft.measure.transcripts import sequence_temperature, transcript_losses

    part, new = noisy(30, 0), noisy(40, 5)
    head = solve([part], 4, 1e-3)
    z = Frames(new.x.flat @ head.weight + head.bias, new.x.ends)
    found = sequence_temperature(z, new.labels)
    assert sequence_temperature(Frames(5 * z.flat, z.ends), new.labels) == pytest.approx(5 * found, rel=0.25)

    def total(t: float) -> float:
        return float(transcript_losses(z, new.labels, t).sum()) + np.log(t) ** 2 / 2

    assert total(found) < min(total(0.8 * found), total(1.25 * found))
    sure = Frames.of([np.log(np.array([[0.01, 0.99]]))] * 5)  # no error is no proof of none
    assert 0.3 < sequence_temperature(sure, Ragged.of([np.array([1])] * 5)) < 1
    with pytest.raises(CrossgraftError, match="no transcript"):
        sequence_temperature(z[:0], new.labels[:0])


def test_a_run_says_what_a_temperature_by_held_out_transcripts_would_change(run: Run) -> None:
    said, test = run.result["calibration"], run.result["test"]
    assert said["n"] == run.result["n"]["target_labelled"] == 10
    assert 0.05 < said["temperature"] < 20
    assert said["before"]["cross_entropy"] == pytest.approx(test["cross_entropy"]["value"])
    for when in ("before", "after"):
        assert 0 <= said[when]["ece"] <= 1
        assert 0 <= said[when]["brier"] <= 2
        assert np.isfinite(said[when]["cross_entropy"])
    assert "Calibration" in run.report().read_text()


def test_a_transcript_is_scored_in_other_places_where_it_can_be_said_there(folder: Path, tmp_path: Path) -> None:
    places = ("noise:0dB", "speed:4+speed:2")
    few = {"backbone": "cnn", "steps": 2, "source_steps": 2, "guard": False, "baselines": False}
    test = fitted(folder, tmp_path / "run", places=places, **few).result["test"]
    noisy, fast = (test["by_environment"][place] for place in places)
    assert noisy["n"] == 16
    assert noisy["cross_entropy"]["value"] != test["cross_entropy"]["value"]
    assert 0 < fast["left_out"] < 16
    assert fast["left_out"] + fast["n"] == 16
    assert np.isfinite(fast["cross_entropy"]["value"])


def test_it_predicts_texts_with_seconds_and_scores_as_it_was_scored(run: Run, folder: Path) -> None:
    scored = run.score(str(folder / "high.csv"), split="test")
    assert scored["word_error_rate"] == run.result["test"]["word_error_rate"]
    assert scored["cross_entropy"]["value"] == pytest.approx(run.result["test"]["cross_entropy"]["value"], abs=1e-5)
    lines = [json.loads(text) for text in (run.folder / "predictions.jsonl").read_text().splitlines()]
    rows = Run.open(run.folder).predict([str(folder / "clips" / Path(line["name"]).name) for line in lines])
    assert [row["text"] for row in rows] == [line["predicted"] for line in lines]
    for row in rows:
        assert [s["symbol"] for s in row["symbols"]] == row["text"].split()
        assert all(0 <= s["start"] < s["end"] for s in row["symbols"])
        assert row["log_probability"] < 0
    limited = run.predict([str(folder / "clips" / Path(lines[0]["name"]).name)], width=8, words=["rise", "fall"])
    assert "flat" not in limited[0]["text"]


def test_the_same_seed_gives_the_same_weights(run: Run, folder: Path, tmp_path: Path) -> None:
    again = fitted(folder, tmp_path / "again")
    assert (again.folder / "weights.safetensors").read_bytes() == (run.folder / "weights.safetensors").read_bytes()


def test_the_report_lets_hear_and_see_the_worst_and_escapes_what_files_say(run: Run, tmp_path: Path) -> None:
    row = {"name": "<b>x</b>", "label": "<i>", "predicted": "rise", "cross_entropy": 1.0, "sound": "0.wav",
           "heard": [{"symbol": "<script>", "start": 0.0, "end": 0.2}, {"symbol": "late", "start": "x", "end": 1}],
           "labelled": []}  # fmt: skip
    copy = tmp_path / "copy"
    (copy / "pictures").mkdir(parents=True)
    for name in ("result.json", "recipe.toml", "predictions.jsonl"):
        (copy / name).write_bytes((run.folder / name).read_bytes())
    audio_kit.wav(copy / "pictures" / "0.wav", audio_kit.tune("rise", 150, 0))
    (copy / "utterances.json").write_text(json.dumps([row]))
    page = Run.open(copy).report().read_text()
    assert "data:audio/wav;base64," in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<b>x" not in page
    assert "Word error rate" in page
    assert "could not be read" not in page
    assert "1 warning" not in page
    assert "Symbols" in page


def test_errors_by_group_with_an_interval_over_groups() -> None:
    from crossgraft.measure.transcripts import transcript_scores
    from crossgraft.transcripts import Transcribe

    task = Transcribe(("", "a", "b"), "words")
    held = Frames.of([np.log(0.8 * np.eye(3)[[k, 0]] + 0.2 / 3) for k in (1, 2, 1, 1)])
    truth = Ragged.of([np.array([1]), np.array([2]), np.array([2]), np.array([1])])
    found = transcript_scores(task, held, truth, np.array(["x", "x", "y", "y"], object))
    assert found["word_error_rate"]["value"] == 0.25
    assert found["by_group"]["x"]["word_error_rate"]["value"] == 0
    assert found["by_group"]["y"]["word_error_rate"]["value"] == 0.5
    assert found["over_groups"]["word_error_rate"]["low"] == 0
    loss = cross_entropy(held.flat, held.lengths, truth.flat, truth.lengths)
    assert found["cross_entropy"]["value"] == pytest.approx(loss.mean())


@pytest.mark.parametrize("backbone", ["rnn", pytest.param("cnn", marks=pytest.mark.slow)])
def test_layers_learn_by_the_same_cross_entropy(folder: Path, tmp_path: Path, backbone: str) -> None:
    few: dict[str, Any] = {"schedule": "lp_ft", "backbone": backbone, "steps": 8, "source_steps": 30, "guard": False}
    few |= {"baselines": False, "batch_size": 8}
    first = fitted(folder, tmp_path / "a", **few)
    logged = [json.loads(line) for line in (first.folder / "measures.jsonl").read_text().splitlines()]
    source = [row["terms"]["ce(source)"] for row in logged if row["model"] == "source"]
    assert source[-1] < 0.9 * source[0]
    assert all(np.isfinite(v) for row in logged for v in row.get("terms", {}).values())
    again = fitted(folder, tmp_path / "b", **few)
    assert (again.folder / "weights.safetensors").read_bytes() == (first.folder / "weights.safetensors").read_bytes()
    row = Run.open(first.folder).predict([str(folder / "clips" / "high-0.wav")])[0]
    assert "text" in row


# What is wrong with the data ----------------------------------------------------------------------------------------


def table(folder: Path, texts: list[str | None]) -> Path:
    lines = ["path,transcript,split"]
    for k, text in enumerate(texts):
        audio_kit.wav(folder / f"{k}.wav", audio_kit.tune("rise", 150, k, seconds=0.4))
        lines.append(f"{k}.wav,{text or ''},{'train' if k % 2 else 'test'}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_transcript_that_is_too_long_for_its_clip_is_left_out_and_named(tmp_path: Path) -> None:
    path = table(tmp_path, ["ab", "ba"] * 14 + ["ab" * 30])
    run = crossgraft.fit(
        target=str(path), task="transcribe", method="target_only", guard=False, schedule="frozen", out=tmp_path / "run"
    )
    (left,) = run.result["skipped"]
    assert left["name"].endswith("28.wav")
    assert "needs 60 frames" in left["reason"]
    assert np.isfinite(run.result["test"]["cross_entropy"]["value"])


@pytest.mark.parametrize(
    ("odd", "why"), [(np.tile(audio_kit.tune("rise", 150, 0), 130), "longer than 60 s"), (np.zeros(16000), "silent")]
)
def test_a_clip_that_is_not_read_to_its_end_or_silent_is_left_out_where_it_has_a_transcript(
    odd: np.ndarray, why: str, tmp_path: Path
) -> None:
    path = table(tmp_path, ["ab", "ba"] * 14 + ["ab", None])
    for k in (28, 29):  # with a transcript, and without
        audio_kit.wav(tmp_path / f"{k}.wav", odd)
    run = crossgraft.fit(
        target=str(path), task="transcribe", method="target_only", guard=False, schedule="frozen", out=tmp_path / "run"
    )
    (left,) = run.result["skipped"]
    assert left["name"].endswith("28.wav")
    assert why in left["reason"]
    assert run.result["n"]["target_unlabelled"] == 1


def test_a_clip_without_a_transcript_is_unlabelled(tmp_path: Path) -> None:
    path = table(tmp_path, ["ab", "ba"] * 4 + [None, "  "])
    run = crossgraft.fit(
        target=str(path), task="transcribe", method="target_only", schedule="frozen", out=tmp_path / "r"
    )
    assert run.result["n"]["target_labelled"] == 4
    assert run.result["test"]["n"] == 4


def test_scores_leave_out_and_name_what_no_alignment_says(run: Run, tmp_path: Path) -> None:
    path = table(tmp_path, ["rise"] * 24 + ["rise fall " * 20])
    found = run.score(str(path))
    assert found["n"] == 24
    (left,) = found["skipped"]
    assert "too long for the clip" in left["reason"]
    assert np.isfinite(found["cross_entropy"]["value"])
    with pytest.raises(CrossgraftError, match="1 of 2 examples cannot be read"):
        run.score(str(table(tmp_path, ["rise", "rise fall " * 20])))


def test_one_clip_has_no_interval_and_is_still_json_and_printed(run: Run, tmp_path: Path) -> None:
    from crossgraft.printed import scores

    found = run.score(str(table(tmp_path, ["rise"])))
    assert json.loads(json.dumps(found, allow_nan=False))["cross_entropy"]["low"] is None
    assert scores("test", found).endswith("nats   n = 1")


@pytest.mark.parametrize("name", ["auto", "cnn", "rnn"])
def test_a_clip_without_a_sample_has_the_frames_that_are_counted(folder: Path, name: str) -> None:
    domain, backbone = low_clips(folder, name, 2)
    assert backbone.frames is not None
    held = features.pixels(domain, backbone).values
    clips = Ragged.of([held[:1].flat, held[:0].flat, held[1:2].flat])
    found = features.embed(backbone, clips)
    np.testing.assert_array_equal(found.lengths, backbone.frames(clips.lengths))
    np.testing.assert_allclose(found.clip(2), features.embed(backbone, held[1:2]).flat, atol=2e-4)


def test_what_the_alphabet_lacks_is_refused_with_its_clip(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CrossgraftError, match=r"0\.wav: 'dive' is none of the 3 words"):
        run.score(str(table(tmp_path, ["dive rise", "fall"])))


def test_what_does_not_go_with_transcripts_is_said_before_anything_is_read(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not learn transcripts"):
        fitted(folder, tmp_path / "a", method="mcc", schedule="auto")
    with pytest.raises(UsageError, match="clips with transcripts"):
        crossgraft.fit(target="sklearn-digits", task="transcribe", out=tmp_path / "b")
    with pytest.raises(UsageError, match="tent adapts by the probabilities of one class"):
        run.predict([str(folder / "clips" / "high-0.wav")], tent=True)
    with pytest.raises(UsageError, match="does not hold for transcripts"):
        fitted(folder, tmp_path / "c", selection="loo")


# A live stream -----------------------------------------------------------------------------------------------------


def stream(parts: list[np.ndarray], header: bool = False) -> io.BytesIO:
    sound = np.concatenate([np.concatenate([p, np.zeros(16000, np.float32)]) for p in parts])
    raw = np.round(sound * 32767).astype("<i2").tobytes()
    return io.BytesIO(
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\0\0\0\0" if header else b"") + raw
    )


def test_a_stream_is_cut_at_its_silences_and_predicted_as_files_are(run: Run, folder: Path) -> None:
    import soundfile as sf

    clips = [sf.read(folder / "clips" / f"high-{k}.wav", dtype="float32")[0] for k in (0, 1, 2)]
    rows = list(listen(run, stream(clips, header=True)))
    assert len(rows) == 3
    files = run.predict([str(folder / "clips" / f"high-{k}.wav") for k in (0, 1, 2)])
    assert sum(a["text"] == b["text"] for a, b in zip(rows, files, strict=True)) >= 2  # the ends are cut elsewhere
    begins = np.cumsum([0, *(len(c) / 16000 + 1 for c in clips)])
    for row, first, last in zip(rows, begins, begins[1:], strict=False):
        assert first - 0.3 <= row["start"] < row["end"] <= last + 0.3
        assert all(row["start"] - 0.1 <= s["start"] for s in row["symbols"])


def test_a_stream_may_begin_in_a_word_or_in_noise() -> None:
    draw = np.random.default_rng(0)
    blocks = [a * draw.standard_normal(BLOCK).astype(np.float32) for a in [0.1] * 30 + [1e-4] * 60 + [0.1] * 30]
    assert [start for start, _ in pieces(blocks)] == [0.0, 1.6]
    assert [start for start, _ in pieces(blocks[:20])] == []  # nothing tells what it is
    hum = [0.1 * draw.standard_normal(BLOCK).astype(np.float32) for _ in range(400)]
    assert not list(pieces(hum))


def test_a_sound_without_an_end_is_cut_and_silence_says_nothing() -> None:
    wave = np.sin(np.arange(BLOCK) * 0.3).astype(np.float32)
    gaps = (wave * (k % 25 != 0) for k in range(3000))  # a minute with silences too short to end a piece
    found = [len(piece) / 16000 for _, piece in pieces(gaps)]
    assert max(found) <= LONGEST
    assert sum(found) > 50
    assert list(pieces(np.zeros(BLOCK, np.float32) for _ in range(500))) == []


def test_a_header_of_another_rate_is_refused() -> None:
    other = io.BytesIO(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\2\0D\xac\0\0\0\0\0\0\4\0\x10\0data\0\0\0\0" + b"\0" * 99)
    with pytest.raises(CrossgraftError, match="2 channels of 16 bits at 44100 Hz"):
        next(blocks(other))


def test_the_command_prints_a_line_a_piece(run: Run) -> None:
    sound = stream([np.concatenate([audio_kit.tune("rise", 230, k) for k in (1, 2)])]).getvalue()
    asked = [sys.executable, "-m", "crossgraft", "predict", str(run.folder), "-", "--json"]
    done = subprocess.run(asked, input=sound, capture_output=True, check=True)
    (line,) = done.stdout.decode().splitlines()
    assert {"start", "end", "text", "symbols"} <= set(json.loads(line))
    assert b"1 piece of sound" in done.stderr
    silent = subprocess.run(asked, input=b"", capture_output=True, check=True)
    assert silent.stdout == b""
    assert b"0 pieces of sound" in silent.stderr


def test_the_report_has_errors_by_group(run: Run, tmp_path: Path) -> None:
    result = dict(run.result)
    rate = {"value": 0.25, "low": 0.1, "high": 0.4}
    result["test"] = result["test"] | {
        "by_group": {"<u>eve": {"n": 3, "word_error_rate": rate, "character_error_rate": rate}}
    }
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "result.json").write_text(json.dumps(result))
    (copy / "recipe.toml").write_bytes((run.folder / "recipe.toml").read_bytes())
    page = Run.open(copy).report().read_text()
    assert "By group" in page
    assert "&lt;u&gt;eve" in page
    assert "25.0" in page


def test_a_frame_has_its_transcripts_where_a_file_has_them(folder: Path) -> None:
    import pandas as pd

    frame = pd.read_csv(folder / "high.csv")
    frame["path"] = [str(folder / path) for path in frame["path"]]
    found, file = (open_domain(what, "high", task="transcribe") for what in (frame, str(folder / "high.csv")))
    assert found.labels.tolist() == file.labels.tolist()
    assert found.groups is not None
    assert found.groups.tolist() == ["bob"] * len(file)


# Real speech -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_connected_digits_of_an_unseen_speaker(data: Path, tmp_path: Path) -> None:
    """Half of target only's errors and at most 6 %, with 20 labelled strings; all speakers are in the benchmark."""
    import soundfile as sf

    takes: dict[str, list[tuple[str, bool, np.ndarray]]] = {}
    for path in sorted((data / "speech" / "fsdd").glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        takes.setdefault(speaker, []).append((digit, int(take) < 5, sf.read(path, dtype="float32")[0]))
    tables = {}
    for s, (speaker, own) in enumerate(takes.items()):
        draw, lines = np.random.default_rng([100, s]), ["path,transcript,speaker,split"]
        parts = {"train": 20, "test": 60} if speaker == "yweweler" else {"train": 30}
        for split, n in parts.items():
            pool = [(digit, sound) for digit, tested, sound in own if tested == (split == "test")]
            for k in range(n):
                held = [pool[i] for i in draw.integers(0, len(pool), draw.integers(3, 8))]
                pieces = [np.pad(sound, (0, int(8000 * draw.uniform(0.05, 0.3)))) for _, sound in held]
                audio_kit.wav(tmp_path / f"{speaker}-{split}-{k}.wav", np.concatenate(pieces), 8000)
                lines.append(f"{speaker}-{split}-{k}.wav,{' '.join(d for d, _ in held)},{speaker},{split}")
        tables[speaker] = tmp_path / f"{speaker}.csv"
        tables[speaker].write_text("\n".join(lines) + "\n")
    target = tables.pop("yweweler")
    run = crossgraft.fit(
        target=str(target), source=[str(t) for t in tables.values()], task="transcribe", symbols="words",
        schedule="frozen", out=tmp_path / "run",
    )  # fmt: skip
    kept, alone = (r["word_error_rate"]["value"] for r in (run.result["test"], run.result["baselines"]["target_only"]))
    assert kept <= min(alone / 2, 0.06)
