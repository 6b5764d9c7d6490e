"""Tagged sentences: what files hold them, in which scheme, and what is said where a line is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crossgraft.domains import open_domain
from crossgraft.domains.arrays import common_kind, of_kind
from crossgraft.domains.conll import holds_tags
from crossgraft.domains.sentences import bio, split_words
from crossgraft.domains.splits import assign_splits, classes_agree
from crossgraft.errors import CrossgraftError
from crossgraft.tasks import Tag, spans

LINES = "-DOCSTART-\tO\n\nAda\tB-person\nLovelace\tI-person\nwrote\tO\n\n\nIn\tO\nLondon\tB-place\n"


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_conll_files_gives_sentences_with_their_splits_and_lines(tmp_path: Path) -> None:
    domain = open_domain(written(tmp_path, train=LINES, devel=LINES, test=LINES.replace("\t", " ")), "d")
    assert domain.kind == "sentence"
    assert len(domain) == 6
    assert sorted(set(domain.splits)) == ["test", "train", "val"]
    one = domain.take(domain.where("test"))
    assert one.read(0) == ("Ada", "Lovelace", "wrote")
    assert one.labels[1] == ("O", "B-place")
    assert one.names.tolist() == ["test.txt:3", "test.txt:8"]
    assert domain.classes == ("O", "B-person", "I-person", "B-place", "I-place")
    assert domain.digest(0) != domain.digest(1)


@pytest.mark.parametrize(
    ("tags", "expected", "begun"),
    [
        ("I-x I-x O I-x", "B-x I-x O B-x", 2),  # IOB1
        ("I-x B-x I-y", "B-x B-x B-y", 2),
        ("B-x I-x E-x S-x O", "B-x I-x I-x B-x O", 0),  # BIOES
        ("B-x L-x U-y", "B-x I-x B-y", 0),  # BILOU
        ("B-x E-x I-x", "B-x I-x B-x", 1),
        ("B-x I-y", "B-x B-y", 1),
        ("B-a-b I-a-b", "B-a-b I-a-b", 0),
    ],
)
def test_every_scheme_becomes_bio(tags: str, expected: str, begun: int) -> None:
    assert bio(tags.split()) == (tuple(expected.split()), begun)


def test_tags_that_start_with_i_are_taken_and_said(tmp_path: Path) -> None:
    domain = open_domain(written(tmp_path, train="Rome\tI-place\nfell\tO\n") / "train.txt", "d")
    assert domain.labels[0] == ("B-place", "O")
    assert any("IOB1" in note for note in domain.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ada\tB-x\nwrote\tV\tO\n", "train.txt, line 2: 3 columns"),
        ("Ada\tB-x\n\nwrote\tverb\n", "train.txt, line 3: 'verb' is no tag"),
        ("Ada\tB-x\n\tO\n", "train.txt, line 2: there is no word"),
        ("Ada\tB-x\nwrote\n", "train.txt, line 2: 1 columns"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CrossgraftError, match=said):
        open_domain(written(tmp_path, train=text) / "train.txt", "d", task="tag")


def test_a_wrong_line_of_a_folder_is_named_and_its_file_never_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path, train=LINES, test="Ada\tB-x\nwrote\n", notes="about these\n")
    with pytest.raises(CrossgraftError, match=r"test.txt, line 2: 1 columns"):
        open_domain(folder, "d")
    domain = open_domain(written(tmp_path, test=LINES, unlabelled="Ada\nwrote\n"), "d")
    assert [s.name for s in domain.skipped] == ["notes.txt"]
    assert [domain.labels[i] for i in domain.where("unlabelled")] == [None]


def test_a_type_that_only_the_test_part_has_is_named_with_its_sentence(tmp_path: Path) -> None:
    domain = open_domain(written(tmp_path, train=LINES, test="Mars\tB-planet\n\n" + LINES), "d")
    with pytest.raises(CrossgraftError, match=r"'B-planet'.*first: test.txt:1"):
        classes_agree(domain)


def test_an_inside_tag_that_only_the_test_part_has_is_no_new_type(tmp_path: Path) -> None:
    domain = open_domain(written(tmp_path, train=LINES, test="New\tB-place\nYork\tI-place\n"), "d")
    assert all("'I-place'" not in warning for warning in classes_agree(domain))


def test_files_of_several_columns_give_the_first_and_the_last(tmp_path: Path) -> None:
    text = "Ada NNP I-NP B-person\nwrote VBD I-VP O\n"
    domain = open_domain(written(tmp_path, train=text) / "train.txt", "d")
    assert domain.read(0) == ("Ada", "wrote")
    assert domain.labels[0] == ("B-person", "O")
    assert any("4 columns" in note for note in domain.notes)


def test_plain_texts_are_not_taken_for_tagged_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a long text about B-movies\nand another O\nthird\n", encoding="utf-8")
    assert not holds_tags(tmp_path / "a.txt")
    assert open_domain(tmp_path / "a.txt", "d").kind == "text"


def test_json_lines_with_spans_are_cut_where_spans_begin(tmp_path: Path) -> None:
    rows = [
        {"text": "In Ada-land, yes", "spans": [{"start": 3, "end": 6, "label": "person"}], "split": "train"},
        {"text": "New York fell", "entities": [[0, 8, "place"]], "split": "test"},
        {"tokens": ["a", "b"], "tags": ["S-x", "O"], "split": "train"},
        {"text": "nothing known", "spans": None, "split": "unlabelled"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    domain = open_domain(path, "d")
    assert domain.read(0) == ("In", "Ada", "-land", ",", "yes")
    assert domain.labels[0] == ("O", "B-person", "O", "O", "O")
    assert domain.labels[1] == ("B-place", "I-place", "O")
    assert domain.labels[2] == ("B-x", "O")
    assert domain.labels[3] is None
    assert domain.splits.tolist() == ["train", "test", "train", "unlabelled"]


@pytest.mark.parametrize(
    ("spans_", "said"),
    [
        ([[0, 3, "x"], [2, 5, "y"]], "overlap"),
        ([[0, 99, "x"]], "outside"),
        ([[0, "b", "x"]], "outside"),
        ([[1]], "needs"),
    ],
)
def test_wrong_spans_are_named(tmp_path: Path, spans_: list[object], said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a b c d", "spans": spans_}) + "\n", encoding="utf-8")
    with pytest.raises(CrossgraftError, match=f"a.jsonl, line 1.*{said}"):
        open_domain(path, "d")


def test_lists_of_words_and_tags_open(tmp_path: Path) -> None:
    domain = open_domain(([["a", "b"], ["c"]], [["B-x", "O"], None]), "d")
    assert domain.kind == "sentence"
    assert domain.labels.tolist() == [("B-x", "O"), None]
    with pytest.raises(CrossgraftError, match="2 words but 1 tags"):
        open_domain(([["a", "b"]], [["O"]]), "d")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("U.S. beat 1,000.5 of O'Neil's!", "U . S . beat 1,000.5 of O'Neil's !"),
        ("北京 is\u200b big", "北 京 is big"),
        ("שלום <b>x</b>", "שלום < b > x < / b >"),
        ("naïve e\u0301t", "naïve e\u0301t"),
    ],
)
def test_raw_text_is_split_without_losing_a_character(text: str, words: str) -> None:
    assert [text[a:b] for a, b in split_words(text)] == words.split()


def test_texts_without_labels_become_sentences_beside_tagged_ones() -> None:
    texts = open_domain(["Ada wrote.", ""], "t")
    tagged = open_domain(([["a"]], [["O"]]), "d")
    assert common_kind((texts, tagged)) == "sentence"
    sentences = of_kind(texts, "sentence")
    assert sentences.read(0) == ("Ada", "wrote", ".")
    assert len(sentences.digest(0)) == 20
    with pytest.raises(CrossgraftError, match="labelled texts"):
        of_kind(open_domain((["a", "b"], ["x", "y"]), "t"), "sentence")


def test_shots_are_sentences_and_the_rest_is_test_data() -> None:
    domain = open_domain(([["a"]] * 8, [["B-x"], ["O"]] * 4), "d")
    few = assign_splits(domain, 0, shots=3)
    assert (few.splits == "train").sum() == 3
    assert (few.splits == "test").sum() == 5
    assert (assign_splits(domain, 0).splits == "test").sum() == 2
    with pytest.raises(CrossgraftError, match="fewer than 9 shots"):
        assign_splits(domain, 0, shots=9)


def test_decoding_never_lets_an_inside_tag_follow_another_type() -> None:
    task, draw = Tag.of(["x", "y"]), np.random.default_rng(0)
    lengths = np.array([1, 4, 6, 3])
    log_p = np.log(draw.dirichlet(np.full(5, 0.3), lengths.sum()))
    tags = task.decode(log_p, lengths)
    at = 0
    for n in lengths:
        own = tags[at : at + n]
        assert bio(own) == (tuple(own), 0)
        assert task.encode(own).tolist() == best(log_p[at : at + n], task.classes)
        at += n


def best(log_p: np.ndarray, classes: tuple[str, ...]) -> list[int]:
    """The most probable valid sequence by looking at all of them."""
    from itertools import product

    valid = (s for s in product(range(len(classes)), repeat=len(log_p)) if not bio([classes[c] for c in s])[1])
    return list(max(valid, key=lambda s: sum(log_p[i, c] for i, c in enumerate(s))))


def test_spans_are_those_of_conlleval() -> None:
    assert spans(["B-x", "I-x", "I-y", "B-y", "I-y", "O", "I-x"]) == [
        (0, 2, "x"),
        (2, 3, "y"),
        (3, 5, "y"),
        (6, 7, "x"),
    ]
