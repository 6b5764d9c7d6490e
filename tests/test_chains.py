"""Tags as sequences: the linear-chain CRF against all sequences, its gradients, and runs that learn with it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import crossgraft
from crossgraft.chains import START, Chain, viterbi
from crossgraft.errors import UsageError
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure.entities import span_probabilities
from crossgraft.solve.sequences import Sequences, losses, solve
from crossgraft.tasks import Tag

torch = pytest.importorskip("torch")
LENGTHS = np.array([3, 1, 4])
K = 3


@pytest.fixture
def chain() -> Chain:
    """Three sentences and three tags, of which the last may not follow the first."""
    draw = np.random.default_rng(0)
    transitions = draw.normal(size=(K, K))
    transitions[0, 2] = -np.inf
    return Chain(draw.normal(size=(LENGTHS.sum(), K)), transitions, LENGTHS)


def every(chain: Chain, s: int) -> dict[tuple[int, ...], float]:
    """The score of every sequence of tags of a sentence."""
    z = chain.z[LENGTHS[:s].sum() :][: LENGTHS[s]]
    return {
        tags: sum(chain.transitions[b, t] + row[t] for b, t, row in zip((START, *tags), tags, z, strict=False))
        for tags in product(range(K), repeat=int(LENGTHS[s]))
    }


def test_log_partition_best_and_marginals_as_over_all_sequences(chain: Chain) -> None:
    at = 0
    for s, n in enumerate(LENGTHS):
        scores = every(chain, s)
        total = np.logaddexp.reduce(list(scores.values()))
        assert chain.log_partition[s] == pytest.approx(total)
        assert tuple(chain.best[at : at + n]) == max(scores, key=lambda tags: scores[tags])
        for t, k in product(range(n), range(K)):
            held = [v for tags, v in scores.items() if tags[t] == k]
            assert chain.marginals[at + t, k] == pytest.approx(np.logaddexp.reduce(held) - total)
        at += n


def test_losses_of_words_add_up_to_that_of_the_sentence(chain: Chain) -> None:
    tags = np.array([1, 2, 2, 0, 1, 1, 0, 1])
    ends = np.cumsum(LENGTHS)
    for s, (a, b) in enumerate(zip(ends - LENGTHS, ends, strict=True)):
        scores = every(chain, s)
        expected = np.logaddexp.reduce(list(scores.values())) - scores[tuple(tags[a:b])]
        assert chain.losses(tags)[a:b].sum() == pytest.approx(expected)
    assert chain[np.arange(3, 8)].losses(tags[3:]) == pytest.approx(chain.losses(tags)[3:])


def test_the_term_is_the_same_number_and_its_gradient_that_of_differences(chain: Chain) -> None:
    from crossgraft.objective.terms import chain_losses

    order = np.array([4, 5, 6, 7, 0, 1, 2, 3])  # the longest first
    tags = np.array([1, 2, 2, 0, 1, 1, 0, 1])
    z = torch.tensor(chain.z[order], requires_grad=True)
    moves = torch.tensor(np.nan_to_num(chain.transitions, neginf=-1e4), requires_grad=True)
    found = chain_losses(z, torch.tensor(tags[order]), torch.tensor([4, 3, 1]), moves)
    ends = np.cumsum(LENGTHS)
    assert found.detach().numpy() == pytest.approx(np.add.reduceat(chain.losses(tags), ends - LENGTHS)[[2, 0, 1]])
    assert torch.autograd.gradcheck(
        lambda z, a: chain_losses(z, torch.tensor(tags[order]), torch.tensor([4, 3, 1]), a),
        (z, torch.randn(K, K, dtype=torch.float64, requires_grad=True)),
    )


def test_without_transitions_it_is_the_softmax_of_each_word() -> None:
    z = np.random.default_rng(1).normal(size=(5, K))
    chain = Chain(z, np.zeros((K, K)), np.array([5]))
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    tags = np.array([0, 1, 2, 1, 0])
    assert chain.marginals == pytest.approx(log_p)
    assert chain.losses(tags) == pytest.approx(-log_p[np.arange(5), tags])
    assert viterbi(z, np.array([2, 3]), np.zeros((K, K))).tolist() == z.argmax(1).tolist()


def test_a_span_has_the_probability_of_its_tags_in_a_row_and_of_its_end() -> None:
    task = Tag(("O", "B-x", "I-x"), crf=True)
    chain = Chain(np.random.default_rng(2).normal(size=(3, K)), task.follows, np.array([3]))
    p = {}
    for tags in product(range(K), repeat=3):
        with np.errstate(invalid="ignore"):
            p[tags] = float(np.exp(-chain.losses(np.array(tags)).sum()))
    held = {tags: v for tags, v in p.items() if np.isfinite(v)}
    assert sum(held.values()) == pytest.approx(1.0)
    expected = sum(v for tags, v in held.items() if tags[:2] == (1, 2) and tags[2] != 2)
    assert span_probabilities(task, chain, [(0, 2, "x")])[0] == pytest.approx(expected)


def test_the_head_learns_what_follows_what() -> None:
    """Words say nothing; the tag alternates, and only transitions can know."""
    tags = np.array([1, 0, 1, 0] * 20)
    ends = np.arange(4, 81, 4)
    part = Sequences(Frames(np.ones((80, 1)), ends), Ragged(tags, ends), np.arange(2), follows=np.zeros((2, 2)))
    chained = solve([part], 2, 1e-4)
    assert losses(chained, part).mean() < 0.1
    assert chained.transitions is not None
    assert chained.transitions[0, 1] > chained.transitions[0, 0]


def test_a_crf_is_of_tags_alone(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 3)), ["a", "b"] * 10
    with pytest.raises(UsageError, match="crf is a model of tags"):
        crossgraft.fit((x, y), crf=True, out=tmp_path / "run")
