"""A run as a folder that can be handed on, with a model card; to and from the Hugging Face Hub by the same files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossgraft.card import card
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.model import MODEL, WEIGHTS
from crossgraft.multitask.run import ALONE, MultiRun, open_run
from crossgraft.run import RECIPE, RESULT, Run

HUB = "hub:"
CARD = "README.md"
# Tables, TOML and tensors: nothing is executed. Predictions and pictures show the data, so they stay.
FILES = (RECIPE, RESULT, MODEL, WEIGHTS)


def push(run: Run, to: str, *, private: bool = True) -> dict[str, Any]:
    """Copy recipe, result, model and a model card into a folder, or to hub:USER/NAME. Examples stay here."""
    if to.startswith(HUB):
        import tempfile

        from huggingface_hub import HfApi

        name, api = to.removeprefix(HUB), HfApi()
        with tempfile.TemporaryDirectory() as scratch:
            files = _written(run, Path(scratch))
            try:
                api.create_repo(name, private=private, exist_ok=True)
                api.upload_folder(repo_id=name, folder_path=scratch, commit_message="A run of crossgraft")
            except Exception as wrong:  # the library raises one kind an answer of the server
                raise CrossgraftError(f"{to} refused: {_first(wrong)}", "log in with hf auth login") from None
        return {"to": to, "files": files}
    folder = Path(to)
    if folder.resolve() == run.folder.resolve():
        raise UsageError(f"{folder} is the run itself", "choose another folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / RECIPE).exists():
        raise UsageError(f"{folder} holds other files", "choose an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {"to": to, "files": _written(run, folder)}
    except OSError as wrong:
        raise CrossgraftError(
            f"cannot write {folder}: {wrong.strerror}", "make room or choose another folder"
        ) from None


def pull(what: str, out: str | Path, *, revision: str | None = None) -> Run:
    """A run from a folder or hub:USER/NAME, copied into `out` and opened. Only the files of a run are fetched."""
    at, folder = Path(out), Path(what)
    if (at / RECIPE).exists():
        raise UsageError(f"{at} holds a run already", "choose another --out")
    if what.startswith(HUB):
        from huggingface_hub import snapshot_download

        name = what.removeprefix(HUB)
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*FILES, f"{ALONE}/*", CARD]))
        except Exception as wrong:
            raise CrossgraftError(f"{what} cannot be fetched: {_first(wrong)}", "check the name and log in") from None
    files = [*FILES, *_apart(folder)]
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise CrossgraftError(f"{what} is no run: {', '.join(missing)} missing", "give what crossgraft push wrote")
    try:
        _copied(folder, at, [*files, *([CARD] if (folder / CARD).is_file() else [])])
    except OSError as wrong:
        raise CrossgraftError(f"cannot write {at}: {wrong.strerror}", "make room or choose another --out") from None
    run = open_run(at)
    _ = run.models if isinstance(run, MultiRun) else run.model  # read now, so that what is damaged is said now
    return run


def _written(run: Run, folder: Path) -> list[str]:
    files = [*FILES, *_apart(run.folder)]
    _copied(run.folder, folder, files)
    (folder / CARD).write_text(card(run), encoding="utf-8")
    return [*files, CARD]


def _apart(folder: Path) -> list[str]:
    """The files of tasks that a run of several predicts by models of their own."""
    numbers = sorted((f.parent.name for f in folder.glob(f"{ALONE}/*/{MODEL}") if f.parent.name.isdigit()), key=int)
    return [f"{ALONE}/{n}/{name}" for n in numbers for name in (MODEL, WEIGHTS)]


def _copied(folder: Path, to: Path, files: Sequence[str]) -> None:
    for name in files:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, to / name)


def _first(wrong: Exception) -> str:
    return (str(wrong).strip() or type(wrong).__name__).splitlines()[0][:120]
