"""Guarded recurrent operators: NaN where PyTorch has NaN, by rows and steps. Finite results keep their bits."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kit.graph_text import INPUTS, described, graph_of
from kit.guarded_layers import check_guarded, check_same_bits, subject
from rnnserve.export.analysis import Property, Verdict, decide
from rnnserve.export.recurrent_guard import describe_finiteness, guard_recurrences

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


CELLS = ["GRU", "RNN relu"]


@pytest.mark.parametrize("cell", CELLS)
def test_guarded_layer_has_nan_where_eager_has_it(cell):
    check_guarded(cell, "forward", ((2, 1), (5, 0)))


@pytest.mark.parametrize("cell", CELLS)
def test_guarded_layer_keeps_the_bits_of_finite_results(cell):
    check_same_bits(cell)


def test_guard_is_added_only_if_nan_would_become_a_number():
    for cell in (*CELLS, "RNN tanh"):
        _, _, plain, guarded = subject(cell)
        assert (guarded == plain) == (cell == "RNN tanh")
        # With finite inputs, the gates of a GRU are bounded, but states of relu can grow forever.
        assert (guard_recurrences(plain) == plain) == (cell != "RNN relu")


def test_inputs_that_would_lose_nan_are_recorded():
    _, _, plain, guarded = subject("GRU")
    recorded = describe_finiteness(plain, finite_inputs=True, is_guarded=True)
    assert (list(recorded.lost_inputs), list(recorded.outputs), recorded.allowed) == (["x", "h_0"], [], False)
    allowed = describe_finiteness(guarded, finite_inputs=False, is_guarded=True)
    assert (list(allowed.lost_inputs), allowed.allowed) == ([], True)
    assert {"y", "h_n"} <= set(allowed.outputs)


@pytest.mark.parametrize("operator", GATES)
def test_guard_changes_only_the_verdict_on_padding_read_backward(operator):
    for direction, lengths in itertools.product(("forward", "reverse", "bidirectional"), ("", ", n")):
        directions = 1 + (direction == "bidirectional")
        relu = ", ".join(['"Relu"'] * directions)
        activations = f", activations = [{relu}]" if operator == "RNN" else ""
        nodes = f"""
            t = Transpose <perm = [1, 0, 2]> (x)  l = Log (t)  n = Cast <to = 6> (lengths)
            r, h = {operator} <hidden_size = 3, direction = "{direction}"{activations}> (l, V, V, C{lengths})
            s = ReduceSum <keepdims = 0> (r, _1)  y = Transpose <perm = [1, 0, 2]> (s)
        """
        rows = 3 * GATES[operator]
        shapes = {"V": (directions, rows, 3), "C": (directions, 2 * rows)}
        plain = graph_of(nodes, constants={name: np.ones(shape, np.float32) for name, shape in shapes.items()})
        plain.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", 3]))
        guarded = onnx.load_model_from_string(guard_recurrences(plain.SerializeToString()))
        assert guarded != plain
        output = [described("y", ("batch", "sequence", 3))]
        verdicts = [
            {kind: found["y"].verdict for kind, found in decide(model, INPUTS, output).items()}
            for model in (plain, guarded)
        ]
        if direction != "forward" and lengths:  # a sum that runs backward over what is masked is tried
            assert verdicts[1].pop(Property.PADDING) is Verdict.NOT_DECIDED
            assert verdicts[0].pop(Property.PADDING) is Verdict.PROVEN
        assert verdicts[0] == verdicts[1]
