"""The command predict: files, folders and tables at once, or a live stream of audio as it comes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from crossgraft.cli_options import Json, RunFolder
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.printed import line
from crossgraft.progress import say
from crossgraft.several import Multi
from crossgraft.tasks import Classify

STREAM = "-"


def predict(
    run: RunFolder,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files, folders or tables; - for a live stream of audio.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the lines to this file.")] = None,
    tent: Annotated[
        bool, typer.Option(help="Adapt batch-normalised layers to each batch before predicting it.")
    ] = False,
    unknown: Annotated[bool, typer.Option(help="Label unknown what looks like no class of the model.")] = False,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Of transcripts: sequences that are kept at every frame, by default 8.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="Of transcripts: a file of the words that may be said, one a line.")
    ] = None,
    usual: Annotated[
        Path | None, typer.Option(help="Of transcripts: a file of usual lines, whose 3-grams speak in the beam.")
    ] = None,
    json_: Json = False,
) -> None:
    """One line an input: label and probabilities, or what was said. Input - is a stream of 16 kHz audio."""
    from crossgraft.multitask.run import open_run
    from crossgraft.run import finite

    decoding: dict[str, Any] = {} if beam is None else {"width": beam}
    for name, file in (("words", words), ("lines", usual)):
        if file is not None:
            decoding[name] = _lines(file)
    opened = open_run(run)
    if decoding and "transcribe" not in kinds_of(opened.model.task):
        raise UsageError("--beam, --words and --usual are for transcripts", f"the run in {run} makes none: leave them")
    if inputs == [STREAM]:
        _stream(opened, decoding | {"unknown": unknown}, out, json_)
        return
    rows = finite(opened.predict(inputs, tent=tent, unknown=unknown, **decoding))
    if json_:
        text = json.dumps({"run": str(run), "predictions": rows}, ensure_ascii=False) + "\n"
    else:
        text = "".join(line(row) + "\n" for row in rows)
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as wrong:
            raise CrossgraftError(f"cannot write {out}: {wrong.strerror}", "choose another --out") from None
    if out is None or json_:
        print(text, end="")
    bad = sum("error" in row for row in rows)
    if bad == len(rows):
        raise CrossgraftError("none of the inputs could be read", "see the reasons above")


def kinds_of(task: Classify) -> set[str]:
    """The kind of a task, or those of its parts."""
    return {part.kind for _, part in task.parts} if isinstance(task, Multi) else {task.kind}


def _stream(run: Any, decoding: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """A line for each piece as soon as it has ended; with --json one object a line."""
    from crossgraft.run import finite
    from crossgraft.stream import listen

    if isinstance(run.model.task, Multi):
        raise UsageError("a stream is for a run of one task", "predict files, or use a run of crossgraft fit")

    if out is not None:
        raise UsageError("a stream goes to standard output", "leave out --out, and redirect it")
    pieces = 0
    for row in listen(run, sys.stdin.buffer, **decoding):
        pieces += 1
        when = f"{row['start']:.2f}-{row['end']:.2f} s\t"
        print(json.dumps(finite(row), ensure_ascii=False) if as_json else when + line(row), flush=True)
    say(f"the stream has ended: {pieces} piece{'' if pieces == 1 else 's'} of sound between silences")


def _lines(file: Path) -> list[str]:
    try:
        return [text.strip() for text in file.read_text(encoding="utf-8").splitlines() if text.strip()]
    except (OSError, UnicodeDecodeError) as wrong:
        raise CrossgraftError(f"cannot read {file}: {wrong}", "give a text file in UTF-8") from None
