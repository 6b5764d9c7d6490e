"""Clips to features: log-mel frames, convolutions over them, and pooling over the frames that a clip really has.

A clip reaches these layers as a row of tokens, one for each 16-bit sample, and NO_TOKEN behind its end: what texts look
like too, so batches, joining and the feature store are theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from crossgraft.backbones.backbone import ZERO
from crossgraft.backbones.encoder import ends
from crossgraft.backbones.framing import CONTEXT, HOP, SPAN, embedding_frames
from crossgraft.backbones.pooling import MaxPool
from crossgraft.domains.clips import RATE

BANDS = 32  # of a frame
FLOOR, RANGE = 1e-10, 80.0  # of the power; decibels below a clip's loudest
AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 24}  # samples that go through the layers together


class Clips(nn.Module):
    """Rows of samples (B, L), as `Tokens` makes them, to features (B, D), in groups of like length.

    longest  samples of a clip that are read, the first ones
    alone    whether only clips of the same length go together, so that no layer sees padding
    whole    give the frames of all clips, (F, D), one clip after the other, and pool none of them; one of a clip that
             has no sample
    """

    def __init__(self, longest: int, alone: bool = False, whole: bool = False) -> None:
        super().__init__()
        self.longest, self.alone, self.whole = longest, alone, whole

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """Features of rows of samples; of their frames where `whole`."""
        tokens = tokens[:, : self.longest]
        lengths = ends(tokens)
        parts: list[Tensor] = []
        order = []
        for at in _alike(lengths, self.alone):
            own = tokens[at, : max(int(lengths[at[0]]), 1)]
            vectors, counts = self.vectors(torch.where(own >= 0, own - ZERO, 0).float(), lengths[at])
            parts += [v[:n] for v, n in zip(vectors, counts.clamp(min=1), strict=True)] if self.whole else [
                self.pooled(vectors, counts)
            ]  # fmt: skip
            order.append(at)
        place = torch.argsort(torch.cat(order))
        return torch.cat([parts[i] for i in place.tolist()]) if self.whole else torch.cat(parts)[place]

    def frames(self, tokens: Int[Tensor, "B L"]) -> Int[Tensor, " B"]:
        """How many frames rows of samples have."""
        counts: Tensor = self.count(ends(tokens[:, : self.longest]))
        return counts

    def count(self, lengths: Any) -> Any:
        """How many frames clips of so many samples have; an array or a tensor of integers."""
        raise NotImplementedError

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T D"], Int[Tensor, " g"]]:
        """Frames of clips of like length, in units of 16-bit samples and 0 behind their ends; and how many are each
        clip's own."""
        raise NotImplementedError

    def pooled(self, vectors: Float[Tensor, "g T D"], counts: Int[Tensor, " g"]) -> Float[Tensor, "g E"]:
        """One feature a clip."""
        return moments(vectors, counts)


class SpeechClips(Clips):
    """The speech embedding of a clip: mean and spread over its vectors of 96, (B, 192).

    CONTEXT samples of silence are put before and after each clip, so that a word is seen at every place of the window
    that it could have, and a clip shorter than the window (0.78 s) has vectors at all. Without that a word of 0.4 s
    would be one vector, which depends on where in the window it lies.
    """

    def __init__(self, mel: LogMel, embedding: SpeechEmbedding, longest: int, whole: bool = False) -> None:
        super().__init__(longest, whole=whole)
        self.mel, self.embedding = mel, embedding

    def count(self, lengths: Any) -> Any:
        """Vectors of a clip with its silence."""
        return embedding_frames(lengths)

    def vectors(
        self, samples: Float[Tensor, "g L"], lengths: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "g T D"], Int[Tensor, " g"]]:
        """The package's vectors; where none is pooled each with those before and after it, (g, T, 288): what has just
        been said and what comes tell where one symbol ends and the next begins."""
        frames, counts = (lengths + 2 * CONTEXT - SPAN) // HOP + 1, self.count(lengths)
        x = self.embedding(self.mel(F.pad(samples, (CONTEXT, CONTEXT)), frames))
        return (beside(x, counts) if self.whole else x), counts


