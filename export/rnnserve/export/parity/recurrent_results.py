"""Results of recurrent operators, computed by eager and taken by a script that calls the same operators.

A script is compared with eager bit for bit, and the recurrent operators are nearly all the work of both. An operator of
torch gives the same bits for the same bits. So a call of the script gets the results that eager's call had, where
operator, weights, inputs and options are the same; where anything differs, it is computed. A script whose results
differ from eager's is run again without any of this: what is reported is its own.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from rnnserve.export.module_interface import Arrays

__all__ = ["RecurrentResults", "is_same"]

_OPERATORS = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})

_TRAINS = 3
"""Place of "train" among the options of every recurrent operator: then dropout draws random numbers."""

_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

_LEAST_PRODUCTS, _OF_A_STEP = 1 << 24, 1 << 19
"""Products of a call from which on its results are kept; and what a step takes beside its products."""


class RecurrentResults:
    """Results of one call of a module, for one call of its script.

    Attributes:
        taken: How many results the script took.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._calls: list[_Call] = []
        self.taken = 0

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the results of the recurrent operators that a module calls in the context."""
        with _Keeping(self._calls):
            yield

    def given_to(self, run: Callable[[], Arrays], eager: Arrays) -> Arrays:
        """Run a script that may take them, each once; without them where there are none, or anything comes out unlike.

        Args:
            run: A function that runs the script, without gradients.
            eager: Results of the module.
        """
        if self._calls:  # else no operator of the script has to pass through Python
            # Below autograd a recurrent operator is one operator yet.
            with contextlib.suppress(RuntimeError), _below_autograd(), _Giving(self._take):
                found = run()
                if is_same(found, eager):
                    return found
        return run()

    def _take(self, name: str, arguments: object) -> tuple[Tensor, ...] | None:
        for at, call in enumerate(self._calls):
            if call.name == name and call.is_of(arguments):
                self.taken += 1
                return self._calls.pop(at).results
        return None


class _Call(NamedTuple):
    """A call of a recurrent operator.

    Attributes:
        name: The operator's.
        tensors: Its tensors: weights as they are, copies of all else.
        versions: How often each tensor had been written.
        options: Its numbers.
        results: Copies of what it gave.
    """

    name: str
    tensors: Sequence[Tensor]
    versions: Sequence[int]
    options: Sequence[object]
    results: tuple[Tensor, ...]

    def is_of(self, arguments: object) -> bool:
        """Whether arguments of a call are the same, bit for bit."""
        tensors, options = _parts(arguments)
        return (
            options == self.options
            and len(tensors) == len(self.tensors)
            and all(map(_same, tensors, self.tensors, self.versions))
        )


class _Keeping(TorchFunctionMode):
    def __init__(self, calls: list[_Call]) -> None:
        super().__init__()
        self._calls = calls

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the function gives
        name = getattr(func, "__name__", "")
        if name not in _OPERATORS or kwargs:
            return func(*args, **(kwargs or {}))
        tensors, options = _parts(args)
        if options[_TRAINS] or _products(tensors) < _LEAST_PRODUCTS:
            return func(*args)
        before = [each if isinstance(each, torch.nn.Parameter) else _copy(each) for each in tensors]
        versions = [each._version for each in before]  # noqa: SLF001 - there is no public way
        results = func(*args)
        self._calls.append(_Call(name, before, versions, options, tuple(map(_copy, results))))
        return results


class _Giving(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, take: Callable[[str, object], tuple[Tensor, ...] | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._take = take

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the operator gives
        name = func.overloadpacket.__name__
        if name in _OPERATORS and not kwargs:
            results = self._take(name, args)
            if results is not None:
                return results
        if func.is_view:  # it is marked as one outside
            return func(*args, **(kwargs or {}))
        # As outside of a mode: torch chooses between mm and bmm by whether a view of a weight requires gradients.
        with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False):  # noqa: SLF001 - no public way
            return func(*args, **(kwargs or {}))


def _below_autograd() -> contextlib.AbstractContextManager[None]:
    guard: contextlib.AbstractContextManager[None] = torch._C._AutoDispatchBelowAutograd()  # noqa: SLF001 - no public way
    return guard


def is_same(found: Arrays, eager: Arrays) -> bool:
    """Whether arrays have the same names, shapes, dtypes and bits."""
    return found.keys() == eager.keys() and all(
        (array.dtype, array.shape) == (eager[name].dtype, eager[name].shape)
        and np.array_equal(_bits_of(array), _bits_of(eager[name]))
        for name, array in found.items()
    )


def _bits_of(array: npt.NDArray[Any]) -> npt.NDArray[np.unsignedinteger[Any]]:
    size = array.itemsize
    return np.ascontiguousarray(array).reshape(-1).view(f"u{size}" if size <= 8 else "u1")


def _parts(arguments: object) -> tuple[list[Tensor], list[object]]:
    """Split arguments into tensors and numbers, each in order."""
    leaves = _pytree.tree_leaves(arguments)
    return (
        [leaf for leaf in leaves if isinstance(leaf, Tensor)],
        [leaf for leaf in leaves if not isinstance(leaf, Tensor)],
    )


def _products(tensors: Sequence[Tensor]) -> int:
    """Estimate the products of a call: its tensors are values (…, features), states (…, batch, hidden), and weights."""
    values, second = tensors[:2]
    rows = values.numel() // max(values.size(-1), 1)
    # Of packed sequences it is the number of rows at each step.
    steps = rows // max(second.size(-2), 1) if second.is_floating_point() else second.numel()
    return rows * sum(each.numel() for each in tensors if isinstance(each, torch.nn.Parameter)) + steps * _OF_A_STEP


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _same(tensor: Tensor, kept: Tensor, version: int) -> bool:
    if kept._version != version:  # noqa: SLF001 - a weight that was written since
        return False
    if tensor is kept:
        return True
    form = (tensor.dtype, tensor.shape, tensor.stride())
    if form != (kept.dtype, kept.shape, kept.stride()):
        return False
    return bool(torch.equal(_bits(tensor), _bits(kept)))


def _bits(tensor: Tensor) -> Tensor:
    """Give a tensor's bits as whole numbers of its values' size: 0 is no -0, and a NaN is itself."""
    return tensor.detach().view(_WHOLE[tensor.element_size()])
