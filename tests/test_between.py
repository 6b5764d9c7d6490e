"""`crossgraft gap`: what a gap consists of, where the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crossgraft.between import gap
from crossgraft.cli import main
from crossgraft.domains import open_domain
from crossgraft.domains.attributes import OF_PICTURES, attributes, names_of
from crossgraft.domains.texts import text_domain

MEANS = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
SHIFTED = [0.7, 0.2, 0.1]
HOW = ("most_alike", "most_apart")


def plane(n: int, q: list[float], seed: int, moved: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians in the plane with frequencies q; one class may lie elsewhere."""
    draw = np.random.default_rng(seed)
    y = draw.choice(3, n, p=q)
    x = MEANS[y] + draw.normal(size=(n, 2))
    x[y == moved] += 2
    return x.astype(np.float32), np.array(list("abc"))[y]


def scenes(n: int, seed: int, brighter: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of noise with a disc or without, brighter as a whole."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = draw.integers(60, 120, (n, 24, 24, 3)) + brighter
    i, j = np.mgrid[:24, :24]
    x[y == 1] += (40 * ((i - 12) ** 2 + (j - 12) ** 2 < 36)).astype(int)[:, :, None]
    return np.clip(x, 0, 255).astype(np.uint8), np.array(["plain", "disc"])[y]


def test_only_the_frequencies_differ() -> None:
    found = gap(plane(900, [1 / 3] * 3, 0), plane(900, SHIFTED, 1))
    assert found["p_value"] < 0.05
    assert set(found["classes"]) == {"a", "b", "c"}
    assert sum(row["p_value"] < 0.05 for row in found["classes"].values()) <= 1  # no class has moved
    shift = found["label_shift"]
    for method in ("em", "bbse"):
        got = [shift[method][c]["value"] for c in "abc"]
        assert got == pytest.approx(SHIFTED, abs=0.05)
        assert sum(got) == pytest.approx(1)
    assert [shift["target"][c] for c in "abc"] == pytest.approx(SHIFTED, abs=0.04)
    assert shift["smallest_singular_value"] > 0.1


def test_only_one_class_moved() -> None:
    result = gap(plane(600, [1 / 3] * 3, 0), plane(600, [1 / 3] * 3, 1, moved=2))
    found = result["classes"]
    assert result["label_shift"]["notes"] == ["Classes look different in the two domains (c): not to be relied on."]
    assert found["c"]["jsd"]["low"] > 0.3  # N(0,1) against N(2.83,1): 0.50 nats
    assert found["c"]["jsd"]["value"] > 4 * max(found[c]["jsd"]["value"] for c in "ab")


def test_what_labels_cannot_say_is_said() -> None:
    x, y = plane(200, [1 / 3] * 3, 0)
    assert gap((x, None), plane(200, SHIFTED, 1))["label_shift"] is None
    found = gap((x, y), (x + 1, None))
    assert found["classes"] is None
    assert found["label_shift"]["target"] is None
    renamed = gap((x, y), (x + 1, np.where(y == "a", "z", y)))["classes"]
    assert renamed["z"]["why"] == "the source has no example of this class"
    assert renamed["a"]["why"] == "the target has no example of this class"


def test_brightness_explains_pictures_that_are_only_brighter() -> None:
    s, t = open_domain(scenes(60, 0), "s"), open_domain(scenes(60, 1, brighter=60), "t")
    a, b = (attributes(d, np.arange(60)) for d in (s, t))
    assert names_of(s) == OF_PICTURES
    difference = dict(zip(OF_PICTURES, b.mean(0) - a.mean(0), strict=True))
    assert difference["brightness"] == pytest.approx(60 / 255, abs=0.01)
    assert difference["contrast"] == pytest.approx(0, abs=0.02)
    assert difference["width"] == difference["height"] == 0


def test_attributes_of_a_picture_by_hand() -> None:
    x = np.zeros((1, 2, 4, 3), dtype=np.uint8)
    x[0, :, 2:] = 255
    (row,) = attributes(open_domain((x, np.array(["a"])), "one"), np.arange(1))
    # half of it white: mean and deviation a half, no colour, one step in three across and none down
    assert row.tolist() == pytest.approx([0.5, 0.5, 0.0, (1 / 3 + 0) / 2, 4, 2])


def test_grey_pictures_have_no_colour() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 1), dtype=np.uint8)
    domain = open_domain((grey, np.array(["a", "a", "b"])), "grey")
    assert (attributes(domain, np.arange(3))[:, OF_PICTURES.index("colour")] == 0).all()


def test_pairs_of_texts_are_measured_as_they_are_read() -> None:
    (row,) = attributes(text_domain([("It broke", "at once")], "pair"), np.arange(1))
    assert row[:2].tolist() == [len("It broke | at once"), 5]


def test_many_classes_that_look_different_are_said() -> None:
    """Ten of them: the least p-value of the permutations is then Bonferroni's level itself."""
    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 40)
    means = 6 * draw.normal(size=(10, 5))
    x = means[y] + draw.normal(size=(400, 5))
    labels = np.array([f"class {c}" for c in y])
    found = gap((x, labels), (x[::-1] + 40.0, labels[::-1]))
    assert any("look different" in note for note in found["label_shift"]["notes"])


def test_texts_are_shown_in_full_width() -> None:
    from crossgraft.report.apart import Example, render

    shown = {how: {s: [Example("row 1", "", b"", "a text")] for s in ("source", "target")} for how in HOW}
    page = render(gap(plane(60, [1 / 3] * 3, 0), plane(60, SHIFTED, 1)), shown)
    assert page.count("<blockquote>") == 4
    assert 'class="pictures"' not in page


def test_a_page_opens_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (x, y) in {"a": plane(150, [1 / 3] * 3, 0), "b": plane(150, SHIFTED, 1)}.items():
        np.savez(tmp_path / f"{name}.npz", X=x, y=y)
    files = ["--source", str(tmp_path / "a.npz"), "--target", str(tmp_path / "b.npz")]
    with pytest.raises(SystemExit) as stop:
        main(["gap", *files, "--out", str(tmp_path / "gap.html"), "--json"])
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out)
    page = (tmp_path / "gap.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    for name in (*found["most_alike"]["source"], *found["most_apart"]["target"]):
        assert name in page
    assert all(row["name"] in page for row in found["attributes"]["each"])
    with pytest.raises(SystemExit):
        main(["gap", *files])
    said = capsys.readouterr().out
    for line in ("simple attributes alone", "class a: ", "label a: ", "by BBSE", "source least like the target"):
        assert line in said


def test_pictures_are_shown_and_names_are_escaped(tmp_path: Path) -> None:
    from crossgraft.domains.pictures import thumbnail
    from crossgraft.report.apart import Example, render

    jpeg = thumbnail(scenes(1, 0)[0][0], 40)
    shown = {
        how: {"source": [Example("<b>", "x&y", jpeg)], "target": [Example("t", "", b"", "a text <i>")]}
        for how in ("most_alike", "most_apart")
    }
    found = gap(plane(60, [1 / 3] * 3, 0), plane(60, SHIFTED, 1))
    page = render(found, shown)
    assert page.count("data:image/jpeg;base64,") == 2
    assert "&lt;b&gt;" in page
    assert "a text &lt;i&gt;" in page
    assert "<i>" not in page