class LogMel(nn.Module):
    """Samples to frames of log-mel bands: decibels / 10 + 2, at most 80 dB below the loudest of the clip."""

    def __init__(self, real: Tensor, imaginary: Tensor, mel: Tensor) -> None:
        """real, imaginary  (F, 512) windowed cosines and sines; mel  (F, bands)."""
        super().__init__()
        bins = mel.abs().sum(1).nonzero().flatten()
        seen = (real.abs() + imaginary.abs()).sum(0).nonzero().flatten()
        # The window is shorter than the frame, and the bands end below 4 kHz: the rest would be multiplied by zero.
        self.first, self.last = int(seen[0]), int(seen[-1]) + 1
        waves = torch.cat([real[bins], imaginary[bins]])[:, self.first : self.last]
        self.waves: Tensor
        self.mel: Tensor
        self.register_buffer("waves", waves.T.contiguous())
        self.register_buffer("mel", mel[bins].contiguous())

    def forward(self, samples: Float[Tensor, "B L"], frames: Int[Tensor, " B"]) -> Float[Tensor, "B T bands"]:
        """Frames of a batch; those behind a clip's own number of `frames` mean nothing."""
        with torch.autocast(samples.device.type, enabled=False):
            cut = samples.unfold(1, SPAN, HOP)[:, :, self.first : self.last]
            power = (cut @ self.waves).square()
            half = power.shape[2] // 2
            decibels = 10 * ((power[..., :half] + power[..., half:]) @ self.mel).clamp(min=FLOOR).log10()
            top = decibels.amax(2).masked_fill(~within(decibels, frames), -torch.inf).amax(1)
            return torch.maximum(decibels, top[:, None, None] - RANGE) / 10 + 2


class Leaky(nn.Module):
    """max(x, 0.2 x, -0.4): what stands behind every convolution of the speech embedding."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; in place where no gradient needs what was there."""
        return F.leaky_relu(x, 0.2).clamp(min=-0.4) if torch.is_grad_enabled() else F.leaky_relu_(x, 0.2).clamp_(-0.4)


