"""What a graph carries from step to step is found though it isn't declared; or the reason why it can't be cut."""

from typing import Any

import numpy as np
import onnx
import pytest

from kit.cut_graphs import FEATURES, CutGraph
from kit.found_graphs import FOUND, OBSTACLES
from rnnserve.export.found_states.parts_file import UNSEEN, find_parts
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, PARTS, SCAN

GRU = '["gru/node"] g, h_n = GRU <hidden_size = 3> (t, W, R, , , h_0)  s = Squeeze (g, one)'
BACK = "y = Transpose <perm = [1, 0, 2]> (s)"
DECLARED: dict[str, Any] = {"inputs": ("h_0",), "states": {"h_n": "h_0"}}


@pytest.mark.parametrize("name", FOUND)
def test_states_are_found_and_the_parts_have_the_bits_of_the_whole(name):
    graph = FOUND[name].graph
    before = graph.model.SerializeToString()
    found = graph.parts()
    assert found.record.reason == ""
    assert found.record.steps.means == manifest_pb2.MEANS_PROVEN
    assert [tensor.name for tensor in found.record.inputs] == FOUND[name].states
    assert [tensor.continues_as for tensor in found.record.outputs] == FOUND[name].states
    assert found.data is not None
    assert graph.model.SerializeToString() == before


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacle_to_a_cut_is_named(name):
    found = OBSTACLES[name].graph.parts()
    assert OBSTACLES[name].result in found.record.reason
    assert found.data is None
    assert not found.record.inputs


@pytest.mark.parametrize("name", ["the first step if it is loud", "steps from a number on"])
def test_other_steps_are_an_obstacle_though_no_drawn_value_shows_it(name):
    assert OBSTACLES[name].graph.parts().record.reason.endswith(UNSEEN)


def test_counted_steps_are_an_obstacle_to_declared_states():
    nodes = f"""
        t = Transpose <perm = [1, 0, 2]> (x)  {GRU}  z = Transpose <perm = [1, 0, 2]> (s)
        count = Shape <start = 1, end = 2> (x)  n = Squeeze (count)  numbers = Range (scalar_0, n, scalar_1)
        is_late = Greater (numbers, late)  f = Cast <to = 1> (is_late)  c = Unsqueeze (f, one)  y = Add (z, c)
    """
    said = CutGraph(nodes, **DECLARED).parts().record.not_continued
    assert said.startswith('cutting a sequence changes its output "y"')


def test_graph_whose_states_are_all_declared_needs_no_parts():
    found = CutGraph(f"t = Transpose <perm = [1, 0, 2]> (x)  {GRU}  {BACK}", **DECLARED).parts()
    assert found.data is None
    assert found.record.reason == ""
    assert found.record.steps.means == manifest_pb2.MEANS_PROVEN


def test_state_is_found_beside_one_that_is_declared():
    nodes = f"""
        c = Transpose <perm = [0, 2, 1]> (x)  ["conv/node"] v = Conv <pads = [2, 0]> (c, kernel, bias)
        t = Transpose <perm = [2, 0, 1]> (v)  {GRU}  {BACK}
    """
    found = CutGraph(nodes, **DECLARED).parts()
    assert [tensor.name for tensor in found.record.inputs] == ["conv.last"]


def test_scan_over_joined_rows_and_steps_is_no_obstacle():
    nodes = """
        f = Reshape (x, any_3)  shape = Shape (x)
        s = Scan <num_scan_inputs = 1, body = b (float each) => (float out) { out = Tanh (each) }> (f)
        y = Reshape (s, shape)
    """
    record = CutGraph(nodes).parts().record
    assert (record.reason, list(record.inputs)) == ("", [])


def test_learned_beginning_is_recorded():
    found = FOUND["a learned beginning"].graph.parts()
    (tensor,) = found.record.inputs
    assert tensor.default == manifest_pb2.DEFAULT_RECORDED
    assert found.defaults["gru.h"].shape == (1, 1, FEATURES)
    assert found.defaults["gru.h"].any()


def test_trial_finds_what_the_analysis_would_have_missed():
    """The parts compute something else, as if a rule were wrong."""
    graph = FOUND["a layer"].graph

    def load(data):
        runner = OnnxRunner(data)
        return lambda inputs: {name: array + (inputs["x"].shape[1] == 1) for name, array in runner(inputs).items()}

    found = find_parts(graph.description, MODEL, {MODEL: graph.model.SerializeToString()}, load)
    assert 'cutting a sequence changes its output "y" by ' in found.record.reason
    assert found.data is None


def test_undeclared_state_prevents_continuing_from_declared_one():
    """If one step rounds otherwise than many, there are no parts, and the second layer would begin again."""
    nodes = f"""
        t = Transpose <perm = [1, 0, 2]> (x)  {GRU}
        ["next/node"] e = GRU <hidden_size = 3> (s, W, R)  d = Squeeze (e, one)  y = Transpose <perm = [1, 0, 2]> (d)
    """
    graph = CutGraph(nodes, **DECLARED)

    def load(data):
        runner = OnnxRunner(data)
        moved = np.float32(1e-6)
        return lambda inputs: {
            name: array + moved * (inputs["x"].shape[1] == 1) for name, array in runner(inputs).items()
        }

    found = find_parts(graph.description, MODEL, {MODEL: graph.model.SerializeToString()}, load)
    assert found.data is None
    assert found.record.not_continued.startswith('cutting a sequence changes its output "y"')


def test_lowered_loop_has_the_states_of_its_operator():
    """The loop runs past the end of short rows, so its own state there isn't known."""
    nodes = """
        t = Transpose <perm = [1, 0, 2]> (x)  n = Cast <to = 6> (lengths)
        ["rnn/node"] all, h = RNN <hidden_size = 3> (t, W1, R1, , n)  y = Squeeze (h, zero)
    """
    graph = CutGraph(nodes, has_steps=False, inputs=("lengths",))
    native = graph.model.SerializeToString()
    files = {MODEL: native, SCAN: lower_rnn(native)}
    found = find_parts(graph.description, SCAN, files, OnnxRunner)
    assert found.record.reason == ""
    assert (found.record.file, found.record.made_of) == (PARTS, SCAN)
    assert [tensor.name for tensor in found.record.inputs] == ["rnn.h"]
    assert {node.op_type for node in onnx.load_model_from_string(found.data).graph.node} >= {"Scan"}
    del files[SCAN]
    assert find_parts(graph.description, MODEL, files, OnnxRunner).record.made_of == MODEL
