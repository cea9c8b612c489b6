"""Replacing PyTorch's code during a capture: recurrent modules, packing functions, and functions of tensors.

A user's file refers to `pack_padded_sequence` by name, in a closure, a partial or a default argument. Replacing the
attribute of `torch.nn.utils.rnn` would miss these references, and torch's modes don't see Python functions. So the
function object stays, and its code is exchanged for the duration of the capture. The exchanged code checks whether this
thread is capturing. If not, it runs PyTorch's own code. But a thread that reads the *source* of these functions in the
meantime, as `torch.jit.script` does, would read our code, so `rnnserve.export.script` waits for the lock.

`stand_in_for` replaces functions that take the size of an axis as a plain number, because they would fix the axis. It
also replaces cumprod and logcumsumexp with scans, because torch's translation of logcumsumexp was off by 1.3 at 1,500
steps, and torch doesn't translate cumprod.
"""

import contextlib
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

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import layer_operators, packing
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.recurrence.scan import current_session, is_capturing, scan
from rnnserve.export.surroundings import functions_of
from rnnserve.export.torch_adapter import packed_fields

__all__ = ["LOCK", "intercepted", "stand_in_for", "without_caches"]

# Held during an export. Reentrant, because an export captures the module and later runs it, both with exchanged code.
LOCK = threading.RLock()


