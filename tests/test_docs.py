"""Every code block of README and docs runs; every command in them is one that the program takes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- test: (\w+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(mark, language, code) of every block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def pages(slow: bool) -> list[Any]:
    """Pages whose Python blocks run in order, in one namespace; slow ones whole, as later blocks build on earlier."""
    found = []
    for page in PAGES:
        python = [b for b in blocks(page) if b[1] == "python"]
        if python and any(mark == "slow" for mark, *_ in python) == slow:
            # any other mark is a package that a block needs
            missing = [mark for mark, *_ in python if mark not in ("", "slow") and find_spec(mark) is None]
            skip = pytest.mark.skipif(bool(missing), reason=f"needs {missing}")
            found.append(pytest.param([code for _, _, code in python], id=str(page.relative_to(ROOT)), marks=skip))
    return found


def run(codes: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for i, name in enumerate("abcd"):
        Image.fromarray(np.full((16, 16, 3), 60 * i, dtype=np.uint8)).save(folder / f"{name}.png")
    names: dict[str, Any] = {"__name__": "page"}
    for code in codes:
        exec(compile(code, "block", "exec"), names)


@pytest.mark.parametrize("codes", pages(slow=False))
def test_blocks_run(codes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(codes, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("codes", pages(slow=True))
def test_slow_blocks_run(codes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(codes, tmp_path, monkeypatch)


def commands() -> set[str]:
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for _, language, code in blocks(page) if language in ("", "bash") for line in code.splitlines()]
        lines += re.findall(r"`(crossgraft [^`]+)`", text)
        found |= {line.split("#")[0].strip() for line in lines if line.startswith("crossgraft ")}
    return found


@pytest.mark.parametrize("command", sorted(commands()))
def test_commands_exist_with_their_options(command: str) -> None:
    import typer.main

    from crossgraft.cli import app

    words = shlex.split(command)
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert words[1].strip(",.") in known, command
    options = {o for p in known[words[1].strip(",.")].params for o in p.opts + getattr(p, "secondary_opts", [])}
    assert {w for w in words[2:] if w.startswith("--")} <= options


def test_the_example_of_an_own_loop_gains_from_the_source() -> None:
    code = "import own_loop; print(own_loop.accuracy(0.0, 0.0, 300), own_loop.accuracy(0.3, 0.0, 300))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "examples", capture_output=True, text=True, check=True
    )
    alone, joint = map(float, out.stdout.split())
    assert joint > alone
