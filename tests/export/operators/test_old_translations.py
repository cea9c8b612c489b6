"""Graphs that torch's optimizer and all of its translations made are found by what is in them."""

import pytest
import torch
from torch import nn

from kit.graph_text import graph_of
from rnnserve.export import script
from rnnserve.export.old_translations import old_translations
from rnnserve.export.recurrence.exporter_metadata import TRANSLATED_BY

ATTENTION = """
    seen = Greater (x, zero)  m = Where (seen, zero, minus_infinity)  s = Add (x, m)  w = Softmax (s)
    n = IsNaN (w)  k = Where (n, zero, w)  p = MatMul (k, x)
"""
WRONG = {
    "a CumSum": "e = Exp (x)  s = CumSum (e, scalar_1)  y = Log (s)",
    "a Sigmoid": "s = Sigmoid (x)  c = Cast <to = 1> (s)  y = Log (c)",
    "a sum of two Exp": "a = Exp (x)  n = Neg (x)  b = Exp (n)  s = Add (a, b)  y = Log (s)",
    "a Softplus": "s = Softplus (x)  y = Log (s)",
    "instance and group norm": "y = InstanceNormalization (x, ones, zeros)",
    "interpolate": "y = Resize (x, , , _1_1_2)",
    "divides by a Sqrt": "s = Sqrt (x)  y = Div (x, s)",
    "divides by a ReduceL2": "s = ReduceL2 (x, _1)  y = Div (x, s)",
    "a mask hides all": f"{ATTENTION}  y = Identity (p)",
}
RIGHT = [
    f"{ATTENTION}  y = Where (seen, p, zero)",
    "m = Where (true, zero, minus_infinity)  s = Add (x, m)  y = Softmax (s)",
    "s = ReduceL2 (x, _1)  e = Add (s, tiny)  y = Div (x, e)",
    "s = Softplus (x)  e = Add (s, tiny)  y = Log (e)",
    "e = Exp (x)  s = Add (e, half)  y = Log (s)",
    "a = LogSoftmax (x)  b = Sigmoid (x)  y = Add (a, b)",
]


def found(nodes, module=None, *, is_marked=False):
    model = graph_of(nodes)
    if is_marked:
        model.metadata_props.add(key=TRANSLATED_BY, value="x")
    return list(old_translations(model.SerializeToString(), module))


@pytest.mark.parametrize("phrase", WRONG)
def test_graph_of_an_old_translation_is_found(phrase):
    (line,) = found(WRONG[phrase])
    assert phrase in line
    assert line.endswith("publish it again")


@pytest.mark.parametrize("nodes", RIGHT)
def test_graph_that_has_its_constants_is_left_alone(nodes):
    assert found(nodes) == []


def test_only_attention_that_sees_nothing_is_found_in_a_marked_graph():
    assert [phrase for phrase, nodes in WRONG.items() if found(nodes, is_marked=True)] == ["a mask hides all"]


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 1.0000001 - 1e-9) / (x.abs() + 1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_constant_of_the_script_that_the_graph_lost_is_named():
    lines = found("y = Identity (x)", script(Scaled()))
    assert len(lines) == 2
    assert "the constant 1e-09 of the module is not in the graph" in lines[0]
    assert found("y = Sub (x, tiny)", script(Scaled())) == lines[1:]
