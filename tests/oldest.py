"""Prints constraints that pin every dependency to the lowest version that pyproject.toml allows: make test-oldest."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("dev",)
BOUND = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)(.*)")  # name, lowest version, marker


def lowest(requirements: list[str]) -> list[str]:
    """Constraints of what has a lower bound.

    >>> lowest(["numpy>=2.0", "openvino>=2025.0; platform_machine == 'x86_64'", "openwakeword==0.4.0"])
    ['numpy==2.0', "openvino==2025.0; platform_machine == 'x86_64'"]
    """
    return [f"{found[1]}=={found[2]}{found[3]}" for one in requirements if (found := BOUND.match(one))]


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = [one for extra in EXTRAS for one in project["optional-dependencies"][extra]]
    print(*dict.fromkeys(lowest([*project["dependencies"], *extras])), sep="\n")
