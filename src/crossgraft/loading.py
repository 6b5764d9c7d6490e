"""Libraries that end the process where they are loaded in one order, loaded in one that they bear."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec


def apart_from_tensorflow() -> None:
    """Load triton, which torchvision loads, bound to its own symbols where TensorFlow is there already: both bring
    LLVM, and triton, bound to TensorFlow's, ends the process (signal 11). Costs nothing without TensorFlow.

    Of Linux alone, as triton is. Where triton is loaded first, nothing has to be done.
    """
    deep = getattr(os, "RTLD_DEEPBIND", None)
    if "tensorflow" not in sys.modules or "triton" in sys.modules or deep is None or find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | deep)
    try:
        with suppress(ImportError):
            import_module("triton._C.libtriton")
    finally:
        sys.setdlopenflags(flags)
