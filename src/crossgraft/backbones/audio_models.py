"""Backbones of audio: the speech embedding of an installed package, a small network, encoders of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crossgraft.backbones.backbone import ZERO, Backbone, Tokens
from crossgraft.backbones.framing import (
    CONTEXT,
    HALVED,
    HOP,
    STEP,
    WHISPER_HOP,
    WINDOW,
    embedding_frames,
    mel_frames,
    wave_frames,
    whisper_frames,
)
from crossgraft.backbones.groups import groups_of_encoder
from crossgraft.backbones.published import built, hashed, model_folder, read_json, revision
from crossgraft.backbones.weights import file_revision, fill, read_state
from crossgraft.domains.clips import LONGEST, RATE
from crossgraft.errors import CrossgraftError, UsageError

if TYPE_CHECKING:
    from torch import nn

PACKAGE, FILES = "openwakeword", ("melspectrogram.onnx", "embedding_model.onnx")
SAMPLES = LONGEST * RATE  # of a clip that are read
CODE = "audio-1"  # part of every revision: what this version makes of the same files
BLOCKS = 5  # of the speech embedding, each ended by a pooling
AUTO_GROUPS = (
    ("stem", ("embedding.stem",)),
    *((f"blocks.{k}", (f"embedding.blocks.{k}",)) for k in range(BLOCKS)),
    ("last", ("embedding.last",)),
)
KINDS = ("wav2vec2", "hubert", "wavlm", "whisper")
WHISPER_SECONDS = 30
EMBEDDING_TIMES = ((WINDOW * HOP / 2 - CONTEXT) / RATE, STEP * HOP / RATE)
Sound = Literal["audio", "utterance"]


def samples(clips: Sequence[Any]) -> list[np.ndarray]:
    """Clips in [-1, 1] as tokens: 16-bit samples, ZERO where silent.

    >>> samples([np.array([0, 0.5, -1, 1], np.float32)])[0].tolist()
    [32768, 49152, 0, 65535]
    """
    return [(np.clip(np.rint(x * ZERO), -ZERO, ZERO - 1) + ZERO).astype(np.uint16) for x in clips]


TOKENS = Tokens(SAMPLES, "samples", samples)


def speech_embedding(kind: Sound = "audio") -> Backbone:
    """Google's speech embedding with the weights of openwakeword: mean and spread of a vector every 80 ms, (192,); of
    utterances the vectors, each between its neighbours, (F, 288).

    Neither the package's code nor torch is run before its layers are needed.
    """
    mel, embedding = _package()
    whole = kind == "utterance"

    def build() -> nn.Module:
        import torch

        from crossgraft.backbones.onnx_weights import onnx_tensors
        from crossgraft.backbones.speech import LogMel, SpeechClips, SpeechEmbedding

        front = [torch.from_numpy(v) for v in onnx_tensors(mel).values() if v.ndim > 1]
        frames = LogMel(front[0][:, 0], front[1][:, 0], front[2])
        layers = SpeechEmbedding().fill(onnx_tensors(embedding)).to(memory_format=torch.channels_last)
        return SpeechClips(frames, layers, SAMPLES, whole).eval()

    own = hashed(CODE, file_revision(mel), file_revision(embedding))
    return Backbone(
        "auto", _named(own, kind), kind, 288 if whole else 192, build, AUTO_GROUPS, tokens=TOKENS,
        frames=_frames(kind, SAMPLES, embedding_frames), times=EMBEDDING_TIMES,
    )  # fmt: skip


def mel_net(name: str = "cnn", kind: Sound = "audio") -> Backbone:
    """A small network on log-mel frames, to train from nothing: cnn, or rnn."""
    whole, recurrent = kind == "utterance", name == "rnn"

    def build() -> nn.Module:
        from crossgraft.backbones.small_audio import MelNet, MelRnn

        return (MelRnn if recurrent else MelNet)(SAMPLES, whole).eval()

    stages = range(2 if recurrent else 3)
    groups = (*((f"stages.{k}", (f"stages.{k}",)) for k in stages), ("full", ("full",)))
    groups = (*groups, ("units", ("units",))) if recurrent else groups
    return Backbone(
        name, _named(f"{name}-{CODE}", kind), kind, 256 if recurrent and not whole else 128, build, groups,
        tokens=TOKENS, pretrained=False, portable=False,
        frames=_frames(kind, SAMPLES, partial(mel_frames, halved=HALVED)), times=(0.02, 0.04),
    )  # fmt: skip


def audio_model(name: str, weights: str | None, kind: Sound = "audio") -> Backbone:
    """An encoder of transformers by name or folder: wav2vec2, HuBERT, WavLM, or the encoder of Whisper; the mean of its
    last layer over the frames of a clip; of utterances its frames.

    weights  None for the model's own; a .safetensors, .pth or .pt file of the same layers; "random" for none
    """
    folder = model_folder(name)
    config = read_json(folder / "config.json", name)
    model, dim = config.get("model_type"), config.get("hidden_size", config.get("d_model"))
    if model not in KINDS or not isinstance(dim, int):
        raise UsageError(f"backbone {name} is a {model}, no encoder of audio", f"give one of {', '.join(KINDS)}")
    front = folder / "preprocessor_config.json"
    normalise = bool(read_json(front, name).get("do_normalize", True)) if front.is_file() else True
    own = revision(folder, name, weights, CODE, json.dumps(config, sort_keys=True), str(normalise))

    def build() -> nn.Module:
        return _encoder(folder, config, normalise, weights, kind == "utterance")

    longest = WHISPER_SECONDS * RATE if model == "whisper" else SAMPLES
    count = whisper_frames if model == "whisper" else partial(wave_frames, config=config)
    made = Backbone(
        name, _named(own, kind), kind, dim, build, AUTO_GROUPS, tokens=Tokens(longest, "samples", samples),
        pretrained=weights != "random", portable=weights is None, frames=_frames(kind, longest, count),
        times=((step := prod(config.get("conv_stride", (WHISPER_HOP,))) / RATE) / 2, step),
    )  # fmt: skip
    made.groups = groups_of_encoder(made.module)
    return made


def _encoder(
    folder: Path, config: dict[str, Any], normalise: bool, weights: str | None, whole: bool
) -> nn.Module:  # fmt: skip
    from crossgraft.backbones.waves import WaveEncoder, WhisperClips

    body = built(folder, weights, f"give one of {', '.join(KINDS)}")
    whisper = config["model_type"] == "whisper"
    if whisper:
        module: Any = WhisperClips(
            body.get_encoder().float(), int(config.get("num_mel_bins", 80)), WHISPER_SECONDS * RATE, whole
        )
    else:
        # With group normalisation over time, which such models were trained with, padding would change a clip.
        alone = config.get("feat_extract_norm", "group") == "group"
        module = WaveEncoder(body.float(), SAMPLES, normalise, alone, whole)
    if weights not in (None, "random"):
        state = read_state(Path(str(weights)))
        wanted = module.encoder.state_dict()
        bare = {k if k in wanted else k.split(".", 1)[-1].removeprefix("encoder."): v for k, v in state.items()}
        fill(module.encoder, {k: v for k, v in bare.items() if k in wanted}, str(weights))
    ready: nn.Module = module.eval()
    return ready


def _named(own: str, kind: Sound) -> str:
    """A revision that differs where frames take the place of one feature a clip."""
    return own if kind == "audio" else hashed(own, "frames between neighbours")


def _frames(kind: Sound, longest: int, count: Callable[[Any], Any]) -> Callable[[Any], Any] | None:
    """How many frames clips have, of which no more than `longest` samples are read."""
    return None if kind == "audio" else lambda lengths: np.maximum(count(np.minimum(lengths, longest)), 1)


def _package() -> tuple[Path, Path]:
    """The two models of the package."""
    spec = find_spec(PACKAGE)  # finds the package without running its code
    folder = Path(next(iter((spec.submodule_search_locations or []) if spec else []), "")) / "resources" / "models"
    mel, embedding = (folder / name for name in FILES)
    if not (mel.is_file() and embedding.is_file()):
        raise CrossgraftError(
            "the weights of --backbone auto for audio are missing", "pip install --no-deps openwakeword==0.4.0"
        )
    return mel, embedding
