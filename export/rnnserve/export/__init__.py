"""From a module to a proven artifact: TorchScript, ONNX, parity, and publishing."""

from rnnserve.export.errors import BrokenPostcondition, ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.recurrence import export_onnx
from rnnserve.export.torchscript import script, script_bytes

__all__ = [
    "BrokenPostcondition",
    "ExportError",
    "UnsupportedModule",
    "WrongArguments",
    "export_onnx",
    "script",
    "script_bytes",
]
