"""Names of a package that are imported when they are first asked for, so that importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from crossgraft.loading import apart_from_tensorflow


def lazily(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The package's `__getattr__`; `home` says in which module below it each name is.

    >>> lazily("crossgraft", {"Classify": "tasks"})("Classify").__name__
    'Classify'
    """

    def asked(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        apart_from_tensorflow()
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return asked
