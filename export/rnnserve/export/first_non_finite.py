"""Finding the operator of a module that gives the first NaN or infinity."""

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnnserve.export.flat_module import FlatModule
from rnnserve.export.source_lines import is_users_code, source_line
from rnnserve.export.surroundings import users_module
from rnnserve.export.torch_adapter import OperatorsSeen, tree_leaves

__all__ = ["Origin", "find_first_non_finite", "non_finite_advice", "origin_of", "paths_of", "tensors_in"]

# Not -100: scores of -200 would lie below it, and what is masked would win.
_MASKS = "Where they mask scores, use a number of which softmax makes zero, too: masked_fill(…, -1e9)"
_FLOATS = "Or, if such inputs are not meant, say which are: Floats(…, low=, high=), or give real ones with samples=. "
_IDS = "Or, if such ids are not meant, say which are: Integers(…, low=, high=). "
_ALLOWED = "Or publish it so, with allow_non_finite=True"
_LOGARITHM = "Add a small number before the logarithm, or clamp: x.clamp(min=1e-6).log()"
_ROOT = "Clamp before the root: x.clamp(min=0).sqrt()"
_DIVISOR = "Add a small number to the divisor"
_EXPONENT = (
    "Subtract the largest value before exp, or clamp its argument; keep a running sum of exponentials in log space, "
    "(a + (log_x - a).logcumsumexp(1)).exp()"
)
_DEVIATION = (
    "Of one value it is nan. If rows have two steps at least, say so, sizes={axis: (2, 128)}; or use correction=0"
)
_ADVICE = {
    **dict.fromkeys(("log", "log2", "log10", "log1p"), _LOGARITHM),
    **dict.fromkeys(("sqrt", "rsqrt", "pow"), _ROOT),
    **dict.fromkeys(("div", "reciprocal", "true_divide"), _DIVISOR),
    **dict.fromkeys(("std", "var", "std_mean", "var_mean"), _DEVIATION),
    **dict.fromkeys(("exp", "exp2", "expm1", "cosh", "sinh"), _EXPONENT),
}


class Origin(NamedTuple):
    """An operator of torch that a module runs."""

    operator: str  # "log"
    module: str  # the name of the module that calls it; empty for the outermost
    line: str  # file and line that call it, "model.py:12"; empty if that is not known

    def __str__(self) -> str:
        return self.operator + (f' in "{self.module}"' if self.module else "")

    @property
    def advice(self) -> str:
        """What to do about its argument, in a sentence without its full stop."""
        return _ADVICE.get(self.operator.rstrip("_"), _MASKS)


def find_first_non_finite(module: FlatModule, inputs: Mapping[str, npt.NDArray[Any]]) -> Origin | None:
    """Run a module and find the operator whose results are the first NaN, or else the first infinity.

    Infinity is no fault by itself: masks have it. So an operator that makes NaN of finite numbers is named before it;
    if NaN comes of infinity, the operator that made that. None if none is found, as in a script.
    """
    finder = _Finder()
    with (
        warnings.catch_warnings(),
        contextlib.suppress(Exception),
        torch.no_grad(),
        paths_of(module, finder.path),
        OperatorsSeen(finder.see),
    ):
        warnings.simplefilter("ignore")  # the user has seen them: of `std` of one value, since torch 2.15
        module(*module.arguments(inputs))
    return finder.nan or finder.infinity


def non_finite_advice(module: FlatModule, inputs: Mapping[str, npt.NDArray[Any]]) -> str:
    """Say where NaN or infinity first arises, and what to do about it, to follow a sentence without its full stop."""
    origin = find_first_non_finite(module, inputs)
    if origin is None:
        return f". {_MASKS}. {_ALLOWED}"
    line = f" ({origin.line})" if origin.line else ""
    described = _FLOATS if any(array.dtype.kind == "f" for array in inputs.values()) else _IDS
    if origin.advice == _MASKS:  # the number in the module is at fault, not the inputs
        described = ""
    return f": the first ones come from {origin}{line}. {origin.advice}. {described}{_ALLOWED}"


class _Finder:
    """Looks at the inputs and results of every operator, in modules whose names are in `path`, the outermost first."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.nan: Origin | None = None  # the first operator that makes NaN of inputs without
        self.infinity: Origin | None = None  # the first that makes infinity of finite inputs

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Any], None]:  # noqa: ANN401
        """Look at the inputs of an operator now, since it may write to them, and at its results."""
        tensors = tensors_in((args, kwargs))
        had_nan = _any(torch.isnan, tensors)
        had_infinity = _any(torch.isinf, tensors)

        def see_result(result: Any) -> None:  # noqa: ANN401
            # 0 / 0 of integers is NaN as well: a mean over the ids that are not padding. A constant reads nothing.
            if had_nan or not tensors:
                return
            if self.nan is None and _any(torch.isnan, tensors_in(result)):
                self.nan = self.infinity if had_infinity and self.infinity else origin_of(func, self.path)
            if self.infinity is None and not had_infinity and _any(torch.isinf, tensors_in(result)):
                self.infinity = origin_of(func, self.path)

        return see_result


def _any(is_so: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> bool:
    return any(bool(is_so(each).any()) for each in tensors if each.is_floating_point() and each.numel())


def origin_of(func: Any, path: Sequence[str]) -> Origin:  # noqa: ANN401 - an operator of torch
    """Name an operator of torch that is running in modules of these names, and the line of the user's code."""
    frames = (frame for frame in reversed(traceback.extract_stack()) if not frame.filename.startswith("<"))
    frame = next((each for each in frames if is_users_code(each.filename)), None)
    line = "" if frame is None else source_line(frame.filename, frame.lineno)
    return Origin(str(func).split(".")[1], path[-1] if path else "", line)


def tensors_in(values: Any) -> list[Tensor]:  # noqa: ANN401 - what operators take and give
    """List the tensors in what an operator takes or gives."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextlib.contextmanager
def paths_of(module: nn.Module, path: list[str]) -> Iterator[None]:
    """Keep the names of the modules that are running, in the context."""
    handles = []
    for name, part in users_module(module).named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue

        def enter(_: nn.Module, __: Any, name: str = name) -> None:  # noqa: ANN401 - a module's inputs
            path.append(name)

        def leave(_: nn.Module, __: Any, ___: Any) -> None:  # noqa: ANN401
            path.pop()

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
