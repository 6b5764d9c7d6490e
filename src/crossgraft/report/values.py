"""Values that nobody vouches for: numbers and strings that a page can show, lists and objects, or none."""

from __future__ import annotations

import unicodedata
from typing import Any

LARGEST_NUMBER = 1e100  # above, nothing can be drawn


def number(value: Any) -> float | None:
    """A number that can be shown and drawn, or None.

    >>> number(3), number("3"), number(float("nan")), number(10**400), number(True)
    (3.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= LARGEST_NUMBER else None


def part(found: Any, *keys: str) -> dict[str, Any]:
    """The object below `keys`, or an empty one."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def listed(found: dict[str, Any], key: str) -> list[Any]:
    """The list under a key, or an empty one."""
    values = found.get(key)
    return values if isinstance(values, list) else []


def rows(found: dict[str, Any], key: str, *columns: str) -> list[dict[str, Any]]:
    """The objects of a list; a column that one lacks is empty there."""
    return [dict.fromkeys(columns, "") | row for row in listed(found, key) if isinstance(row, dict)]


def clean(value: Any) -> Any:
    """The value with every string on one line and without characters that XML, UTF-8 or a terminal cannot carry.

    >>> clean({"a\\x00": ["b\\nc", 1]})
    {'a�': ['b c', 1]}
    """
    if isinstance(value, str):
        return "".join(map(_character, value))
    if isinstance(value, dict):
        return {clean(str(k)): clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [clean(v) for v in value]
    return value


def _character(c: str) -> str:
    if c in "\t\n\r\u2028\u2029":
        return " "
    # Cc: control; Cs: half of a surrogate pair; U+FFFE and U+FFFF are not characters.
    return "\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} or c in "\ufffe\uffff" else c
