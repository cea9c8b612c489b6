"""A number that Python code computes of the number of a step: in float64, as Python's own floats are.

`0.9 ** (t + 1)` is a float of Python for a `t` of `range`, and has 53 bits until it meets a tensor of float32. Computed
in float32 it would have 24, of which `1 - 0.999 ** (t + 1)` leaves ten.
"""

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.loops.symbolic_sizes import Size

__all__ = [
    "OnTensors",
    "StepNumber",
    "StepsOwner",
    "arithmetic",
    "as_tensors",
    "computed",
    "exactly",
    "math_of_steps",
    "number_of",
]


class StepsOwner(Protocol):
    """The loop that a number of a step belongs to."""

    count: Size
    first: int

    @property
    def lowest(self) -> int:
        """Number of the first step of the scan."""

    @property
    def skips(self) -> bool:
        """Whether that one is left out of the results."""

    def step_tensor(self) -> Tensor:
        """Give k as a tensor (), int64."""

    def run_first_step_apart(self) -> None:
        """Say that the first step takes another path than those after it."""

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the loop."""


class OnTensors:
    """A value of steps that functions of torch take as a tensor."""

    loop: StepsOwner

    def tensor(self) -> Tensor:
        """Give the value as a tensor ()."""
        raise NotImplementedError

    def of_type(self, dtype: torch.dtype | None) -> Tensor:
        """Give the value beside floats of a type, or beside none."""
        del dtype
        return self.tensor()

    def is_never_negative(self) -> bool:
        """Whether it is an int of Python that is 0 or more in each step, for certain."""
        return False

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` on tensors."""
        del types
        args, kwargs = as_tensors((args, kwargs or {}))
        return func(*args, **kwargs)

    def __index__(self) -> int:
        self.loop.refuse(
            "a plain number is made of the number of the step, as for the size of a slice or the position in a list. "
            "Exported, all steps are one: index a tensor by it, or make what it chooses a tensor with an axis for the "
            "steps."
        )

    __int__ = __float__ = __index__  # which raise, too

    def __hash__(self) -> int:
        return self.__index__()

    def __array_ufunc__(self, ufunc: Any, *_: Any, **named: Any) -> Any:  # noqa: ANN401 - as numpy calls it
        del named
        self.loop.refuse(
            f"numpy's {ufunc.__name__} is called with the number of the step, or with what is computed of it. "
            f"Functions of `math` and of torch take it: math.{ufunc.__name__}(…)."
        )


def as_tensors(values: Argument) -> Argument:
    """Replace numbers of steps and conditions on them by tensors, in nested tuples, lists and dicts.

    A float of Python takes the type of the floats that it meets.
    """
    leaves, spec = torch.utils._pytree.tree_flatten(values)  # noqa: SLF001
    dtype = next((leaf.dtype for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()), None)
    tensors = [leaf.of_type(dtype) if isinstance(leaf, OnTensors) else leaf for leaf in leaves]
    return torch.utils._pytree.tree_unflatten(tensors, spec)  # noqa: SLF001


class StepNumber(OnTensors):
    """A number that is another one in each step.

    Args:
        loop: Loop whose steps they are.
        value: The number, (), float64; or int64, where Python's is an int.
    """

    def __init__(self, loop: StepsOwner, value: Tensor) -> None:
        self.loop, self.value = loop, value

    def tensor(self) -> Tensor:
        """Give the number as a tensor () of the type that torch gives to a number of Python."""
        return self.of_type(torch.get_default_dtype())

    def of_type(self, dtype: torch.dtype | None) -> Tensor:
        """Give the number beside floats of a type; an int stays one."""
        if not self.value.is_floating_point():
            return self.value
        return self.value.to(torch.get_default_dtype() if dtype is None else dtype)

    def __neg__(self) -> "StepNumber":
        return StepNumber(self.loop, -self.value)

    def __pos__(self) -> "StepNumber":
        return self

    def __abs__(self) -> "StepNumber":
        return StepNumber(self.loop, self.value.abs())

    def __bool__(self) -> bool:
        return bool(self.value != 0)

    __hash__ = OnTensors.__hash__


