"""Environments by their definitions: ratios, bands, decay; the same seed the same sound; a wrong spec is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from audio_kit import TUNES, manifest, tune, wav

import crossgraft
from crossgraft.domains import environments as places
from crossgraft.domains import open_domain
from crossgraft.domains.environments import Environment
from crossgraft.errors import CrossgraftError, UsageError

SOUND = tune("rise", 200, 0, seconds=1.0)
TONE = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.float32)


def power(x: np.ndarray) -> float:
    return float(np.mean(np.square(x, dtype=np.float64)))


def band(x: np.ndarray, low: float, high: float) -> float:
    hertz = np.fft.rfftfreq(len(x), 1 / 16000)
    return float((np.abs(np.fft.rfft(x)) ** 2)[(hertz >= low) & (hertz < high)].sum())


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr", [20.0, 0.0])
def test_noise_has_the_ratio_and_the_colour(colour: str, snr: float) -> None:
    added = places.noise(SOUND, 3, snr, colour) - SOUND
    assert 10 * np.log10(power(SOUND) / power(added)) == pytest.approx(snr, abs=0.01)
    octaves = band(added, 400, 800) / band(added, 3200, 6400)
    assert octaves == pytest.approx(1 / 8 if colour == "white" else 1, rel=0.3)


def test_noise_from_a_folder_is_a_piece_of_it(tmp_path: Path) -> None:
    wav(tmp_path / "hum.wav", TONE)
    heard = Environment.parse(f"noise:0dB:{tmp_path}")(SOUND, 1) - SOUND
    assert band(heard, 990, 1010) > 0.99 * band(heard, 0, 8000)


def test_a_room_decays_by_sixty_decibels_in_its_time(tmp_path: Path) -> None:
    click = np.zeros(16000, np.float32)
    click[0] = 0.5
    heard = places.reverb(click, 0, 0.5)
    assert power(heard) == pytest.approx(power(click), rel=1e-3)
    early, late = power(heard[800:1600]), power(heard[800 + 4000 : 1600 + 4000])  # a quarter of a second apart
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=2)
    wav(tmp_path / "echo.wav", np.eye(1, 1600, 800)[0] * 0.5 + np.eye(1, 1600, 1000)[0] * 0.25)
    echo = places.reverb(click, 0, 1.0, str(tmp_path))
    assert echo[200] / echo[0] == pytest.approx(0.5, abs=1e-3)


def test_a_telephone_lets_its_band_through() -> None:
    draw = np.random.default_rng(0)
    white = (0.1 * draw.standard_normal(16000)).astype(np.float32)
    heard = places.telephone(white)
    assert heard.shape == white.shape
    assert band(heard, 500, 3000) == pytest.approx(band(white, 500, 3000), rel=0.05)
    assert band(heard, 0, 250) < 0.03 * band(white, 0, 250)
    assert band(heard, 4100, 8000) < 0.01 * band(white, 4100, 8000)
    tone = places.telephone(TONE)
    assert 25 < 10 * np.log10(power(TONE[800:-800]) / power((tone - TONE)[800:-800])) < 45  # 8 bits of mu-law


def test_clipping_and_speed_by_hand() -> None:
    np.testing.assert_allclose(places.clipping(np.array([0, 0.2, -1, 0.6], np.float32), 0, 0.5), [0, 0.2, -0.5, 0.5])
    fast = places.speed(TONE, 0, 1.25)
    assert len(fast) == 12800
    assert band(fast, 1240, 1260) > 0.99 * band(fast, 0, 8000)


@pytest.mark.parametrize("spec", ["noise:5dB:pink", "reverb:0.3s", "telephone", "clipping:0.3", "speed:0.9+noise:0dB"])
def test_pure_bounded_and_calm_about_silence(spec: str) -> None:
    place, before = Environment.parse(spec), SOUND.copy()
    a, b, c = place(SOUND, 1), place(SOUND, 1), place(SOUND, 2)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(SOUND, before)
    drawn = "noise" in spec or "reverb" in spec
    assert np.array_equal(a, c) != drawn
    assert np.abs(place(SOUND * 5, 1)).max() <= 1
    for odd in (np.zeros(400, np.float32), np.ones(1, np.float32)):
        assert np.isfinite(place(odd, 1)).all()


@pytest.mark.parametrize(
    ("spec", "why"),
    [("nois:3dB", "did you mean 'noise'"), ("noise", "needs a number.*noise:10dB"), ("noise:loud", "needs a number"),
     ("speed:90", "from 0.25 to 4"), ("speed:1.1:x", "takes one number"), ("reverb:1s:/no/such", "no audio in")],
)  # fmt: skip
def test_a_wrong_spec_is_named(spec: str, why: str) -> None:
    with pytest.raises(CrossgraftError, match=why):
        Environment.parse(spec)


def test_a_path_with_an_environment_is_another_domain(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.csv", {"ann": 200}, each=1)
    plain, heard = open_domain(str(path), "d"), open_domain(f"{path}?env=noise:10dB", "d")
    assert heard.labels.tolist() == plain.labels.tolist() == list(TUNES)
    assert heard.notes[-1] == "d: clips are heard through noise:10dB"
    assert heard.digest(0) != plain.digest(0)
    np.testing.assert_array_equal(heard.read(0), heard.read(0))
    ratio = 10 * np.log10(power(plain.read(0)) / power(heard.read(0) - plain.read(0)))
    assert ratio == pytest.approx(10, abs=0.1)
    (tmp_path / "v.csv").write_text("x,y,label\n1,2,a\n3,4,b\n")
    with pytest.raises(UsageError, match="no audio"):
        open_domain(f"{tmp_path / 'v.csv'}?env=telephone", "v")


def test_other_noises_in_the_folder_are_another_place(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.csv", {"ann": 200}, each=1)
    wav(tmp_path / "noises" / "hum.wav", TONE)
    spec = f"{path}?env=noise:5dB:{tmp_path / 'noises'}"
    before = open_domain(spec, "d").digest(0)
    assert open_domain(spec, "d").digest(0) == before
    wav(tmp_path / "noises" / "hum.wav", np.tile(SOUND, 2))
    assert open_domain(spec, "d").digest(0) != before


@pytest.mark.parametrize("name", ["noise:5dB", "reverb:1s"])
def test_a_noise_or_response_that_tells_nothing_is_named_itself(name: str, tmp_path: Path) -> None:
    for held, why in ((b"", "empty"), (b"RIFFxxxxWAVE", "damaged")):
        (tmp_path / "odd.wav").write_bytes(held)
        with pytest.raises(CrossgraftError, match=rf"odd\.wav cannot be used: .*{why}"):
            Environment.parse(f"{name}:{tmp_path}")(SOUND, 0)
    wav(tmp_path / "odd.wav", np.zeros(100, np.float32))
    with pytest.raises(CrossgraftError, match=r"odd\.wav cannot be used: it is silent"):
        Environment.parse(f"{name}:{tmp_path}")(SOUND, 0)


def test_as_an_augmentation_it_changes_clips_and_keeps_padding() -> None:
    torch = pytest.importorskip("torch")
    from crossgraft.backbones.audio_models import samples
    from crossgraft.features.ragged import Ragged, tensor
    from crossgraft.solve.augment import hidden_sound, places

    batch = tensor(Ragged.of(samples([SOUND, SOUND[:4000], SOUND[:0]])))
    a, b, c = (places(batch, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    lengths = (a >= 0).sum(1)
    assert lengths[2] == 0
    assert 0.9 <= 16000 / float(lengths[0]) <= 1.1 + 1e-3
    hidden = hidden_sound(batch, torch.Generator().manual_seed(0))
    assert ((hidden >= 0) == (batch >= 0)).all()
    assert 0.1 < float(((hidden == 1 << 15) & (batch != 1 << 15)).sum(1)[0]) / 16000 < 0.21


def test_a_run_is_tested_in_other_places_too(tmp_path: Path) -> None:
    source = manifest(tmp_path / "s", "s.csv", {"ann": 210}, each=4)
    target = manifest(tmp_path / "t", "t.csv", {"cy": 160}, each=4)
    places = ("noise:-20dB", "telephone")
    run = crossgraft.fit(
        target=str(target), source=str(source), shots=1, backbone="cnn", schedule="frozen", steps=4, source_steps=30,
        guard=False, places=places, out=tmp_path / "run",
    )  # fmt: skip
    for own in (run.result["test"], *run.result["baselines"].values()):
        assert list(own["by_environment"]) == list(places)
        assert all(scores["n"] == own["n"] == 9 for scores in own["by_environment"].values())
    test = run.result["test"]
    drowned = test["by_environment"]["noise:-20dB"]["cross_entropy"]["value"]
    assert drowned > test["cross_entropy"]["value"] + 0.1
    page = run.report().read_text()
    assert "By environment" in page
    assert "noise:-20dB" in page
    assert "Source only: Accuracy" in page
    rows = open_domain(f"{target}?env=noise:-20dB", "t")
    tested = {str(r["name"]) for r in map(json.loads, (run.folder / "predictions.jsonl").read_text().splitlines())}
    again = run.score(rows.take([i for i, n in enumerate(rows.names) if str(n) in tested]))
    assert again["cross_entropy"]["value"] == pytest.approx(drowned, abs=1e-3)


def test_a_place_that_is_wrong_or_cannot_be_heard_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'noise'"):
        crossgraft.fit(target="nowhere.csv", places=("nois:3dB",), out=tmp_path / "a")
    with pytest.raises(UsageError, match="places are heard, and target holds images"):
        crossgraft.fit(target="sklearn-digits", places=("telephone",), out=tmp_path / "b")


def test_fit_learns_with_it_and_is_tested_in_it(tmp_path: Path) -> None:
    source = manifest(tmp_path / "s", "s.csv", {"ann": 210}, each=4)
    target = manifest(tmp_path / "t", "t.csv", {"cy": 160}, each=4)
    run = crossgraft.fit(
        target=f"{target}?env=noise:20dB+telephone", source=str(source), shots=1, backbone="cnn", augment="places",
        steps=4, source_steps=20, guard=False, baselines=False, out=tmp_path / "run",
    )  # fmt: skip
    assert run.result["test"]["n"] == 9
    assert any("heard through noise:20dB+telephone" in w for w in run.result["warnings"])
