"""Texts to rows of tokens, by the tokenizer that came with a model; nothing is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.backbones.backbone import NO_TOKEN, TYPE_BITS, WORD_BIT
from crossgraft.backbones.published import read_json
from crossgraft.errors import CrossgraftError


def encoder_of(folder: Path, length: int, typed: bool) -> Callable[[Sequence[Any]], list[np.ndarray]]:
    """`Tokens.encode` for the tokenizer.json of a folder, which is read when first needed.

    typed  whether the model tells the first text of a pair from the second
    """
    read = cache(partial(read_tokenizer, folder))

    def encode(texts: Sequence[Any]) -> list[np.ndarray]:
        return rows_of(read(), texts, length, typed)

    return encode


def rows_of(tokenizer: Any, texts: Sequence[Any], length: int, typed: bool) -> list[np.ndarray]:
    """Texts, or pairs of them, as rows: `Tokens.encode` of a tokenizer that neither cuts nor fills up."""
    found = tokenizer.encode_batch(list(texts))
    return [_row(tokenizer, text, own, length, typed) for text, own in zip(texts, found, strict=True)]


def sentence_encoder_of(
    folder: Path, length: int, *, last: bool = False
) -> Callable[[Sequence[Any]], list[np.ndarray]]:
    """`Tokens.encode` for sentences, tuples of words: WORD_BIT marks one piece of every word, once: the first, or the
    `last`, which of a causal model alone has seen the whole word.

    Tokenizers of bytes tell a word within a sentence from one that begins it by the space before it, so all have one.
    A sentence of more than `length` tokens becomes windows that overlap by a half; a word is marked in that window in
    which it has most beside it.
    """
    read = cache(partial(read_tokenizer, folder))

    def encode(sentences: Sequence[Any]) -> list[np.ndarray]:
        tokenizer = read()
        unknown = tokenizer.token_to_id(str(getattr(tokenizer.model, "unk_token", None) or "[UNK]")) or 0
        space = " " if "ByteLevel" in str(tokenizer.pre_tokenizer) else ""
        found = tokenizer.encode_batch([[space + w for w in words] for words in sentences], is_pretokenized=True)
        return [_windows(f, len(words), length, unknown, last) for f, words in zip(found, sentences, strict=True)]

    return encode


def _windows(found: Any, n: int, length: int, unknown: int, last: bool) -> Int[np.ndarray, " L"]:
    """The row of a sentence of n words."""
    special = np.array(found.special_tokens_mask, dtype=bool)
    ids = np.array(found.ids, dtype=np.int32)
    first = int(np.argmin(special)) if not special.all() else len(ids) // 2
    before, after = ids[:first], ids[first:][special[first:]]
    pieces = ids[~special]
    words = np.array([-1 if w is None else w for w in found.word_ids], dtype=np.int64)[~special]
    starts = np.searchsorted(words, np.arange(n))  # word_ids never fall
    gone = np.flatnonzero(np.bincount(words, minlength=n)[:n] == 0)  # of characters that the tokenizer leaves out
    pieces, words = np.insert(pieces, starts[gone], unknown), np.insert(words, starts[gone], gone)
    marked = np.searchsorted(words, np.arange(n), side="right") - 1 if last else np.searchsorted(words, np.arange(n))
    pieces[marked] |= WORD_BIT
    room = length - len(before) - len(after)
    if len(pieces) <= room:
        return np.concatenate([before, pieces, after])
    half, row = room // 2, []
    firsts = range(0, len(pieces) - room + half, half)
    for k, at in enumerate(firsts):
        part = pieces[at : at + room].copy()
        low = (room - half) // 2 if k else 0
        high = (room - half) // 2 + half if k + 1 < len(firsts) else room
        part[:low] &= ~WORD_BIT
        part[high:] &= ~WORD_BIT
        row += [before, part, after]
    return np.concatenate(row)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, of the library tokenizers. Raises CrossgraftError where there is none."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as wrong:  # the library raises plain Exception on what it cannot parse
            raise CrossgraftError(f"{path} cannot be read ({str(wrong)[:120]})", "copy the model again") from None
    else:  # older models: transformers makes a fast tokenizer of their vocabulary
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).backend_tokenizer
        except Exception as wrong:
            why = (str(wrong).splitlines() or [type(wrong).__name__])[0][:120]
            raise CrossgraftError(f"{folder} has no tokenizer that can be used ({why})", "add tokenizer.json") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def mask_and_special(folder: Path) -> tuple[int | None, tuple[int, ...]]:
    """The token that stands for a hidden word, None where there is none, and all that are no words."""
    tokenizer = read_tokenizer(folder)
    named = ["[MASK]", "<mask>"]
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            said = read_json(folder / file, str(folder)).get("mask_token")
            named.insert(0, str(said.get("content") if isinstance(said, dict) else said))
    mask = next((i for name in named if (i := tokenizer.token_to_id(name)) is not None), None)
    return mask, tuple(i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def _row(tokenizer: Any, text: Any, found: Any, length: int, typed: bool) -> Int[np.ndarray, " L"]:
    """One text as a row: its tokens, or those of its chunks, every one but the last filled up to `length`."""
    if len(found.ids) <= length:
        return _packed(found, typed)
    parts = [_packed(chunk, typed) for chunk in _chunks(tokenizer, text, found, length)]
    row = np.full((len(parts) - 1) * length + len(parts[-1]), NO_TOKEN, dtype=np.int32)
    for k, part in enumerate(parts):
        row[k * length : k * length + len(part)] = part
    return row


def _chunks(tokenizer: Any, text: Any, found: Any, length: int) -> list[Any]:
    """A long text, or a long pair side by side, as equally long pieces of it, cut between words where it has some."""
    pair = not isinstance(text, str)
    room = length - tokenizer.num_special_tokens_to_add(pair)
    n = -(-(len(found.ids) - tokenizer.num_special_tokens_to_add(pair)) // room)
    while True:
        columns = [_pieces(found, text[k] if pair else text, k, n) for k in range(2 if pair else 1)]
        chunks = tokenizer.encode_batch(list(zip(*columns, strict=True)) if pair else columns[0])
        if all(len(chunk.ids) <= length for chunk in chunks):
            return list(chunks)
        n += max(n // 16, 1)  # cut anew, a word may have become more pieces


def _pieces(found: Any, text: str, sequence: int, n: int) -> list[str]:
    """A text in n pieces of about as many tokens each, at places where a word begins."""
    starts = [
        offset[0]
        for offset, s, special in zip(found.offsets, found.sequence_ids, found.special_tokens_mask, strict=True)
        if s == sequence and not special
    ]
    cuts = [0]
    for k in range(1, n):
        at = starts[k * len(starts) // n] if starts else 0
        blank = text.rfind(" ", max(cuts[-1], at - 40), at + 1) + 1
        cuts.append(max(blank or at, cuts[-1]))
    return [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _packed(found: Any, typed: bool) -> Int[np.ndarray, " L"]:
    ids = np.array(found.ids, dtype=np.int32)
    return ids + (np.array(found.type_ids, dtype=np.int32) << TYPE_BITS) if typed else ids
