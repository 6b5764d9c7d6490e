"""Splits, shots, and classes that make sense together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossgraft.domains import Domain, open_domain
from crossgraft.domains.sorts import PICTURES
from crossgraft.domains.splits import assign_splits, classes_agree, tolerate
from crossgraft.errors import CrossgraftError, Skipped, UsageError


def vectors(labels: list[str | None], split: list[str] | None = None) -> Domain:
    inputs = np.arange(2.0 * len(labels)).reshape(-1, 2)
    return open_domain((inputs, labels) if split is None else (inputs, labels, split), "it")


def counts(domain: Domain, split: str) -> dict[str | None, int]:
    found = domain.labels[domain.where(split)]
    return {y: int((found == y).sum()) for y in set(found)}


MANY = vectors(["a"] * 40 + ["b"] * 20 + [None] * 5)


def test_without_splits_a_share_of_each_class_is_test_data() -> None:
    domain = assign_splits(MANY, 0)
    assert counts(domain, "test") == {"a": 10, "b": 5}
    assert counts(domain, "train") == {"a": 30, "b": 15}
    assert counts(domain, "unlabelled") == {None: 5}


def test_the_seed_draws_the_test_part() -> None:
    first, again, other = (assign_splits(MANY, s).splits for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_class_goes_to_the_test_part_whole() -> None:
    domain = assign_splits(vectors(["a"] * 8 + ["b"]), 0, test_share=0.9)
    assert counts(domain, "train") == {"a": 1, "b": 1}


def test_given_splits_are_kept_and_the_rest_is_trained_on() -> None:
    given = ["train", "val", "test", "test", "", "train"]
    domain = assign_splits(vectors(["a", "b", "a", "b", "b", None], given), 0)
    assert domain.splits.tolist() == ["train", "val", "test", "test", "train", "unlabelled"]


def test_val_without_test_is_the_test_part() -> None:
    domain = assign_splits(vectors(["a", "b", "a", "b"], ["train", "train", "val", "val"]), 0)
    assert domain.splits.tolist() == ["train", "train", "test", "test"]


def test_without_label_and_called_unlabelled() -> None:
    given = ["train", "test", "unlabelled", "train", "train", "test"]
    domain = assign_splits(vectors([None, None, "a", "a", "b", "a"], given), 0)
    assert domain.splits.tolist() == ["unlabelled", "", "unlabelled", "train", "train", "test"]
    assert domain.labels[2] is None  # nobody peeks


def test_shots_are_nested_and_leave_the_rest_as_test_data() -> None:
    two, five = (assign_splits(MANY, 3, shots=n) for n in (2, 5))
    assert counts(two, "train") == {"a": 2, "b": 2}
    assert counts(two, "test") == {"a": 38, "b": 18}
    assert set(two.where("train")) < set(five.where("train"))
    assert set(two.where("train")) != set(assign_splits(MANY, 4, shots=2).where("train"))


def test_shots_come_from_the_training_part_only() -> None:
    given = ["train", "train", "val", "test"] * 10
    domain = assign_splits(vectors(["a", "b", "a", "b"] * 10, given), 0, shots=3)
    assert {given[i] for i in domain.where("train")} == {"train"}
    assert len(domain.where("test")) == 40 - 6
    assert not len(domain.where("val"))


def test_no_shots_make_everything_test_data() -> None:
    domain = assign_splits(MANY, 0, shots=0)
    assert counts(domain, "test") == {"a": 40, "b": 20}
    assert not len(domain.where("train"))


def test_too_many_shots_name_the_class_and_its_number() -> None:
    with pytest.raises(CrossgraftError, match=r"class 'b' has 20 .* fewer than 21 shots"):
        assign_splits(MANY, 0, shots=21)
    with pytest.raises(UsageError, match="-1"):
        assign_splits(MANY, 0, shots=-1)


def test_nothing_labelled() -> None:
    with pytest.raises(CrossgraftError, match="no labelled example"):
        assign_splits(vectors([None, None]), 0)


def test_one_class_only() -> None:
    with pytest.raises(CrossgraftError, match="one class only \\('a'\\)"):
        classes_agree(assign_splits(vectors(["a"] * 10), 0))


def test_a_class_that_training_never_saw() -> None:
    domain = assign_splits(vectors(["a", "b", "a", "c"], ["train", "train", "test", "test"]), 0)
    with pytest.raises(CrossgraftError, match="class 'c' is in the test part but never in training"):
        classes_agree(domain)
    source = vectors(["b", "c"])
    assert "class 'c' has no example in the training part" in classes_agree(domain, source)[0]


def test_a_class_without_test_data_is_a_warning() -> None:
    domain = assign_splits(vectors(["a", "b", "c", "a", "b"], ["train", "train", "train", "test", "test"]), 0)
    assert classes_agree(domain) == ("it: class 'c' has no example in the test part",)


@pytest.mark.parametrize("other", ["Ant", "a nt", "ANT"])
def test_names_that_differ_by_case_or_blanks(other: str) -> None:
    domain = assign_splits(vectors(["ant", other, "bee"] * 4), 0)
    with pytest.raises(CrossgraftError, match="differ by case or blanks") as error:
        classes_agree(domain)
    assert "'ant'" in str(error.value)
    assert repr(other) in str(error.value)
    clean = assign_splits(vectors(["ant", "bee"] * 4), 0)
    assert classes_agree(clean) == ()
    with pytest.raises(CrossgraftError, match="differ by case or blanks"):
        classes_agree(clean, vectors([other, "bee"]))


def test_single_letters_may_differ_by_case() -> None:
    assert classes_agree(assign_splits(vectors(["a", "A"] * 4), 0)) == ()


def test_up_to_five_percent_are_tolerated() -> None:
    bad = [Skipped(f"{i}.jpg", "the file is empty (0 bytes)") for i in range(6)]
    tolerate(bad[:5], 100, "it")
    with pytest.raises(CrossgraftError, match=r"6 of 100 examples cannot be read, such as 0\.jpg \(the file is empty"):
        tolerate(bad, 100, "it")
    tolerate([replace(b, reason=PICTURES.none) for b in bad], 100, "it")
