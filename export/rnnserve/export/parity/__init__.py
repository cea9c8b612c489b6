"""Proof that eager PyTorch, TorchScript and ONNX compute the same: names, axis names, dtypes, shapes, values.

`prove` runs all of it and returns the record for the manifest, or raises everything that differs. The package compares
what it is given: it exports nothing and writes nothing. It imports models, protos, torch, onnx and onnxruntime.

Door: `__all__`, `batches`, `batching_safety`, `proof`, `reference`, `tolerances`.
"""

from rnnserve.export.errors import ParityError
from rnnserve.export.onnx_runner import RUN_SECONDS, OnnxProcess, OnnxRunner
from rnnserve.export.parity.proof import Proof, parity_summary, parity_table, prove
from rnnserve.export.parity.reference import OnnxTruth, Reference

__all__ = [
    "RUN_SECONDS",
    "OnnxProcess",
    "OnnxRunner",
    "OnnxTruth",
    "ParityError",
    "Proof",
    "Reference",
    "parity_summary",
    "parity_table",
    "prove",
]
