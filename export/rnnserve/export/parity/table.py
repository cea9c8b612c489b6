"""The parity record as a table for people."""

from collections.abc import Iterator, Sequence

from rnnserve.protos import manifest_pb2

__all__ = ["table"]

_NAMES = f"{'input':<7} {'tensor':<7} {'length':>6}"
_PAIRS = ("onnx from eager", "eager from float64", "onnx from float64")


def table(parity: manifest_pb2.Parity) -> str:
    """Lay a parity record out, in at most 120 columns: a line for each kind of input, tensor and length."""
    return "\n".join(_lines(parity))


def _lines(parity: manifest_pb2.Parity) -> Iterator[str]:
    yield from parity.checks
    yield (
        f"{parity.samples:,} sequences, in batches of {_span(parity.batch_sizes)}, of {_span(parity.lengths)} points"
    )
    yield ""
    yield " " * len(_NAMES) + "".join(f"  {pair:>21}" for pair in _PAIRS)
    yield _NAMES + f"  {'largest':>10} {'rms':>10}" * len(_PAIRS)
    for row in parity.distances:
        numbers = (
            (row.onnx_from_eager_max, row.onnx_from_eager_rms),
            (row.eager_from_float64_max, row.eager_from_float64_rms),
            (row.onnx_from_float64_max, row.onnx_from_float64_rms),
        )
        cells = "".join(f"  {largest:>10.1e} {rms:>10.1e}" for largest, rms in numbers)
        yield f"{row.input:<7} {row.tensor:<7} {row.length:>6}{cells}"


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "no"
