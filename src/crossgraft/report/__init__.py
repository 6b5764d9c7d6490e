"""The report of a run: one HTML file, written from the files of the run folder, that opens without a network."""

from __future__ import annotations

from pathlib import Path


def write(folder: str | Path) -> Path:
    """(Re)write report.html in a run folder and return its path.

    Reads only the files of that folder; what is missing there is left out with a sentence. The same files give the
    same bytes. Raises CrossgraftError where result.json cannot be read or report.html cannot be written.
    """
    from crossgraft.report.page import write as write_page

    return write_page(Path(folder))
