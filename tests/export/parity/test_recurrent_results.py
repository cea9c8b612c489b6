"""A script may take the results of recurrent layers from eager, but only those it would have computed itself."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export.parity import recurrent_results
from rnnserve.export.parity.recurrent_results import RecurrentResults, is_same

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN}

INPUTS = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 2, 4])


class Padded(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor, _lengths: torch.Tensor):
        return self.head(self.layer(x)[0].mul_(2))  # writes what eager gave


class Packed(Padded):
    def forward(self, x: torch.Tensor, lengths: torch.Tensor):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


@pytest.fixture(autouse=True)
def _keeps_small_calls(monkeypatch):
    monkeypatch.setattr(recurrent_results, "_LEAST_PRODUCTS", 1)


def made(kind, name, **options):
    torch.manual_seed(0)
    return kind(LAYERS[name](3, 4, num_layers=2, batch_first=True, **options)).eval()


def ran(module, other, inputs=INPUTS, others=INPUTS, between=lambda: None):
    """Run a module, then the script of another: both results, how often it took one, and how often it ran."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(other)
    results, runs = RecurrentResults(), []

    def run():
        with torch.no_grad():
            runs.append(script(*others))
        return {"y": runs[-1].numpy()}

    with torch.no_grad():
        with results.kept():
            eager = module(*inputs)
        between()
        expected = other(*others)
    found = torch.from_numpy(results.given_to(run, {"y": eager.numpy()})["y"])
    assert torch.equal(found, expected)
    return results.taken, len(runs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", [Padded, Packed])
def test_script_takes_the_results_of_eager(kind, name):
    module = made(kind, name)
    assert ran(module, module) == (1, 1)


def test_other_weights_or_inputs_are_computed():
    module, other = made(Padded, "lstm"), made(Padded, "lstm")
    with torch.no_grad():
        bias = other.layer.bias_hh_l1
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    assert ran(module, other)[0] == 0
    x, lengths = INPUTS
    zero = torch.zeros(3, 5, 3)
    for one, another in ((x, x[:2].clone()), (zero, -zero), (x, x[:, 1:].clone())):
        assert ran(module, module, (one, lengths), (another, lengths))[0] == 0


def test_weights_or_inputs_written_after_eager_are_computed():
    module, x = made(Padded, "gru"), INPUTS[0].clone()
    assert ran(module, module, (x, INPUTS[1]), (x, INPUTS[1]), between=lambda: x.mul_(2))[0] == 0
    assert ran(module, module, between=lambda: module.layer.weight_hh_l0.add_(1))[0] == 0


def test_another_operator_of_the_same_arguments_is_computed():
    torch.manual_seed(0)
    tanh = Padded(nn.RNN(3, 4, batch_first=True)).eval()
    relu = Padded(nn.RNN(3, 4, batch_first=True, nonlinearity="relu")).eval()
    relu.load_state_dict(tanh.state_dict())
    assert ran(tanh, relu)[0] == 0


def test_small_calls_are_computed(monkeypatch):
    monkeypatch.setattr(recurrent_results, "_LEAST_PRODUCTS", 1 << 24)
    module = made(Padded, "lstm")
    assert ran(module, module)[0] == 0
    long = torch.zeros(3, 40, 3), torch.tensor([40, 2, 4])  # each step takes some time
    assert ran(module, module, long, long)[0] == 1


def test_same_results_have_the_same_bits():
    one = np.array([0.0, np.nan], np.float32)
    assert is_same({"y": one}, {"y": one.copy()})
    for other in (np.array([-0.0, np.nan], np.float32), -one, one.astype(np.float64), one[None]):
        assert not is_same({"y": one}, {"y": other})
    assert not is_same({"y": one}, {"y": one, "z": one})
