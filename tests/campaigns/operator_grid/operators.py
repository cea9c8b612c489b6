"""What an entry of the grid is."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

KERNELS = {
    "Sigmoid": (7e-8, "a rational approximation, whose error is absolute: of a gate nothing shows"),
    "Erf": (7e-8, "a rational approximation, whose error is absolute"),
}
"""The exceptions from the rule of `trial`: by kernel, the distance that is allowed, and why."""


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator, as a module would call it.

    Attributes:
        name: As a user writes it.
        compute: What is exported, of the family's inputs.
        refused: Words of the refusal; empty where the operator is exported.
        differs: On which values onnxruntime's result is another one than eager's, in words for the documentation; empty
            where it is right on all.
        terms: What the rounding is relative to, of the same inputs, where the result is a sum that cancels: the sum
            over its terms without their signs. None where the result itself is that.
        kernel: The name of an entry of `KERNELS`, where a kernel of onnxruntime is not right to the last digits.
    """

    name: str
    compute: Callable[..., Any]
    refused: str = ""
    differs: str = ""
    terms: Callable[..., torch.Tensor] | None = None
    kernel: str = ""


@dataclasses.dataclass(frozen=True)
class Family:
    """Operators on the same inputs.

    Attributes:
        name: The heading in the documentation.
        inputs: Tensors (batch, …).
        operators: Those.
        axis: Which axis of the inputs is dynamic.
        tries_nothing: Whether they are also tried on no values along that axis.
    """

    name: str
    inputs: Sequence[torch.Tensor]
    operators: Sequence[Operator]
    axis: int = 0
    tries_nothing: bool = True


def named(module: Any, names: str, **attributes: Any) -> list[Operator]:
    """Make one entry a name, for functions that take the family's inputs as they are."""
    return [Operator(name, getattr(module, name), **attributes) for name in names.split()]


def methods(names: str, *given: Any, **attributes: Any) -> list[Operator]:
    """Make one entry a name, for methods of the family's first input, called with some arguments."""
    shown = ", ".join(map(str, given))
    return [
        Operator(f"{name}({shown})", lambda x, *_, name=name: getattr(x, name)(*given), **attributes)
        for name in names.split()
    ]
