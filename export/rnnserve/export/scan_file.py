"""model.scan.onnx: the model with loops in the place of RNN operators, proven as model.onnx is.

It is a second form of a model that is published anyway: one that cannot be made, or does not hold, is left out, and the
result of `publish` says why.
"""

import dataclasses
from collections.abc import Sequence

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.errors import ParityError
from rnnserve.export.golden_cases import GoldenCases
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner, Reference, prove
from rnnserve.protos import manifest_pb2

__all__ = ["ScanFile", "try_lowering", "with_scan"]


@dataclasses.dataclass(frozen=True)
class ScanFile:
    """A lowered model that holds.

    Attributes:
        data: The bytes of the file.
        parity: The record of its comparison with eager.
        batching: Which requests may share a run of it, and how that was found.
    """

    data: bytes
    parity: manifest_pb2.Parity
    batching: manifest_pb2.Batching


_MODES = [
    manifest_pb2.BATCHING_UNSPECIFIED,
    manifest_pb2.BATCHING_PADDED,
    manifest_pb2.BATCHING_JOINED,
    manifest_pb2.BATCHING_ALONE,
]
"""From the freest on."""


def with_scan(batching: manifest_pb2.Batching, of_scan: manifest_pb2.Batching) -> manifest_pb2.Batching:
    """Give what a manifest says of batching: that of model.onnx, and how it was found for model.scan.onnx."""
    both = manifest_pb2.Batching()
    both.CopyFrom(batching)
    if of_scan.HasField("rows"):
        both.scan_rows.CopyFrom(of_scan.rows)
    if of_scan.HasField("padding"):
        both.scan_padding.CopyFrom(of_scan.padding)
    return both


def try_lowering(
    model: DescribedModel,
    onnx_model: bytes,
    golden: GoldenCases,
    batching: manifest_pb2.Batching,
    reference: Reference | None = None,
    *,
    progress: bool = True,
) -> tuple[ScanFile | None, str]:
    """Lower a proven model, and prove the result: the whole ladder, and the golden cases.

    Returns:
        The file; None, and why, if it does not hold. None and nothing if no RNN operator can be replaced.
    """
    data = lower_rnn(onnx_model)
    if data is None:
        return None, ""
    try:
        proof = prove(model, None, data, progress=progress, reference=reference)
    except ParityError as error:
        return None, _left_out("computes something else", error.failures)
    with evaluating(model.module):
        failures = golden.failures(model, OnnxRunner(data))
    if _MODES.index(proof.batching.mode) > _MODES.index(batching.mode):
        return None, _left_out("cannot share runs as model.onnx can", proof.batching.reasons)
    if failures:
        return None, _left_out("does not give the golden results", failures)
    return ScanFile(data, proof.parity, proof.batching), ""


def _left_out(what: str, failures: Sequence[str]) -> str:
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"it {what}: {failures[0]}{more}"