def number_of(loop: StepsOwner, value: Argument) -> StepNumber | None:
    """Give a number of Python, a size or the number of a step as such a number; None for anything else."""
    if isinstance(value, StepNumber):
        return value
    if isinstance(value, OnTensors):
        tensor = value.tensor()
        return None if tensor.dtype == torch.bool else StepNumber(loop, tensor)
    if isinstance(value, bool) or not isinstance(value, int | float | torch.SymInt):
        return None
    if isinstance(value, torch.SymInt):
        size: Tensor = torch.zeros((), dtype=torch.int64) + value  # type: ignore[assignment]  # takes symbols, too
        return StepNumber(loop, size)
    return StepNumber(loop, torch.full((), value, dtype=torch.int64) if isinstance(value, int) else exactly(value))


def exactly(value: float) -> Tensor:
    """Give a float of Python as a tensor (), float64.

    As a tensor that the program holds, since torch's exporter rounds numbers to float32 before it writes them.
    """
    return torch.tensor(value, dtype=torch.float64)


def computed(name: str, loop: StepsOwner, one: Argument, other: Argument) -> Argument:
    """Compute as Python does with two numbers; with a tensor as torch does with a number and a tensor.

    Args:
        name: Function of `operator`.
        loop: Loop that one of them is of.
        one: First operand.
        other: Second operand.
    """
    function: Callable[..., Any] = getattr(operator, name)
    numbers = [number_of(loop, each) for each in (one, other)]
    if numbers[0] is None or numbers[1] is None:
        return function(*as_tensors((one, other)))
    values = [each.value for each in numbers if each is not None]
    are_ints = not any(each.is_floating_point() for each in values)
    if are_ints and name != "truediv" and (name != "pow" or _is_whole(other)):
        # Plain ints stay: a division by one that is no constant may be one by 0.
        result = function(
            *(each if _is_plain(each) else value for each, value in zip((one, other), values, strict=True))
        )
    else:
        result = function(*(each.double() for each in values))
    return result if result.dtype == torch.bool else StepNumber(loop, result)


def _is_plain(value: Argument) -> bool:
    return isinstance(value, int | torch.SymInt)


def _is_whole(exponent: Argument) -> bool:
    """Whether Python gives an int for an int to the power of it in each step."""
    return exponent.is_never_negative() if isinstance(exponent, OnTensors) else exponent >= 0


def arithmetic(kind: type, names: Iterable[str], *, reflects: bool = True) -> None:
    """Let operators of a class of values compute as `computed` does.

    Args:
        kind: Class, which has a `loop`.
        names: Functions of `operator`.
        reflects: Whether they have forms for an operand on the left.
    """
    for name in names:
        setattr(kind, f"__{name}__", _of(name))
        if reflects:
            setattr(kind, f"__r{name}__", _reflected(name))


def _of(name: str) -> Callable[..., Any]:
    return lambda self, other: computed(name, self.loop, self, other)


def _reflected(name: str) -> Callable[..., Any]:
    return lambda self, other: computed(name, self.loop, other, self)


arithmetic(StepNumber, ("add", "sub", "mul", "mod", "floordiv", "truediv", "pow"))
arithmetic(StepNumber, ("eq", "ne", "lt", "le", "gt", "ge"), reflects=False)


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "log2": torch.log2,
    "log10": torch.log10, "sqrt": torch.sqrt, "sin": torch.sin, "cos": torch.cos, "tan": torch.tan,
    "asin": torch.asin, "acos": torch.acos, "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh,
    "tanh": torch.tanh, "fabs": torch.abs, "pow": torch.pow,
}  # fmt: skip
"""Functions of `math` by name, each with that of torch which computes the same of float64."""


@contextlib.contextmanager
def math_of_steps() -> Iterator[None]:
    """Let functions of `math` take numbers of steps in the context; all others get what they always do."""
    before = {name: getattr(math, name) for name in _FUNCTIONS}
    try:
        for name, function in before.items():
            setattr(math, name, _of_steps(function, _FUNCTIONS[name]))
        yield
    finally:
        for name, function in before.items():
            setattr(math, name, function)


def _of_steps(function: Callable[..., Any], of_tensors: Callable[..., Tensor]) -> Callable[..., Any]:
    def called(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as `math` has it
        first = next((each for each in given if isinstance(each, OnTensors)), None)
        if first is None or (len(given) > 1 and of_tensors is not torch.pow):
            return function(*given, **named)
        numbers = [number_of(first.loop, each) for each in given]
        if None in numbers:
            return function(*given, **named)
        return StepNumber(first.loop, of_tensors(*(each.value.double() for each in numbers if each is not None)))

    return called
