"""What the exporter writes into a graph besides the program: stack traces, fx text, paths."""

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from rnnserve.export.recurrence.graph_values import values_of

__all__ = ["TRANSLATED_BY", "mark_translations", "remove_metadata"]

TRANSLATED_BY = "rnnserve.translations"
"""The model's property that says that it was exported without torch's optimizer, and by our translations."""


def mark_translations(model: ir.Model) -> None:
    """Say in the model which translations it was exported with."""
    model.metadata_props[TRANSLATED_BY] = "1"


def remove_metadata(model: ir.Model) -> None:
    """Remove, in place, everything that tells of the exporting machine."""
    ClearMetadataAndDocStringPass()(model)
    # The pass clears graphs and nodes. The exporter also writes to the model, to values and to their tensors.
    model.metadata_props.clear()
    model.doc_string = None
    for value in values_of(model):
        value.metadata_props.clear()
        value.doc_string = None
        if value.const_value is not None:
            value.const_value.metadata_props.clear()
            value.const_value.doc_string = None
