"""The project's own models: what is proven of each, and that no operator that mixes rows can be put into one unseen."""

import copy
import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.project_graphs import NAMES, project_graphs
from rnnserve.export.dataflow import Property, Verdict, decide, worst
from rnnserve.export.dataflow.graph_walk import GraphWalk
from rnnserve.export.dataflow.tracks import Track
from rnnserve.export.dataflow.verdicts import described_inputs

FAR = 2**31 - 1


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_proven_apart_in_each_graph(name):
    model, graphs = project_graphs(name)
    for graph in graphs.values():
        rows = worst(decide(graph, model.inputs, model.outputs)[Property.ROWS].values())
        if name == "own over_the_batch":
            assert rows.reasons == ('"y": ReduceMean "node_mean" averages over the rows of the batch',)
        else:
            assert rows.verdict is Verdict.PROVEN, (rows.reasons, rows.nodes)


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_proven_unread_where_the_module_masks_it(name):
    model, graphs = project_graphs(name)
    for graph in graphs.values():
        found = decide(graph, model.inputs, model.outputs)
        if Property.PADDING in found:
            padding = worst(found[Property.PADDING].values())
            assert padding.verdict is (Verdict.REFUTED if name == "own mean" else Verdict.PROVEN), padding


CAUSAL = {
    "own forecaster": True,
    "own scanned": True,
    "own tagger": False,  # bidirectional
    "own mean": False,
    "example conv_lstm": False,  # its convolution reads a step ahead
    "classifier direction_lstm": True,
    "classifier direction_bidirectional": False,
}


@pytest.mark.parametrize(("name", "causal"), CAUSAL.items())
def test_causality(name, causal):
    model, graphs = project_graphs(name)
    verdict = worst(decide(graphs["native"], model.inputs, model.outputs)[Property.CAUSALITY].values()).verdict
    assert verdict is (Verdict.PROVEN if causal else Verdict.REFUTED)


def constant(name, value, dtype=np.int64):
    return numpy_helper.from_array(np.array(value, dtype), name)


def mean(x, y, at):
    return [
        helper.make_node("ReduceMean", [x, "_at"], ["_mean"], keepdims=1),
        helper.make_node("Sub", [x, "_mean"], [y]),
    ]


def rare_value(x, y, at):
    return [
        helper.make_node("Equal", [x, "_rare"], ["_equal"]),
        helper.make_node("Cast", ["_equal"], ["_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["_number", "_at"], ["_any"], keepdims=1),
        helper.make_node("Add", [x, "_any"], [y]),
    ]


def reverse(x, y, at):
    return [helper.make_node("Slice", [x, "_minus", "_back", "_at", "_minus"], [y])]


def running_sum(x, y, at):
    return [helper.make_node("CumSum", [x, "_at"], [y])]


def softmax(x, y, at):
    return [helper.make_node("Softmax", [x], [y], axis=at)]


def first_row(x, y, at):
    """Every row becomes the first one."""
    return [
        helper.make_node("Slice", [x, "_zero", "_one", "_at"], ["_first"]),
        helper.make_node("Shape", [x], ["_shape"]),
        helper.make_node("Expand", ["_first", "_shape"], [y]),
    ]


def written_row(x, y, at):
    """The first row becomes zero."""
    return [
        helper.make_node("Slice", [x, "_zero", "_one", "_at"], ["_first"]),
        helper.make_node("Shape", ["_first"], ["_shape"]),
        helper.make_node("Expand", ["_zero", "_shape"], ["_index"]),
        helper.make_node("Sub", ["_first", "_first"], ["_zeros"]),
        helper.make_node("ScatterElements", [x, "_index", "_zeros"], [y], axis=at),
    ]


def number_of_rows(x, y, at):
    return [
        helper.make_node("Shape", [x], ["_rows"], start=at, end=at + 1),
        helper.make_node("Cast", ["_rows"], ["_number"], to=TensorProto.FLOAT),
        helper.make_node("Div", [x, "_number"], [y]),
    ]


def sorted_rows(x, y, at):
    return [
        helper.make_node("Shape", [x], ["_rows"], start=at, end=at + 1),
        helper.make_node("TopK", [x, "_rows"], [y, "_order"], axis=at),
    ]


def rolled(x, y, at):
    return [
        helper.make_node("Slice", [x, "_zero", "_one", "_at"], ["_first"]),
        helper.make_node("Slice", [x, "_one", "_far", "_at"], ["_rest"]),
        helper.make_node("Concat", ["_rest", "_first"], [y], axis=at),
    ]


MIXERS = [mean, rare_value, reverse, running_sum, softmax, first_row, written_row, number_of_rows, sorted_rows, rolled]


def planted(model, node, at, mix):
    """Put an operator that mixes rows behind the first result of a node."""
    changed = copy.deepcopy(model)
    nodes = list(changed.graph.node)
    (own,) = [each for each in nodes if list(each.output) == list(node.output)]
    name = own.output[0]
    own.output[0] = "_clean"
    where = nodes.index(own) + 1
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes[:where], *mix("_clean", name, at), *nodes[where:]])
    values = {"_at": [at], "_zero": [0], "_one": [1], "_minus": [-1], "_back": [-FAR], "_far": [FAR]}
    changed.graph.initializer.extend(constant(key, value) for key, value in values.items())
    changed.graph.initializer.append(constant("_rare", [13337.0], np.float32))
    return changed


def places_of_rows(model, description):
    """Give each node of the graph whose first result has rows along one axis and is read for more than its shape."""
    walk = GraphWalk(model, [(Property.ROWS, "batch")])
    values = walk.results(model.graph, described_inputs(description.inputs, walk.keys))
    reading = {name for node in model.graph.node if node.op_type != "Shape" for name in node.input}
    reading |= {name for node in model.graph.node if node.op_type == "Scan" for name in captured(node)}
    reading |= {value.name for value in model.graph.output}
    for node in model.graph.node:
        track = values[node.output[0]].track(walk.keys[0]) if node.output[0] else Track()
        if len(track.places) == 1 and not track.is_lost and node.output[0] in reading:
            ((place, _),) = track.places.items()
            yield node, place[0]


def captured(node):
    return {name for attribute in node.attribute for inner in attribute.g.node for name in inner.input}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "own over_the_batch"])
def test_operators_that_mix_rows_are_seen_wherever_they_are(name):
    model, graphs = project_graphs(name)
    for graph in graphs.values():
        places = list(places_of_rows(graph, model))
        assert len(places) > 1 or name == "own double"
        mixers = itertools.cycle(MIXERS)
        for node, at in places:
            for mix in (next(mixers), next(mixers), next(mixers)):
                rows = decide(planted(graph, node, at, mix), model.inputs, model.outputs)[Property.ROWS]
                verdict = worst(rows.values()).verdict
                assert verdict is not Verdict.PROVEN, (node.op_type, node.output[0], at, mix.__name__)


def test_each_operator_that_mixes_rows_is_seen_behind_an_input():
    model, graphs = project_graphs("own forecaster")
    node, at = next(places_of_rows(graphs["native"], model))
    verdicts = {}
    for mix in MIXERS:
        changed = planted(graphs["native"], node, at, mix)
        onnx.checker.check_model(changed)
        rows = decide(changed, model.inputs, model.outputs)[Property.ROWS]
        verdicts[mix.__name__] = str(worst(rows.values()).verdict)
    refuted = {name for name, verdict in verdicts.items() if verdict == "refuted"}
    assert refuted == {"mean", "rare_value", "running_sum", "softmax", "number_of_rows"}
    assert "proven" not in verdicts.values()
