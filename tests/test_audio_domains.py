"""Audio as it is found on disks: every format to 16 kHz, what is wrong named, speakers kept on one side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from audio_kit import manifest, tune, wav
from domain_kit import picture, rows, skipped

from crossgraft.domains import Unreadable, open_domain
from crossgraft.domains.arrays import of_kind
from crossgraft.domains.attributes import OF_CLIPS, attributes, names_of
from crossgraft.domains.clips import LONGEST, RATE, decode, encode, portrait
from crossgraft.domains.leaks import Leak, leaks
from crossgraft.domains.pool import pool
from crossgraft.domains.splits import assign_splits, groups_shared, tolerate
from crossgraft.errors import CrossgraftError

SINE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)).astype(np.float32)


def test_class_folders_with_split_folders_above(tmp_path: Path) -> None:
    wav(tmp_path / "train/yes/a.wav", SINE)
    wav(tmp_path / "test/no/b.FLAC", SINE)
    (tmp_path / "train/yes/readme.txt").write_text("what this is")
    domain = open_domain(tmp_path, "words")
    assert domain.kind == "audio"
    assert rows(domain) == [("test/no/b.FLAC", "no", "test"), ("train/yes/a.wav", "yes", "train")]
    assert skipped(domain) == {"train/yes/readme.txt": "no audio file by its name"}
    tolerate(domain.skipped, 3, "words")  # what is no audio by its name is no broken audio


def test_of_pictures_and_audio_there_is_more_of_one(tmp_path: Path) -> None:
    for i in range(3):
        wav(tmp_path / f"a/{i}.wav", SINE)
    picture(tmp_path / "a/cover.png")
    domain = open_domain(tmp_path, "mixed")
    assert (domain.kind, len(domain)) == ("audio", 3)
    for i in range(4):
        picture(tmp_path / f"b/{i}.png")
    assert open_domain(tmp_path, "mixed").kind == "image"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_manifests(tmp_path: Path, name: str) -> None:
    for i in range(3):
        wav(tmp_path / f"clips/{i}.wav", SINE * (i + 1) / 3)
    table = [
        {"file": f"clips/{i}.wav", "label": y, "speaker": s, "split": p}
        for i, (y, s, p) in enumerate([("one", "ann", "train"), ("two", "bob", "test"), (None, None, "train")])
    ]
    if name.endswith("jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, table)))
    elif name.endswith("parquet"):
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(table), tmp_path / name)
    else:
        cut = "\t" if name.endswith("tsv") else ","
        lines = [cut.join(table[0]), *(cut.join(v or "" for v in row.values()) for row in table)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    domain = open_domain(tmp_path / name, "it")
    assert domain.kind == "audio"
    assert rows(domain)[:2] == [("clips/0.wav", "one", "train"), ("clips/1.wav", "two", "test")]
    assert domain.labels[2] is None
    assert domain.groups is not None
    assert domain.groups.tolist() == ["ann", "bob", ""]
    np.testing.assert_allclose(domain.read(2), SINE, atol=1e-4)


def test_a_column_may_hold_the_bytes_of_clips(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = [{"audio": {"bytes": encode(SINE), "path": None}, "label": y} for y in "ab"]
    parquet.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    domain = open_domain(tmp_path / "a.parquet", "it")
    assert domain.kind == "audio"
    assert domain.read(1).shape == SINE.shape


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels"),
    [
        ("wav", "PCM_U8", 8000, 1), ("wav", "PCM_24", 44100, 2), ("wav", "FLOAT", 192000, 1), ("wav", "ULAW", 8000, 1),
        ("flac", "PCM_16", 22050, 2), ("ogg", "VORBIS", 16000, 1), ("mp3", "MPEG_LAYER_III", 48000, 2),
        ("aiff", "PCM_32", 11025, 1),
    ],
)  # fmt: skip
def test_every_format_and_rate_gives_the_same_sound(
    tmp_path: Path, suffix: str, subtype: str, rate: int, channels: int
) -> None:
    t = np.arange(rate) / rate
    mono = 0.5 * np.sin(2 * np.pi * 440 * t)
    # Left a little louder than right: their mean is the sound
    both = mono[:, None] * np.linspace(1.2, 0.8, channels) if channels == 2 else mono
    path = wav(tmp_path / f"a.{suffix}", both, rate, subtype)
    x = decode(path)
    assert x.dtype == np.float32
    assert abs(len(x) - 16000) < 1700  # mp3 and vorbis begin or end with silence
    assert abs(float(np.abs(x).max()) - 0.5) < 0.03
    power = np.abs(np.fft.rfft(x[4000:12000])) ** 2
    assert abs(int(power.argmax()) * 2 - 440) <= 2
    assert power[np.abs(np.arange(4001) * 2 - 440) > 60].sum() < 1e-3 * power.sum()


def test_beyond_full_scale_is_divided_by_the_peak_and_silence_stays(tmp_path: Path) -> None:
    loud = wav(tmp_path / "loud.wav", 5 * SINE, subtype="FLOAT")
    np.testing.assert_allclose(decode(loud), SINE / np.abs(SINE).max(), atol=1e-6)
    silent = decode(wav(tmp_path / "silent.wav", np.zeros(800)))
    assert not silent.any()
    assert len(silent) == 800


def test_an_hour_is_read_up_to_the_longest(tmp_path: Path) -> None:
    with sf.SoundFile(tmp_path / "hour.wav", "w", 16000, 1, "PCM_U8") as file:
        for _ in range(60):
            file.write(np.zeros(60 * 16000, dtype=np.float32))
    assert len(decode(tmp_path / "hour.wav")) == LONGEST * RATE + 1
    with sf.SoundFile(tmp_path / "fast.wav", "w", 44100, 2, "PCM_16") as file:
        file.write(np.zeros((44100 * (LONGEST + 5), 2)))
    assert len(decode(tmp_path / "fast.wav")) == LONGEST * RATE + 1


def _broken(folder: Path) -> dict[Path, str]:
    """Hostile files, and what the reason must say."""
    whole = encode(SINE)
    truncated = whole[:9000]
    lies = bytearray(whole)
    lies[40:44] = (10**6).to_bytes(4, "little")  # the size of the data
    slow = bytearray(whole)
    slow[24:28] = (3).to_bytes(4, "little")  # the rate
    channels = bytearray(whole)
    channels[22:24] = (0).to_bytes(2, "little")
    nan = SINE.copy()
    nan[7] = np.nan
    wav(folder / "nan.wav", nan, subtype="FLOAT")
    wav(folder / "none.wav", SINE[:0])
    wav(folder / "whole.flac", SINE)
    flac = (folder / "whole.flac").read_bytes()
    (folder / "whole.flac").unlink()
    files = {
        "empty.wav": (b"", "empty"),
        "truncated.wav": (truncated, "cut off"),
        "lies.wav": (bytes(lies), "cut off"),
        "slow.wav": (bytes(slow), "rate of 3 Hz"),
        "channels.wav": (bytes(channels), "damaged"),
        "header.wav": (whole[:20], "damaged"),
        "text.wav": (b"this is no sound " * 40, "no audio"),
        "cut.flac": (flac[: len(flac) // 2], "cut off|damaged"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    reasons = {folder / name: why for name, (_, why) in files.items()}
    return reasons | {folder / "nan.wav": "NaN", folder / "none.wav": "no samples", folder / "gone.wav": "missing"}


def test_hostile_files_are_named_and_no_more(tmp_path: Path) -> None:
    for path, why in _broken(tmp_path).items():
        with pytest.raises(Unreadable) as caught:
            decode(path)
        assert any(w in caught.value.reason for w in why.split("|")), (path.name, caught.value.reason)


def test_a_stream_whose_end_was_not_known_is_whole(tmp_path: Path) -> None:
    data = bytearray(encode(SINE))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(bytes(data))
    np.testing.assert_allclose(decode(tmp_path / "piped.wav"), SINE, atol=1e-4)


def test_a_missing_package_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = wav(tmp_path / "a.wav", SINE, 8000)
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(CrossgraftError, match="pip install soxr"):
        decode(path)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(CrossgraftError, match="pip install soundfile"):
        decode(path)


def test_splits_are_of_speakers(tmp_path: Path) -> None:
    domain = open_domain(manifest(tmp_path, "all.csv", {"ann": 200, "bob": 120, "cy": 160, "di": 180}), "all")
    for seed in range(4):
        split = assign_splits(domain, seed)
        assert split.groups is not None
        test, train = (set(split.groups[split.splits == s]) for s in ("test", "train"))
        assert len(test) == 1  # a quarter of four
        assert not test & train
        assert groups_shared(split) == ()
    shots = assign_splits(domain, 0, shots=1)
    (note,) = groups_shared(shots)
    assert "learned from and in the test part too" in note


def test_given_splits_that_share_a_speaker_are_said(tmp_path: Path) -> None:
    path = manifest(tmp_path, "all.csv", {"ann": 200, "bob": 120})
    lines = path.read_text().splitlines()
    lines = [f"{line},{'split' if i == 0 else 'test' if i % 4 == 0 else 'train'}" for i, line in enumerate(lines)]
    path.write_text("\n".join(lines) + "\n")
    split = assign_splits(open_domain(path, "target"), 0)
    (note,) = groups_shared(split)
    assert "speakers 'ann', 'bob' are learned from" in note
    alone = assign_splits(split.take(np.flatnonzero(split.groups == "ann")), 0)
    assert groups_shared(alone) == ()  # one person's model
    (note,) = groups_shared(alone, replace(split, name="source"))
    assert note.startswith("source: speaker 'ann' is learned from")


def test_one_speaker_alone_is_split_within_classes(tmp_path: Path) -> None:
    split = assign_splits(open_domain(manifest(tmp_path, "one.csv", {"ann": 200}, each=4), "one"), 0)
    assert (split.splits == "test").sum() == 3
    assert set(split.take(split.where("test")).classes) == {"rise", "fall", "flat"}


def test_pooled_sources_keep_their_speakers(tmp_path: Path) -> None:
    a = open_domain(manifest(tmp_path / "a", "a.csv", {"ann": 200}, each=1), "a")
    wav(tmp_path / "b/rise/x.wav", tune("rise", 100, 1))
    both = pool([a, open_domain(tmp_path / "b", "b")])
    assert both is not None
    assert both.kind == "audio"
    assert both.groups is not None
    assert both.groups.tolist() == ["ann"] * 3 + [""]
    assert both.read(3).shape == (8000,)


def test_the_same_clip_twice_is_a_leak(tmp_path: Path) -> None:
    wav(tmp_path / "a/x/1.wav", SINE)
    wav(tmp_path / "b/x/2.wav", SINE)
    wav(tmp_path / "b/x/3.wav", SINE / 2)
    found = leaks(open_domain(tmp_path / "a", "a"), open_domain(tmp_path / "b", "b"))
    assert found == [Leak("x/1.wav", "x/2.wav", "exact", 0)]


def test_attributes_of_a_clip_by_hand(tmp_path: Path) -> None:
    wav(tmp_path / "a/1.wav", SINE, subtype="FLOAT")
    wav(tmp_path / "a/2.wav", np.zeros(1600))
    domain = open_domain(tmp_path, "two")
    assert names_of(domain) == OF_CLIPS
    tone, silence = attributes(domain, np.arange(2))
    np.testing.assert_allclose(tone, [0.5, 20 * np.log10(0.5 / np.sqrt(2)), 440], rtol=1e-3)
    np.testing.assert_allclose(silence, [0.1, -100, 0])


def test_audio_is_not_mixed_with_vectors(tmp_path: Path) -> None:
    wav(tmp_path / "a/1.wav", SINE)
    with pytest.raises(CrossgraftError, match="holds vectors where audio"):
        of_kind(open_domain(([[0.0, 1.0]], ["a"]), "v"), open_domain(tmp_path, "a").kind)


def test_a_picture_of_a_clip_shows_where_it_sounds() -> None:
    x = portrait(np.concatenate([np.zeros(8000, np.float32), SINE]))
    assert x.shape == (64, 160, 3)
    assert x[:, :70].max() < x[:, 90:].max() == 255
    assert portrait(SINE[:10]).shape == (64, 160, 3)
