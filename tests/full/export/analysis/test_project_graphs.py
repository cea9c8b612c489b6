"""The project's own models: what is proven of each, and that no operator that mixes rows can hide in one."""

import pytest

from kit.project_graphs import NAMES, project_graphs
from rnnserve.export.analysis import Property, Verdict, decide, worst

ROWS = 7


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_padding_are_proven_where_the_module_keeps_them_apart(name):
    model, graphs = project_graphs(name)
    for graph in graphs.values():
        found = {
            kind: worst(decisions.values()) for kind, decisions in decide(graph, model.inputs, model.outputs).items()
        }
        if name == "own over_the_batch":
            assert "averages over the rows of the batch" in found[Property.ROWS].reasons[0]
        else:
            assert found[Property.ROWS].verdict is Verdict.PROVEN, found[Property.ROWS]
        if Property.PADDING in found:
            expected = Verdict.REFUTED if name == "own mean" else Verdict.PROVEN
            assert found[Property.PADDING].verdict is expected, found[Property.PADDING]
