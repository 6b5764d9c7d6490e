"""Clips through the layers: against the package's own models, against transformers, and whatever is beside a clip."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_kit import manifest, tune, wav

import crossgraft
from crossgraft import backbones, features
from crossgraft.backbones import audio_models
from crossgraft.backbones.audio_models import samples
from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.onnx_weights import onnx_tensors
from crossgraft.domains import Domain, open_domain
from crossgraft.domains.clips import LONGEST, RATE, decode
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features.ragged import Ragged, joined, tensor

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
CLIPS = [tune("rise", 150, 0, seconds=2.0), tune("fall", 220, 1, seconds=0.1), tune("flat", 180, 2, seconds=0.9)]


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return backbones.load("auto", clips(tmp_path_factory.mktemp("auto"), CLIPS))


def clips(folder: Path, sounds: list[np.ndarray]) -> Domain:
    for i, sound in enumerate(sounds):
        wav(folder / f"{i}.wav", sound)
    return open_domain(folder, "clips")


def through(module: Any, sounds: list[np.ndarray]) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module.eval()(tensor(Ragged.of(samples(sounds)))).numpy())


def by_package(sound: np.ndarray) -> np.ndarray:
    """The vectors of a 16-bit clip as openwakeword's utils compute them: two models, 76 frames after another."""
    runtime = pytest.importorskip("onnxruntime")
    mel, embedding = (runtime.InferenceSession(str(p)) for p in audio_models._package())
    spec = np.squeeze(mel.run(None, {"input": sound[None].astype(np.float32)})[0]) / 10 + 2
    windows = [spec[i : i + 76] for i in range(0, len(spec), 8) if len(spec[i : i + 76]) == 76]
    batch = np.array(windows)[..., None].astype(np.float32)
    return np.asarray(embedding.run(None, {"input_1": batch})[0]).reshape(-1, 96)


