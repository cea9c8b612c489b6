"""What an entry of the grid is."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["Family", "Operator", "named"]


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator, as a module would call it.

    Attributes:
        name: As a user writes it.
        compute: What is exported, of the family's inputs.
        refused: Words of the refusal; empty where the operator is exported.
        differs: On which values onnxruntime's result is another one than eager's, in words for the documentation; empty
            where it is right on all.
        within: How far finite values may lie apart beside rounding of the last digits: kernels that are right within an
            absolute distance, and sums that cancel.
    """

    name: str
    compute: Callable[..., Any]
    refused: str = ""
    differs: str = ""
    within: float = 0.0


@dataclasses.dataclass(frozen=True)
class Family:
    """Operators on the same inputs.

    Attributes:
        name: The heading in the documentation.
        inputs: Tensors (batch, …), the first axis dynamic.
        operators: Those.
    """

    name: str
    inputs: Sequence[torch.Tensor]
    operators: Sequence[Operator]


def named(module: Any, names: str, **attributes: Any) -> list[Operator]:
    """Make one entry a name, for functions that take the family's inputs as they are."""
    return [Operator(name, getattr(module, name), **attributes) for name in names.split()]
