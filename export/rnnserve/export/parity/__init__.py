"""Verify that eager PyTorch, TorchScript and ONNX compute the same: names, axis names, dtypes, shapes, values.

`verify_parity` runs the whole comparison and returns the record for the manifest, or raises an error with every
difference. The package doesn't export or write anything. It imports models, protos, torch, onnx and onnxruntime.

Public: `__all__`, `batches`, `batching_safety`, `reference`, `tolerances`, `verification`.
"""

from rnnserve.export.errors import ParityError
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.parity.reference import OnnxTruth, Reference
from rnnserve.export.parity.verification import Verification, parity_summary, parity_table, verify_parity

__all__ = [
    "OnnxRunner",
    "OnnxTruth",
    "ParityError",
    "Reference",
    "Verification",
    "parity_summary",
    "parity_table",
    "verify_parity",
]
