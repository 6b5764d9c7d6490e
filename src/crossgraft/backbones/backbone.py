"""Pretrained layers behind one signature: inputs to features."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from crossgraft.backbones.language import Vocabulary

TYPE_BITS = 24
WORD_BIT = 1 << 28  # of the first token of each word that gets a feature
NO_TOKEN = -1
ZERO = 1 << 15  # the token of a sample that is 0


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the tensor that the backbone was trained on.

    The shorter side is resized to size / crop, the centre size x size is taken, values go to [0, 1],
    then (x - mean) / std for each channel. channels = 1 takes the luminance.
    """

    size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop: float = 1.0


@dataclass(frozen=True)
class Tokens:
    """How a text or a clip becomes tokens. A text: int32 (L,), id + (token type << TYPE_BITS); NO_TOKEN where there is
    none.

    A text of more than `length` tokens becomes chunks of at most so many, special tokens in each. They follow each
    other, every one but the last filled up to `length` with NO_TOKEN.

    A clip of audio: uint16 (samples,), a token for each 16-bit sample at 16 kHz, with ZERO for 0; never more than
    `length` + 1, the last of which says that there was more.

    revision  of the tokenizer
    encode    texts, or pairs of them, to their rows; sentences, tuples of words, to rows in which WORD_BIT marks words
    files     of the tokenizer, as transformers reads them
    """

    length: int
    revision: str
    encode: Callable[[Sequence[Any]], list[np.ndarray]] = field(compare=False, repr=False)
    files: tuple[Path, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Language:
    """How layers of texts are asked for words: for hidden ones, or, where a token sees only those before it, the next.

    mask     the token that stands for a hidden word; None of a causal model, which hides none
    special  tokens that are no words
    head     (layers, seed) to a `Vocabulary` of them: the model's own where it has one, else drawn from `seed`
    """

    causal: bool
    mask: int | None
    special: tuple[int, ...]
    head: Callable[[nn.Module, int], Vocabulary] = field(compare=False, repr=False)


@dataclass(frozen=True)
class SourceHead:
    """The head that came with pretrained weights: logits = features @ weight + bias."""

    weight: np.ndarray  # (D, Z)
    bias: np.ndarray  # (Z,)
    classes: tuple[str, ...]


@dataclass(eq=False)
class Backbone:
    """Layers that turn inputs into features (N, D), with what is needed to name and repeat them; of sentences into one
    feature a word, (W, D), of utterances into one a frame, (F, D).

    name        how it was asked for, and how a run finds it again
    revision    hash of the weights (and of the code's version where they are not enough)
    kind        the kind of Domain that it reads
    dim         D
    build       makes the module: normalised float (B, C, S, S), float (B, D_in) or tokens (B, L), of audio the
                samples of clips, to (B, D); called once, when needed
    groups      layer groups from input to output: (name, prefixes of parameter names); every parameter in exactly one
    pretrained  False for a network that must first learn (on the source, or from nothing)
    portable    True where the name alone finds the weights again on another machine (package or hub)
    frames      of utterances: how many frames clips of so many samples have, for arrays of integers
    times       and seconds: the middle of the first frame, and from one to the next
    given       of layers that somebody has beside this library: the shape of one example
    causal      of texts: whether each token sees only those before it
    language    of texts: how the layers are asked for words; None where they cannot be
    adapted     whether they are published layers that have learned the target's texts since
    width       of vectors: how many numbers a row has, and `columns`, what a table calls them
    branches    how many there are, with so many groups of layers before them; D are the features of all (`branches.py`)
    """

    name: str
    revision: str
    kind: Literal["image", "vector", "text", "sentence", "audio", "utterance"]
    dim: int
    build: Callable[[], nn.Module]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    preprocess: Preprocess | None = None
    tokens: Tokens | None = None
    pretrained: bool = True
    portable: bool = True
    source_head: Callable[[], SourceHead] | None = field(default=None, repr=False)
    frames: Callable[[Any], Any] | None = field(default=None, repr=False)
    times: tuple[float, float] = (0.0, 0.0)
    given: tuple[int, ...] | None = None
    causal: bool = False
    language: Callable[[], Language] | None = field(default=None, repr=False)
    adapted: bool = False
    branches: tuple[int, int] | None = None
    width: int = 0
    columns: tuple[str, ...] = ()

    @property
    def published(self) -> bool:
        """Whether the layers learned elsewhere: they move by less, and in fewer steps."""
        return self.portable or self.adapted or (self.given is not None and self.pretrained)

    @cached_property
    def module(self) -> nn.Module:
        """The layers, built when first asked for: warm features need none of them."""
        return self._built(0)

    def fresh(self, seed: int) -> nn.Module:
        """Layers of one's own to train: a copy of pretrained ones, else new ones drawn from `seed`."""
        if self.pretrained:
            return copy.deepcopy(self.module)
        return self._built(seed)

    def _built(self, seed: int) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()
