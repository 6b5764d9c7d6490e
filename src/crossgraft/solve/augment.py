"""Augmentations of a batch, drawn from a generator: NHWC in 0..255 to the same, uint8 or float32.

Each draws per example, and applies all of it in one pass of `grid_sample`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F

from crossgraft.backbones.backbone import NO_TOKEN, ZERO
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import UsageError, nearest
from crossgraft.features.ragged import Ragged, tensor
from crossgraft.solve.batches import Augment

SMALL = 64  # side in pixels up to which grey pictures are taken for characters
LOOKED_AT = 8
HIDDEN = 0.2


def augmentation_for(name: str, domain: Domain) -> Augment | None:
    """The augmentation of a name; "auto": digits for small grey pictures, photos for others. None for vectors and
    texts, and for audio where it is not asked for."""
    if name not in ("auto", "none", *AUGMENTATIONS, "places"):
        raise UsageError(
            f"unknown augmentation {name!r}",
            nearest(name, [*AUGMENTATIONS, "places"])
            or f"give auto, none, {', '.join(AUGMENTATIONS)}, or places for audio",
        )
    if name == "places" and domain.kind == "audio":
        return places
    if domain.kind != "image" or name == "none":
        return None
    if name == "places":
        raise UsageError("augmentation places is of audio", "give auto")
    return AUGMENTATIONS[("digits" if _characters(domain) else "photos") if name == "auto" else name]


def strong_for(weak: Augment | None, values: np.ndarray | Ragged) -> Augment:
    """The second view of FixMatch: the weak one twice and a square erased (DeVries, Taylor 2017); noise on vectors;
    words hidden in texts; a piece of a clip silent."""
    if isinstance(values, Ragged):
        return hidden_sound if values.sound else hidden_words

    def strong(batch: Tensor, draw: Generator) -> Tensor:
        if weak is None:
            if batch.ndim == 4:
                return erased(batch.float(), draw)
            return batch + 0.5 * spread * torch.randn(batch.shape, generator=draw)
        return erased(weak(weak(batch, draw), draw).float(), draw)

    spread = torch.from_numpy(values.std(0).astype(np.float32)) if values.ndim == 2 else torch.zeros(())
    return strong


def hidden_words(tokens: Int[Tensor, "B L"], draw: Generator) -> Int[Tensor, "B L"]:
    """A fifth of the word pieces behind the first hidden from the layers."""
    gone = torch.rand(tokens.shape, generator=draw) < HIDDEN
    gone[:, :1] = False
    return tokens.masked_fill(gone, NO_TOKEN)


def hidden_sound(tokens: Int[Tensor, "B L"], draw: Generator) -> Int[Tensor, "B L"]:
    """A fifth of each clip, in one piece, made silent (Park et al., Interspeech 2019, of time)."""
    place, length = torch.arange(tokens.shape[1]), (tokens >= 0).sum(1, keepdim=True)
    start = (torch.rand(len(tokens), 1, generator=draw) * (1 - HIDDEN) * length).long()
    inside = (place >= start) & (place < start + (HIDDEN * length).long()) & (tokens >= 0)
    return tokens.masked_fill(inside, ZERO)


def places(tokens: Int[Tensor, "B L"], draw: Generator) -> Int[Tensor, "B l"]:
    """Each clip at 0.9 to 1.1 times its speed, in white or pink noise at 5 to 30 dB, every second one in a room."""
    from crossgraft.backbones.audio_models import samples
    from crossgraft.domains import environments as heard

    clips = []
    for row in tokens:
        own = row[row >= 0]
        seed = int(torch.randint(1 << 31, (1,), generator=draw))
        faster, snr, pink, room, rt60 = torch.rand(5, generator=draw).tolist()
        x = ((own - ZERO).float() / ZERO).numpy()
        if len(x):
            x = heard.speed(x, seed, 0.9 + 0.2 * faster)
            x = heard.reverb(x, seed, 0.1 + 0.5 * rt60) if room < 0.5 else x
            x = heard.noise(x, seed, 5 + 25 * snr, "pink" if pink < 0.5 else "white")
        clips.append(x)
    return tensor(Ragged.of(samples(clips)))


def erased(values: Float[Tensor, "B H W C"], draw: Generator) -> Float[Tensor, "B H W C"]:
    """A square of a third of the side set to the picture's mean, at a place of its own in each."""
    n, height, width, _ = values.shape
    size = max(height // 3, 1)
    top, left = (torch.randint(0, s - size + 1, (n, 1), generator=draw) for s in (height, width))
    rows, columns = torch.arange(height), torch.arange(width)
    inside = ((rows >= top) & (rows < top + size))[:, :, None] & ((columns >= left) & (columns < left + size))[:, None]
    return torch.where(inside[..., None], values.mean((1, 2, 3), keepdim=True), values)


def _characters(domain: Domain) -> bool:
    """Whether the first pictures are all small and grey, where left and right matter."""
    for i in range(min(len(domain), LOOKED_AT)):
        try:
            picture = domain.read(i)
        except Unreadable:
            continue
        if max(picture.shape[:2]) > SMALL or (picture != picture[..., :1]).any():
            return False
    return True


def digits(values: Tensor, draw: Generator) -> Tensor:
    """Shift to a tenth, rotation to 12 degrees, scale and stretch 0.85 to 1.15, shear to 0.15; never flipped."""
    n = len(values)
    angle, shear = _between(n, 12 * math.pi / 180, draw), _between(n, 0.15, draw)
    width, height = 1 + _between(n, 0.15, draw), 1 + _between(n, 0.15, draw)
    x, y = _between(n, 0.2, draw), _between(n, 0.2, draw)  # the grid spans 2
    cos, sin = angle.cos(), angle.sin()
    rows = [width * cos, width * (shear * cos - sin), x, height * sin, height * (shear * sin + cos), y]
    return _warp(values.float(), torch.stack(rows, 1).view(n, 2, 3))


def photos(values: Tensor, draw: Generator) -> Tensor:
    """A crop of half to all of the area, sides 3:4 to 4:3; a flip or none; brightness and contrast 0.8 to 1.2."""
    n = len(values)
    area, ratio = 0.75 + _between(n, 0.25, draw), (_between(n, math.log(4 / 3), draw)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    x, y = (1 - width) * _between(n, 1, draw), (1 - height) * _between(n, 1, draw)
    flip = torch.randint(0, 2, (n,), generator=draw) * 2.0 - 1
    none = torch.zeros(n)
    cropped = _warp(values.float(), torch.stack([width * flip, none, x, none, height, y], 1).view(n, 2, 3))
    contrast, brightness = (1 + _between(n, 0.2, draw).view(n, 1, 1, 1) for _ in range(2))
    mean = cropped.mean((1, 2, 3), keepdim=True)
    return cropped.mul_(contrast).add_(mean * (brightness - contrast)).clamp_(0, 255)


def aerial(values: Tensor, draw: Generator) -> Tensor:
    """One of the eight flips and right-angle turns of a square; of an oblong, one of the four that keep its shape."""
    square = values.shape[1] == values.shape[2]
    code = torch.randint(0, 8 if square else 4, (len(values),), generator=draw)
    result = values.clone()
    for c in range(1, 8 if square else 4):
        at = (code == c).nonzero().flatten()
        if len(at):
            chosen = values[at]
            chosen = chosen.flip([d for d, bit in ((1, 1), (2, 2)) if c & bit]) if c & 3 else chosen
            result[at] = chosen.transpose(1, 2) if c & 4 else chosen
    return result


AUGMENTATIONS: dict[str, Augment] = {"digits": digits, "photos": photos, "aerial": aerial}  # of pictures


def _between(n: int, most: float, draw: Generator) -> Float[Tensor, " n"]:
    """Uniform in -most..most."""
    return (torch.rand(n, generator=draw) * 2 - 1) * most


def _warp(values: Float[Tensor, "B H W C"], affine: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B H W C"]:
    """Bilinear; what lies outside repeats the border."""
    pictures = values.permute(0, 3, 1, 2)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
