"""A run as a folder that can be handed on, with a model card; to and from the Hugging Face Hub by the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.model import MODEL, WEIGHTS
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
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*FILES, CARD]))
        except Exception as wrong:
            raise CrossgraftError(f"{what} cannot be fetched: {_first(wrong)}", "check the name and log in") from None
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise CrossgraftError(f"{what} is no run: {', '.join(missing)} missing", "give what crossgraft push wrote")
    try:
        at.mkdir(parents=True, exist_ok=True)
        for name in (*FILES, CARD):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, at / name)
    except OSError as wrong:
        raise CrossgraftError(f"cannot write {at}: {wrong.strerror}", "make room or choose another --out") from None
    run = Run.open(at)
    run.model  # noqa: B018  # read now, so that what is damaged is said now
    return run


def card(run: Run) -> str:
    """The model card: what it predicts, from what, how well with intervals, and how far the domains were apart."""
    result, recipe = run.result, run.recipe
    spec = json.loads((run.folder / MODEL).read_text(encoding="utf-8"))
    classes = spec["task"]["classes"]
    kind = spec["backbone"]["kind"]
    tags = {
        "image": "image-classification",
        "text": "text-classification",
        "sentence": "token-classification",
        "audio": "audio-classification",
    }
    tag, measure = tags.get(kind, "tabular-classification"), "F1" if kind == "sentence" else "accuracy"
    lines = [
        "---", "library_name: crossgraft", f"pipeline_tag: {tag}", "tags: [transfer-learning, crossgraft]", "---", "",
        f"# {Path(str(recipe.target)).name}: {len(classes)} classes", "",
        f"A model of {kind}s, trained by crossgraft with objective `{result['objective']['formula']}`, schedule "
        f"{result['schedule']}, on backbone `{spec['backbone']['name']}`.", "",
        "## Intended use", "",
        f"To tell {', '.join(classes[:20])}{' and others' if len(classes) > 20 else ''} apart on inputs like those of "
        "the target. Elsewhere its probabilities mean little: measure them with `crossgraft score` first.",
        "", "## Data", "", f"Target `{_name(recipe.target)}`; source "
        + (", ".join(f"`{_name(s)}`" for s in recipe.source) if recipe.source else "none") + ".", "",
        "## Scores on held-out examples of the target", "", f"| model | n | {measure} | cross-entropy, nats |",
        "|---|---|---|---|", _scores("this model", result.get("test")),
        *(_scores(name.replace("_", " "), part) for name, part in (result.get("baselines") or {}).items() if part), "",
        "Intervals are 95 %. " + str((result.get("kept") or {}).get("why", "")), "",
    ]  # fmt: skip
    if (gap := result.get("gap")) and "jsd" in gap:
        jsd = gap["jsd"]
        span = f"{jsd['value']:.3f} nats [{jsd['low']:.3f}, {jsd['high']:.3f}]"
        lines += ["## Gap", "", f"Source and target are at least {span} of Jensen-Shannon divergence apart.", ""]
    lines += [
        "## How to use it",
        "",
        "```",
        "crossgraft pull FROM --out RUN",
        "crossgraft predict RUN INPUT...",
        "```",
        "",
    ]
    return "\n".join(lines)


def _written(run: Run, folder: Path) -> list[str]:
    for name in FILES:
        shutil.copyfile(run.folder / name, folder / name)
    (folder / CARD).write_text(card(run), encoding="utf-8")
    return [*FILES, CARD]


def _scores(name: str, part: dict[str, Any] | None) -> str:
    cells = [name, str((part or {}).get("n", "-"))]
    hit = "f1" if "f1" in (part or {}) else "accuracy"
    for key, scale, digits in ((hit, 100, 1), ("cross_entropy", 1, 3)):
        score = (part or {}).get(key)
        if not score or score["value"] is None:
            cells.append("-")
            continue
        low, high = (score[end] for end in ("low", "high"))
        span = "" if low is None else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
        cells.append(f"{scale * score['value']:.{digits}f}{' %' if scale == 100 else ''}{span}")
    return "| " + " | ".join(cells) + " |"


def _name(what: Any) -> str:
    """The last part of a path: where data lie on somebody's machine is nobody's business."""
    return Path(str(what)).name


def _first(wrong: Exception) -> str:
    return (str(wrong).strip() or type(wrong).__name__).splitlines()[0][:120]
