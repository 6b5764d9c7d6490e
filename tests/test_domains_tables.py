"""CSV, JSON lines, Parquet and data frames; a bad row costs only itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from domain_kit import picture, rows, skipped, table

from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError


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
    with pytest.raises(CrossgraftError, match=r"'path' is a picture or audio file.*row 1.*no file x\.png.*relative to"):
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


def test_take_and_without_keep_everything_together(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"x": i, "y": str(i)} for i in range(4)]))
    domain = open_domain(tmp_path / "a.json", "it")
    assert domain.take([3, 1]).labels.tolist() == ["3", "1"]
    assert domain.take([3, 1]).inputs.tolist() == [[3], [1]]
    rest = domain.without([(2, "odd")])
    assert list(rest.names) == ["row 1", "row 2", "row 4"]
    assert skipped(rest) == {"row 3": "odd"}
