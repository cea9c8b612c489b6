"""What ONNX is compared with: the eager module, and the same module in double precision."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnnserve.export.classifier_tensors import outputs_of
from rnnserve.export.parity.runner import Arrays
from rnnserve.models import DirectionClassifier

__all__ = ["Reference", "call", "one_thread"]

_MOVES = 8
_ULP = np.float32(2.0**-23)


class Reference:
    """A classifier in float32 and in float64, run on arrays by name.

    Attributes:
        classifier: the module itself.
        double: a copy of it in double precision: exact, as far as float32 can tell.
    """

    def __init__(self, classifier: DirectionClassifier) -> None:
        self.classifier = classifier
        self.double = copy.deepcopy(classifier).double()
        self._names = [tensor.name for tensor in outputs_of(classifier.architecture)]

    def eager(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Every output by name, in float32."""
        return dict(zip(self._names, call(self.classifier, inputs, torch.float32), strict=True))

    def exact(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Every output by name, in float64, of the same float32 inputs."""
        return dict(zip(self._names, call(self.double, inputs, torch.float64), strict=True))

    def moved(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Iterator[Arrays]:
        """Eager's outputs for inputs moved by an ulp or none, eight times: what else rounding may come to."""
        for seed in range(_MOVES):
            random = np.random.default_rng(seed)
            yield self.eager({name: _moved(array, random) for name, array in inputs.items()})


def _moved(array: npt.NDArray[Any], random: np.random.Generator) -> npt.NDArray[Any]:
    if array.dtype != np.float32:
        return array
    moved: npt.NDArray[Any] = array * (
        1 + random.integers(-1, 1, size=array.shape, endpoint=True).astype(np.float32) * _ULP
    )
    return moved


def call(module: torch.nn.Module, inputs: Mapping[str, npt.NDArray[Any]], dtype: torch.dtype) -> list[npt.NDArray[Any]]:
    """Run a module, eager or scripted, on arrays in the order of its forward."""
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    with torch.no_grad():
        results: tuple[Tensor, ...] = module(*tensors)
    return [result.numpy() for result in results]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: bits do not depend on the machine's cores, and nobody waits for threads of others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
