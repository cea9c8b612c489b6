"""A right export passes parity, whatever the architecture, and leaves a record."""

import itertools

import pytest

SIMPLE: dict = {}
STACKED = {"num_layers": 2}
BIDIRECTIONAL = {"cell": "gru", "bidirectional": True}


@pytest.mark.parametrize("sizes", [SIMPLE, STACKED, BIDIRECTIONAL], ids=["simple", "stacked", "bidirectional"])
def test_correct_export_is_recorded_for_every_tensor_and_length(proven, sizes):
    parity = proven(**sizes)
    assert list(parity.batch_sizes) == [*range(1, 34), 64]
    assert list(parity.lengths) == [1, 2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]
    kinds, tensors = ("step", "random", "sample"), ("logits", "output", "h_n")
    assert {(row.input, row.tensor) for row in parity.distances} == set(itertools.product(kinds, tensors))
    for row in parity.distances:
        for pair in ("onnx_from_eager", "eager_from_float64", "onnx_from_float64"):
            largest, rms = getattr(row, f"{pair}_max"), getattr(row, f"{pair}_rms")
            assert 0 <= rms <= largest < 1e-4
    assert any(row.eager_from_float64_rms > 0 for row in parity.distances)
    assert list(parity.amplified) == []


def test_record_names_all_comparisons(proven):
    assert list(proven().checks) == [
        "torchscript: names, shapes, dtypes, values as in eager, bit for bit",
        "onnx: names, axis names, dtypes, shapes",
        "onnx: single steps from arbitrary states, within a few ulps of eager",
        "onnx: whole random sequences, as close to float64 as eager",
        "onnx: given samples, close to eager, and as close to float64 as eager",
        "onnx: zeros after each row's length in output",
    ]
