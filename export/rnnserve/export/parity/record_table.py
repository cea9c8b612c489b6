"""The parity record as a table for people."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from rnnserve.protos import manifest_pb2

__all__ = ["parity_summary", "parity_table"]

_PAIRS = ("onnx from\neager", "eager from\nfloat64", "onnx from\nfloat64")
_HEADERS = ["input", "tensor", "length", *(f"{pair}\n{figure}" for pair in _PAIRS for figure in ("largest", "rms"))]


def parity_summary(parity: manifest_pb2.Parity) -> str:
    """Summarize a parity record in a few lines: how many sequences were compared, and what to know about the result."""
    return "\n".join(_summary_lines(parity))


def parity_table(parity: manifest_pb2.Parity) -> str:
    """Lay a parity record out, in at most 120 columns: a line for each kind of input, tensor and length."""
    return "\n".join(_lines(parity))


def _summary_lines(parity: manifest_pb2.Parity) -> Iterator[str]:
    batch_sizes, lengths = _span(parity.batch_sizes), _span(parity.lengths)
    yield f"{parity.samples:,} sequences as in eager PyTorch, in batches of {batch_sizes}, of {lengths} steps"
    yield from (f"not drawn: {line}" for line in parity.not_drawn)
    yield from (f"amplified: {line}" for line in parity.amplified)


def _lines(parity: manifest_pb2.Parity) -> Iterator[str]:
    yield from parity.checks
    yield from (f"also drawn: {line}" for line in parity.drawn)
    yield from _summary_lines(parity)
    yield ""
    rows = [
        (
            row.input,
            row.tensor,
            row.length,
            row.onnx_from_eager_max,
            row.onnx_from_eager_rms,
            row.eager_from_float64_max,
            row.eager_from_float64_rms,
            row.onnx_from_float64_max,
            row.onnx_from_float64_rms,
        )
        for row in parity.distances
    ]
    yield tabulate(rows, headers=_HEADERS, tablefmt="plain", floatfmt=".1e", numalign="right")


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "no"
