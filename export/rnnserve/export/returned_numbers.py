"""Refusing a forward that returns something else than tensors, as decoders do, with lists of numbers for tags."""

import contextlib
import traceback
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import WrongArguments
from rnnserve.export.source_lines import is_users_code, source_line

__all__ = ["NoTensor", "made_of_a_tensor"]

_MAKING: Final = {
    Tensor.item: ".item()",
    Tensor.tolist: ".tolist()",
    Tensor.numpy: ".numpy()",
    Tensor.__int__: "int()",
    Tensor.__float__: "float()",
}


class NoTensor(WrongArguments):
    """A result of forward is no tensor.

    Args:
        result: The result, or the part of it.
        line: Line of the user's code that makes it of a tensor, and how, as far as it was seen.
    """

    def __init__(self, result: object, line: str = "") -> None:
        self.result = result
        kind = type(result).__name__
        what = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} of Python"
        if isinstance(result, np.ndarray | np.generic):
            what = f"{'an array' if isinstance(result, np.ndarray) else 'a number'} of numpy, {result.dtype}"
        is_number = isinstance(result, bool | int | float | np.ndarray | np.generic)
        advice = (
            f"{line}. Keep it a tensor, so that forward returns one with an entry for each row, or for each step of a "
            "row: of steps that a row does not have, give 0, and their number as another output, (batch,)"
            if is_number
            else "; return tensors, in tuples, dicts or dataclasses"
        )
        super().__init__(f"forward returns {what}, and a model gives tensors only{advice}")


def made_of_a_tensor(error: NoTensor, call: Callable[[], object]) -> NoTensor:
    """Call a module again to say where its code makes the last number, list or array of a tensor.

    Args:
        error: Error that was raised for its result.
        call: Function that calls it.
    """
    with _Makers() as makers, contextlib.suppress(NoTensor):
        call()
    return NoTensor(error.result, makers.last)


class _Makers(TorchFunctionMode):
    """Notes the line of the user's code that has made a number, a list or an array of a tensor last."""

    last = ""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as torch calls it
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run `func`, and note where it was called."""
        del types
        how = _MAKING.get(func)
        if how is not None:
            frames = [each for each in traceback.extract_stack() if is_users_code(each.filename)]
            if frames:
                place = source_line(frames[-1].filename, frames[-1].lineno)
                self.last = f": it is made of a tensor with {how} (at {place}, {frames[-1].line!r})"
        return func(*args, **(kwargs or {}))
