"""Every form of the RNN operator."""

import itertools

import pytest

from kit.rnn_graphs import BOTH, check_loop

OPTIONAL = [given for count in range(4) for given in itertools.combinations("BLH", count)]


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_loop_equals_any_form_of_the_operator(direction, activation):
    for given, outputs in itertools.product(OPTIONAL, (BOTH, ("Y", ""), ("", "Y_h"))):
        check_loop(direction, activation, given, outputs)
