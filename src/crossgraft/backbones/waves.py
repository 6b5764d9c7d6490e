"""Encoders of transformers over clips: waveforms, or Whisper's log-mel frames, to means over each clip's frames."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from crossgraft.backbones.backbone import ZERO
from crossgraft.backbones.framing import HOP, wave_frames, whisper_frames
from crossgraft.backbones.speech import Clips
from crossgraft.domains.clips import RATE

LEAST = 400  # samples below which a convolution of these models sees nothing: the receptive field of one frame
FFT = 400  # samples of Whisper's frames


class WaveEncoder(Clips):
    """wav2vec2, HuBERT or WavLM: the mean of the last layer over a clip's own frames, 20 ms each.

    normalise  whether each clip comes with mean 0 and variance 1, as the model was trained
    """

    def __init__(self, encoder: nn.Module, longest: int, normalise: bool, alone: bool, whole: bool = False) -> None:
        super().__init__(longest, alone, whole)
        self.encoder, self.normalise = encoder, normalise

    def count(self, lengths: Any) -> Any:
        """Frames of the convolutions, at least one."""
        return wave_frames(lengths, self.encoder.config.to_dict()).clamp(min=1)  # type: ignore[union-attr, operator]

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T D"], Int[Tensor, " g"]]:
        """The last layer."""
        mask = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
        x, n = samples / ZERO, lengths[:, None].clamp(min=1)
        if self.normalise:
            x = (x - x.sum(1, keepdim=True) / n) * mask
            x = x / (x.square().sum(1, keepdim=True) / n + 1e-7).sqrt()
        if (short := LEAST - x.shape[1]) > 0:
            x, mask = F.pad(x, (0, short)), F.pad(mask, (0, short))
        encoder: Any = self.encoder
        hidden = encoder(x, attention_mask=None if self.alone else mask.long()).last_hidden_state.float()
        return hidden, self.count(lengths)

    def pooled(self, vectors: Float[Tensor, "g T D"], counts: Int[Tensor, " g"]) -> Float[Tensor, "g D"]:
        """The mean over a clip's own frames."""
        return mean_of(vectors, counts)


class WhisperClips(Clips):
    """Whisper's encoder over 30 seconds, as it was trained: the mean of the last layer over a clip's own frames."""

    def __init__(self, encoder: nn.Module, bands: int, longest: int, whole: bool = False) -> None:
        super().__init__(longest, whole=whole)
        from transformers.audio_utils import mel_filter_bank

        self.encoder = encoder
        table = mel_filter_bank(FFT // 2 + 1, bands, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
        self.mel: Tensor
        self.register_buffer("mel", torch.as_tensor(table, dtype=torch.float32), persistent=False)

    def count(self, lengths: Any) -> Any:
        """Frames that a clip fills, at least one."""
        return whisper_frames(lengths).clamp(min=1)

    def pooled(self, vectors: Float[Tensor, "g T D"], counts: Int[Tensor, " g"]) -> Float[Tensor, "g D"]:
        """The mean over a clip's own frames."""
        return mean_of(vectors, counts)

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T D"], Int[Tensor, " g"]]:
        """The last layer."""
        encoder: Any = self.encoder
        frames = 2 * int(encoder.config.max_source_positions)
        x = F.pad(samples / ZERO, (0, frames * HOP))[:, : frames * HOP]
        window = torch.hann_window(FFT, device=x.device)
        power = torch.stft(x, FFT, HOP, window=window, return_complex=True)[..., :-1].abs().square()
        log = (self.mel.T @ power).clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8)
        hidden = encoder((log + 4) / 4).last_hidden_state.float()
        return hidden, self.count(lengths)


class GivenClips(Clips):
    """Somebody's layers of clips (B, L) in [-1, 1], which see no padding."""

    def __init__(self, layers: nn.Module, longest: int) -> None:
        super().__init__(longest, alone=True)
        self.layers = layers

    def count(self, lengths: Any) -> Any:
        """One feature a clip."""
        return lengths.clamp(1, 1)

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g 1 D"], Int[Tensor, " g"]]:
        """What the layers give."""
        return self.layers(samples / ZERO)[:, None], self.count(lengths)

    def pooled(self, vectors: Float[Tensor, "g 1 D"], counts: Int[Tensor, " g"]) -> Float[Tensor, "g D"]:
        """The same."""
        return vectors[:, 0]


def mean_of(hidden: Float[Tensor, "g T D"], frames: Int[Tensor, " g"]) -> Float[Tensor, "g D"]:
    """The mean over the first `frames` of each row."""
    mask = (torch.arange(hidden.shape[1], device=hidden.device) < frames[:, None])[..., None].to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
