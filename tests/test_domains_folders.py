"""Folders of pictures as they are found on disks; what is wrong in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from domain_kit import picture, rows, skipped

from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError


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
    with pytest.raises(CrossgraftError, match=r"no picture or audio in .*the folder is empty"):
        open_domain(tmp_path, "it")
    (tmp_path / "a.mid").write_bytes(b"x")
    with pytest.raises(CrossgraftError, match=r"it holds \.mid"):
        open_domain(tmp_path, "it")


def test_a_link_in_a_circle_as_the_path(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CrossgraftError, match="no file or folder"):
        open_domain(tmp_path / "loop", "it")
