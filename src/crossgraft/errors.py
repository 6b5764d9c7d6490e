"""What a user is told when something is wrong: the thing, and the remedy."""

from __future__ import annotations

from dataclasses import dataclass


class CrossgraftError(Exception):
    """A reason to stop that a person can act on; the command exits with status 1.

    `what` names the file, row, column or option; `remedy` says what to do about it.

    >>> str(CrossgraftError("photos/a.jpg is empty", "delete it or copy it again"))
    'photos/a.jpg is empty: delete it or copy it again'
    """

    status = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}: {remedy}" if remedy else what)


class UsageError(CrossgraftError):
    """A call that cannot mean anything (lam below zero, an unknown name); exit status 2."""

    status = 2


@dataclass(frozen=True)
class Skipped:
    """An example that was left out, and why; the rest went on."""

    name: str
    reason: str


def nearest(word: str, known: list[str], n: int = 3) -> str:
    """A hint for a misspelt name: `did you mean 'resnet18'?`, or an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=n, cutoff=0.5)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
