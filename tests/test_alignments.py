"""Cross-entropy summed over alignments: against enumeration and torch; decoding against the best of all sequences."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from crossgraft.alignments import align, beam, best_path, cross_entropy, frames_needed, ngram
from crossgraft.errors import CrossgraftError
from crossgraft.objective.terms import cross_entropy as term
from crossgraft.objective.views import View
from crossgraft.transcripts import Decoder, Transcribe, timed

K = 4


def log_p(frames: int, seed: int) -> np.ndarray:
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(K), frames))


def said(path: tuple[int, ...]) -> tuple[int, ...]:
    kept = [c for t, c in enumerate(path) if t == 0 or path[t - 1] != c]
    return tuple(c for c in kept if c)


def by_enumeration(p: np.ndarray) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(K), repeat=len(p)):
        key = said(path)
        found[key] = found.get(key, 0.0) + float(np.exp(sum(p[t, c] for t, c in enumerate(path))))
    return found


def one(p: np.ndarray, sequence: tuple[int, ...]) -> float:
    y = np.array(sequence, dtype=np.int64)
    return float(cross_entropy(p, np.array([len(p)]), y, np.array([len(y)]))[0])


def test_equals_the_sum_over_all_alignments() -> None:
    p = log_p(5, 0)
    for sequence, probability in by_enumeration(p).items():
        assert one(p, sequence) == pytest.approx(-np.log(probability), abs=1e-10)


def test_a_batch_equals_torch_and_each_clip_alone() -> None:
    frames, counts = np.array([6, 9, 3, 4]), np.array([3, 2, 0, 3])
    flat, symbols = np.concatenate([log_p(int(n), i) for i, n in enumerate(frames)]), np.array([1, 1, 3, 2, 3, 1, 2, 3])
    found = cross_entropy(flat, frames, symbols, counts)
    padded = np.zeros((9, 4, K))
    starts, first = np.cumsum(frames) - frames, np.cumsum(counts) - counts
    for i, n in enumerate(frames):
        padded[:n, i] = flat[starts[i] : starts[i] + n]
        own = tuple(symbols[first[i] : first[i] + counts[i]].tolist())
        assert found[i] == pytest.approx(one(padded[:n, i], own), abs=1e-12)
    theirs = torch.nn.functional.ctc_loss(
        torch.from_numpy(padded), torch.from_numpy(symbols), torch.from_numpy(frames), torch.from_numpy(counts),
        reduction="none",
    )  # fmt: skip
    np.testing.assert_allclose(found, theirs.numpy(), atol=1e-10)


def test_too_few_frames_have_no_alignment() -> None:
    assert frames_needed(np.array([1, 1, 2])) == 4
    assert one(log_p(3, 1), (1, 1, 2)) == np.inf
    assert np.isfinite(one(log_p(4, 1), (1, 1, 2)))
    assert align(log_p(3, 1), np.array([1, 1, 2])) == []


def test_the_term_is_a_mean_over_symbols_with_a_gradient_that_is_finite() -> None:
    frames, counts, symbols = np.array([5, 4]), np.array([2, 1]), np.array([1, 2, 3])
    logits = torch.from_numpy(np.concatenate([log_p(5, 0), log_p(4, 1)])).float().requires_grad_()
    view = View(
        logits, logits, torch.from_numpy(symbols), frames=torch.from_numpy(frames), symbols=torch.from_numpy(counts)
    )
    value = term(view)
    expected = cross_entropy(logits.detach().double().log_softmax(1).numpy(), frames, symbols, counts).sum() / 3
    assert value.item() == pytest.approx(expected, abs=1e-5)
    value.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0


def test_a_given_sequence_is_aligned_as_the_best_of_its_paths() -> None:
    p = log_p(6, 3)
    sequence = (2, 2, 1)
    best = max((q for q in product(range(K), repeat=6) if said(q) == sequence), key=lambda q: p[np.arange(6), q].sum())
    cuts = [t for t in range(6) if best[t] and (t == 0 or best[t] != best[t - 1])]
    found = align(p, np.array(sequence))
    assert [s for s, *_ in found] == list(sequence)
    assert [a for _, a, _ in found] == cuts
    assert all(set(best[a:b]) == {s} for s, a, b in found)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_most_probable_sequence(seed: int) -> None:
    p = log_p(5, seed)
    found = by_enumeration(p)
    assert beam(p, 400) == max(found, key=lambda q: found[q])


def test_a_transcript_is_the_most_probable_one_and_not_that_of_the_best_alignment() -> None:
    task = Transcribe(("", "a", "b"), "words")
    p = np.log([[0.55, 0.4, 0.05], [0.55, 0.4, 0.05]])  # "a" in three alignments, 0.6; nothing in the likeliest, 0.3
    assert task.decode(p) == ["a"]
    assert Decoder(task, 1).text(p) == ""
    assert Decoder(task).text(p) == "a"


def test_what_hardly_any_frame_gives_a_symbol_is_not_lost_where_it_is_the_likeliest() -> None:
    p = np.log(np.array([[1e-9, 1.0, 1e-12], [1e-12, 1e-9, 1.0], [1.0, 1e-9, 1e-12]]))
    assert beam(p, 2) == (1, 2)


def test_a_prior_turns_the_beam() -> None:
    p = np.log(np.array([[0.1, 0.5, 0.4, 0.0001]]))
    assert beam(p, 8) == (1,)
    assert beam(p, 8, lambda sequence, c: 0.0 if c == 2 else -5.0) == (2,)


def test_ngrams_are_distributions_that_know_what_they_have_seen() -> None:
    prior, ending = ngram([[1, 2], [1, 2], [1, 3]], 3)
    for context in ((), (1,), (3, 1), (2, 2)):
        total = sum(np.exp(prior(context, c)) for c in (1, 2, 3)) + np.exp(ending(context))
        assert total == pytest.approx(1)
    assert prior((1,), 2) > prior((1,), 3) > prior((1,), 1)


TASK = Transcribe.of(["abba", "cab"])


def test_words_are_symbols_where_they_are_few_and_often() -> None:
    assert Transcribe.of(["one two", "two one"] * 5).classes == ("", "one", "two")
    assert Transcribe.of(["one two", "three four"]).unit == "characters"
    assert Transcribe.of(["314", "141"] * 5).classes == ("", "1", "3", "4")
    assert Transcribe.of(["one two"], "words").classes == ("", "one", "two")


def test_a_symbol_that_is_unknown_is_named() -> None:
    with pytest.raises(CrossgraftError, match="'x' is none of the 3 characters"):
        TASK.symbols("ax")


def test_words_that_may_be_said_hold_the_search() -> None:
    p = np.log(np.array([[0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6]]))  # a, c
    assert Decoder(TASK).text(p) == "ac"
    assert Decoder(TASK, 8, words=("ab", "cb")).text(p) == "ab"
    assert Decoder(TASK, 8, lines=["ab"] * 50, weight=3.0).text(p) == "ab"
    spaced = Transcribe.of(["a b"])
    p = np.log(np.full((5, 4), 0.1) + 0.6 * np.eye(4)[[2, 1, 3, 1, 2]])  # a b a
    assert Decoder(spaced, 16, words=("a", "b")).text(p) == "a b a"


def test_seconds_of_symbols() -> None:
    spans = best_path(np.log(np.array([[0.1, 0.9, 0.0001], [0.9, 0.1, 0.0001], [0.1, 0.0001, 0.9]])))
    task = Transcribe(("", "a", "b"))
    assert timed(task, spans, (0.05, 0.1)) == [
        {"symbol": "a", "start": 0.0, "end": 0.1}, {"symbol": "b", "start": 0.2, "end": 0.3}
    ]  # fmt: skip


def test_no_error_among_few_words_is_no_proof_of_none() -> None:
    from crossgraft.measure.transcripts import error_counts, interval

    found = interval(error_counts(["a b", "b a"], ["a b", "b a"])[:, 0])
    assert found.value == found.low == 0
    assert 0.3 < found.high < 0.6
    some = interval(error_counts(["a b", "b a", "a a"], ["a b", "b", "a a"])[:, 0])
    assert some.low == 0 < some.value < some.high
