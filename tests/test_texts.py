"""Texts to domains: tables, folders, files, lists; what is broken is named and nothing beside it is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from domain_kit import rows, skipped, table

from crossgraft.domains import open_domain
from crossgraft.domains.domain import Unreadable
from crossgraft.domains.texts import decoded
from crossgraft.errors import CrossgraftError


def texts(domain: object) -> list[object]:
    return [domain.read(i) for i in range(len(domain))]  # type: ignore[attr-defined,arg-type]


def test_csv_with_a_column_of_text(tmp_path: Path) -> None:
    text = 'id,text,stars,label,split\n1,"a, ""good"" one",5,pos,train\n2,bad\tthing,1,neg,test\n3,none,3,,train\n'
    domain = open_domain(table(tmp_path, "a.csv", text), "it")
    assert domain.kind == "text"
    assert texts(domain) == ['a, "good" one', "bad\tthing", "none"]
    assert rows(domain) == [("row 1", "pos", "train"), ("row 2", "neg", "test"), ("row 3", None, "train")]
    assert "'id', 'stars'" in " ".join(domain.notes)


def test_a_column_is_taken_for_text_by_its_sentences_where_no_column_has_numbers(tmp_path: Path) -> None:
    path = table(tmp_path, "a.csv", "what,label,kind\nthis is so good,a,x\nand this is bad,b,y\n")
    assert texts(open_domain(path, "it")) == ["this is so good", "and this is bad"]
    chinese = table(tmp_path, "b.csv", "what,label\n这个产品非常好,a\n质量太差了不推荐,b\n")
    assert texts(open_domain(chinese, "it")) == ["这个产品非常好", "质量太差了不推荐"]


def test_columns_by_option_and_two_that_are_read_together(tmp_path: Path) -> None:
    path = table(tmp_path, "a.csv", "title,body,y\nNice,works well,1\nAwful,broke at once,0\n")
    assert texts(open_domain(path, "it", input="body")) == ["works well", "broke at once"]
    assert texts(open_domain(path, "it", input="title+body"))[0] == ("Nice", "works well")
    with pytest.raises(CrossgraftError, match="no column 'boddy'"):
        open_domain(path, "it", input="title+boddy")
    pairs = table(tmp_path, "b.jsonl", '{"premise": "a", "hypothesis": "b", "label": 1}\n')
    assert texts(open_domain(pairs, "it")) == [("a", "b")]


def test_empty_texts_say_so_when_they_are_read(tmp_path: Path) -> None:
    lines = [{"text": "good", "label": "a"}, {"text": " ", "label": "b"}, {"text": None, "label": "b"}]
    domain = open_domain(table(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines))), "it")
    assert len(domain) == 3
    for i in (1, 2):
        with pytest.raises(Unreadable, match="empty"):
            domain.read(i)


def test_broken_bytes_are_read_as_windows_1252_and_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\nnaïve words here,a\n".encode("latin-1") + "schön,b\n".encode())
    domain = open_domain(tmp_path / "a.csv", "it")
    assert texts(domain) == ["naïve words here", "schön"]
    assert "1 values of column 'text' are not UTF-8" in " ".join(domain.notes)
    assert decoded("é\n".encode("utf-16"))[0] == "é\n"


def test_a_text_of_a_megabyte_is_one_cell(tmp_path: Path) -> None:
    long = "so long " * 150_000
    domain = open_domain(table(tmp_path, "a.csv", f"text,label\n{long},a\nshort one,b\n"), "it")
    assert len(domain.read(0)) == len(long)
    assert domain.labels.tolist() == ["a", "b"]


def test_folder_of_one_class_a_file(tmp_path: Path) -> None:
    (tmp_path / "positive.txt").write_bytes(b"so good\r\n\r\nna\xefve\n")
    (tmp_path / "negative.txt").write_text("سيئ جدا\n<script>alert(1)</script>\n", encoding="utf-8")
    (tmp_path / "unlabelled.txt").write_text("who knows\n")
    (tmp_path / "notes.md").write_text("x")
    domain = open_domain(tmp_path, "it")
    assert rows(domain) == [
        ("negative.txt:1", "negative", ""), ("negative.txt:2", "negative", ""),
        ("positive.txt:1", "positive", ""), ("positive.txt:3", "positive", ""),
        ("unlabelled.txt:1", None, "unlabelled"),
    ]  # fmt: skip
    assert texts(domain)[:4] == ["سيئ جدا", "<script>alert(1)</script>", "so good", "naïve"]
    assert "1 blank line left out" in " ".join(domain.notes)
    assert "positive.txt: 1 text is not UTF-8" in " ".join(domain.notes)
    assert skipped(domain) == {"notes.md": "no text file by its name"}


def test_split_folders_and_class_folders_of_texts(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("test", "b")):
        (tmp_path / part / "pos").mkdir(parents=True)
        (tmp_path / part / "pos" / f"{name}.txt").write_text(f"two\nlines {name}\n")
        (tmp_path / part / "neg.txt").write_text("one\ntwo\n")
    domain = open_domain(tmp_path, "it")
    assert sorted(set(domain.splits)) == ["test", "train"]
    assert domain.classes == ("neg", "pos")
    assert "two\nlines a" in texts(domain)
    assert len(domain) == 6


def test_lists_arrays_frames_and_data_sets_of_texts() -> None:
    plain = open_domain(["one", "two"], "it")
    assert plain.kind == "text"
    assert plain.labels.tolist() == [None, None]
    assert open_domain((np.array(["one", "two"]), [0, None]), "it").labels.tolist() == ["0", None]
    assert open_domain((["one", None], ["a", "b"], ["train", "test"]), "it").splits.tolist() == ["train", "test"]
    assert texts(open_domain(([("a", "b"), ("c", "d")], ["x", "y"]), "it")) == [("a", "b"), ("c", "d")]
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"review": ["so good", "so bad"], "sentiment": ["pos", "neg"]})
    assert rows(open_domain(frame, "it")) == [("[0]", "pos", ""), ("[1]", "neg", "")]
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["n", "p"])})
    held = datasets.Dataset.from_dict({"sentence": ["x", "y"], "label": [1, 0]}, features=features)
    domain = open_domain(datasets.DatasetDict(train=held, test=held), "it")
    assert texts(domain) == ["x", "y", "x", "y"]
    assert domain.labels.tolist() == ["p", "n", "p", "n"]
    assert domain.splits.tolist() == ["train", "train", "test", "test"]


def test_texts_beside_pictures_say_what_is_wrong() -> None:
    from crossgraft.domains.arrays import common_kind, of_kind

    words, pictures = open_domain(["a"], "words"), open_domain((np.zeros((2, 8, 8)), None), "pictures")
    with pytest.raises(CrossgraftError, match="words holds texts where pictures are needed"):
        of_kind(words, common_kind([words, pictures]))


def test_half_a_surrogate_pair_does_not_stop_a_digest(tmp_path: Path) -> None:
    domain = open_domain(table(tmp_path, "a.jsonl", '{"text": "a \\ud83d b", "label": "x"}\n'), "it")
    assert len(domain.digest(0)) == 20
    assert domain.read(0) == "a \ufffd b"


def test_copies_of_test_texts_are_leaks() -> None:
    from crossgraft.domains.leaks import leaks

    long = [f"word{i}" for i in range(60)]
    train = open_domain(["It is good.", "something else", "", " ".join(long)], "a")
    test = open_domain(["it is  GOOD", "It is good.", "another", "", " ".join(long[:-2]), " ".join(long[::-1])], "b")
    found = [(x.train, x.test, x.kind) for x in leaks(train, test)]
    assert found == [("[0]", "[0]", "near"), ("[0]", "[1]", "exact"), ("[3]", "[4]", "near")]


@pytest.mark.data
def test_reviews_of_a_folder_of_real_data(data: Path) -> None:
    domain = open_domain(data / "text" / "amazon" / "books", "books")
    assert domain.kind == "text"
    assert domain.classes == ("negative", "positive")
    assert len(domain) == 6000
    assert all(isinstance(domain.read(i), str) for i in range(0, 6000, 100))
