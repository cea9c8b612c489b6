"""Which values of a graph can be NaN or infinite although its inputs are finite."""

import pytest

from kit.graph_text import graph_of
from rnnserve.export.recurrent_guard import describe_finiteness

SCAN = "num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1]"


def scan(body):
    """Write a scan over the steps of x, with the state h and the next state g."""
    loop = f"body = b (float h, float step) => (float g, float out) {{ {body}  out = Identity (g) }}"
    return f"begin = ReduceMean <keepdims = 0> (x, _1)  end, y = Scan <{SCAN}, {loop}> (begin, x)"


FINITE = {
    "a linear map": "y = MatMul (x, matrix)",
    "the root of a mean of squares": "s = Mul (x, x)  m = ReduceMean (s, _2)  y = Sqrt (m)",
    "a division by a deviation and an epsilon": (
        "s = Mul (x, x)  m = ReduceMean (s, _2)  d = Sqrt (m)  e = Add (d, tiny)  y = Div (x, e)"
    ),
    "the logarithm of a square and an epsilon": "s = Mul (x, x)  e = Add (s, tiny)  y = Log (e)",
    "the exponential of a tanh": "t = Tanh (x)  y = Exp (t)",
    "softmax": "y = Softmax (x)",
    "the logarithm of what is clamped": "c = Clip (x, tiny)  y = Log (c)",
    "a square by Pow": "y = Pow (x, two)",
    "a normalization": "y = LayerNormalization <axis = -1> (x, ones, zeros)",
    "integers of what is not finite": "l = Log (x)  i = Cast <to = 7> (l)  y = Cast <to = 1> (i)",
    "a bounded state": scan("a = Add (h, step)  g = Tanh (a)"),
    "a decaying state": scan("z = Sigmoid (step)  g = Mul (z, h)"),
}
NOT_FINITE = {
    "a logarithm": "y = Log (x)",
    "the logarithm of a sum that may be negative": "e = Add (x, tiny)  y = Log (e)",
    "a root": "y = Sqrt (x)",
    "an exponential": "y = Exp (x)",
    "a division by a deviation": "s = Mul (x, x)  m = ReduceMean (s, _2)  d = Sqrt (m)  y = Div (x, d)",
    "a division by what may be zero": "r = Relu (x)  y = Div (x, r)",
    "a reciprocal": "y = Reciprocal (x)",
    "a high power": "y = Pow (x, four)",
    "a normalization without an epsilon": "y = LayerNormalization <axis = -1, epsilon = 0.0> (x, ones, zeros)",
    "a normalization of squares, whose squares overflow": (
        "s = Mul (x, x)  y = LayerNormalization <axis = -1> (s, ones, zeros)"
    ),
    "a mask of infinity": "y = Where (true, x, minus_infinity)",
    "what is computed of a logarithm": "l = Log (x)  y = MatMul (l, matrix)",
    "an operator without a rule": "y = Acos (x)",
    "a sum without end": scan("g = Add (h, step)"),
    "a state of a logarithm": scan("l = Log (step)  g = Tanh (l)"),
}


@pytest.mark.parametrize("name", [*FINITE, *NOT_FINITE])
def test_output_that_may_be_non_finite_is_recorded(name):
    nodes = FINITE.get(name) or NOT_FINITE[name]
    described = describe_finiteness(graph_of(nodes).SerializeToString(), finite_inputs=True, is_guarded=True)
    assert list(described.outputs) == ([] if name in FINITE else ["y"])
