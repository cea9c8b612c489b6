"""Whatever is decided of the graphs of the table holds when they run on drawn values."""

import numpy as np
import onnxruntime
import pytest

from kit.proven_graphs import violations
from kit.verdict_table import GRAPHS
from rnnserve.export.analysis import Property

# Drawn values, or onnxruntime's checks of sizes, seldom let these show what is refuted.
SELDOM_SHOWN = {
    "a rare value in any row",
    "the state one step after the lengths",
    "a mean over what is trimmed",
    "the last of what is trimmed",
}
RUNNABLE = [graph for graph in GRAPHS if set(graph.verdicts) != {"?"}]


@pytest.mark.parametrize("graph", RUNNABLE, ids=lambda graph: graph.name)
def test_verdict_holds_on_random_values(graph):
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    for kind, verdict in zip(Property, graph.verdicts, strict=True):
        if verdict == "?":
            continue
        found = list(violations(session, kind, [graph.output], np.random.default_rng(0)))
        if verdict == "+":
            assert not found, kind
        elif graph.name not in SELDOM_SHOWN and (kind is not Property.CAUSALITY or "sequence" in graph.axes):
            assert found, kind
