"""Means over the processes of one training."""

import time
from typing import Any

from torch import Tensor


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
