"""Shallow methods of skada and adapt on tasks in .npz files: one JSON line a method and task on standard output.

Left out: TransferJointMatching, JDOTClassifier and DASVM of skada, fMMD and LDM of adapt take more than 20 s a task;
MultiLinearMongeAlignment and JCPOTLabelProp of skada fail with one source; TransferSubspaceLearning needs torch. Run by
shallow.py with the Python that has them; needs numpy, scikit-learn, skada and adapt alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import skada  # noqa: E402
import sklearn  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV  # noqa: E402

LIMIT = 10  # seconds of processor time that a method may take on one task
Task = dict[str, np.ndarray]


def base(weights: bool = False) -> Any:
    """Logistic regression; its C by 3-fold cross-validation of the labelled rows, where no weights come with them."""
    if weights:
        return LogisticRegression(max_iter=300).set_fit_request(sample_weight=True)
    return LogisticRegressionCV(Cs=5, cv=3, max_iter=300)


def skada_method(make: Callable[[], Any]) -> Callable[[Task], np.ndarray]:
    """Labelled target rows stand among the source's; all target rows are given without labels."""

    def run(t: Task) -> np.ndarray:
        x = np.concatenate([t["x_s"], t["x_few"], t["x_t"]])
        n = len(t["y_s"]) + len(t["y_few"])
        y = np.concatenate([t["y_s"], t["y_few"], np.full(len(t["x_t"]), -1)])
        of = np.where(np.arange(len(x)) < n, 1, -2)
        with sklearn.config_context(enable_metadata_routing=True):
            return np.asarray(make().fit(x, y, sample_domain=of).predict(t["x_t"]))

    return run


def mapped(name: str, weights: bool = False, **options: Any) -> Callable[[Task], np.ndarray]:
    adapter = getattr(skada, f"{name}Adapter")
    return skada_method(lambda: skada.make_da_pipeline(adapter(**options), base(weights)))


def adapt_method(module: str, name: str, few: bool, **options: Any) -> Callable[[Task], np.ndarray]:
    """few: the method reads labelled target rows as such; else they stand among the source's."""

    def run(t: Task) -> np.ndarray:
        import importlib

        cls = getattr(importlib.import_module(f"adapt.{module}"), name)
        base = LogisticRegression(max_iter=300)
        if few:
            if name.startswith("RegularTransfer") or name.startswith("TransferForest") or name == "LinInt":
                inner = RandomForestClassifier(50) if "Forest" in name else base
                inner.fit(t["x_s"], t["y_s"])
                model = cls(inner, verbose=0, **options)
                model.fit(t["x_few"], t["y_few"])
            else:
                model = cls(base, Xt=t["x_few"], yt=t["y_few"], verbose=0, **options)
                model.fit(t["x_s"], t["y_s"])
        else:
            x, y = np.concatenate([t["x_s"], t["x_few"]]), np.concatenate([t["y_s"], t["y_few"]])
            model = cls(base, Xt=t["x_t"], verbose=0, **options)
            model.fit(x, y)
        p = np.asarray(model.predict(t["x_t"]))
        return p.argmax(1) if p.ndim == 2 and p.shape[1] > 1 else p.ravel()

    return run


def plain(rows: str) -> Callable[[Task], np.ndarray]:
    def run(t: Task) -> np.ndarray:
        parts = {"source": ("s",), "both": ("s", "few"), "target": ("few",)}[rows]
        x, y = (np.concatenate([t[f"{v}_{p}"] for p in parts]) for v in "xy")
        model = LogisticRegressionCV(Cs=5, cv=min(3, int(np.bincount(y).min())), max_iter=300)
        return np.asarray(model.fit(x, y).predict(t["x_t"]))

    return run


FREE = {
    "logistic regression, source": plain("source"),
    **{f"skada {n}": mapped(n) for n in (
        "CORAL", "SubspaceAlignment", "TransferComponentAnalysis",
        "OTMapping", "EntropicOTMapping", "ClassRegularizerOTMapping", "LinearOTMapping",
        "OTLabelProp")},
    **{f"skada {n}": mapped(n, True) for n in (
        "DiscriminatorReweight", "GaussianReweight", "KMMReweight", "DensityReweight",
        "NearestNeighborReweight")},
    **{f"skada {n}": mapped(n, True, gamma=1.0) for n in ("KLIEPReweight", "MMDTarSReweight")},
    "skada MMDLSConSMapping": mapped("MMDLSConSMapping", gamma=1.0),
    **{f"adapt {n}": adapt_method("feature_based", n, False) for n in ("CORAL", "SA", "TCA")},
    **{f"adapt {n}": adapt_method("instance_based", n, False) for n in (
        "KLIEP", "KMM", "NearestNeighborsWeighting", "ULSIF", "RULSIF", "IWC")},
}  # fmt: skip
FEW = {
    "logistic regression, target": plain("target"),
    "logistic regression, both": plain("both"),
    **{f"adapt {n}": adapt_method("instance_based", n, True) for n in ("TrAdaBoost", "BalancedWeighting")},
    **{f"adapt {n}": adapt_method("parameter_based", n, True) for n in (
        "RegularTransferLR", "RegularTransferLC", "TransferForestClassifier", "LinInt")},
    "adapt FA": adapt_method("feature_based", "FA", True),
    "adapt PRED": adapt_method("feature_based", "PRED", True),
}  # fmt: skip


def _late(*_: Any) -> None:
    raise TimeoutError(f"above {LIMIT} s")


def main(folder: Path) -> None:
    signal.signal(signal.SIGPROF, _late)
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            t = dict(file)
        methods = FREE if not len(t["y_few"]) else FREE | FEW
        for name, run in methods.items():
            np.random.seed(0)
            row: dict[str, Any] = {"task": path.stem, "method": name}
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            try:
                row["accuracy"] = float((run(t) == t["y_t"])[t["test"]].mean())
            except Exception as wrong:
                row["error"] = f"{type(wrong).__name__}: {str(wrong).splitlines()[0][:100] if str(wrong) else ''}"
            signal.setitimer(signal.ITIMER_PROF, 0)
            row["seconds"] = time.process_time() - began
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
