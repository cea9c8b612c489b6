"""Whatever is proven of graphs of random operators holds on drawn values."""

import collections

import onnxruntime
import pytest

from kit.proven_graphs import try_graph

onnxruntime.set_default_logger_severity(4)  # most graphs do not run at all sizes

_GRAPHS, _OPERATORS = 40, 7  # of each seed


@pytest.mark.parametrize("first", range(0, 200, _GRAPHS))
def test_what_is_proven_holds(first):
    counts: collections.Counter[str] = collections.Counter()
    for seed in range(first, first + _GRAPHS):
        counts.update(try_graph(seed, _OPERATORS))
    # The graphs are such that something is to be found.
    for kind in ("rows", "padding", "causality"):
        assert counts[f"{kind} proven"] > _GRAPHS
        assert counts[f"{kind} refuted"] > 5
        assert counts[f"{kind} not decided"] > 5
