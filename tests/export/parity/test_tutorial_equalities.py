"""The tutorial's equalities, in eager and in ONNX: final states, parts, padding."""

import numpy as np
import pytest

from rnnserve.export.parity import OnnxRunner
from rnnserve.export.tensors import draw_inputs
from rnnserve.protos.protocol_words import BATCH

BATCH_SIZE, LENGTH, CUT = 64, 12, 4
ARCHITECTURES = [
    {"cell": "rnn"},
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "num_layers": 2, "bidirectional": True},
]


@pytest.fixture(params=ARCHITECTURES, ids=lambda sizes: sizes["cell"])
def classifier(request, subject):
    return subject(**request.param)


@pytest.fixture(params=["eager", "onnx"])
def compute(request, classifier):
    return classifier.reference.eager if request.param == "eager" else OnnxRunner(classifier.model)


def drawn(classifier, *, ragged):
    sizes = {BATCH: BATCH_SIZE, "sequence": LENGTH}
    return draw_inputs(classifier.described.inputs, np.random.default_rng(1), sizes, ragged=ragged, bounded_states=True)


def test_final_state_is_the_last_output_of_each_direction(classifier, compute):
    inputs = drawn(classifier, ragged=True)
    found, architecture = compute(inputs), classifier.classifier.architecture
    output, hidden = found["output"], architecture.hidden  # output (batch, sequence, directions * hidden)
    ends = [output[np.arange(BATCH_SIZE), inputs["lengths"] - 1, :hidden], output[:, 0, hidden:]]
    expected = np.stack(ends[: architecture.directions])  # (directions, batch, hidden)
    assert np.array_equal(found["h_n"][-architecture.directions :], expected)


def test_sequence_in_two_parts_equals_the_whole(classifier, compute):
    if classifier.classifier.architecture.bidirectional:
        return
    inputs = drawn(classifier, ragged=False)
    states = {each.name: each.continues_as for each in classifier.described.outputs if each.continues_as}
    first, second = (
        inputs | {"input": points, "lengths": np.full(BATCH_SIZE, points.shape[1])}
        for points in (inputs["input"][:, :CUT], inputs["input"][:, CUT:])
    )
    before = compute(first)
    parts = compute(second | {initial: before[final] for final, initial in states.items()})
    parts["output"] = np.concatenate([before["output"], parts["output"]], axis=1)
    for name, expected in classifier.reference.exact(inputs).items():
        np.testing.assert_allclose(parts[name], expected, rtol=0, atol=4e-6)


def test_values_after_the_length_of_a_row_change_no_bit(classifier, compute):
    inputs = drawn(classifier, ragged=True)
    padding = (np.arange(LENGTH) >= inputs["lengths"][:, None])[..., None]  # (batch, sequence, 1)
    zeros, large = (
        compute(inputs | {"input": np.where(padding, np.float32(value), inputs["input"])}) for value in (0.0, 1e4)
    )
    assert all(np.array_equal(zeros[name], large[name]) for name in zeros)
