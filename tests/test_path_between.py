"""What lies between the points of a path that are refitted, and what stands in where none can be."""

import numpy as np
import pytest
from test_convex import blobs

from crossgraft.solve import grid
from crossgraft.solve.convex import Part
from crossgraft.solve.path import Path, path, scaling
from crossgraft.solve.smooth import NEXT, coarse_to_fine, nodes, weights


def wide() -> tuple[Part, Part]:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=120)
    x, x_s = draw.normal(size=(40, 120)), draw.normal(size=(150, 120))
    y, y_s = ((a @ truth + 8 * draw.normal(size=len(a)) > 0).astype(int) for a in (x, x_s))
    scale = np.sqrt(120.0)
    return Part(x / scale, y, np.arange(2)), Part(x_s / scale, y_s, np.arange(2))


def shared() -> tuple[Part, Part]:
    (x, y), (x_s, y_s) = blobs(40, 5, 4, "target"), blobs(90, 5, 4, "source")
    scale = scaling(x, x_s)
    return Part(scale.apply(x), y, np.arange(4)), Part(scale.apply(x_s), y_s + 1, np.arange(1, 5))


def refitted(found: Path) -> np.ndarray:
    """Mean losses with every point refitted."""
    for i in range(len(found.lams)):
        for j in range(len(found.ridges)):
            found._grid.refit(i, j)
    assert found.exact.all()
    return found.mean


def test_the_formula_with_a_source_is_near_the_refits_where_the_hessian_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grid, "NODES", 0)  # nothing may be refitted before something is chosen
    found = path(*wide(), 2, lams=[0.1, 1.0], ridges=[1e-4, 1e-3, 1e-2])
    formula = found.mean.copy()
    assert not found.exact.any()
    np.testing.assert_allclose(formula, refitted(found), rtol=0.05)


@pytest.mark.parametrize("many", [False, True])
def test_what_lies_between_refitted_points_is_near_refits(many: bool) -> None:
    """Two classes and many features; four classes, of which some are shared, lambdas and ridges in no order."""
    target, source = wide() if many else shared()
    lams = [0.03, 0.1, 0.3, 1, 3, 0] if many else [3, 0.1, 0, 1, 0.3, 0.03, 0.3]
    ridges = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2] if many else [1e-1, 1e-4, 1e-3, 3e-2, 1e-2, 3e-3, 3e-4]
    found = path(target, source, 2 if many else 5, lams=lams, ridges=ridges)
    between = found.mean.copy()
    assert not found.exact.any()
    exact = refitted(found)
    assert np.ptp(exact) > 0.3
    np.testing.assert_allclose(between, exact, atol=0.02)
    assert np.median(abs(between - exact)) < 0.002


def test_places_of_nodes_and_the_order_of_solving() -> None:
    t = np.log([1.0, 2, 4, 8, 16, 32, 64, 128, 128, 1])
    for of in (t, t[::-1], t[:1], t[:2]):
        assert sorted(coarse_to_fine(of)) == list(range(len(of)))
        at = nodes(of, NEXT)
        assert coarse_to_fine(of)[: len(at)] == sorted(at, key=lambda i: of[i])
        assert {of[at].min(), of[at].max()} == {of.min(), of.max()}
    cubic = np.polynomial.Polynomial([1, -2, 0.5, 0.1])
    assert weights(t, 1.3) @ cubic(t) == pytest.approx(cubic(1.3))
    assert weights(t[:9], 6.0) @ t[:9] ** 2 == pytest.approx(36.0)  # outside: a parabola
    assert weights(t[:1], 6.0).tolist() == [1.0]
