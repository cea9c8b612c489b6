"""Replacing code of PyTorch during a capture: recurrent modules, packing functions, and functions of tensors.

A user's file refers to `pack_padded_sequence` by name, in a closure, a partial or a default argument; replacing the
attribute of `torch.nn.utils.rnn` reaches none of these, and they are functions of Python that no mode of torch sees. So
the function object stays and its code is exchanged: every reference to it runs our code, until the original code is
restored. The exchanged code checks whether this thread is capturing. If not, it runs PyTorch's own code, so other
threads are only some microseconds slower. A thread that reads the *source* of these functions meanwhile, as
`torch.jit.script` does, would read ours; so `rnnserve.export.script` waits for the lock.

A mode of torch, `FunctionStandIns`, replaces these functions:

- `torch.lstm`, `torch.gru` and the like, called by modules that hold weights of their own (weight dropout, generated
  weights), become one stand-in a layer. torch.export would unroll them step by step.
- `F.one_hot`, `torch.linspace` and `take_along_dim` take the size of an axis as a plain number, so that a capture would
  fix the axis to it. The stand-ins take any size.
- `cumprod` and `logcumsumexp` become scans: torch's translation of logcumsumexp subtracts the largest value of the
  whole row, so that minGRU's parallel form was off by 1.3 at 1,500 steps, and it has none of cumprod.
- `torch.max_pool1d` has no kernel of its own, and torch takes it apart in C++, which makes the sample's length a
  constant. It is pooling of images of one row here.
"""

import contextlib
import dataclasses
import functools
import inspect
import math
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import capture_session, packing, recurrent_layers
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.recurrent_layers import LayerStack, refuse_dtype, run
from rnnserve.export.recurrence.scan import scan
from rnnserve.export.source_lines import is_users_code
from rnnserve.export.surroundings import CACHED, functions_of, held_objects, names_in
from rnnserve.export.torch_adapter import packed_fields

__all__ = ["LOCK", "FunctionStandIns", "intercepted", "without_caches"]

# Held while a module is exported. Reentrant: an export captures the module and runs it again, each with exchanged code.
LOCK = threading.RLock()


class _Exchange:
    """One function of PyTorch: its own code under another name, the code that stands in it, and our replacements."""

    def __init__(
        self,
        name: str,
        function: object,
        replacement: Callable[..., Any] | None,
        lenient: Callable[..., Any] | None = None,
    ) -> None:
        self.function = cast(types.FunctionType, function)
        self.code = self.function.__code__
        self.original = types.FunctionType(
            self.code, self.function.__globals__, self.function.__name__, self.function.__defaults__
        )
        self.stub = _stub(name, self.function)
        self.replacement = replacement or self.original
        self.lenient = self.original if lenient is None else functools.partial(lenient, self.original)


def _stub(name: str, function: types.FunctionType) -> types.CodeType:
    """Make code that calls `route`, of the same signature, which torch.export reads of the module that it captures.

    It runs with torch's globals, so it imports what it needs.
    """
    parameters = ", ".join(inspect.signature(function).parameters)
    lines = (
        f"def stub({parameters}):",
        f"    from {__name__} import route",
        f"    return route({name!r}, {parameters})",
    )
    made: dict[str, Any] = {}
    exec(compile("\n".join(lines), __file__, "exec"), made)  # noqa: S102 - of the names above
    code: types.CodeType = made["stub"].__code__
    return code


_EXCHANGES = {
    "RNN.forward": _Exchange("RNN.forward", nn.RNN.forward, recurrent_layers.forward),
    "GRU.forward": _Exchange("GRU.forward", nn.GRU.forward, recurrent_layers.forward),
    "LSTM.forward": _Exchange("LSTM.forward", nn.LSTM.forward, recurrent_layers.forward),
    "pack": _Exchange("pack", rnn.pack_padded_sequence, packing.pack_padded_sequence, packing.pack_leniently),
    "fields": _Exchange("fields", packed_fields, None, packing.fields_leniently),
    "pad": _Exchange("pad", rnn.pad_packed_sequence, packing.pad_packed_sequence, packing.pad_leniently),
}
_depth = 0


def route(name: str, *arguments: Argument) -> Argument:
    """Run our replacement in the thread that captures, and PyTorch's own code in every other thread."""
    exchange = _EXCHANGES[name]
    if capture_session.active():
        return exchange.replacement(*arguments)
    return (exchange.lenient if packing.is_lenient() else exchange.original)(*arguments)


