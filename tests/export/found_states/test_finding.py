"""States that a graph carries from step to step are inferred without a declaration, or the reason says why not."""

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest

from kit.cut_graphs import CutGraph
from rnnserve.export.found_states.parts_file import UNSEEN, find_parts
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, PARTS, SCAN

# Graphs that carry something from step to step without a declared state, and graphs that can't be cut. Each has the
# input x (batch, sequence, 3), and y of the same axes unless its heading has "last". `FOUND` has the names of the
# states that are found, `OBSTACLES` a phrase of the reason why none are. `kit.cut_graphs` has the constants.

_ROWS = "rows = Shape <start = 0, end = 1> (x)"
_BEGIN = f"{_ROWS}  shape = Concat <axis = 0> (rows, three)  begin = ConstantOfShape (shape)"
_STEP = "step = Gather <axis = 0> (t, number)  next = Add (held, step)  each = Tanh (next)"
_SCAN = "num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1]"
_SHARED = {
    "@turned": "t = Transpose <perm = [1, 0, 2]> (x)",
    "@true": "true = Greater (scalar_1, scalar_0)",
    "@back": "y = Transpose <perm = [1, 0, 2]> (s)",
    "@channels": "c = Transpose <perm = [0, 2, 1]> (x)",
    "@convolved": "y = Transpose <perm = [0, 2, 1]> (v)",
    "@begin": _BEGIN,
    "@count": "count = Shape <start = 1, end = 2> (x)",
    "@numbers": "n = Squeeze (count)  numbers = Range (scalar_0, n, scalar_1)",
    "@step": _STEP,
    "@goes_on": "go_on = Identity (going)",
    "@loop": "b (int64 number, bool going, float held) => (bool go_on, float next, float each)",
    "@gru_a": 'a () => (float a) { ["layer/gru"] a_all = GRU <hidden_size = 3> (t, W, R)  a = Squeeze (a_all, one) }',
    "@gru_b": 'b () => (float b) { ["layer/gru"] b_all = GRU <hidden_size = 3> (t, W, R)  b = Squeeze (b_all, one) }',
    "@of_row": '["layer/gru"] all = GRU <hidden_size = 3> (of_one, W, R)  f = Squeeze (all, one)'
    "  out = Squeeze (f, one)",
    "@scan": f'["cell/scan_0"] end, y = Scan <{_SCAN}',
    "@sums": "{ sum = Add (state, step)  next = Tanh (sum)  out = Identity (next) }",
}
_FOUND = """
a layer | gru.h
    @turned  ["gru/node"] g = GRU <hidden_size = 3> (t, W, R)  s = Squeeze (g, one)  @back
stacked layers | lstm.h lstm.c gru.h
    @turned  ["lstm/node"] l = LSTM <hidden_size = 3> (t, W4, R4)  a = Squeeze (l, one)
    ["gru/node"] g = GRU <hidden_size = 3> (a, W, R)  s = Squeeze (g, one)  @back
two layers of one module | rnn.0.h rnn.1.h
    @turned  ["rnn/0"] l = GRU <hidden_size = 3> (t, W, R)  a = Squeeze (l, one)
    ["rnn/1"] g = GRU <hidden_size = 3> (a, W, R)  s = Squeeze (g, one)  @back
a head that reads the last state | gru.h | last
    @turned  ["gru/node"] g, h = GRU <hidden_size = 3> (t, W, R)  y = Squeeze (h, zero)
a head that reads the last step | gru.h | last
    @turned  ["gru/node"] g = GRU <hidden_size = 3> (t, W, R)  s = Squeeze (g, one)  y = Gather <axis = 0> (s, last)
a learned beginning | gru.h
    @turned  rows = Shape <start = 0, end = 1> (x)  shape = Concat <axis = 0> (one, rows, three)
    begin = Expand (learned, shape)
    ["gru/node"] g = GRU <hidden_size = 3> (t, W, R, , , begin)  s = Squeeze (g, one)  @back
a layer with lengths | gru.h | lengths
    @turned  n = Cast <to = 6> (lengths)  ["gru/node"] g = GRU <hidden_size = 3> (t, W, R, , n)
    s = Squeeze (g, one)  @back
a causal convolution | conv.last
    @channels  ["conv/node"] v = Conv <pads = [2, 0]> (c, kernel, bias)  @convolved
a causal convolution with lengths | conv.last | lengths
    @channels  ["conv/node"] v = Conv <pads = [2, 0]> (c, kernel, bias)  @convolved
a convolution and a normalization that onnxruntime folds into it | conv.last
    @channels  ["conv/node"] w = Conv <pads = [2, 0]> (c, kernel, bias)
    v = BatchNormalization (w, bias, bias, bias, scale)  @convolved
a convolution after Pad | conv.last
    @channels  p = Pad (c, before_two)  ["conv/node"] v = Conv (p, kernel, bias)  @convolved
a convolution padded on both sides, whose end is cut off | conv.last
    @channels  ["conv/node"] w = Conv <pads = [2, 2]> (c, kernel, bias)  v = Slice (w, zero, minus_two, two)  @convolved
a mean of the last three steps | pad.last
    @channels  p = Pad (c, before_two)  ["pool/node"] v = AveragePool <kernel_shape = [3]> (p)  @convolved
a scan over steps | cell.state
    @begin  @scan, body = b (float state, float step) => (float next, float out) @sums> (begin, x)
one step back | concat.last
    f = Slice (x, zero, one, one)  shape = Shape (f)  begin = ConstantOfShape (shape)
    cut = Slice (x, zero, minus, one)  y = Concat <axis = 1> (begin, cut)
"""
_OBSTACLES = """
a backward layer | "y": GRU "gru/node" runs backward over all steps of "sequence"
    @turned  ["gru/node"] r = GRU <hidden_size = 3, direction = "bidirectional"> (t, W_both, W_both)
    s = ReduceSum <keepdims = 0> (r, one)  @back
a mean of all steps | ReduceMean "y" averages over all steps of "sequence" | last
    y = ReduceMean <keepdims = 0> (x, one)
a centered convolution | Conv "conv/node" reads 1 steps ahead of "sequence"
    @channels  ["conv/node"] v = Conv <pads = [1, 1]> (c, kernel, bias)  @convolved
a centered pool | AveragePool "pool/node" reads 1 steps ahead of "sequence"
    @channels  ["pool/node"] v = AveragePool <pads = [1, 1], kernel_shape = [3]> (c)  @convolved
attention | Softmax "w" may read other steps: cutting a sequence changes its output "y"
    k = Transpose <perm = [0, 2, 1]> (x)  scores = MatMul (x, k)  w = Softmax <axis = -1> (scores)  y = MatMul (w, x)
the first step | cutting a sequence changes its output "y"
    f = Slice (x, zero, one, one)  y = Add (x, f)
the first step if it is loud | Slice "f" may read other steps
    f = Slice (x, zero, one, one)  is_loud = Greater (f, loud)  c = Cast <to = 1> (is_loud)  y = Add (x, c)
steps from a number on | Range "numbers" may read other steps
    @count  @numbers  is_late = Greater (numbers, late)  f = Cast <to = 1> (is_late)  c = Unsqueeze (f, one)
    y = Add (x, c)
a scan backwards | Scan "cell/scan_0" runs backward over all steps
    @begin  @scan, scan_input_directions = [1], scan_output_directions = [1],
        body = b (float state, float step) => (float next, float out) @sums> (begin, x)
a running sum from the end | sums backwards over all steps
    y = CumSum <reverse = 1> (x, scalar_1)
a beginning computed of all steps | ReduceMax "top" takes the largest of all steps
    @turned  top = ReduceMax <keepdims = 0> (x, one)  begin = Unsqueeze (top, zero)
    ["gru/node"] g = GRU <hidden_size = 3> (t, W, R, , , begin)  s = Squeeze (g, one)  @back
a beginning computed of the first step | gru: its initial state is computed from "x"
    @turned  top = Gather <axis = 0> (t, scalar_0)  begin = Unsqueeze (top, zero)
    ["gru/node"] g = GRU <hidden_size = 3> (t, W, R, , , begin)  s = Squeeze (g, one)  @back
a backward layer before an operator without a rule | gru: it reads the sequence backwards
    @turned  ["gru/node"] g = GRU <hidden_size = 3, direction = "reverse"> (t, W, R)  a = Squeeze (g, one)
    s = MeanVarianceNormalization <axes = [2]> (a)  @back
a layer that runs past the lengths | gru: it runs past the lengths of rows | lengths
    @turned  ["gru/node"] g = GRU <hidden_size = 3> (t, W, R)  s = Squeeze (g, one)  @back
branches that values choose | GRU "if/then_branch/layer/gru" reads the steps beside each step
    @turned  most = ReduceMax <keepdims = 0> (weights)  unknown = IsNaN (most)
    ["if"] s = If (unknown) <then_branch = @gru_a, else_branch = @gru_b>  @back
a layer in a loop | loop: it is a Loop, whose states the export does not look for
    @turned  @true  ["loop"] s = Loop <body = b (int64 number, bool going, float held) => (bool go_on, float next)
        { ["layer/gru"] a = GRU <hidden_size = 3> (held, W, R)  next = Squeeze (a, one)  @goes_on
        }> (two, true, t)  @back
a loop over steps | cell: it is a Loop, whose states the export does not look for
    @turned  @true  @begin  @count
    ["cell/loop"] end, s = Loop <body = @loop { @step  @goes_on }> (count, true, begin)  @back
rows one after another | GRU "y/layer/gru" reads the steps beside each step
    y = Scan <num_scan_inputs = 1, body = b (float row) => (float out) { of_one = Unsqueeze (row, one)  @of_row }> (x)
"""


