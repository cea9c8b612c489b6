"""Exporting recurrent modules: one native ONNX operator a layer, whatever surrounds them."""

from rnnserve.export.recurrence.export import export_onnx

__all__ = ["export_onnx"]
