"""A right export passes parity, whatever the architecture, and leaves a record."""

import dataclasses
import itertools

import pytest

from rnnserve.export.parity import parity_table, verification
from rnnserve.export.parity.batches import input_batches

SIMPLE: dict = {}
STACKED = {"num_layers": 2}
BIDIRECTIONAL = {"cell": "gru", "bidirectional": True}


@pytest.mark.parametrize("sizes", [SIMPLE, STACKED, BIDIRECTIONAL], ids=["simple", "stacked", "bidirectional"])
def test_right_export_is_recorded_for_every_tensor_and_length(proven, sizes):
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


def test_table_fits_a_terminal_and_has_a_line_for_each_row(proven):
    parity = proven(**STACKED)
    lines = parity_table(parity).splitlines()
    for row in parity.distances:
        numbers = f"{row.onnx_from_eager_max:.1e}", f"{row.onnx_from_eager_rms:.1e}"
        cells = [row.input, row.tensor, str(row.length), *numbers]
        (line,) = [line for line in lines if line.split()[:5] == cells]
        assert len(line) <= 120
    assert all(check in lines for check in parity.checks)


@pytest.mark.parametrize("progress", [False, True])
def test_progress_bar_is_shown_on_demand(subject, monkeypatch, capsys, progress):
    monkeypatch.setattr(
        verification, "input_batches", lambda model, seed: itertools.islice(input_batches(model, seed), 3)
    )
    some = dataclasses.replace(subject().described, sizes={"batch": (1, 3), "sequence": (1, 4)})
    verification.verify_parity(some, None, subject().model, progress=progress)
    assert ("parity: " in capsys.readouterr().err) == progress
