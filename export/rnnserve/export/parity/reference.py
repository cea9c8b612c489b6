"""The reference for ONNX: the eager module, and the same module in float64."""

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rnnserve.export.flat_module import FlatModule
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.parity.tolerances import ULP
from rnnserve.export.tensors import Arrays
from rnnserve.export.torch_adapter import in_float64

FLOAT64, MOVED = "float64", "inputs moved by an ulp"
"""The names in a manifest's parity record of the reference for whole sequences."""

MOVES = range(8)
"""Seeds for moving inputs or weights."""

_Inputs = Mapping[str, npt.NDArray[Any]]

_MOST_BYTES = 1 << 26
"""Bytes of results to keep for one module. Any further results are computed each time."""


class Truth:
    """The reference that results are judged by: a module, or a substitute."""

    exact_by = MOVED  # how `exact` is computed; `MOVED` if it equals `eager`, so that moved inputs measure rounding

    def eager(self, inputs: _Inputs) -> Arrays:
        """Compute every output in its own dtype."""
        raise NotImplementedError

    def exact(self, inputs: _Inputs) -> Arrays:
        """Compute every output in float64, as exactly as possible. Integers and booleans keep their dtypes."""
        return as_float64(self.eager(inputs))

    def moved(self, inputs: _Inputs, seeds: Iterable[int] = MOVES) -> Iterator[Arrays]:
        """Compute every output once per seed, with each float of the inputs moved by one ulp or not at all."""
        yield from map(self.eager, moved_inputs(inputs, seeds))


class OnnxTruth(Truth):
    """An ONNX model without a module. Its results are judged by their changes, not by whether they are right."""

    def __init__(self, runner: OnnxRunner) -> None:
        """Take the model."""
        self.runner = runner

    def eager(self, inputs: _Inputs) -> Arrays:
        """Run the model."""
        return self.runner(inputs)


class Reference(Truth):
    """A module, eager or scripted, that runs on arrays by name, as it is and in float64.

    Results are kept, because a module's graphs and golden tests are judged by the same results. So callers must not
    write to them, and the module must not change. It must be in evaluation mode.
    """

    def __init__(self, module: FlatModule, probe: Arrays, *, most_bytes: int = _MOST_BYTES) -> None:
        """Make a copy in float64 and try it on `probe`. Keep up to `most_bytes` of results."""
        self.module = module
        self.double = _in_float64(module, probe)  # None if the module doesn't run in float64
        self.exact_by = MOVED if self.double is None else FLOAT64
        self._room = most_bytes
        self._kept: dict[bytes, Arrays] = {}

    def eager(self, inputs: _Inputs) -> Arrays:
        """Compute every output as the module does."""
        return self._once(b"eager", inputs, lambda: self.module.run(inputs))

    def exact(self, inputs: _Inputs) -> Arrays:
        """Compute every output in float64, from the same inputs. Integers and booleans keep their dtypes."""
        double = self.double
        if double is None:
            return super().exact(inputs)
        return self._once(b"exact", inputs, lambda: _wide(double, inputs))

    def _once(self, what: bytes, inputs: _Inputs, compute: Callable[[], Arrays]) -> Arrays:
        digest = hashlib.blake2b(what)
        for name, array in inputs.items():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        key = digest.digest()
        if key in self._kept:
            return dict(self._kept[key])
        results = compute()
        size = sum(array.nbytes for array in results.values())
        if size <= self._room:
            self._room -= size
            # Copy, because a result may be a view of an input or a weight.
            self._kept[key] = kept = {name: np.array(array) for name, array in results.items()}
            for array in kept.values():
                array.flags.writeable = False
        return results

    def moved(self, inputs: _Inputs, seeds: Iterable[int] = MOVES) -> Iterator[Arrays]:
        """Compute every output once per seed, with each float of the inputs moved by one ulp or not at all."""
        for moved in moved_inputs(inputs, seeds):
            yield self.module.run(moved)

    def moved_weights(self, inputs: _Inputs) -> Iterator[Arrays]:
        """Compute every output eight times, with each float of parameters and buffers moved by one ulp or not at all.

        Yields nothing if the module can't be copied or fails with changed weights.
        """
        with contextlib.suppress(Exception):  # the user's module may raise anything
            yield from list(self._of_moved_weights(copy.deepcopy(self.module), inputs))

    def _of_moved_weights(self, module: FlatModule, inputs: _Inputs) -> Iterator[Arrays]:
        values = [each for each in (*module.parameters(), *module.buffers()) if each.dtype == torch.float32]
        before = [each.detach() for each in values]
        for seed in MOVES:
            random = np.random.default_rng(seed)
            for each, was in zip(values, before, strict=True):
                each.data = torch.from_numpy(_moved(was.numpy(), random))  # `was` may be expanded, so don't write to it
            yield module.run(inputs)


def as_float64(arrays: _Inputs) -> Arrays:
    """Convert the floats among arrays to float64."""
    return {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def moved_inputs(inputs: _Inputs, seeds: Iterable[int] = MOVES) -> Iterator[Arrays]:
    """Yield the inputs once per seed, with each float moved by one ulp or not at all."""
    for seed in seeds:
        random = np.random.default_rng(seed)
        yield {name: _moved(array, random) for name, array in inputs.items()}


def _moved(array: npt.NDArray[Any], random: np.random.Generator) -> npt.NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    factors = 1 + random.integers(-1, 1, size=array.shape, endpoint=True) * ULP
    moved: npt.NDArray[Any] = (array * factors).astype(array.dtype)
    return moved


def _in_float64(module: FlatModule, probe: Arrays) -> FlatModule | None:
    """Return a copy in float64. None if it raises, or if its outputs show that it computes in another dtype inside."""
    try:
        with torch.no_grad():
            double = copy.deepcopy(module).double()
        found = _wide(double, probe)
    except Exception:  # noqa: BLE001 - the user's module may raise anything
        return None
    return double if all(array.dtype.kind != "f" or array.dtype == np.float64 for array in found.values()) else None


def _wide(double: FlatModule, inputs: _Inputs) -> Arrays:
    """Run a module's copy in float64, also the code that asks for float32, as in `x.float()`."""
    with in_float64():
        return double.run(inputs)
