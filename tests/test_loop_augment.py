"""Augmentations: repeatable, within range, and each within what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from crossgraft.domains.domain import Domain
from crossgraft.errors import UsageError
from crossgraft.solve.augment import AUGMENTATIONS, aerial, augmentation_for, digits, photos


def batch(n: int = 16, side: int = 12, channels: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, side, side, channels), dtype=np.uint8))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_repeatable_by_its_generator_and_within_range(name: str) -> None:
    x, augment = batch(), AUGMENTATIONS[name]
    kept = x.clone()
    one, two, other = (augment(x, Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(x, kept)
    assert one.shape == x.shape
    assert 0 <= one.min() <= one.max() <= 255


def test_digits_are_moved_a_little_and_never_flipped() -> None:
    """A left-bright picture keeps its bright side left, at about the same brightness."""
    x = torch.zeros(200, 20, 20, 1, dtype=torch.uint8)
    x[:, 5:15, 3:8] = 200
    moved = digits(x, Generator().manual_seed(0))
    mass = moved.sum((1, 3))
    centre = (mass * torch.arange(20)).sum(1) / mass.sum(1)
    assert (centre < 9.5).all()
    assert centre.std() > 0.3
    assert 0.6 < moved.mean() / x.float().mean() < 1.6


def test_photos_flip_about_half() -> None:
    x = torch.zeros(400, 16, 16, 3, dtype=torch.uint8)
    x[:, :, :8] = 200
    crops = photos(x, Generator().manual_seed(0))
    flipped = (crops[:, :, 8:].mean((1, 2, 3)) > crops[:, :, :8].mean((1, 2, 3))).float().mean()
    assert 0.4 < flipped < 0.6


def test_aerial_gives_exactly_the_eight_symmetries() -> None:
    one = batch(1, 5)
    turned = aerial(one.expand(400, -1, -1, -1), Generator().manual_seed(0))
    expected = [torch.rot90(f, k, (0, 1)) for f in (one[0], one[0].flip(0)) for k in range(4)]
    counts = [sum(torch.equal(t, e) for t in turned) for e in expected]
    assert sum(counts) == 400
    assert min(counts) > 20
    oblong = torch.zeros(9, 4, 6, 1, dtype=torch.uint8)
    assert aerial(oblong, Generator().manual_seed(0)).shape == oblong.shape


def domain(kind: str, picture: np.ndarray) -> Domain:
    one = np.array(["x"], dtype=object)
    return Domain("d", kind, [0], one, one, one, lambda i: picture, lambda i: b"")  # type: ignore[arg-type]


def test_auto_looks_at_the_pictures() -> None:
    small_grey, colour = np.full((28, 28, 3), 7, np.uint8), np.zeros((28, 28, 3), np.uint8)
    colour[..., 0] = 9
    assert augmentation_for("auto", domain("image", small_grey)) is digits
    assert augmentation_for("auto", domain("image", colour)) is photos
    assert augmentation_for("auto", domain("image", np.full((200, 200, 3), 7, np.uint8))) is photos
    assert augmentation_for("auto", domain("vector", np.zeros(3))) is None
    assert augmentation_for("none", domain("image", colour)) is None
    with pytest.raises(UsageError, match="did you mean 'photos'"):
        augmentation_for("photo", domain("image", colour))
