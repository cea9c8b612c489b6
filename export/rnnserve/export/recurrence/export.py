"""`export_onnx`: any module that holds recurrent layers, through torch's default exporter, one operator a layer."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from rnnserve.export.recurrence.axes import Axes
from rnnserve.export.recurrence.capture import capture, parameters_of
from rnnserve.export.recurrence.clean import clean
from rnnserve.export.recurrence.quiet import quiet
from rnnserve.export.recurrence.translate import TRANSLATIONS

__all__ = ["export_onnx"]


def export_onnx(
    module: nn.Module,
    args: tuple[Any, ...],
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: Any,
) -> torch.onnx.ONNXProgram:
    axes = Axes.of(parameters_of(module, args), args, dynamic_shapes, input_names)
    with quiet():
        captured = capture(module, args, axes)
        program = torch.onnx.export(
            captured,
            dynamo=True,
            verbose=False,
            input_names=list(input_names),
            output_names=list(output_names),
            custom_translation_table=TRANSLATIONS,
        )
    assert program is not None
    clean(program, axes)
    return program
