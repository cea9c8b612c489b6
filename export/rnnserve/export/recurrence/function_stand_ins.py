"""Functions of torch that a capture computes otherwise, as far as a mode of torch sees them.

- `torch.lstm`, `torch.gru` and the like, called by modules that hold weights of their own (weight dropout, generated
  weights), become one stand-in a layer. torch.export would unroll them step by step.
- `F.one_hot`, `torch.linspace` and `take_along_dim` take the size of an axis as a plain number, so that a capture would
  fix the axis to it. The stand-ins take any size.
- `torch.max_pool1d` has no kernel of its own, and torch takes it apart in C++, which makes the sample's length a
  constant. It is pooling of images of one row here.
- `embedding_bag` is translated by torch into a loop over offsets that ends the process of onnxruntime when it is
  loaded. Rows of ids (batch, ids) need no offsets: the embedding, a mask, and a sum, a mean or a maximum.
- Sparse weights, such as an echo state network's reservoir, are dense: torch.export has no values of sparse tensors to
  trace with, and ONNX has no kernels for them. The functions for sparse tensors would fix the number of rows.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.recurrent_layers import LayerStack, refuse_dtype, run
from rnnserve.export.torch_adapter import own_dicts

__all__ = ["FunctionStandIns", "dense_weights"]


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


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    padding_idx: int | None = None,
    **of_training: Argument,
) -> Tensor:
    """Do what the function does with rows of ids (batch, ids); torch hands most arguments on by name."""
    del of_training
    if offsets is not None or input.dim() != 2:
        raise UnsupportedModule(
            f"embedding_bag got ids of shape {tuple(input.shape)}{' and offsets' if offsets is not None else ''}: bags "
            "that lie one after the other have no form in ONNX that keeps rows apart. Give it rows of ids (batch, ids) "
            "without offsets, shorter ones filled up with padding_idx"
        )
    if max_norm is not None:
        raise UnsupportedModule(
            f"embedding_bag has max_norm={max_norm}: eager changes its weights when it is called, and an ONNX model "
            "keeps no state. Normalise the weights once, before exporting, and leave max_norm out"
        )
    rows = F.embedding(input, weight)  # (batch, ids, features)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    kept = None
    if padding_idx is not None:
        kept = (input != padding_idx % weight.size(0)).unsqueeze(-1)  # (batch, ids, 1)
        rows = torch.where(kept, rows, 0.0)
    if mode == "max":
        if kept is None:
            return rows.amax(1)
        largest = torch.where(kept, rows, float("-inf")).amax(1)
        return torch.where(kept.any(1), largest, 0.0)
    total = rows.sum(1)
    if mode == "sum":
        return total
    count = input.size(1) if kept is None else kept.sum(1).clamp(min=1)
    return total / count


_OF_SIZES: dict[Any, Callable[..., Tensor]] = {F.one_hot: _one_hot, torch.linspace: _linspace}
"""Where one of the arguments is a size that is dynamic."""

_STAND_INS: dict[Any, Callable[..., Any]] = {
    torch.rnn_tanh: _recurrent("RNN_TANH"),
    torch.rnn_relu: _recurrent("RNN_RELU"),
    torch.gru: _recurrent("GRU"),
    torch.lstm: _recurrent("LSTM"),
    torch.take_along_dim: _take_along_dim,
    Tensor.take_along_dim: _take_along_dim,
    torch.max_pool1d: _max_pool1d,
    F.max_pool1d: _max_pool1d,
    torch.max_pool1d_with_indices: _with_indices,
    F.max_pool1d_with_indices: _with_indices,
    F.embedding_bag: _embedding_bag,
    torch.sparse.mm: torch.mm,
    torch.sparse.addmm: torch.addmm,
    torch.sspaddmm: torch.addmm,
    torch.smm: torch.mm,
    torch.dsmm: torch.mm,
}
"""By the function that user code calls, what runs in its place."""


@contextlib.contextmanager
def dense_weights(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Have sparse parameters, buffers and attributes of modules be dense inside the block, and as they were after it.

    Args:
        modules: Each module whose own ones are meant.
    """
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in modules:
        own: tuple[dict[str, Any], ...] = own_dicts(module)
        for held in own:
            replaced += [(held, name, value) for name, value in held.items() if _is_sparse(value)]
    try:
        for held, name, value in replaced:
            dense = value.detach().to_dense()
            held[name] = nn.Parameter(dense, requires_grad=False) if isinstance(value, nn.Parameter) else dense
        yield
    finally:
        for held, name, value in replaced:
            held[name] = value


def _is_sparse(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is not torch.strided
