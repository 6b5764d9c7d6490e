"""Small networks on log-mel frames, to train from nothing: convolutions, and a recurrent one over them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from crossgraft.backbones.framing import HALVED, SPAN, mel_frames
from crossgraft.backbones.pooling import max_pool
from crossgraft.backbones.speech import Clips, LogMel, filters, moments, within

BANDS, DIM = 40, 128


class MelClips(Clips):
    """Log-mel frames through 3 x 3 convolutions, each followed by a maximum over 2 x 2, or 1 x 2 where `in_time` no
    longer holds. Loudness is taken away: the mean of a clip's frames is 0.

    widths   channels from stage to stage
    in_time  stages that halve the number of frames, which begin at one for every 10 ms
    """

    def __init__(self, longest: int, widths: tuple[int, ...], in_time: int, whole: bool) -> None:
        super().__init__(longest, whole=whole)
        self.mel, self.in_time = LogMel(*filters(BANDS)), in_time
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise((1, *widths)))
        self.wide = widths[-1] * (BANDS >> len(widths))
        for stage in self.stages:
            _kaiming(stage)

    def count(self, lengths: Any) -> Any:
        """Frames of the last stage."""
        return mel_frames(lengths, self.in_time)

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T D"], Int[Tensor, " g"]]:
        """Channels and bands of the last stage, a row a frame."""
        frames = mel_frames(lengths, 0)
        x = self.mel(F.pad(samples, (0, SPAN)), frames)
        mask = within(x, frames)[..., None].to(x.dtype)
        x = (x - (x * mask).sum((1, 2), keepdim=True) / (mask.sum(1, keepdim=True) * x.shape[2]).clamp(min=1)) * mask
        x = x[:, None]
        for k, stage in enumerate(self.stages):
            # 0 behind the end, which the maximum passes by
            x = F.relu(stage(x)) * within(x[:, 0], frames)[:, None, :, None]
            halved = k < self.in_time
            x = max_pool(x, (2 if halved else 1, 2), ceil=True)
            frames = (frames + 1) // 2 if halved else frames
        return x.transpose(1, 2).flatten(2), frames


class MelNet(MelClips):
    """Three convolutions and a full layer: over mean and spread of the frames, (B, 128), or over each frame of 40
    ms."""

    def __init__(self, longest: int, whole: bool = False) -> None:
        super().__init__(longest, (16, 32, 64), HALVED if whole else 3, whole)
        self.full = nn.Linear(self.wide if whole else 2 * self.wide, DIM)
        _kaiming(self.full)

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T D"], Int[Tensor, " g"]]:
        """Frames, through the full layer where none is pooled."""
        x, frames = super().vectors(samples, lengths)
        return (F.relu(self.full(x)) if self.whole else x), frames

    def pooled(self, vectors: Float[Tensor, "g T D"], counts: Int[Tensor, " g"]) -> Float[Tensor, "g 128"]:
        """The full layer over mean and spread."""
        out: Tensor = F.relu(self.full(moments(vectors, counts)))
        return out


class MelRnn(MelClips):
    """Two convolutions and gated recurrent units both ways (Cho et al., EMNLP 2014) over frames of 40 ms: mean and
    spread of their states, (B, 256), or the states, 128 a frame."""

    def __init__(self, longest: int, whole: bool = False) -> None:
        super().__init__(longest, (16, 32), HALVED, whole)
        self.full = nn.Linear(self.wide, DIM)
        _kaiming(self.full)
        self.units = nn.GRU(DIM, DIM // 2, batch_first=True, bidirectional=True)

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T 128"], Int[Tensor, " g"]]:
        """States of the units, both ways from the ends that each clip really has."""
        x, frames = super().vectors(samples, lengths)
        x = F.relu(self.full(x))
        if self.alone:  # no clip has padding
            return self.units(x)[0], frames
        packed = nn.utils.rnn.pack_padded_sequence(x, frames.clamp(min=1).cpu(), batch_first=True)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.units(packed)[0], batch_first=True, total_length=x.shape[1])
        return states, frames


def _kaiming(layer: nn.Module) -> None:
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    assert layer.bias is not None
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