def test_vectors_are_the_packages_own(auto: Backbone) -> None:
    for x in (CLIPS[0], np.random.default_rng(0).uniform(-1, 1, 20000).astype(np.float32)):
        whole = samples([x])[0].astype(np.int64) - 32768
        expected = by_package(whole.astype(np.int16))
        with torch.inference_mode():
            wave = torch.from_numpy(whole).float()[None]
            frames = torch.tensor([(len(x) - 512) // 160 + 1])
            own = auto.module.embedding(auto.module.mel(wave, frames))[0].numpy()
        assert own.shape == expected.shape
        assert len(own) > 1
        np.testing.assert_allclose(own, expected, atol=1e-3)


def test_features_are_mean_and_spread_of_the_padded_clip(auto: Backbone) -> None:
    quiet = np.zeros(9600, np.int16)
    for x in CLIPS[:2]:
        sound = (samples([x])[0].astype(np.int64) - 32768).astype(np.int16)
        vectors = by_package(np.concatenate([quiet, sound, quiet]))
        expected = np.concatenate([vectors.mean(0), vectors.std(0)])
        np.testing.assert_allclose(through(auto.module, [x])[0], expected, atol=2e-3)


@pytest.mark.parametrize("name", ["auto", "cnn"])
def test_a_clip_does_not_depend_on_what_is_beside_it(name: str, tmp_path: Path) -> None:
    module = backbones.load(name, clips(tmp_path, CLIPS)).module
    together = through(module, CLIPS)
    for i, x in enumerate(CLIPS):
        np.testing.assert_allclose(together[i], through(module, [x])[0], atol=2e-4, rtol=1e-3)
    assert together.shape == (3, 192 if name == "auto" else 128)


@pytest.mark.parametrize("name", ["auto", "cnn"])
def test_silence_and_one_sample_give_finite_features_and_gradients(name: str, tmp_path: Path) -> None:
    module = backbones.load(name, clips(tmp_path, CLIPS)).fresh(0)
    rows = tensor(Ragged.of(samples([np.zeros(800, np.float32), np.ones(1, np.float32), CLIPS[1]])))
    out = module(rows)
    assert torch.isfinite(out).all()
    out.square().mean().backward()
    grads = [p.grad for p in module.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)
    assert sum(float(g.abs().sum()) for g in grads if g is not None) > 0


def test_every_parameter_is_in_one_group(auto: Backbone, tmp_path: Path) -> None:
    for backbone in (auto, backbones.load("cnn", clips(tmp_path, CLIPS))):
        for name, _ in backbone.module.named_parameters():
            assert sum(name.startswith(f"{p}.") for _, ps in backbone.groups for p in ps) == 1, name


def test_features_come_through_the_store_and_name_what_cannot_be_read(
    auto: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSGRAFT_CACHE", str(tmp_path / "cache"))
    clips(tmp_path / "d", CLIPS)
    (tmp_path / "d/9.wav").write_bytes(b"")
    long = np.zeros((LONGEST + 1) * RATE, np.float32)
    long[:8000] = tune("rise", 150, 0)
    wav(tmp_path / "d/8.wav", long)
    domain = open_domain(tmp_path / "d", "it")
    first = features.features(domain, auto)
    assert first.failures == [(4, "the file is empty (0 bytes)")]
    assert first.notes == ("it: 1 of 5 clips (20.0 %) are longer than 60 s; the first 60 s were read",)
    own = through(auto.module, [domain.read(i) for i in range(3)])
    np.testing.assert_allclose(first.values[:3], own, atol=1e-3)
    read: list[int] = []
    again = features.features(_counting(domain, read), auto)
    np.testing.assert_array_equal(again.values, first.values)
    assert len(read) == 1  # the empty file, of which there is nothing to keep
    raw = features.pixels(domain, auto)
    assert raw.values.sound
    assert raw.failures == first.failures
    assert raw.values.lengths[[0, 4]].tolist() == [32000, 0]
    np.testing.assert_allclose(features.embed(auto, raw.values)[:3], first.values[:3], atol=1e-3)


def _counting(domain: Domain, read: list[int]) -> Domain:
    from dataclasses import replace

    def reader(what: Any) -> Any:
        read.append(1)
        return domain.reader(what)

    return replace(domain, reader=reader)


def test_batches_of_clips_are_joined_by_filling_up() -> None:
    a, b = (tensor(Ragged.of(samples([x]))) for x in CLIPS[:2])
    both = joined([a, b])
    assert both.shape == (2, 32000)
    assert (both[1, 1600:] == -1).all()
    assert (both[1, :1600] >= 0).all()


def test_weights_of_an_onnx_file_are_read_without_the_package(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for path in audio_models._package():
        model = onnx.load(path)
        wanted = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        found = onnx_tensors(path)
        assert set(found) == {k for k, v in wanted.items() if v.dtype == np.float32}
        for k, v in found.items():
            np.testing.assert_array_equal(v, wanted[k])
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:5000])
    (tmp_path / "text.onnx").write_bytes(b"no model at all")
    for name in ("cut.onnx", "text.onnx"):
        with pytest.raises(CrossgraftError, match="cannot be read as an ONNX model"):
            onnx_tensors(tmp_path / name)


def test_without_the_package_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_models, "PACKAGE", "no_such_package_here")
    assert find_spec("no_such_package_here") is None
    with pytest.raises(CrossgraftError, match="pip install --no-deps openwakeword"):
        backbones.load("auto", clips(tmp_path, CLIPS))


# Encoders of transformers -------------------------------------------------------------------------------------------


def tiny(folder: Path, kind: str, norm: str = "layer") -> Path:
    """A model of two layers with weights of its own."""
    torch.manual_seed(7)
    if kind == "whisper":
        config = transformers.WhisperConfig(
            d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=80, vocab_size=60, max_source_positions=1500,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
        transformers.WhisperModel(config).save_pretrained(folder)
        return folder
    configs, models = {
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
        "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
    }[kind]
    config = configs(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
        conv_stride=(5, 8, 8), conv_kernel=(10, 8, 8), num_feat_extract_layers=3, feat_extract_norm=norm,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=20,
        do_stable_layer_norm=norm == "layer",
    )  # fmt: skip
    models(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))
    return folder


@pytest.mark.parametrize(("kind", "norm"), [("wav2vec2", "layer"), ("wav2vec2", "group"), ("hubert", "layer"),
                                            ("wavlm", "layer"), ("whisper", "layer")])  # fmt: skip
def test_encoders_of_transformers_are_as_transformers_has_them(kind: str, norm: str, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "model", kind, norm)
    backbone = backbones.load(str(folder), clips(tmp_path / "d", CLIPS))
    assert backbone.dim == 16
    assert [name for name, _ in backbone.groups][-2:] != []
    own = through(backbone.module, CLIPS)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    for i, x in enumerate(CLIPS):
        sound = (samples([x])[0].astype(np.float32) - 32768) / 32768
        with torch.inference_mode():
            if kind == "whisper":
                prepared = transformers.WhisperFeatureExtractor(feature_size=80)(
                    sound, sampling_rate=16000, return_tensors="pt"
                ).input_features
                hidden = model.encoder(prepared).last_hidden_state[0, : max(len(x) // 320, 1)]
            else:
                prepared = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(
                    sound, sampling_rate=16000, return_tensors="pt"
                ).input_values
                hidden = model(prepared).last_hidden_state[0]
        np.testing.assert_allclose(own[i], hidden.mean(0).numpy(), atol=2e-4)


def test_what_is_no_encoder_of_audio_is_refused(tmp_path: Path) -> None:
    domain = clips(tmp_path / "d", CLIPS)
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )).save_pretrained(tmp_path / "bert")  # fmt: skip
    with pytest.raises(UsageError, match="is a bert, no encoder of audio"):
        backbones.load(str(tmp_path / "bert"), domain)
    with pytest.raises(UsageError, match="does not read clips"):
        backbones.load("mlp", domain)


def test_weights_may_be_given_or_random(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "model", "hubert")
    domain = clips(tmp_path / "d", CLIPS)
    own = backbones.load(str(folder), domain)
    given = backbones.load(str(folder), domain, weights=str(folder / "model.safetensors"))
    none = backbones.load(str(folder), domain, weights="random")
    a, b, c = (through(x.module, CLIPS) for x in (own, given, none))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.abs(a - c).max() > 1e-3
    assert len({x.revision for x in (own, given, none)}) == 2  # of the content, not of the way to it
    assert not none.pretrained


# The main job -------------------------------------------------------------------------------------------------------


QUICK = {"guard": False, "baselines": False}


@pytest.mark.parametrize("options", [
    {"schedule": "frozen"},
    {"schedule": "lp_ft", "steps": 4} | QUICK,
    {"backbone": "cnn", "method": "dann", "steps": 6, "source_steps": 20} | QUICK,
    pytest.param({"backbone": "cnn", "steps": 6, "source_steps": 40}, marks=pytest.mark.slow),
    pytest.param({"method": "fixmatch", "steps": 4}, marks=pytest.mark.slow),
])  # fmt: skip
def test_the_four_steps_from_speakers_to_another(options: dict[str, Any], tmp_path: Path) -> None:
    source = manifest(tmp_path / "s", "s.csv", {"ann": 210, "bob": 120}, each=4)
    target = manifest(tmp_path / "t", "t.csv", {"cy": 160}, each=5, rate=8000)
    run = crossgraft.fit(target=str(target), source=str(source), shots=1, seed=0, out=tmp_path / "run", **options)
    result = run.result
    assert result["test"]["n"] == 12
    assert options.get("guard") is False or {"source_only", "target_only"} <= set(result["baselines"])
    again = type(run).open(tmp_path / "run")
    files = [str(tmp_path / f"t/clips/cy-{c}-4.wav") for c in ("rise", "fall")]
    rows = again.predict(files)
    assert [set(r) for r in rows] == [{"name", "label", "probabilities", "unknown"}] * 2
    assert all(abs(sum(r["probabilities"].values()) - 1) < 1e-6 for r in rows)
    scored = again.score(str(target))
    assert scored["accuracy"]["value"] >= 0
    if options.get("schedule") == "frozen":
        assert result["transfer"]["accuracy"]["value"] >= 0.8


def test_the_report_shows_and_plays_the_surest_mistakes(tmp_path: Path) -> None:
    source = manifest(tmp_path / "s", "s.csv", {"ann": 210}, each=3)
    target = manifest(tmp_path / "t", "t.csv", {"cy": 160}, each=4)
    table = (
        target.read_text().replace("-0.wav,rise", "-0.wav,fall").replace("-1.wav,rise", "-1.wav,fall")
    )  # mislabelled
    target.write_text(table)
    crossgraft.fit(
        target=str(target), source=str(source), method="source_only", schedule="frozen", out=tmp_path / "run"
    )
    shown = json.loads((tmp_path / "run/pictures/index.json").read_text())
    page = (tmp_path / "run/report.html").read_text()
    assert " test clips" in page
    assert shown
    assert page.count("data:image/jpeg;base64,") == page.count("<audio controls") == len(shown)
    assert "media-src data:" in page
    heard = decode(tmp_path / "run/pictures" / shown[0]["sound"])
    np.testing.assert_allclose(heard, decode(tmp_path / "t" / shown[0]["name"]), atol=1e-4)
