"""What a script takes from eager is what it would have computed, and nothing else is taken."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export.parity import recurrent_results
from rnnserve.export.parity.recurrent_results import RecurrentResults, is_same

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN}


class Padded(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor, _lengths: torch.Tensor):
        return self.head(self.layer(x)[0].mul_(2))  # what eager gave is written afterwards


class Packed(Padded):
    def forward(self, x: torch.Tensor, lengths: torch.Tensor):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


@pytest.fixture(autouse=True)
def _keeps_small_calls(monkeypatch):
    monkeypatch.setattr(recurrent_results, "_LEAST_PRODUCTS", 1)


def made(kind: type[Padded], name: str, **options):
    torch.manual_seed(0)
    return kind(LAYERS[name](3, 4, num_layers=2, batch_first=True, **options)).eval()


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


INPUTS = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 2, 4])


class Runs:
    """Runs of a script, and what it gave."""

    def __init__(self, script, inputs):
        self._script, self._inputs = script, inputs
        self.found: list[torch.Tensor] = []

    def __call__(self):
        with torch.no_grad():
            self.found.append(self._script(*self._inputs))
        return {"y": self.found[-1].numpy()}


def ran(module, script, inputs=INPUTS, others=INPUTS):
    """Run a module and a script that may take its results; give both results, what it took, and its runs."""
    results, runs = RecurrentResults(), Runs(script, others)
    with torch.no_grad(), results.kept():
        eager = module(*inputs)
    found = results.given_to(runs, {"y": eager.numpy()})["y"]
    return eager, torch.from_numpy(found), results.taken, runs.found


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", [Padded, Packed])
def test_a_script_takes_what_eager_gave(kind, name):
    module = made(kind, name)
    with torch.no_grad():
        expected = module(*INPUTS)
    eager, found, taken, runs = ran(module, scripted(module))
    assert (taken, len(runs)) == (1, 1)
    assert torch.equal(eager, expected)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_of_another_bit_is_computed(name):
    module = made(Padded, name)
    other = made(Padded, name)
    with torch.no_grad():
        bias = other.layer.bias_hh_l1
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
        expected = other(*INPUTS)
    _, found, taken, _ = ran(module, scripted(other))
    assert taken == 0
    assert torch.equal(found, expected)


def test_a_weight_that_was_written_since_is_computed():
    module, results = made(Padded, "gru"), RecurrentResults()
    with torch.no_grad():
        with results.kept():
            module(*INPUTS)
        module.layer.weight_hh_l0.add_(1)
        expected = module(*INPUTS)
    found = results.given_to(Runs(scripted(module), INPUTS), {"y": expected.numpy()})["y"]
    assert results.taken == 0
    assert torch.equal(torch.from_numpy(found), expected)


def test_inputs_that_differ_in_a_bit_or_a_shape_are_computed():
    module = made(Padded, "lstm")
    script = scripted(module)
    x, lengths = INPUTS
    zero, minus = torch.zeros(3, 5, 3), -torch.zeros(3, 5, 3)
    for one, other in ((x, x[:2].clone()), (zero, minus), (x, x[:, 1:].clone())):
        _, found, taken, _ = ran(module, script, (one, lengths), (other, lengths))
        assert taken == 0
        with torch.no_grad():
            assert torch.equal(found, module(other, lengths))


def test_inputs_that_eager_has_written_are_those_before():
    module, results, x = made(Padded, "gru"), RecurrentResults(), INPUTS[0].clone()
    with torch.no_grad():
        with results.kept():
            module(x, INPUTS[1])
        x.mul_(2)
        expected = module(x, INPUTS[1])
    results.given_to(Runs(scripted(module), (x, INPUTS[1])), {"y": expected.numpy()})
    assert results.taken == 0


def test_layers_that_drop_at_random_are_computed():
    module = made(Padded, "gru", dropout=0.5).train()
    _, _, taken, runs = ran(module, scripted(module))
    assert (taken, len(runs)) == (0, 1)


def test_a_script_of_other_results_is_run_again_by_itself():
    class Other(Padded):
        def forward(self, x: torch.Tensor, _lengths: torch.Tensor):
            return self.head(self.layer(x)[0])

    module = made(Padded, "lstm")
    other = Other(module.layer)
    other.head = module.head
    eager, found, taken, runs = ran(module, scripted(other))
    assert (taken, len(runs)) == (1, 2)
    assert not torch.equal(found, eager)
    with torch.no_grad():
        assert torch.equal(found, other(*INPUTS))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (np.array([0.0, np.nan], np.float32), True),
        (np.array([-0.0, np.nan], np.float32), False),
        (np.array([0.0, -np.nan], np.float32), False),
        (np.array([0.0, np.nan]), False),
        (np.array([[0.0, np.nan]], np.float32), False),
    ],
)
def test_the_same_results_have_the_same_bits(other, same):
    one = {"y": np.array([0.0, np.nan], np.float32)}
    assert is_same(one, {"y": other}) is same
    assert not is_same(one, one | {"z": other})
    assert is_same({"y": np.array(True)}, {"y": np.array(True)})


def test_small_calls_are_computed(monkeypatch):
    monkeypatch.setattr(recurrent_results, "_LEAST_PRODUCTS", 1 << 24)
    for kind in (Padded, Packed):
        module = made(kind, "lstm")
        assert ran(module, scripted(module))[2] == 0
        long = torch.zeros(3, 40, 3), torch.tensor([40, 2, 4])  # each step takes some time
        assert ran(module, scripted(module), long, long)[2] == 1


def test_another_operator_of_the_same_arguments_is_computed():
    torch.manual_seed(0)
    tanh = Padded(nn.RNN(3, 4, batch_first=True)).eval()
    relu = Padded(nn.RNN(3, 4, batch_first=True, nonlinearity="relu")).eval()
    relu.load_state_dict(tanh.state_dict())
    _, found, taken, _ = ran(tanh, scripted(relu))
    assert taken == 0
    with torch.no_grad():
        assert torch.equal(found, relu(*INPUTS))
