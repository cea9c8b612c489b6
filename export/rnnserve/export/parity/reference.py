"""What ONNX is compared with: the eager module in float32, and the same module in float64."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnnserve.export.classifier_tensors import outputs_of
from rnnserve.export.parity.onnx_runner import Arrays
from rnnserve.models import DirectionClassifier

__all__ = ["Reference", "run_module"]

_MOVES = 8
_ULP = np.float32(2.0**-23)


class Reference:
    """A classifier in float32 and in float64, run on arrays by name.

    Inputs and outputs are those of `rnnserve.export.classifier_tensors`.

    Attributes:
        classifier: The module itself.
        double: A copy of it in float64: exact, as far as float32 can tell.
    """

    def __init__(self, classifier: DirectionClassifier) -> None:
        self.classifier = classifier
        self.double = copy.deepcopy(classifier).double()
        self._names = [tensor.name for tensor in outputs_of(classifier.architecture)]

    def eager(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Compute every output in float32."""
        return dict(zip(self._names, run_module(self.classifier, inputs, torch.float32), strict=True))

    def exact(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Compute every output in float64, from the same inputs."""
        return dict(zip(self._names, run_module(self.double, inputs, torch.float64), strict=True))

    def moved(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Iterator[Arrays]:
        """Compute every output in float32 eight times, with each input value moved by one ulp or none.

        What these differ by is what rounding alone may do.
        """
        for seed in range(_MOVES):
            random = np.random.default_rng(seed)
            yield self.eager({name: _moved(array, random) for name, array in inputs.items()})


def _moved(array: npt.NDArray[Any], random: np.random.Generator) -> npt.NDArray[Any]:
    if array.dtype != np.float32:  # lengths
        return array
    moved: npt.NDArray[Any] = array * (
        1 + random.integers(-1, 1, size=array.shape, endpoint=True).astype(np.float32) * _ULP
    )
    return moved


def run_module(
    module: torch.nn.Module, inputs: Mapping[str, npt.NDArray[Any]], dtype: torch.dtype
) -> list[npt.NDArray[Any]]:
    """Run a module, eager or scripted.

    Args:
        module: Its forward gives a tuple of tensors.
        inputs: In the order of its forward; integers stay as they are.
        dtype: What floats are converted to.
    """
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    with torch.no_grad():
        results: tuple[Tensor, ...] = module(*tensors)
    return [result.numpy() for result in results]
