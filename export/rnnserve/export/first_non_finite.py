"""Find the operator of a module that computes the first NaN or infinity."""

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

# Not -100: scores can be as low as -200, and then masked positions would win.
_MASKS = "If they mask scores, use a large negative number, which softmax also turns into zero: masked_fill(…, -1e9)"
_FLOATS = "If clients never send such inputs, bound them: Floats(…, low=, high=). Or give real inputs with samples=. "
_IDS = "If clients never send such ids, bound them: Integers(…, low=, high=). "
_ALLOWED = "Or allow these values with allow_non_finite=True"
_LOGARITHM = "Add a small number before the logarithm, or clamp: x.clamp(min=1e-6).log()"
_ROOT = "Clamp before the root: x.clamp(min=0).sqrt()"
_DIVISOR = "Add a small number to the divisor"
_EXPONENT = (
    "Subtract the largest value before exp, or clamp its argument; keep a running sum of exponentials in log space, "
    "(a + (log_x - a).logcumsumexp(1)).exp()"
)
_DEVIATION = (
    "The result for a single value is NaN. If rows have at least two steps, add sizes={axis: (2, 128)}; otherwise use "
    "correction=0"
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
    module: str  # the name of the calling module; empty for the outermost one
    line: str  # file and line of the call, "model.py:12"; empty if unknown

    def __str__(self) -> str:
        return self.operator + (f' in "{self.module}"' if self.module else "")

    @property
    def advice(self) -> str:
        """Advice on the operator's argument, as a sentence without full stop."""
        return _ADVICE.get(self.operator.rstrip("_"), _MASKS)


def find_first_non_finite(module: FlatModule, inputs: Mapping[str, npt.NDArray[Any]]) -> Origin | None:
    """Run a module and find the operator that computes the first NaN, or else the first infinity.

    Infinity alone isn't an error, because masks contain it. So an operator that turns finite numbers into NaN comes
    before an operator that computes infinity. If NaN results from infinity, the operator that computed the infinity is
    returned. None if no operator is found, for example in a script.
    """
    finder = _Finder()
    with (
        warnings.catch_warnings(),
        contextlib.suppress(Exception),
        torch.no_grad(),
        paths_of(module, finder.path),
        OperatorsSeen(finder.see),
    ):
        warnings.simplefilter("ignore")  # already shown to the user, such as torch 2.15's for `std` of one value
        module(*module.arguments(inputs))
    return finder.nan or finder.infinity


def non_finite_advice(module: FlatModule, inputs: Mapping[str, npt.NDArray[Any]]) -> str:
    """Name the first operator with NaN or infinity and the remedy. The text continues a sentence without full stop."""
    origin = find_first_non_finite(module, inputs)
    if origin is None:
        return f". {_MASKS}. {_ALLOWED}"
    line = f" ({origin.line})" if origin.line else ""
    described = _FLOATS if any(array.dtype.kind == "f" for array in inputs.values()) else _IDS
    if origin.advice == _MASKS:  # the constant in the module is the cause, not the inputs
        described = ""
    return f". They first appear in {origin}{line}. {origin.advice}. {described}{_ALLOWED}"


class _Finder:
    """Checks the inputs and results of every operator. `path` has the names of the running modules, outermost first."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.nan: Origin | None = None  # the first operator that turns inputs without NaN into NaN
        self.infinity: Origin | None = None  # the first operator that turns finite inputs into infinity

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Any], None]:  # noqa: ANN401
        """Check an operator's inputs now, because it may write to them, and its results later."""
        tensors = tensors_in((args, kwargs))
        had_nan = _any(torch.isnan, tensors)
        had_infinity = _any(torch.isinf, tensors)

        def see_result(result: Any) -> None:  # noqa: ANN401
            # Integer inputs count because 0 / 0 is NaN, as in a mean over ids without padding. Skip constants.
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
    """Name a running operator of torch, the module that called it, and the line of the user's code."""
    frames = (frame for frame in reversed(traceback.extract_stack()) if not frame.filename.startswith("<"))
    frame = next((each for each in frames if is_users_code(each.filename)), None)
    line = "" if frame is None else source_line(frame.filename, frame.lineno)
    return Origin(str(func).split(".")[1], path[-1] if path else "", line)


def tensors_in(values: Any) -> list[Tensor]:  # noqa: ANN401 - arguments and results of operators
    """List the tensors in an operator's arguments or results."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextlib.contextmanager
def paths_of(module: nn.Module, path: list[str]) -> Iterator[None]:
    """Within the context, keep the names of the running modules in `path`."""
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
