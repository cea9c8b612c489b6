"""A Python program that asks a server for a model, with inputs of the right names, shapes and datatypes."""

from collections.abc import Iterator, Mapping

from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

__all__ = ["client_snippet"]

_BATCH = 2
_STEPS = 5


def client_snippet(manifest: manifest_pb2.Manifest, address: str) -> str:
    """Write a program that runs against a server of the model.

    Args:
        manifest: The version's.
        address: The server's, host and port.
    """
    return "\n".join(_lines(manifest, address)) + "\n"


def _lines(manifest: manifest_pb2.Manifest, address: str) -> Iterator[str]:
    sizes = _sizes(manifest)
    yield "import numpy as np"
    yield "from rnnserve.client import Client"
    yield ""
    yield f'with Client("{address}") as client:'
    yield "    answer = client.infer("
    yield f'        "{manifest.model}",'
    yield "        {"
    for tensor in manifest.inputs:
        yield from (f"            {line}" for line in _input(tensor, sizes))
    yield "        },"
    yield "    )"
    for tensor in manifest.outputs:
        yield f'print(answer["{tensor.name}"].shape)  # {_axes(tensor)}'


def _input(tensor: manifest_pb2.Tensor, sizes: Mapping[str, int]) -> Iterator[str]:
    shape = tuple(axis.size if axis.size >= 0 else sizes[axis.name] for axis in tensor.axes)
    dtype = f"np.{DTYPES[tensor.datatype].name}"
    if tensor.lengths_of:
        longest = sizes[tensor.lengths_of]
        lengths = [longest, *[max(1, longest - 2)] * (shape[0] - 1)]
        yield f'"{tensor.name}": np.array({lengths}, {dtype}),  # {_axes(tensor)}; may be left out: full length'
    elif tensor.default == manifest_pb2.DEFAULT_ZEROS:
        yield f'# "{tensor.name}": np.zeros({shape}, {dtype}),  # {_axes(tensor)}; zeros where it is left out'
    elif tensor.HasField("integers") and not tensor.integers.low <= 0 < tensor.integers.high:
        yield f'"{tensor.name}": np.full({shape}, {tensor.integers.low}, {dtype}),  # {_axes(tensor)}'
    else:
        yield f'"{tensor.name}": np.zeros({shape}, {dtype}),  # {_axes(tensor)}'


def _sizes(manifest: manifest_pb2.Manifest) -> dict[str, int]:
    """Give each dynamic axis a size, unlike the others', that the proof had."""
    names = dict.fromkeys(axis.name for tensor in manifest.inputs for axis in tensor.axes if axis.size < 0)
    sizes, lengths, batches = {}, manifest.parity.lengths, manifest.parity.batch_sizes
    for number, name in enumerate(name for name in names if name != "batch"):
        wanted = _STEPS + number
        sizes[name] = min(max(wanted, min(lengths, default=wanted)), max(lengths, default=wanted))
    return sizes | {"batch": min(max(_BATCH, min(batches, default=_BATCH)), max(batches, default=_BATCH))}


def _axes(tensor: manifest_pb2.Tensor) -> str:
    names = [axis.name for axis in tensor.axes]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