@dataclasses.dataclass(frozen=True)
class KnownCut:
    """A graph, and the states that are found in it or a phrase of the reason why there are none."""

    graph: CutGraph
    result: str

    @property
    def states(self) -> list[str]:
        """The names of the states that are found."""
        return self.result.split()


def _graphs(table: str) -> dict[str, KnownCut]:
    found: dict[str, tuple[str, str, str]] = {}
    name = ""
    for line in table.splitlines():
        if line.startswith("    "):
            text = line
            for word, nodes in _SHARED.items():
                text = text.replace(word, nodes)
            found[name] = (*found[name][:2], f"{found[name][2]} {text}")
        elif line:
            name, result, option = [*map(str.strip, line.split("|")), ""][:3]
            found[name] = (result, option, "")
    return {
        name: KnownCut(
            CutGraph(nodes, has_steps=option != "last", inputs=("lengths",) if option == "lengths" else ()), result
        )
        for name, (result, option, nodes) in found.items()
    }


FOUND, OBSTACLES = _graphs(_FOUND), _graphs(_OBSTACLES)


GRU = '["gru/node"] g, h_n = GRU <hidden_size = 3> (t, W, R, , , h_0)  s = Squeeze (g, one)'
BACK = "y = Transpose <perm = [1, 0, 2]> (s)"
DECLARED: dict[str, Any] = {"inputs": ("h_0",), "states": {"h_n": "h_0"}}


