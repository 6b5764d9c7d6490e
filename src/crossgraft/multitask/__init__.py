"""Several tasks at once: shared layers, a head each, and the question whether a task helps or harms another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossgraft.lazy import lazily

__all__ = ["MultiRun", "multi"]

if TYPE_CHECKING:
    from crossgraft.multitask.run import MultiRun
    from crossgraft.multitask.steps import multi

__getattr__ = lazily(__name__, {"MultiRun": "run", "multi": "steps"})
