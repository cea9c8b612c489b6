"""Proof that eager, TorchScript and ONNX compute the same: names, axis names, dtypes, shapes, values, in this order."""

from rnnserve.export.errors import ParityError
from rnnserve.export.parity.prove import prove
from rnnserve.export.parity.reference import Reference
from rnnserve.export.parity.runner import Runner
from rnnserve.export.parity.table import table

__all__ = ["ParityError", "Reference", "Runner", "prove", "table"]
