"""The passes of an export: an error names the pass that fails."""

import contextlib
import re

import pytest
import torch
from torch import nn

from rnnserve.export import FailedPass, UnsupportedModule, export_onnx
from rnnserve.export.recurrence.export import run_pass

RUN = "rnnserve.export.recurrence.export"


def export(module, x):
    return export_onnx(module, (x,), input_names=["x"], output_names=["y", "h_n"], dynamic_shapes=({1: "batch"},))


@pytest.mark.parametrize("name", ["leave_stored_buffers", "translate_scans"])
def test_failing_pass_is_named(name, monkeypatch):
    def turn_round(*_: object) -> None:
        raise TypeError("unhashable\n   value")

    monkeypatch.setattr(f"{RUN}.{name}", turn_round)
    with pytest.raises(FailedPass) as raised:
        export(nn.GRU(3, 2).eval(), torch.randn(2, 3, 3))
    assert raised.value.name == "turn_round"
    assert isinstance(raised.value.__cause__, TypeError)
    said = r"^the export's pass turn_round failed: TypeError: unhashable value \(line \d+ of .*test_passes\.py\)\. "
    assert re.match(said, str(raised.value))


def test_refusal_inside_a_pass_is_unchanged():
    def refuse() -> None:
        raise UnsupportedModule("no form in ONNX")

    with pytest.raises(UnsupportedModule) as raised:
        run_pass(refuse)
    assert str(raised.value) == "no form in ONNX"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), KeyboardInterrupt()])
def test_system_errors_inside_a_pass_are_unchanged(error):
    def fail() -> None:
        raise error

    with contextlib.suppress(FailedPass), pytest.raises(type(error)) as raised:
        run_pass(fail)
    assert raised.value is error


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_trials_of_large_sizes_accept_8_bit_integers(dtype):
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    x = torch.arange(32, dtype=dtype).reshape(2, 16)
    program = export_onnx(
        Sum().eval(), (x, x), input_names=["x", "y"], output_names=["sum"], dynamic_shapes=({0: "batch"}, {0: "batch"})
    )
    assert program.model.graph.inputs[0].dtype.name == str(dtype).rpartition(".")[2].upper()
