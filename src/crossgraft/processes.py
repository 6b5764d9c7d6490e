"""The processes of one training, as torchrun and `accelerate launch` start them; the first writes and speaks."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import PartialState
    from torch import Tensor


def first() -> bool:
    """Whether this process is the first, or the only one.

    >>> first()
    True
    """
    return not several() or int(os.environ.get("RANK", "0")) == 0


def several() -> bool:
    """Whether there is more than one, by what a launcher says to each; a WORLD_SIZE by itself is a leftover."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def joined() -> PartialState:
    """The state of accelerate, which has joined the processes; on a machine without accelerators by gloo.

    By itself accelerate takes processes of such a machine for so many trainings of one process each, where
    ACCELERATE_USE_CPU is not set.
    """
    import torch
    from accelerate import PartialState

    moving = torch.accelerator.current_accelerator(check_available=True)
    return PartialState(cpu=moving is None or moving.type == "mps" or "ACCELERATE_USE_CPU" in os.environ)


def agreed(value: Any) -> Any:
    """What the first process has for `value`, in all of them.

    >>> agreed("runs/photos-1")
    'runs/photos-1'
    """
    if not several():
        return value
    from accelerate.utils import broadcast_object_list

    joined()
    return broadcast_object_list([value])[0]


def together() -> None:
    """Wait until every process is here."""
    if several():
        joined().wait_for_everyone()


def mean_over(accelerator: Any, values: Tensor) -> Tensor:
    """The mean of `values`, of any shape, over all processes; `values` themselves where there is one.

    On the CPU it returns once no thread of the process group holds the mean any more. Gloo's threads say that a tensor
    is done before they let go of it, and need Python for that: where Python is closing by then, `std::terminate` ends
    the process, and with it the other processes of a training that was complete.
    """
    mean: Tensor = accelerator.reduce(values, "mean")
    while accelerator.num_processes > 1 and mean.device.type == "cpu" and mean._use_count() > 1:  # type: ignore[attr-defined]
        time.sleep(0)
    return mean
