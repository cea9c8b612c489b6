"""A Python program that calls a model on a server, with inputs of the right names, shapes and datatypes."""

from collections.abc import Iterator, Mapping

from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

__all__ = ["client_snippet"]

_STEPS, _FEWER_STEPS = 5, 3  # of the first row and of the second


def client_snippet(manifest: manifest_pb2.Manifest, address: str) -> str:
    """Write a program that runs against a server of the model.

    It asks for two rows of zeros, or of the lowest integers that the model takes.

    Args:
        manifest: Manifest of the version.
        address: Address of the server, host and port.
    """
    return "\n".join(_lines(manifest, address)) + "\n"


def _lines(manifest: manifest_pb2.Manifest, address: str) -> Iterator[str]:
    first, second = _sizes(manifest, _STEPS), _sizes(manifest, _FEWER_STEPS)
    required = [tensor for tensor in manifest.inputs if tensor.default == manifest_pb2.DEFAULT_REQUIRED]
    yield "import numpy as np"
    yield ""
    yield "from rnnserve.client import Client"
    yield ""
    yield "two_rows = {"
    for tensor in required:
        rows = ", ".join(_row(tensor, sizes) for sizes in (first, second))
        yield f'    "{tensor.name}": [{rows}],  # axes of each row: {_axes(tensor)}'
    yield "}"
    yield f'with Client("{address}") as client:'
    yield f'    results = client.predict("{manifest.model}", two_rows)'
    if any(tensor.continues_as for tensor in manifest.outputs):
        yield f'    # client.predict("{manifest.model}", next_parts, continue_from=results) continues the two rows'
    yield "for result in results:"
    for tensor in manifest.outputs:
        yield f'    print("{tensor.name}", result["{tensor.name}"].shape)  # {_axes(tensor)}'


def _row(tensor: manifest_pb2.Tensor, sizes: Mapping[str, int]) -> str:
    shape = tuple(axis.size if axis.size >= 0 else sizes[axis.name] for axis in tensor.axes if axis.name != "batch")
    dtype = f"np.{DTYPES[tensor.datatype].name}"
    if tensor.HasField("integers") and not tensor.integers.low <= 0 < tensor.integers.high:
        return f"np.full({shape}, {tensor.integers.low}, {dtype})"
    return f"np.zeros({shape}, {dtype})"


def _sizes(manifest: manifest_pb2.Manifest, steps: int) -> dict[str, int]:
    """Choose a valid size for each sequence axis. The sizes differ if possible."""
    axes = {axis.name: axis for tensor in manifest.inputs for axis in tensor.axes if axis.size < 0}
    sizes: dict[str, int] = {}
    for number, axis in enumerate(axis for axis in axes.values() if axis.name != "batch"):
        sizes[axis.name] = _within(axis, steps + number)
    return sizes


def _within(axis: manifest_pb2.Axis, size: int) -> int:
    """Return the nearest valid size."""
    size = max(size, axis.smallest or 1)
    return min(size, axis.largest) if axis.largest else size


def _axes(tensor: manifest_pb2.Tensor) -> str:
    names = [axis.name for axis in tensor.axes if axis.name != "batch"]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