def _projected_lstm(
    steps: Tensor,
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    bidirectional: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute an LSTM with projections as a scan for each direction, since ONNX's LSTM has no projections.

    The hidden state of each step is multiplied by weight_hr before the next step reads it
    (https://arxiv.org/abs/1402.1128). The product `weight_hh @ weight_hr` would be larger and would round differently.
    """
    each = len(weights) // (1 + bidirectional)
    inside = None
    if lengths is not None:
        numbers = torch.arange(steps.shape[0], device=steps.device)
        inside = numbers.unsqueeze(1) < lengths.to(steps.device).unsqueeze(0)  # (sequence, batch)
    results = []
    for number in range(1 + bidirectional):
        own = weights[number * each : (number + 1) * each]
        zeros = [steps.new_zeros(steps.shape[1], own[-1].shape[axis]) for axis in (0, 1)]
        initial = [zero if state is None else state[number] for state, zero in zip(states, zeros, strict=True)]
        results.append(_direction(steps, inside, initial, own, reverse=number == 1))
    outputs, hs, cs = zip(*results, strict=True)
    return torch.cat(outputs, dim=2), torch.stack(hs), torch.stack(cs)


def _direction(
    steps: Tensor, inside: Tensor | None, states: Sequence[Tensor], weights: Sequence[Tensor], *, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    weight_ih, weight_hh, *biases, weight_hr = weights
    bias_ih, bias_hh = biases or (None, None)

    def step(state: tuple[Tensor, Tensor], x: tuple[Tensor, ...]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, c = state
        i, f, g, o = (F.linear(h, weight_hh, bias_hh) + x[0]).chunk(4, dim=1)
        c_after = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h_after = F.linear(torch.sigmoid(o) * torch.tanh(c_after), weight_hr)
        if inside is None:
            return (h_after, c_after), h_after
        here = x[1].unsqueeze(1)
        # In a reversed row, the first steps are padding, so the row keeps its initial state until its last step.
        kept = torch.where(here, h_after, h), torch.where(here, c_after, c)
        return kept, torch.where(here, h_after, torch.zeros_like(h_after))

    gates = F.linear(steps, weight_ih, bias_ih)
    (h, c), output = scan(step, tuple(states), (gates,) if inside is None else (gates, inside), reverse=reverse)
    return output, h, c


def _forward(module: nn.RNNBase, input: Argument, hx: Argument = None) -> tuple[Argument, Argument]:
    """Replace the forward of nn.RNN, nn.GRU and nn.LSTM, using stand-ins."""
    name = current_session().name(module)
    axes = "(batch, sequence, features)" if module.batch_first else "(sequence, batch, features)"
    if module.training and module.dropout and module.num_layers > 1:
        raise UnsupportedModule(
            f"{name} is in training mode with dropout={module.dropout} between its layers, and dropout draws random "
            "numbers. Call .eval() on the module before exporting it."
        )
    weights = module.all_weights  # not _flat_weights: as in eager, parametrizations compute a weight when it is read
    dtype = weights[0][0].dtype
    if dtype != torch.float32:
        raise UnsupportedModule(
            f"{name} holds {dtype}; onnxruntime runs recurrent operators in float32 only. Convert the "
            "module before exporting it: module.float()."
        )
    packed = packing.Padded.of(input, name) if isinstance(input, rnn.PackedSequence) else None
    steps = input if packed is None else packed.steps
    if not isinstance(steps, Tensor):
        raise UnsupportedModule(f"{name} got a {type(input).__name__}; expected a tensor {axes}")
    if steps.dim() != 3:
        unbatched = " Give an unbatched input a batch axis with unsqueeze." if steps.dim() == 2 else ""
        raise UnsupportedModule(
            f"{name} got an input of {steps.dim()} axes, {tuple(steps.shape)}; expected the three axes {axes}."
            f"{unbatched}"
        )
    steps = steps.transpose(0, 1) if packed is None and module.batch_first else steps
    if steps.shape[-1] != module.input_size:
        raise UnsupportedModule(
            f"{name} got an input of {steps.dim()} axes with {steps.shape[-1]} features; expected {axes} with "
            f"{module.input_size} features. Are the features on the last axis?"
        )
    if steps.dtype != dtype:
        raise UnsupportedModule(f"{name} got an input of {steps.dtype}; its weights are {dtype}")
    states = _initial_states(module, hx, steps, name)
    output, *finals = _layers(module, steps, None if packed is None else packed.row_lengths, states, weights)
    if packed is not None:
        result: Any = packed.with_steps(output, zero_padded=True).packed()
    else:
        result = output.transpose(0, 1) if module.batch_first else output
    return result, tuple(finals) if module.mode == "LSTM" else finals[0]


def _initial_states(module: nn.RNNBase, hx: Argument, steps: Tensor, name: str) -> list[Tensor | None]:
    """Check and list the initial states, with None for zeros. `steps` is (sequence, batch, features)."""
    rows = module.num_layers * (1 + module.bidirectional), steps.shape[1]
    shapes = {"h_0": (*rows, module.proj_size or module.hidden_size)}
    shapes |= {"c_0": (*rows, module.hidden_size)} if module.mode == "LSTM" else {}
    if hx is None:
        return [None] * len(shapes)
    if len(shapes) == 2 and (isinstance(hx, Tensor) or len(hx) != 2):
        raise UnsupportedModule(f"{name} got {type(hx).__name__} for its initial state; expected the pair (h_0, c_0)")
    states = [hx] if len(shapes) == 1 else list(hx)
    for state, (label, expected) in zip(states, shapes.items(), strict=True):
        if not isinstance(state, Tensor) or state.dim() != 3 or tuple(state.shape) != expected:
            got = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
            last = "proj_size" if module.proj_size and label == "h_0" else "hidden"
            raise UnsupportedModule(
                f"{name} got {label} {got}; expected (layers * directions, batch, {last}) = {expected}, even if the "
                "input is batch-first"
            )
        if state.dtype != steps.dtype:
            raise UnsupportedModule(f"{name} got {label} of {state.dtype}; its weights are {steps.dtype}")
    return states


def _layers(
    module: nn.RNNBase,
    steps: Tensor,
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
    weights: Sequence[Sequence[Tensor]],
) -> tuple[Tensor, ...]:
    """Add a stand-in for each layer to the captured program, and return the output and the final states."""
    directions = 1 + module.bidirectional
    finals: list[Sequence[Tensor]] = []
    for number in range(module.num_layers):
        rows = slice(number * directions, (number + 1) * directions)
        own = [weight for direction in weights[rows] for weight in direction]
        initial = [state if state is None or module.num_layers == 1 else state[rows] for state in states]
        given = (steps, lengths, *initial, own, module.bias, module.bidirectional)
        if module.proj_size:
            steps, *final = _projected_lstm(steps, lengths, initial, own, module.bidirectional)
        elif module.mode in ("GRU", "LSTM"):
            steps, *final = (layer_operators.GRU if module.mode == "GRU" else layer_operators.LSTM)(*given)
        else:
            steps, *final = layer_operators.RNN(*given, {"RNN_TANH": "tanh", "RNN_RELU": "relu"}[module.mode])
        finals.append(final)
    return steps, *(each[0] if len(each) == 1 else torch.cat(each) for each in zip(*finals, strict=True))


class _Exchange:
    """An exchanged function of PyTorch: its original code, the stub that replaces the code, and our replacements."""

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
        self.replacement = replacement or self.original
        self.lenient = self.original if lenient is None else functools.partial(lenient, self.original)
        # torch.export reads the signature, so the stub has the same. It runs with torch's globals, so it imports
        # `route` itself.
        parameters = ", ".join(inspect.signature(self.function).parameters)
        stub = f"def stub({parameters}):\n from {__name__} import route\n return route({name!r}, {parameters})"
        made: dict[str, Any] = {}
        exec(compile(stub, __file__, "exec"), made)  # noqa: S102 - of the names above
        self.stub: types.CodeType = made["stub"].__code__


_EXCHANGES = {
    "RNN.forward": _Exchange("RNN.forward", nn.RNN.forward, _forward),
    "GRU.forward": _Exchange("GRU.forward", nn.GRU.forward, _forward),
    "LSTM.forward": _Exchange("LSTM.forward", nn.LSTM.forward, _forward),
    "pack": _Exchange("pack", rnn.pack_padded_sequence, packing.pack_padded_sequence, packing.pack_leniently),
    "fields": _Exchange("fields", packed_fields, None, packing.fields_leniently),
    "pad": _Exchange("pad", rnn.pad_packed_sequence, packing.pad_packed_sequence, packing.pad_leniently),
}
_depth = 0


def route(name: str, *arguments: Argument) -> Argument:
    """Run our replacement in the capturing thread, and PyTorch's own code in every other thread."""
    exchange = _EXCHANGES[name]
    if is_capturing():
        return exchange.replacement(*arguments)
    return (exchange.lenient if packing.is_lenient() else exchange.original)(*arguments)


@contextlib.contextmanager
def intercepted() -> Iterator[None]:
    """Exchange the code of PyTorch's functions in the context, and restore it when the outermost context ends."""
    global _depth  # shared by the process, like the exchanged code
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


def stand_in_for(func: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any]:
    """Return the replacement of a function of tensors, or the function itself."""
    if func in _OF_SIZES and any(isinstance(each, torch.SymInt) for each in arguments):
        return _OF_SIZES[func]
    return _STAND_INS.get(func, func)


def _functional(*_: object, **__: object) -> NoReturn:
    raise UnsupportedModule(
        "the module's own code calls torch.lstm, torch.gru or torch.rnn_tanh, but only the layers nn.LSTM, nn.GRU "
        "and nn.RNN can be exported. Call the layer. If its weights are computed, use "
        'torch.func.functional_call(layer, {"weight_hh_l0": weight, …}, (x,)).'
    )


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).to(torch.int64)


def _linspace(
    start: float, end: float, steps: int, *, dtype: torch.dtype | None = None, device: Argument = None, **more: Argument
) -> Tensor:
    """Compute the values from both ends to the middle, as PyTorch does. A single step is `start`."""
    dtype = dtype or torch.get_default_dtype()
    del more  # layout, pin_memory and requires_grad don't change values
    at = torch.arange(steps, device=device)
    last = torch.full((), steps, device=device) - 1
    first, final = (torch.as_tensor(each, dtype=dtype, device=device) for each in (start, end))
    step = (final - first) / last.clamp(min=1).to(dtype)
    from_end = final - step * (last - at).to(dtype)
    return torch.where(at < ((last + 1) // 2).clamp(min=1), first + step * at.to(dtype), from_end)


def _take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Gather along an axis, and broadcast the others."""
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
    """Pool as an image of one row, because torch decomposes max_pool1d in C++ with a constant length, the sample's."""
    if return_indices:
        _with_indices()
    kernel, step, around, apart = (
        int(each[0]) if isinstance(each, tuple | list) else each
        for each in (kernel_size, stride or kernel_size, padding, dilation)
    )
    pooled = torch.max_pool2d(input.unsqueeze(-2), (1, kernel), (1, step), (0, around), (1, apart), ceil_mode)
    return pooled.squeeze(-2)


def _with_indices(*_: object, **__: object) -> NoReturn:
    raise UnsupportedModule(
        "max_pool1d with return_indices=True cannot be exported exactly: PyTorch does not define which of equal "
        "values it names. Use only the values, or x.unfold(-1, kernel_size, stride) and argmax(-1)"
    )


def _running(start: float, combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Make a running product or logarithm of sums as a scan in float64 or int64, as PyTorch does."""

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
"""Replacements for calls with a dynamic size among the arguments."""

_STAND_INS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((torch.rnn_tanh, torch.rnn_relu, torch.gru, torch.lstm), _functional),
    torch._is_all_true: torch.all,  # noqa: SLF001 - distributions call it since torch 2.15, and ONNX has no form of it
    torch.take_along_dim: _take_along_dim,
    Tensor.take_along_dim: _take_along_dim,
    # A capture doesn't know the tensor that `.data` makes.
    Tensor.data.__get__: torch.detach,  # type: ignore[attr-defined]  # it is a descriptor of C
    torch.cumprod: _PRODUCT,
    Tensor.cumprod: _PRODUCT,
    torch.logcumsumexp: _LOG_SUM,
    Tensor.logcumsumexp: _LOG_SUM,
    torch.max_pool1d: _max_pool1d,
    F.max_pool1d: _max_pool1d,
    torch.max_pool1d_with_indices: _with_indices,
    F.max_pool1d_with_indices: _with_indices,
}
"""Functions that user code calls, and their replacements."""


@contextlib.contextmanager
def without_caches(module: nn.Module) -> Iterator[None]:
    """Empty the caches (`lru_cache`) of functions that a module's code names, before and after the context.

    A mask of n steps is often cached. Tensors computed during a capture have no values, so later calls of the module
    must not find them in a cache. Tensors cached earlier would become constants of the capture.
    """
    _, cached = functions_of(module)
    for each in cached:
        each.cache_clear()
    try:
        yield
    finally:
        for each in cached:
            each.cache_clear()
