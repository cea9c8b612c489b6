"""Every tensor that the tutorial prints, at the precision it prints them."""

import itertools

import pytest
import torch
from torch import nn, tensor

from rnnserve.models import ArchitectureError, tutorial

FIRST = {
    "weight_ih": tensor([[0.6627, -0.4245], [0.5373, 0.2294]]),
    "weight_hh": tensor([[-0.4015, -0.5385], [-0.1956, -0.6835]]),
    "bias_ih": tensor([0.4954, 0.6533]),
    "bias_hh": tensor([-0.3565, -0.2904]),
}

SECOND = {
    "weight_ih": tensor([[-0.6701, -0.5811], [-0.0170, -0.5856]]),
    "weight_hh": tensor([[0.1159, -0.6978], [0.3241, -0.0983]]),
    "bias_ih": tensor([-0.3163, -0.2153]),
    "bias_hh": tensor([0.0722, -0.3242]),
}

STACKED = (
    tensor([[[-0.7533, -0.7711], [-0.0566, -0.5960], [0.4324, -0.2908], [0.1563, -0.5152]]]),
    tensor([[[-0.5297, 0.3551]], [[0.1563, -0.5152]]]),
)

INPUT = tensor([[[1.0349, 0.9661], [0.8055, -0.9169], [-0.8251, -0.9499], [-0.8670, 0.9342]]])

FORWARDS = tensor([[[0.3924, 0.8146], [0.4347, -0.0481], [-0.1521, -0.3367], [-0.5297, 0.3551]]])

BACKWARDS = tensor([[[-0.9355, -0.8353], [-0.1766, 0.2596], [0.8829, 0.0425], [-0.2032, -0.7901]]])

BOTH = tensor(
    [
        [
            [0.3924, 0.8146, -0.9355, -0.8353],
            [0.4347, -0.0481, -0.1766, 0.2596],
            [-0.1521, -0.3367, 0.8829, 0.0425],
            [-0.5297, 0.3551, -0.2032, -0.7901],
        ]
    ]
)

BOTH_FINAL = tensor([[[-0.5297, 0.3551]], [[-0.9355, -0.8353]]])


def assert_printed(found, printed):
    """Four decimals: what was printed is at most half a unit of the fourth away."""
    torch.testing.assert_close(found, printed, rtol=0, atol=5.01e-5)


def assert_weights(state, expected):
    assert list(state) == list(expected)
    for key, printed in expected.items():
        assert_printed(state[key], printed)


def suffixed(weights, suffix):
    return {f"{key}{suffix}": value for key, value in weights.items()}


def test_1_2_the_weights_of_a_cell():
    assert_weights(tutorial.rnn_cell().state_dict(), FIRST)


def test_1_3_the_layer_is_the_cell_in_a_loop():
    output, h_n = tutorial.cell_in_a_loop()
    layer_output, layer_h_n = tutorial.permuted_to_sequence_first()
    torch.testing.assert_close(output, layer_output)
    torch.testing.assert_close(h_n[None], layer_h_n)


def test_1_4_2_a_batch_first_tensor():
    assert tutorial.sample_batch().shape == (3, 4, 2)
    assert tutorial.sample_batch().dtype == torch.float32
    assert_printed(tutorial.first_sequence(), INPUT)


def test_1_4_3_option_2_batch_first_output_but_not_state():
    output, h_n = tutorial.batch_first()
    assert (output.shape, h_n.shape) == ((3, 4, 2), (1, 3, 2))
    permuted = tutorial.permuted_to_sequence_first()
    assert torch.equal(output.permute(1, 0, 2), permuted.output)
    assert torch.equal(h_n, permuted.h_n)


def test_1_4_3_the_last_output_of_a_simple_rnn_is_its_final_state():
    run = tutorial.batch_first()
    assert (run.output.permute(1, 0, 2)[-1] == run.h_n).all()
    assert torch.equal(tutorial.output_ends_in_final_state(run), torch.ones(3, 2, dtype=torch.bool))


def test_1_5_1_each_layer_by_hand_has_its_own_weights():
    layers = tutorial.manually_stacked(tutorial.rnn_layer(num_layers=2, batch_first=True)).layers
    assert_weights(layers[0].state_dict(), suffixed(FIRST, "_l0"))
    assert_weights(layers[1].state_dict(), suffixed(SECOND, "_l0"))


