"""The road as a test: a module imports only from its left, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "crossgraft"
# Beside the road, usable by all of it; each may import those before it.
BESIDE = [
    "errors",
    "loading",
    "lazy",
    "seeds",
    "folds",
    "processes",
    "progress",
    "chains",
    "tasks",
    "alignments",
    "transcripts",
    "multilabel",
    "several",
    "methods",
    "recipe",
]
ROAD = [
    "domains",
    "asked",
    "backbones",
    "features",
    "refused",
    "side",
    "sayable",
    "prepare",
    "objective",
    "solve",
    "measure",
    "model",
    "report",
    "tracking",
    "run",
    "stream",
    "choose",
    "portraits",
    "tagged",
    "transcribed",
    "multilabelled",
    "moved_source",
    "proof",
    "sources",
    "rejection",
    "elsewhere",
    "wording",
    "record",
    "explained",
    "between",
    "labelling",
    "asking",
    "candidates",
    "ranked",
    "validation",
    "checks",
    "from_run",
    "language",
    "lam_search",
    "tempered",
    "adapt",
    "transfer",
    "multitask",
]
DOORS = [
    "__init__",
    "__main__",
    "assembled",
    "card",
    "cli",
    "cli_evidence",
    "cli_labels",
    "cli_multi",
    "cli_options",
    "cli_predict",
    "printed",
    "program",
    "printed_evidence",
    "cli_share",
    "entrances",
    "export",
    "keras",
    "lightning",
    "share",
    "sklearn",
    "transformers",
]
PLACE = {name: i for i, name in enumerate(BESIDE + ROAD)} | {door: len(BESIDE + ROAD) for door in DOORS}


def place(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """First parts below crossgraft of everything that a file imports, also inside functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write crossgraft.<module>"
            names = [
                f"{node.module}.{alias.name}" if node.module == "crossgraft" else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("crossgraft.")}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_from_its_left(path: Path) -> None:
    here = place(path)
    for there in imported(path):
        assert there in PLACE, f"{path.name} imports crossgraft.{there}, which has no place on the road"
        allowed = PLACE[there] < PLACE[here] or there == here or here in DOORS
        assert allowed, f"{here} may not import {there}, which stands to its right"


def heavy_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{m.split('.')[0] for m in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {
        "torch",
        "timm",
        "sklearn",
        "scipy",
        "pandas",
        "matplotlib",
        "datasets",
        "transformers",
        "accelerate",
        "openvino",
        "keras",
        "tensorflow",
    }
    return set(out.split()) & heavy


@pytest.mark.parametrize(
    "statement",
    [
        "import crossgraft",
        "import crossgraft.cli",
        "import crossgraft.domains",
        "import crossgraft.backbones",
        "import crossgraft.measure",
        "import crossgraft.sklearn",
        "import crossgraft.multitask.run",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    assert heavy_after(statement) == set()


def test_files_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in ROOT.rglob("*.py") if (n := len(p.read_text().splitlines())) > 250}
    assert not long, f"above 250 lines, split by what they do: {long}"