@pytest.mark.parametrize("name", FOUND)
def test_parts_with_inferred_states_have_the_bits_of_the_whole(name):
    graph = FOUND[name].graph
    found = graph.parts()
    assert found.record.reason == ""
    assert found.record.steps.means == manifest_pb2.MEANS_PROVEN
    assert [tensor.name for tensor in found.record.inputs] == FOUND[name].states
    assert [tensor.continues_as for tensor in found.record.outputs] == FOUND[name].states
    assert found.data is not None


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacle_to_a_cut_is_named(name):
    found = OBSTACLES[name].graph.parts()
    assert OBSTACLES[name].result in found.record.reason
    assert found.data is None
    assert not found.record.inputs


@pytest.mark.parametrize("name", ["the first step if it is loud", "steps from a number on"])
def test_unseen_dependence_on_other_steps_is_an_obstacle(name):
    assert OBSTACLES[name].graph.parts().record.reason.endswith(UNSEEN)


def test_step_counting_prevents_cutting_declared_states():
    nodes = f"""
        t = Transpose <perm = [1, 0, 2]> (x)  {GRU}  z = Transpose <perm = [1, 0, 2]> (s)
        count = Shape <start = 1, end = 2> (x)  n = Squeeze (count)  numbers = Range (scalar_0, n, scalar_1)
        is_late = Greater (numbers, late)  f = Cast <to = 1> (is_late)  c = Unsqueeze (f, one)  y = Add (z, c)
    """
    said = CutGraph(nodes, **DECLARED).parts().record.not_continued
    assert said.startswith('cutting a sequence changes its output "y"')


def test_undeclared_state_is_found_beside_a_declared_one():
    nodes = f"""
        c = Transpose <perm = [0, 2, 1]> (x)  ["conv/node"] v = Conv <pads = [2, 0]> (c, kernel, bias)
        t = Transpose <perm = [2, 0, 1]> (v)  {GRU}  {BACK}
    """
    found = CutGraph(nodes, **DECLARED).parts()
    assert [tensor.name for tensor in found.record.inputs] == ["conv.last"]


def test_scan_over_joined_rows_and_steps_can_be_cut():
    nodes = """
        f = Reshape (x, any_3)  shape = Shape (x)
        s = Scan <num_scan_inputs = 1, body = b (float each) => (float out) { out = Tanh (each) }> (f)
        y = Reshape (s, shape)
    """
    record = CutGraph(nodes).parts().record
    assert (record.reason, list(record.inputs)) == ("", [])


def test_trial_detects_what_the_analysis_missed():
    """The parts compute something else, as if a rule were wrong."""
    graph = FOUND["a layer"].graph

    def load(data):
        runner = OnnxRunner(data)
        return lambda inputs: {name: array + (inputs["x"].shape[1] == 1) for name, array in runner(inputs).items()}

    found = find_parts(graph.description, MODEL, {MODEL: graph.model}, load)
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

    found = find_parts(graph.description, MODEL, {MODEL: graph.model}, load)
    assert found.data is None
    assert found.record.not_continued.startswith('cutting a sequence changes its output "y"')


def test_lowered_loop_has_the_states_of_its_operator():
    """The loop runs past the end of short rows, so its own state there isn't known."""
    nodes = """
        t = Transpose <perm = [1, 0, 2]> (x)  n = Cast <to = 6> (lengths)
        ["rnn/node"] all, h = RNN <hidden_size = 3> (t, W1, R1, , n)  y = Squeeze (h, zero)
    """
    graph = CutGraph(nodes, has_steps=False, inputs=("lengths",))
    native = graph.model
    files = {MODEL: native, SCAN: lower_rnn(native)}
    found = find_parts(graph.description, SCAN, files, OnnxRunner)
    assert found.record.reason == ""
    assert (found.record.file, found.record.made_of) == (PARTS, SCAN)
    assert [tensor.name for tensor in found.record.inputs] == ["rnn.h"]
    assert {node.op_type for node in onnx.load_model_from_string(found.data).graph.node} >= {"Scan"}
    del files[SCAN]
    assert find_parts(graph.description, MODEL, files, OnnxRunner).record.made_of == MODEL
