"""Tagged sentences to a Domain: words with BIO tags, whatever scheme they came in; raw text split into words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.domains.labels import splits, unique_names
from crossgraft.errors import CrossgraftError, Skipped, UsageError
from crossgraft.tasks import is_tag

Words = tuple[str, ...]
Tags = tuple[str, ...]
BEGIN, INSIDE, LAST, SINGLE = "B", "I", "EL", "SU"  # BIOES, and BILOU with its other letters
JOINERS = "-'’"


def sentence_domain(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str] | None] | None,
    name: str,
    *,
    names: Sequence[str] | None = None,
    split: Any = None,
    skipped: Sequence[Skipped] = (),
    notes: tuple[str, ...] = (),
) -> Domain:
    """A Domain of sentences: `read(i)` gives the words of one, `labels[i]` its tags in BIO, or None.

    Raises CrossgraftError where a sentence has not one tag a word, or a tag is none.

    >>> domain = sentence_domain([["Ada", "Lovelace", "wrote"]], [["I-person", "I-person", "O"]], "one")
    >>> domain.read(0), domain.labels[0], domain.classes
    (('Ada', 'Lovelace', 'wrote'), ('B-person', 'I-person', 'O'), ('O', 'B-person', 'I-person'))
    """
    n = len(sentences)
    if n == 0:
        raise CrossgraftError(f"{name} has no sentence", "give at least one")
    called = unique_names(names if names is not None else [f"[{i}]" for i in range(n)])
    labels, begun = np.full(n, None, dtype=object), 0
    held = [tuple(map(str, words)) for words in sentences]
    for i, own in enumerate(tags if tags is not None else ()):
        if own is None:
            continue
        if len(own) != len(held[i]):
            raise CrossgraftError(
                f"{name}, {called[i]}: {len(held[i])} words but {len(own)} tags", "give one tag a word"
            )
        bad = next((t for t in own if not is_tag(t)), None)
        if bad is not None:
            raise CrossgraftError(f"{name}, {called[i]}: tag {bad!r}", "a tag is O, or B-, I-, E- or S- with a type")
        labels[i], more = bio(own)
        begun += more
    if begun:
        notes = (*notes, f"{name}: {begun} entities begin with I- (IOB1): their first tag was taken as B-")
    return Domain(
        name, "sentence", held, labels, called, splits(split, n), _words, digest, tuple(skipped), notes
    )  # fmt: skip


def bio(tags: Sequence[str]) -> tuple[Tags, int]:
    """Tags of BIO, BIOES, BILOU or IOB1 as BIO, and how many entities began with I-.

    >>> bio(["I-x", "I-x", "O", "S-x", "E-y"])
    (('B-x', 'I-x', 'O', 'B-x', 'B-y'), 1)
    """
    out: list[str] = []
    begun, open_type = 0, ""  # the type of the entity that may go on
    for tag in tags:
        letter, _, kind = tag.partition("-")
        begins = letter in BEGIN + SINGLE or kind != open_type
        begun += begins and letter == INSIDE
        out.append(tag if not kind else f"{'B' if begins else 'I'}-{kind}")
        open_type = "" if letter in LAST + SINGLE else kind
    return tuple(out), begun


def split_words(text: str) -> list[tuple[int, int]]:
    """(start, end) of the words of a text: runs of letters, digits and marks, joined by hyphens and apostrophes, and
    by points and commas between digits; every other character that is no blank, and every Chinese or Japanese one, is
    a word.

    >>> text = "It isn't 3.5, Ada-like."
    >>> [text[a:b] for a, b in split_words(text)]
    ['It', "isn't", '3.5', ',', 'Ada-like', '.']
    """
    found: list[tuple[int, int]] = []
    kinds = [_kind(c) for c in text]
    i, n = 0, len(text)
    while i < n:
        start, kind = i, kinds[i]
        i += 1
        if kind == " ":
            continue
        while kind == "w" and i < n:
            joined = i + 1 < n and kinds[i + 1] == "w" and (
                text[i] in JOINERS or (text[i] in ".," and text[i - 1].isdigit() and text[i + 1].isdigit())
            )  # fmt: skip
            if kinds[i] != "w" and not joined:
                break
            i += 1
        found.append((start, i))
    return found


def as_sentences(domain: Domain) -> Domain:
    """A domain of texts as one of sentences without tags, each text one; what is labelled otherwise is refused."""
    if any(y is not None for y in domain.labels):
        raise UsageError(
            f"{domain.name} holds labelled texts where tagged sentences are needed",
            "give CoNLL files, or JSON lines with spans",
        )
    texts = [t if isinstance(t, str) else " ".join(t) for t in domain.inputs]
    return replace(domain, kind="sentence", inputs=texts, reader=_words, digester=digest)


def digest(sentence: Words | str) -> bytes:
    """20 bytes that stand for the words of a sentence. Raises Unreadable where it has none."""
    return blake2b("\0".join(_words(sentence)).encode(), digest_size=20, person=b"sentence").digest()


def _words(sentence: Words | str) -> Words:
    words = tuple(sentence[a:b] for a, b in split_words(sentence)) if isinstance(sentence, str) else sentence
    if not words:
        raise Unreadable("the text is empty")
    return words


def _kind(c: str) -> str:
    """ " " for blanks and what cannot be seen, "w" for what words consist of, "." for what stands alone."""
    if c.isalnum() or c == "_":
        return "." if "\u2e80" <= c <= "\u9fff" or "\uf900" <= c <= "\ufaff" else "w"
    category = unicodedata.category(c)
    return "w" if category[0] == "M" else " " if c.isspace() or category[0] == "C" else "."


def with_lengths(domain: Domain) -> tuple[Domain, Int[np.ndarray, " S"]]:
    """A domain of sentences without those that have no word, and how many words each has."""
    lengths: list[int] = []
    bad: list[tuple[int, str]] = []
    for i in range(len(domain)):
        try:
            lengths.append(len(domain.read(i)))
        except Unreadable as wrong:
            bad.append((i, wrong.reason))
    return domain.without(bad) if bad else domain, np.array(lengths, dtype=np.int64)
