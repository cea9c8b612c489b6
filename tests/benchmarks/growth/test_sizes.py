"""The sizes that grow."""

import pytest

from benchmarks.growth.sizes import HIDDEN_SIZES, MODEL_COUNTS, SIZES

LOADED = [size for size in SIZES if size.load is not None]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_points_rise_and_a_cost_of_each_size_is_plotted(size):
    for points in (size.points, size.quick):
        assert list(points) == sorted(set(points))
        assert len(points) >= 2
    assert any(metric.is_plotted for metric in size.metrics)


@pytest.mark.parametrize("size", LOADED, ids=lambda size: size.name)
def test_each_point_is_a_load_that_h2load_can_send_with_a_model_that_is_made(size):
    for point in (*size.points, *size.quick):
        load = size.load(point)
        assert load.in_flight % load.connections == 0
        assert load.hidden in HIDDEN_SIZES


def test_enough_copies_are_made():
    (models,) = [size for size in SIZES if size.load is None]
    assert max(*models.points, *models.quick) <= max(MODEL_COUNTS)


def test_the_sizes_span_what_the_documentation_says():
    spans = {size.name: (size.points[0], size.points[-1]) for size in SIZES}
    assert spans == {
        "in_flight": (1, 1024),
        "connections": (1, 5000),
        "length": (1, 4096),
        "hidden": (16, 1024),
        "models": (1, 500),
        "rows": (1, 4096),
    }