def test_1_5_1_stacked_by_hand():
    output, h_n = tutorial.manual_stack()
    assert_printed(output, STACKED[0])
    assert_printed(h_n, STACKED[1])


def test_1_5_1_stacked_at_once():
    output, h_n = tutorial.stacked()
    assert_printed(output, STACKED[0])
    assert_printed(h_n, STACKED[1])


def test_1_5_1_the_last_output_is_the_last_layer_s_final_state():
    run = tutorial.stacked()
    assert (run.output[:, -1] == run.h_n.permute(1, 0, 2)[:, -1]).all()
    assert torch.equal(tutorial.output_ends_in_final_state(run), tensor([[True, True]]))


def test_1_6_1_each_direction_by_hand_has_its_own_weights():
    halves = tutorial.manually_bidirectional(tutorial.rnn_layer(batch_first=True, bidirectional=True))
    assert_weights(halves.forwards.state_dict(), suffixed(FIRST, "_l0"))
    assert_weights(halves.backwards.state_dict(), suffixed(SECOND, "_l0"))


def test_1_6_1_a_sequence_and_its_reverse():
    made = tutorial.manual_bidirectional()
    assert_printed(made.input, INPUT)
    assert_printed(made.input_reversed, INPUT[:, [3, 2, 1, 0]])


def test_1_6_2_two_directions_by_hand():
    made = tutorial.manual_bidirectional()
    assert_printed(made.forwards.output, FORWARDS)
    assert_printed(made.backwards.output, BACKWARDS)
    assert_printed(made.together.output, BOTH)
    assert_printed(made.together.h_n, BOTH_FINAL)
    assert torch.equal(made.together.h_n, torch.cat([made.forwards.h_n, made.backwards.h_n]))


def test_1_6_2_two_directions_at_once():
    output, h_n = tutorial.bidirectional()
    assert_printed(output, BOTH)
    assert_printed(h_n, BOTH_FINAL)


def test_1_6_2_the_last_output_is_not_the_final_state_of_two_directions():
    run = tutorial.bidirectional()
    assert torch.equal(run.output[:, -1] == run.h_n.permute(1, 0, 2).view(1, -1), tensor([[True, True, False, False]]))
    assert torch.equal(tutorial.output_ends_in_final_state(run, directions=2), tensor([[True, True, False, False]]))


def test_global_generator_is_unchanged():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tutorial.manual_bidirectional()
    tutorial.manual_stack()
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
@torch.no_grad()
def test_manual_stack_equals_the_stacked_layer(cell):
    either = (False, True)
    for two_ways, batch_first, layers, bias in itertools.product(either, either, (1, 3, 12), either):
        whole = cell(3, 5, layers, batch_first=batch_first, bidirectional=two_ways, bias=bias)
        input, state = torch.randn(4, 4, 3), states(cell, layers * (1 + two_ways))
        assert_same(tutorial.manually_stacked(whole)(input, state), whole(input, state))
        assert_same(tutorial.manually_stacked(whole)(input), whole(input))


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
@torch.no_grad()
def test_manual_directions_equal_the_bidirectional_layer(cell):
    for batch_first in (False, True):
        whole = cell(3, 5, batch_first=batch_first, bidirectional=True).double()
        input, state = torch.randn(4, 4, 3).double(), states(cell, 2, torch.float64)
        assert_same(tutorial.manually_bidirectional(whole)(input, state), whole(input, state))
        assert_same(tutorial.manually_bidirectional(whole)(input), whole(input))


@pytest.mark.parametrize("whole", [nn.RNN(2, 2), nn.RNN(2, 2, 2, bidirectional=True)])
def test_other_layers_cannot_be_split_by_direction(whole):
    with pytest.raises(ArchitectureError, match="expected 1 layer and 2 directions"):
        tutorial.manually_bidirectional(whole)


def test_projections_cannot_be_split():
    with pytest.raises(ArchitectureError, match="proj_size 2"):
        tutorial.manually_stacked(nn.LSTM(3, 5, 2, proj_size=2))


def states(cell, rows, dtype=torch.float32):
    h_0 = torch.randn(rows, 4, 5, dtype=dtype)
    return (h_0, torch.randn(rows, 4, 5, dtype=dtype)) if cell is nn.LSTM else h_0


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
