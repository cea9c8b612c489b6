"""The project's own models: what is proven of each, and that no operator that mixes rows can hide in one."""

import copy
import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kit.graph_text import parsed_nodes
from kit.project_graphs import NAMES, project_graphs
from rnnserve.export.analysis import Property, Verdict, decide, worst
from rnnserve.export.tensors import draw_inputs

FAR = 2**31 - 1
ROWS = 7


def verdict_of(graph, model, kind):
    return worst(decide(graph, model.inputs, model.outputs)[kind].values())


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


# Operators that mix the rows of x, along the axis `at`.
MIXERS = {
    "mean": "m = ReduceMean <keepdims = 1> (x, at)  y = Sub (x, m)",
    "rare value": "e = Equal (x, rare)  f = Cast <to = 1> (e)  m = ReduceMax <keepdims = 1> (f, at)  y = Add (x, m)",
    "reverse": "y = Slice (x, minus, back, at, minus)",
    "running sum": "y = CumSum (x, at)",
    "softmax": "y = Softmax <axis = AT> (x)",
    "first row": "f = Slice (x, zero, one, at)  s = Shape (x)  y = Expand (f, s)",
    "written row": "f = Slice (x, zero, one, at)  s = Shape (f)  i = Expand (zero, s)  u = Sub (f, f)"
    "  y = ScatterElements <axis = AT> (x, i, u)",
    "number of rows": "n = Shape <start = AT, end = NEXT> (x)  f = Cast <to = 1> (n)  y = Div (x, f)",
    "sorted rows": "n = Shape <start = AT, end = NEXT> (x)  y, o = TopK <axis = AT> (x, n)",
    "rolled": "f = Slice (x, zero, one, at)  r = Slice (x, one, far, at)  y = Concat <axis = AT> (r, f)",
}


def planted(model, node, at, mixer):
    """Put an operator that mixes rows behind the first result of a node."""
    changed = copy.deepcopy(model)
    nodes = list(changed.graph.node)
    (own,) = [each for each in nodes if list(each.output) == list(node.output)]
    mixing = parsed_nodes(MIXERS[mixer].replace("AT", str(at)).replace("NEXT", str(at + 1)))
    for each in mixing:
        for names in (each.input, each.output):
            names[:] = [own.output[0] if name == "y" else f"mixer_{name}" for name in names]
    own.output[0] = "mixer_x"
    where = nodes.index(own) + 1
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes[:where], *mixing, *nodes[where:]])
    values = {"at": [at], "zero": [0], "one": [1], "minus": [-1], "back": [-FAR], "far": [FAR]}
    arrays = {key: np.array(value) for key, value in values.items()} | {"rare": np.array([13337], np.float32)}
    changed.graph.initializer.extend(numpy_helper.from_array(array, f"mixer_{key}") for key, array in arrays.items())
    return changed


def sites(graph, model):
    """Give each node whose first result has the rows along one axis, and that axis: found by exchanging rows."""
    reading = {name for node in graph.graph.node if node.op_type != "Shape" for name in node.input}
    reading |= {name for node in graph.graph.node for name in captured(node)} | {
        each.name for each in graph.graph.output
    }
    nodes = [node for node in graph.graph.node if node.output[0] in reading]
    wide = copy.deepcopy(graph)
    known = {value.name for value in wide.graph.output}
    wide.graph.output.extend(onnx.ValueInfoProto(name=n.output[0]) for n in nodes if n.output[0] not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(wide.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    sizes = {axis.name: 5 for tensor in model.inputs for axis in tensor.axes if axis.size < 0} | {"batch": ROWS}
    inputs = draw_inputs(model.inputs, random, sizes, ragged=True)
    order = random.permutation(ROWS)
    turned = {
        tensor.name: np.take(inputs[tensor.name], order, [axis.name for axis in tensor.axes].index("batch"))
        for tensor in model.inputs
    }
    names = [value.name for value in session.get_outputs()]
    before, after = (dict(zip(names, session.run(None, given), strict=True)) for given in (inputs, turned))
    for node in nodes:
        value, other = before[node.output[0]], after[node.output[0]]
        if isinstance(value, np.ndarray) and value.shape.count(ROWS) == 1 and not np.array_equal(value, other):
            axis = value.shape.index(ROWS)
            if np.allclose(np.take(value, order, axis), other, atol=1e-5, equal_nan=True):
                yield node, axis


def captured(node):
    return {name for attribute in node.attribute for inner in attribute.g.node for name in inner.input}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "own over_the_batch"])
def test_planted_operator_that_mixes_rows_is_never_proven(name):
    model, graphs = project_graphs(name)
    for graph in graphs.values():
        found = list(sites(graph, model))
        assert len(found) > 1 or name == "own double"
        mixers = itertools.cycle(MIXERS)
        for node, at in found:
            for mix in (next(mixers), next(mixers), next(mixers)):
                verdict = verdict_of(planted(graph, node, at, mix), model, Property.ROWS).verdict
                assert verdict is not Verdict.PROVEN, (node.op_type, node.output[0], at, mix)
