"""`scan` in eager, its arguments, and the scan that the refusal of a loop shows."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx, scan

X, H = torch.zeros(2, 5, 3), torch.zeros(2, 4)


@pytest.mark.parametrize("reverse", [False, True])
def test_eager_scan_equals_the_layer_and_has_gradients(reverse):
    torch.manual_seed(6)
    lstm, cell = nn.LSTM(3, 4, batch_first=True), nn.LSTMCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in lstm.state_dict().items()})
    input, zeros = torch.randn(2, 5, 3), torch.zeros(2, 4)

    def step(state, x):
        h, c = cell(x, state)
        return (h, c), h

    (h_n, _), output = scan(step, (zeros, zeros), input, dim=1, reverse=reverse)
    expected, (h_n_expected, _) = lstm(input.flip(1) if reverse else input)
    torch.testing.assert_close(output.flip(1) if reverse else output, expected)
    torch.testing.assert_close(h_n, h_n_expected[0])
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in cell.parameters())


@pytest.mark.parametrize(
    ("states", "sequences", "dim", "message"),
    [
        ([None], [X], 1, r"init with NoneType; .*Use zeros instead of a state that is None before the first step"),
        ([H, 3, None], [X], 1, "init with int, NoneType"),
        ([], [X], 1, "init with no tensor"),
        ([H], ["x"], 1, "xs with str"),
        ([H], [], 1, "xs with no tensor"),
        ([H], [X], 3, r"dim=3 for xs of shapes \[\(2, 5, 3\)\]; all of them need that axis"),
        ([H], [X], -4, "dim=-4 for xs"),
        ([H], [X, H], 2, "dim=2 for xs"),
        ([H], [X, X[:, :4]], 1, r"\[5, 4\] steps along axis 1; all of them need the same number"),
        ([H], [X[:, :0]], 1, "without steps"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(states, sequences, dim, message):
    with pytest.raises(UnsupportedModule, match=rf"scan got .*{message}"):
        scan(lambda state, step: (state, step), states, sequences, dim=dim)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda _, x: (5, x), "returns the state int; expected a tensor"),
        (lambda h, x: (h[:, :3], x), r"changes the state from \(2, 4\), torch.float32, to \(2, 3\)"),
        (lambda h, x: (h.double(), x), r"changes the state from .*torch.float32, to \(2, 4\), torch.float64"),
        (lambda h, x: ((h, h), x), "changes the structure of the state"),
        (lambda h, _: (h, torch.zeros(())), r"output \(\); expected a tensor of at least 1 axes"),
        (lambda h, _: (h, None), "output NoneType; expected a tensor"),
    ],
)
def test_steps_that_do_not_fit_are_refused(step, message):
    with pytest.raises(UnsupportedModule, match=f"a step of scan .*{message}"):
        scan(step, H, X, dim=1)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_scan_runs_along_the_given_axis(dim):
    count, output = scan(lambda count, x: (count + 1, x), torch.zeros(()), X, dim=dim)
    assert count == X.shape[dim]
    assert output.shape == X.shape


def export(module):
    return export_onnx(
        module,
        (torch.randn(3, 4, 3),),
        input_names=["input"],
        output_names=[f"output_{number}" for number, _ in enumerate(torch.utils._pytree.tree_leaves(module(X)))],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
