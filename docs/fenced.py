"""Docstrings as they are written: the sentence, what is aligned below it in a block, examples in blocks of Python."""

from typing import Any

import griffe


def fenced(text: str) -> str:
    """Paragraphs that stand aligned or are examples in fences; sentences as Markdown."""
    out = []
    for part in text.split("\n\n"):
        lines = part.splitlines()
        if part.lstrip().startswith(">>>"):
            out.append(f"```pycon\n{part}\n```")
        elif any(line.startswith(" ") or "  " in line.strip() or line.startswith("---") for line in lines):
            out.append(f"```text\n{part}\n```")
        else:
            out.append(part)
    return "\n\n".join(out)


class Fenced(griffe.Extension):
    """Applied to every docstring before it is shown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = fenced(obj.docstring.value)
