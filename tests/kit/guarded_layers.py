"""Recurrent layers with all their inputs and outputs, exported with guards against NaN and without."""

import functools
import itertools

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import export_onnx
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.recurrent_guard import guard_recurrences

STEPS, ROWS, FEATURES, HIDDEN = 6, 4, 3, 5
FORMS = {  # bidirectional, layers, packed
    "forward": (False, 1, False),
    "two layers": (False, 2, False),
    "both directions, two layers, packed": (True, 2, True),
}


class Recurrent(nn.Module):
    """Gives all that a recurrent layer gives."""

    def __init__(self, layer, *, packed):
        super().__init__()
        self.layer, self.packed = layer, packed

    def forward(self, x, h_0, c_0, lengths):
        given = pack_padded_sequence(x, lengths, enforce_sorted=False) if self.packed else x
        y, state = self.layer(given, (h_0, c_0) if isinstance(self.layer, nn.LSTM) else h_0)
        if self.packed:
            y, _ = pad_packed_sequence(y, total_length=x.size(0))
        h_n, c_n = state if isinstance(state, tuple) else (state, c_0 + 0)
        return y, h_n, c_n, lengths + 0


@functools.cache
def subject(cell, form="forward"):
    """Give a module, its usual inputs, its ONNX model, and the same with guards; a cell such as "GRU" or "RNN relu"."""
    bidirectional, layers, packed = FORMS[form]
    kind, _, activation = cell.partition(" ")
    more = {"nonlinearity": activation} if activation else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = getattr(nn, kind)(FEATURES, HIDDEN, layers, bidirectional=bidirectional, **more)
        states = [torch.randn(layers * (1 + bidirectional), ROWS, HIDDEN) for _ in range(2)]
        arguments = (torch.randn(STEPS, ROWS, FEATURES), *states, torch.tensor([6, 3, 4, 5]))
    module = Recurrent(layer, packed=packed).eval()
    names = ["x", "h_0", "c_0", "lengths"]
    program = export_onnx(
        module,
        arguments,
        input_names=names,
        output_names=["y", "h_n", "c_n", "ends"],
        dynamic_shapes=({0: "sequence", 1: "batch"}, {1: "batch"}, {1: "batch"}, {0: "batch"}),
    )
    plain = program.model_proto.SerializeToString(deterministic=True)
    inputs = {name: tensor.numpy() for name, tensor in zip(names, arguments, strict=True)}
    return module, inputs, plain, guard_recurrences(plain, finite_inputs=False)


def eager_of(module, inputs):
    with torch.no_grad():
        results = module(*(torch.from_numpy(array.copy()) for array in inputs.values()))
    return {name: tensor.numpy() for name, tensor in zip(("y", "h_n", "c_n"), results, strict=False)}


def bad_steps(array):
    """Say which steps hold a number that is not finite."""
    return (~np.isfinite(array)).any(axis=-1)


def check_guarded(cell, form, places):
    """Put NaN and infinities at steps and rows of each input. Guarded models have them where eager has them."""
    module, inputs, plain, guarded = subject(cell, form)
    runners = [OnnxRunner(guarded)]
    lowered = lower_rnn(guarded)
    assert (lowered is not None) == cell.startswith("RNN")
    if lowered is not None:
        runners.append(OnnxRunner(lowered))
    unguarded, lost = OnnxRunner(plain), False
    for name, value, (step, row) in itertools.product(("x", "h_0", "c_0"), (np.nan, np.inf, -np.inf), places):
        changed = {key: array.copy() for key, array in inputs.items()}
        changed[name][step % len(changed[name]), row, 1] = value
        eager = eager_of(module, changed)
        for runner in runners:
            found = runner(changed)
            for output, expected in eager.items():
                bad = bad_steps(expected)
                np.testing.assert_array_equal(bad_steps(found[output]), bad)
                np.testing.assert_allclose(found[output][~bad], expected[~bad], atol=1e-5)
        lost |= any(
            np.isfinite(unguarded(changed)[output]).all() and not np.isfinite(eager[output]).all() for output in eager
        )
    assert lost  # without guards, some NaN become finite numbers


def check_same_bits(cell, form="forward"):
    _, inputs, plain, guarded = subject(cell, form)
    before, after = OnnxRunner(plain)(inputs), OnnxRunner(guarded)(inputs)
    assert {name: array.tobytes() for name, array in before.items()} == {
        name: array.tobytes() for name, array in after.items()
    }
