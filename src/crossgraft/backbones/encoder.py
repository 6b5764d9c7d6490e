"""Tokens to features: a transformer or a bag of words, with a mask in every mean and chunks put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from crossgraft.backbones.backbone import NO_TOKEN, TYPE_BITS, WORD_BIT

Pooling = Literal["mean", "cls", "last", "max", "words"]
TOKENS = {"cpu": 1024, "cuda": 1 << 16}  # tokens that go through the layers at once; more fall out of a CPU's cache
MOST_LEARNED = 8  # chunks of one text that a training step reads, spread evenly over it


class TextEncoder(nn.Module):
    """Rows of tokens (B, L), as `Tokens` makes them, to features (B, D).

    Chunks go through the layers sorted by length, so that hardly anything is computed for places without a token. The
    feature of a text is the mean of its chunks', weighted by their tokens: with mean pooling the mean over all tokens.

    encoder    takes input_ids, attention_mask and perhaps token_type_ids, and gives last_hidden_state, hidden_states
    pooling    within a chunk; words, a feature for each of them, is `WordEncoder`'s
    normalise  whether features have length 1, those of each layer that is read
    depths     the layers that are read, side by side: 0 the embeddings, 1 the first above them; without any the last
    """

    def __init__(
        self, encoder: nn.Module, length: int, pooling: Pooling, normalise: bool, types: bool,
        depths: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder
        self.length, self.pooling, self.normalise, self.types = length, pooling, normalise, types
        self.depths = depths

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """Features of rows of tokens."""
        chunks, owner = split(tokens, self.length, MOST_LEARNED if self.training and torch.is_grad_enabled() else None)
        parts, weights, order = [], [], []
        for at, width in groups(chunks):
            pooled, weight = self._through(chunks[at, :width])
            parts.append(pooled)
            weights.append(weight)
            order.append(at)
        pooled, weight, owner = torch.cat(parts), torch.cat(weights), owner[torch.cat(order)]
        total = pooled.new_zeros(len(tokens)).index_add(0, owner, weight)
        mixed = pooled.new_zeros(len(tokens), pooled.shape[1]).index_add(0, owner, pooled * weight[:, None])
        return self._scaled(mixed / total.clamp(min=1)[:, None])

    def of_ids(
        self, ids: Int[Tensor, "B L"], seen: Bool[Tensor, "B L"], types: Int[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Features of texts of one chunk each, as tokenizers of transformers give them; `seen` where a token is."""
        return self._scaled(self._pooled(self._states(ids, seen, types), seen))

    def _through(self, chunk: Int[Tensor, "g L"]) -> tuple[Float[Tensor, "g D"], Float[Tensor, " g"]]:
        """One group of chunks through the layers: pooled, and how many tokens each has."""
        hidden, seen = self._hidden(chunk)
        return self._pooled(hidden, seen), seen.sum(1).to(hidden.dtype)

    def _pooled(self, hidden: Float[Tensor, "g L D"], seen: Bool[Tensor, "g L"]) -> Float[Tensor, "g D"]:
        if self.pooling == "mean":
            mask = seen.to(hidden.dtype)
            return (mask[:, None] @ hidden)[:, 0] / mask.sum(1).clamp(min=1)[:, None]
        if self.pooling == "max":
            lowest = torch.finfo(hidden.dtype).min
            return hidden.masked_fill(~seen[..., None], lowest).amax(1)
        last = ends(torch.where(seen, 0, NO_TOKEN)).clamp(min=1) - 1
        return hidden[torch.arange(len(seen), device=seen.device), 0 if self.pooling == "cls" else last]

    def _hidden(self, chunk: Int[Tensor, "g L"]) -> tuple[Float[Tensor, "g L D"], Bool[Tensor, "g L"]]:
        """The layers that are read at every token of a group of chunks, and where there is one."""
        seen = chunk >= 0
        ids = torch.where(seen, chunk & ((1 << TYPE_BITS) - 1), 0).long()
        types = torch.where(seen, (chunk & (WORD_BIT - 1)) >> TYPE_BITS, 0).long() if self.types else None
        return self._states(ids, seen, types), seen

    def _states(
        self, ids: Int[Tensor, "g L"], seen: Bool[Tensor, "g L"], types: Int[Tensor, "g L"] | None
    ) -> Float[Tensor, "g L D"]:
        more: dict[str, Any] = {} if types is None else {"token_type_ids": types}
        if self.depths:
            more["output_hidden_states"] = True
        said = self.encoder(input_ids=ids, attention_mask=seen.long(), **more)
        read = [said.hidden_states[k] for k in self.depths] if self.depths else [said.last_hidden_state]
        return torch.cat(read, -1).float()

    def _scaled(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        if not self.normalise:
            return features
        each = features.chunk(max(len(self.depths), 1), dim=1)
        return torch.cat([F.normalize(own, dim=1) for own in each], dim=1)


class WordEncoder(TextEncoder):
    """Rows of tokens (B, L) to one feature a word, (W, D), row by row: the layers at its first word piece."""

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "W D"]:
        """Features of the words of all rows."""
        chunks, _ = split(tokens, self.length)
        words = marked(chunks)
        places = words.sum(1).cumsum(0) - words.sum(1)  # of the first word of each chunk among all of them
        parts, order = [], []
        for at, width in groups(chunks):
            own = words[at, :width]
            parts.append(self._hidden(chunks[at, :width])[0][own])
            order.append((places[at, None] + own.cumsum(1) - 1)[own])
        return self._scaled(torch.cat(parts)[torch.argsort(torch.cat(order))])

    def of_ids(
        self, ids: Int[Tensor, "B L"], seen: Bool[Tensor, "B L"], types: Int[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """A feature for every token of sentences of one chunk each."""
        return self._states(ids, seen, types)


class WordWindow(nn.Module):
    """One feature a word, (W, D), of its first piece and two pieces on either side: what tags are learned with from
    nothing (Collobert et al., JMLR 2011)."""

    def __init__(self, vocabulary: int, dim: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.words, self.full = nn.Embedding(vocabulary, dim), nn.Conv1d(dim, dim, 5, padding=2)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "W D"]:
        """Features of the words of all rows."""
        chunks, _ = split(tokens, self.length)
        seen = chunks >= 0
        ids = torch.where(seen, chunks & ((1 << TYPE_BITS) - 1), 0).long()
        return self.of_ids(ids, seen)[marked(chunks)]

    def of_ids(
        self, ids: Int[Tensor, "B L"], seen: Bool[Tensor, "B L"], types: Int[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """A feature for every token of sentences of one chunk each."""
        pieces = self.words(ids) * seen[..., None]
        features: Tensor = F.relu(self.full(pieces.transpose(1, 2)).transpose(1, 2)) + pieces
        return features


class WordBag(nn.Module):
    """The mean of word-piece embeddings and a layer above it: fastText (Joulin et al. 2017), trained from nothing."""

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__()
        self.words, self.full = nn.Embedding(vocabulary, dim), nn.Linear(dim, dim)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """Features of rows of tokens."""
        return self.of_ids(torch.where(tokens >= 0, tokens & ((1 << TYPE_BITS) - 1), 0).long(), tokens >= 0)

    def of_ids(
        self, ids: Int[Tensor, "B L"], seen: Bool[Tensor, "B L"], types: Int[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Features of texts as tokenizers of transformers give them."""
        there = seen.float()
        mean = (there[:, None] @ self.words(ids))[:, 0] / there.sum(1).clamp(min=1)[:, None]
        features: Tensor = F.relu(self.full(mean)) + mean
        return features


def split(
    tokens: Int[Tensor, "B L"], length: int, most: int | None = None
) -> tuple[Int[Tensor, "C l"], Int[Tensor, " C"]]:
    """The chunks of all rows, and the row that each belongs to; of one row at most `most`, spread evenly over it."""
    rows = torch.arange(len(tokens), device=tokens.device)
    if tokens.shape[1] <= length:
        return tokens, rows
    n = -(-tokens.shape[1] // length)
    chunks = F.pad(tokens, (0, n * length - tokens.shape[1]), value=NO_TOKEN).view(len(tokens), n, length)
    there = (chunks >= 0).any(2)
    if most is not None:
        count, place = there.sum(1, keepdim=True).clamp(min=1), torch.arange(n, device=tokens.device)
        drawn = (place * most // count) != ((place - 1) * most // count)
        there = there & (drawn | (count <= most))
    there[:, 0] = True  # a row without a token keeps its place
    return chunks[there], rows[:, None].expand(-1, n)[there]


def groups(chunks: Int[Tensor, "C l"]) -> Iterator[tuple[Int[Tensor, " g"], int]]:
    """Chunks that go through the layers together, the longest first, and their width: about `TOKENS` tokens each."""
    lengths = ends(chunks)
    order = torch.argsort(lengths, descending=True, stable=True)
    widths = lengths[order].tolist()
    start, most = 0, TOKENS.get(chunks.device.type, TOKENS["cpu"])
    while start < len(widths):
        width = max(widths[start], 1)
        n = max(most // width, 1)
        yield order[start : start + n], width
        start += n


def marked(tokens: Int[Tensor, "*B L"]) -> Bool[Tensor, "*B L"]:
    """Where a word begins that gets a feature."""
    return (tokens >= 0) & (tokens & WORD_BIT != 0)


def ends(chunks: Int[Tensor, "C l"]) -> Int[Tensor, " C"]:
    """One past the last token of each row; tokens in between may be hidden."""
    place = torch.arange(1, chunks.shape[1] + 1, device=chunks.device)
    return torch.where(chunks >= 0, place, 0).amax(1) if chunks.shape[1] else chunks.new_zeros(len(chunks)).long()
