"""Verify that eager PyTorch, TorchScript and ONNX compute the same: names, axis names, dtypes, shapes, values.

`prove` runs the whole comparison and returns the record for the manifest, or raises an error with every difference. The
package only compares: it doesn't export or write anything. It imports models, protos, torch, onnx and onnxruntime.

Door: `__all__`, `batches`, `batching_safety`, `proof`, `reference`, `tolerances`.
"""

from rnnserve.export.errors import ParityError
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.parity.proof import Proof, parity_summary, parity_table, prove
from rnnserve.export.parity.reference import OnnxTruth, Reference

__all__ = [
    "OnnxRunner",
    "OnnxTruth",
    "ParityError",
    "Proof",
    "Reference",
    "parity_summary",
    "parity_table",
    "prove",
]
