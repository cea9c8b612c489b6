"""Calling a module with arrays by name, and reading its results by name: the tensors of a model, flat and in order."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.trees import NoTensor, flatten_results, made_of_a_tensor

__all__ = ["Arrays", "ModuleInterface"]

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by the names of a model's tensors, in the order of its forward."""


@dataclasses.dataclass(frozen=True)
class ModuleInterface:
    """How a module is called that takes and gives flat tensors.

    Attributes:
        inputs: The names of the tensors that it takes, in order.
        outputs: The names of those that it gives, in order.
        optional: Inputs that may be left out, those together that are one parameter of the user's forward.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    optional: tuple[tuple[str, ...], ...] = ()

    def arguments(self, arrays: Mapping[str, npt.NDArray[Any]], *, double: bool = False) -> tuple[Tensor | None, ...]:
        """Make the arguments of a call.

        Returns:
            A tensor for each input, or None if it is left out.
        """
        left_out = {name for names in self.optional if not arrays.keys() & set(names) for name in names}
        arguments: list[Tensor | None] = []
        for name in self.inputs:
            if name in left_out:
                arguments.append(None)
                continue
            made = torch.from_numpy(np.array(arrays[name], order="C"))  # a copy: a forward may write to its input
            arguments.append(made.double() if double and made.is_floating_point() else made)
        return tuple(arguments)

    def call(self, module: nn.Module, arrays: Mapping[str, npt.NDArray[Any]], *, double: bool = False) -> Arrays:
        """Run a module without gradients.

        Args:
            module: The module.
            arrays: Inputs by name, of the model's shapes and dtypes. Optional ones may be left out.
            double: Whether floats are passed as float64, to a module in float64.

        Returns:
            Every result by name.

        Raises:
            WrongArguments: If it gives another number of results.
        """
        arguments = self.arguments(arrays, double=double)
        with torch.no_grad():
            try:
                results = flatten_results(module(*arguments))
            except NoTensor as error:
                raise made_of_a_tensor(error, lambda: module(*arguments)) from None
        if len(results) != len(self.outputs):
            raise WrongArguments(
                f"outputs names {len(self.outputs)} tensors, {list(self.outputs)}, but forward gives {len(results)}, "
                f"of shapes {[list(result.shape) for result in results]}; name each, nested ones in order"
            )
        return {name: result.detach().numpy() for name, result in zip(self.outputs, results, strict=True)}
