"""What `fewshot.py --peers PYTHON` runs: SetFit on one draw of labelled texts, its own defaults; JSON in, JSON out.

PYTHON is that of an environment with setfit.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.set_num_threads(1)
    asked = json.load(sys.stdin)
    model = SetFitModel.from_pretrained(asked["folder"], labels=sorted(set(asked["y"])))
    few = Dataset.from_dict({"text": asked["x"], "label": asked["y"]})
    more: dict[str, Any] = {} if asked["most"] is None else {"max_steps": asked["most"]}
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, seed=asked["seed"], report_to="none", save_strategy="no", **more
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=few)
        trainer.train()
        learned = time.process_time() - cpu
        said = [str(y) for y in model.predict(asked["test"])]
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "learned": learned, "said": said}
    print("\n" + json.dumps(found | {"steps": trainer.st_trainer.state.global_step}))


if __name__ == "__main__":
    main()
