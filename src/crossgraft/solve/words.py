"""Which words of a text are asked for: hidden ones, or, where tokens see only those before them, every next one."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Generator, Tensor

from crossgraft.backbones.backbone import NO_TOKEN, TYPE_BITS, WORD_BIT, Language
from crossgraft.features.ragged import Ragged
from crossgraft.solve.batches import Hide

ASKED = 0.15  # of the word pieces of a text, one at least
MASKED, REPLACED = 0.8, 0.1  # of them; the rest stays as it is


def hide_for(language: Language, vocabulary: int) -> Hide:
    """What a stream hides, for a vocabulary of so many tokens."""
    special = torch.tensor(language.special, dtype=torch.int32)
    if language.causal:
        return lambda tokens, draw: following(tokens, special)
    assert language.mask is not None
    return partial(hidden, special=special, mask=language.mask, vocabulary=vocabulary)


def hidden(
    tokens: Int[Tensor, "B L"], draw: Generator, special: Int[Tensor, " s"], mask: int, vocabulary: int
) -> tuple[Int[Tensor, "B L"], Int[Tensor, " M"]]:
    """15 % of the word pieces asked for, and what they are: 80 % of these behind the mask, 10 % replaced by any other
    token, 10 % as they are (Devlin et al., NAACL 2019). WORD_BIT marks them.

    >>> tokens = torch.tensor([[1, 7, 8, 2]])
    >>> given, words = hidden(tokens, Generator().manual_seed(0), torch.tensor([1, 2]), 3, 9)
    >>> (given & WORD_BIT != 0).sum().item(), len(words), words.item() in (7, 8)
    (1, 1, True)
    """
    bare, ids, may = _words(tokens, special)
    u = torch.rand(tokens.shape, generator=draw).masked_fill(~may, 2.0)
    asked = may & ((u < ASKED) | (u == u.amin(1, keepdim=True)))
    how = torch.rand(tokens.shape, generator=draw)
    other = torch.randint(vocabulary, tokens.shape, generator=draw, dtype=tokens.dtype)
    new = torch.where(how < MASKED, mask, torch.where(how < MASKED + REPLACED, other, ids))
    return torch.where(asked, new | (bare - ids) | WORD_BIT, bare), ids[asked].long()


def following(tokens: Int[Tensor, "B L"], special: Int[Tensor, " s"]) -> tuple[Int[Tensor, "B L"], Int[Tensor, " M"]]:
    """Every word piece asked for where the one before it stands; nothing is hidden. WORD_BIT marks these places.

    >>> given, words = following(torch.tensor([[7, 8, 9, -1]]), torch.tensor([1]))
    >>> (given & WORD_BIT != 0).tolist(), words.tolist()
    ([[True, True, False, True]], [8, 9])
    """
    bare, ids, may = _words(tokens, special)
    asked = torch.zeros_like(may)
    asked[:, :-1] = may[:, 1:] & (bare[:, :-1] >= 0)
    return torch.where(asked, bare | WORD_BIT, bare), ids[:, 1:][asked[:, :-1]].long()


def _words(tokens: Int[Tensor, "B L"], special: Int[Tensor, " s"]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens without marks, their numbers, and which are words."""
    bare = torch.where(tokens >= 0, tokens & ~WORD_BIT, tokens)
    ids = torch.where(tokens >= 0, bare & ((1 << TYPE_BITS) - 1), bare)
    return bare, ids, (tokens >= 0) & ~torch.isin(ids, special)


def chunked(rows: Ragged, length: int, language: Language) -> tuple[Ragged, Int[np.ndarray, " C"]]:
    """The chunks of rows that have a word to ask for, each a row of its own, and the row that each is of."""
    chunks, owner = [], []
    for i in range(len(rows)):
        row = rows[np.array([i])].flat
        for at in range(0, len(row), length):
            chunk = row[at : at + length]
            chunk = chunk[chunk != NO_TOKEN]
            asked = chunk[1:] if language.causal else chunk
            if (~np.isin(asked & ((1 << TYPE_BITS) - 1), language.special)).any():
                chunks.append(chunk & ~WORD_BIT)
                owner.append(i)
    return Ragged.of(chunks), np.array(owner, dtype=np.int64)