class SpeechEmbedding(nn.Module):
    """Google's speech embedding (Lin et al., ICASSP 2020), as openwakeword ships it: 96 values every 80 ms.

    In time no convolution is padded, so one pass over a whole clip gives what windows of 76 frames give one by one.
    """

    PLAN = (24, 24, "2x2", 48, 48, 48, 48, "1x2", 72, 72, 72, 72, "2x2", 96, 96, 96, 96, "1x2", 96, 96, 96, 96, "2x2")

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(1, 24, 3, padding=(0, 1), bias=False)
        self.stem = nn.Sequential(first, nn.ReLU(), nn.BatchNorm2d(24, 1e-3))
        blocks: list[nn.Module] = []
        layers: list[nn.Module] = [Leaky()]
        width, across = 24, True
        for what in self.PLAN:
            if isinstance(what, str):
                size = (int(what[0]), int(what[2]))
                # Pooled before the last Leaky, which keeps order: the same values, from fewer places.
                blocks.append(nn.Sequential(*layers[:-1], MaxPool(size), layers[-1]))
                layers = []
                continue
            kernel, padding = ((1, 3), (0, 1)) if across else ((3, 1), (0, 0))
            layers += [nn.Conv2d(width, what, kernel, padding=padding), Leaky()]
            width, across = what, not across
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(width, 96, (3, 1), bias=False)

    def forward(self, frames: Float[Tensor, "B T 32"]) -> Float[Tensor, "B t 96"]:
        """One vector for every STEP frames from the WINDOW-th on."""
        x = self.stem(frames[:, None].contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(x)[:, :, :, 0].transpose(1, 2)
        return out

    def fill(self, tensors: Mapping[str, np.ndarray]) -> SpeechEmbedding:
        """The weights of the package's file, by their names."""

        def of(name: str) -> Tensor:
            return torch.from_numpy(next(v for k, v in tensors.items() if k.startswith(f"model/{name}")))

        state = {"stem.0.weight": of("conv2d/"), "last.weight": of("conv2d_19/")}
        norm = "batch_normalization/"
        for key, name in {
            "weight": "ReadVariableOp:0", "bias": "ReadVariableOp_1:0",
            "running_mean": "FusedBatchNormV3/ReadVariableOp:0", "running_var": "FusedBatchNormV3/ReadVariableOp_1:0",
        }.items():  # fmt: skip
            state[f"stem.2.{key}"] = of(norm + name)
        inner = [name for name, layer in self.named_modules() if name.startswith("blocks") and hasattr(layer, "weight")]
        for k, layer in enumerate(inner, 1):
            state |= {f"{layer}.{what}": of(f"conv2d_{k}/Conv2D_{long}") for what, long in
                      (("weight", "weights"), ("bias", "bias"))}  # fmt: skip
        state["stem.2.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
        self.load_state_dict(state)
        return self


def filters(bands: int) -> tuple[Tensor, Tensor, Tensor]:
    """Hann-windowed cosines and sines (257, 512), for samples of 16 bits, and triangles on the mel scale (257, bands),
    from 60 Hz to 7.6 kHz (Davis and Mermelstein 1980)."""
    n, k = torch.arange(SPAN), torch.arange(SPAN // 2 + 1)
    angle = 2 * torch.pi * k[:, None] * n / SPAN
    window = torch.hann_window(SPAN) / ZERO
    low, high = (2595 * np.log10(1 + f / 700) for f in (60.0, 7600.0))
    corners = 700 * (10 ** (torch.linspace(low, high, bands + 2) / 2595) - 1)
    hertz = k[:, None] * (RATE / SPAN)
    up = (hertz - corners[:-2]) / (corners[1:-1] - corners[:-2])
    down = (corners[2:] - hertz) / (corners[2:] - corners[1:-1])
    return angle.cos() * window, angle.sin() * window, torch.minimum(up, down).clamp(min=0)


def moments(vectors: Float[Tensor, "B T D"], counts: Int[Tensor, " B"]) -> Float[Tensor, "B E"]:
    """Mean and standard deviation over the first `counts` vectors of each row, (B, 2 D)."""
    mask = within(vectors, counts)[..., None].to(vectors.dtype)
    n = mask.sum(1).clamp(min=1)
    mean = (vectors * mask).sum(1) / n
    variance = ((vectors - mean[:, None]) * mask).square().sum(1) / n
    return torch.cat([mean, (variance + 1e-6).sqrt()], 1)  # away from 0, where a square root has no gradient


def beside(x: Float[Tensor, "g T D"], counts: Int[Tensor, " g"]) -> Float[Tensor, "g T E"]:
    """Each frame between the one before and the one after it, (g, T, 3 D); at the ends of a clip itself once more."""
    last = torch.arange(x.shape[1], device=x.device) >= (counts - 1)[:, None]
    before = torch.cat([x[:, :1], x[:, :-1]], 1)
    after = torch.where(last[..., None], x, torch.cat([x[:, 1:], x[:, -1:]], 1))
    return torch.cat([before, x, after], 2)


def within(rows: Tensor, counts: Int[Tensor, " B"]) -> Tensor:
    """Which of the places of axis 1 are each row's own, (B, T) bool."""
    return torch.arange(rows.shape[1], device=rows.device) < counts[:, None]


def _alike(lengths: Int[Tensor, " B"], same: bool) -> Iterator[Int[Tensor, " g"]]:
    """Rows that go through the layers together, the longest first."""
    order = torch.argsort(lengths, descending=True, stable=True)
    widths, most, start = lengths[order].tolist(), AT_ONCE.get(lengths.device.type, AT_ONCE["cpu"]), 0
    while start < len(widths):
        n = max(most // (widths[start] + 2 * CONTEXT), 1)
        if same:
            n = min(n, widths.count(widths[start]))
        yield order[start : start + n]
        start += n