@contextlib.contextmanager
def intercepted() -> Iterator[None]:
    """Exchange the code of PyTorch's functions in the context, and restore it afterwards."""
    global _depth  # of the process, like the code that is exchanged
    with LOCK:
        if _depth == 0:
            for exchange in _EXCHANGES.values():
                exchange.function.__code__ = exchange.stub
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if _depth == 0:
                for exchange in _EXCHANGES.values():
                    exchange.function.__code__ = exchange.code


class FunctionStandIns(TorchFunctionMode):
    """Replaces such functions in this thread."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, or what stands in for it."""
        del types
        kwargs = kwargs or {}
        if func in _OF_SIZES and any(isinstance(each, torch.SymInt) for each in (*args, *kwargs.values())):
            return _OF_SIZES[func](*args, **kwargs)
        return _STAND_INS.get(func, func)(*args, **kwargs)


def _recurrent(mode: str) -> Callable[..., tuple[Tensor, ...]]:
    """Make what does what a recurrent function does with a plain sequence, with one stand-in a layer.

    The function's form for packed sequences has `batch_sizes` as its second argument, all others one place later, and
    no `batch_first`; so a `has_biases` that is not a bool means a packed sequence, which is refused.
    """
    name = f"torch.{mode.lower()}, called by the module's own code,"

    def function(
        input: Tensor,
        hx: Argument,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        if not isinstance(has_biases, bool):
            raise UnsupportedModule(
                f"{name} works on the fields of a PackedSequence, which ONNX has no form for; call nn.RNN, nn.GRU or "
                "nn.LSTM with the packed sequence"
            )
        if train and dropout and num_layers > 1:
            raise UnsupportedModule(
                f"{name} has dropout={dropout} that is on; call .eval() on the module before exporting"
            )
        directions = 1 + bidirectional
        plain = LayerStack(mode, num_layers, has_biases, bidirectional)
        stacks = [plain, dataclasses.replace(plain, projected=True)] if mode == "LSTM" else [plain]
        stack = next((stack for stack in stacks if len(params) == num_layers * stack.weights), None)
        if stack is None:
            raise UnsupportedModule(
                f"{name} got {len(params)} weights for {num_layers} layers in {directions} directions; expected "
                "weight_ih, weight_hh, the two biases and, for an LSTM with projections, weight_hr of each"
            )
        h_0, c_0 = hx if mode == "LSTM" else (hx, None)
        batch = input.shape[0 if batch_first else 1]
        # weight_hh is (gates * hidden, hidden or proj_size); only LSTM, which has four gates, has c_0.
        for label, state, size in (("h_0", h_0, params[1].shape[1]), ("c_0", c_0, params[1].shape[0] // 4)):
            expected = (num_layers * directions, batch, size)
            if state is not None and tuple(state.shape) != expected:
                raise UnsupportedModule(
                    f"{name} got {label} {tuple(state.shape)}; expected (layers * directions, batch, hidden) = "
                    f"{expected}"
                )
        refuse_dtype(input.dtype, f"{name} got {input.dtype}")
        steps = input.transpose(0, 1) if batch_first else input
        output, *finals = run(stack, steps, None, h_0, c_0, params)
        return (output.transpose(0, 1) if batch_first else output), *finals

    return function


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).to(torch.int64)


def _linspace(
    start: float, end: float, steps: int, *, dtype: torch.dtype | None = None, device: Argument = None, **more: Argument
) -> Tensor:
    """Compute it from both ends to the middle, as PyTorch does; one step is `start`."""
    dtype = dtype or torch.get_default_dtype()
    del more  # layout, pin_memory and requires_grad, which change no value
    at = torch.arange(steps, device=device)
    last = torch.full((), steps, device=device) - 1
    first, final = (torch.as_tensor(each, dtype=dtype, device=device) for each in (start, end))
    step = (final - first) / last.clamp(min=1).to(dtype)
    from_end = final - step * (last - at).to(dtype)
    return torch.where(at < ((last + 1) // 2).clamp(min=1), first + step * at.to(dtype), from_end)


def _take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Gather along an axis, all others of sizes that fit, as in arithmetic."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    dim %= input.dim()
    pairs = list(zip(input.shape, indices.shape, strict=True))
    shared = [other if isinstance(one, int) and one == 1 else one for one, other in pairs]
    values = input.expand([*shared[:dim], input.shape[dim], *shared[dim + 1 :]])
    return values.gather(dim, indices.expand([*shared[:dim], indices.shape[dim], *shared[dim + 1 :]]))


def _max_pool1d(
    input: Tensor,
    kernel_size: Argument,
    stride: Argument = None,
    padding: Argument = 0,
    dilation: Argument = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if return_indices:
        _with_indices()
    kernel = _number(kernel_size)
    step = kernel if stride is None or stride == [] else _number(stride)
    around, apart = (0, _number(padding)), (1, _number(dilation))
    return torch.max_pool2d(input.unsqueeze(-2), (1, kernel), (1, step), around, apart, ceil_mode).squeeze(-2)


def _number(value: Argument) -> int:
    """Take the number of an argument that may be a number or a list of one."""
    return int(value[0]) if isinstance(value, tuple | list) else value


def _with_indices(*_: object, **__: object) -> NoReturn:
    raise UnsupportedModule(
        "max_pool1d with return_indices=True cannot be exported right: which of equal values it names is left open. "
        "Use the values alone, or x.unfold(-1, kernel_size, stride) and argmax(-1)"
    )


def _running(start: float, combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Make a running product or logarithm of sums as a scan, in float64 or int64, as PyTorch computes them."""

    def run(input: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or (input.dtype if input.is_floating_point() else torch.int64)
        wide = input.to(dtype).to(torch.float64 if dtype.is_floating_point else torch.int64)
        if not input.dim():
            return wide.to(dtype)
        axis = dim % input.dim()

        def step(before: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            after = combine(before, values)
            return after, after

        first = wide.new_full((*wide.shape[:axis], *wide.shape[axis + 1 :]), start)
        results: Tensor = scan(step, first, wide, dim=axis)[1]
        return results.to(dtype)

    return run


_PRODUCT, _LOG_SUM = _running(1, torch.mul), _running(-math.inf, torch.logaddexp)

_OF_SIZES: dict[Any, Callable[..., Tensor]] = {F.one_hot: _one_hot, torch.linspace: _linspace}
"""Where one of the arguments is a size that is dynamic."""

_STAND_INS: dict[Any, Callable[..., Any]] = {
    torch.rnn_tanh: _recurrent("RNN_TANH"),
    torch.rnn_relu: _recurrent("RNN_RELU"),
    torch.gru: _recurrent("GRU"),
    torch.lstm: _recurrent("LSTM"),
    torch.take_along_dim: _take_along_dim,
    Tensor.take_along_dim: _take_along_dim,
    torch.cumprod: _PRODUCT,
    Tensor.cumprod: _PRODUCT,
    torch.logcumsumexp: _LOG_SUM,
    Tensor.logcumsumexp: _LOG_SUM,
    torch.max_pool1d: _max_pool1d,
    F.max_pool1d: _max_pool1d,
    torch.max_pool1d_with_indices: _with_indices,
    F.max_pool1d_with_indices: _with_indices,
}
"""By the function that user code calls, what runs in its place."""


@contextlib.contextmanager
def without_caches(module: nn.Module) -> Iterator[None]:
    """Empty, before and after the context, the caches of functions that a module's functions name (`lru_cache`).

    A mask of n steps is often kept so. What a capture computes has no values: kept, it would be the result of the
    module's later calls. And a value that was kept before would be a constant of the capture.
    """
    cached = [each for each in _named_values(module) if isinstance(each, CACHED) and _is_users(each.__wrapped__)]
    for each in cached:
        each.cache_clear()
    try:
        yield
    finally:
        for each in cached:
            each.cache_clear()


def _named_values(module: nn.Module) -> Iterator[Any]:
    """Give what the module's functions may call: methods, variables around them, and global ones that they name."""
    for kind in {each for held in held_objects(module).values() for each in type(held).__mro__}:
        yield from vars(kind).values()
    for function in functions_of(module):
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is not set
                yield cell.cell_contents
        names, variables = names_in(function.__code__), function.__globals__
        for value in (variables[name] for name in names & variables.keys()):
            yield value
            if isinstance(value, types.ModuleType):
                yield from (vars(value)[name] for name in names & vars(value).keys())


def _is_users(value: object) -> bool:
    return isinstance(value, types.FunctionType) and is_users_code(value.__code__.co_filename)
