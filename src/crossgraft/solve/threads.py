"""How many threads numerical libraries use: one where products are small.

OpenBLAS lets threads wait busily for their share of each product. Where a product takes less than a time slice and
other processes want the same cores, waiting costs more than the product: measured with two threads on two busy cores, a
path over 140 rows took ten times as long as with one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

LARGE = 3e8  # multiplications of one product above which every thread is used


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def threads_for(multiplications: float) -> Iterator[None]:
    """One thread of BLAS, and of torch where it is loaded, inside, unless the products made there are as large as this
    and that is large."""
    if multiplications > LARGE:
        yield
        return
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    try:
        if torch is not None and before > 1:
            torch.set_num_threads(1)
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        if torch is not None and before > 1:
            torch.set_num_threads(before)
