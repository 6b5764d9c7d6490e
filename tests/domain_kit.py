"""Short ways to make files and to look at domains."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from crossgraft.domains import Domain


def picture(path: Path, grey: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 8), (grey, grey, grey)).save(path)
    return path


def rows(domain: Domain) -> list[tuple[str, str | None, str]]:
    return [(str(n), y, str(s)) for n, y, s in zip(domain.names, domain.labels, domain.splits, strict=True)]


def skipped(domain: Domain) -> dict[str, str]:
    return {s.name: s.reason for s in domain.skipped}


def table(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name
