"""Questions of a module's Python code for values, which tensors of a capture don't have.

- Values that the module holds, parameters and buffers and what is computed of them alone: `range(int(self.layers))`
  takes the same way in each call, so its answer is that of the module's own numbers. `HeldValueMode` notes how those
  that depend on no argument are made, and computes one where code asks for its value.
- Checks of values that do nothing but raise: `assert lengths.min() > 0`, `if lengths.max() > x.size(1): raise …`. If a
  check fails, eager gives no result, so a program without it is right wherever eager gives one. `ValueChecks` leaves
  it out of the function's code while the module is captured, and the user is told. So are those of
  `torch.distributions`, unless a distribution is told to check, `validate_args=True`.
"""

import ast
import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.held_modules import functions_of
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.packing import PackedField
from rnnserve.export.recurrence.refusals import AsksForValues, DependsOnValues
from rnnserve.export.source_lines import source_line
from rnnserve.export.torch_adapter import (
    FakeTensor,
    outside_of_modes,
    tree_flatten,
    tree_leaves,
    tree_unflatten,
    version_of,
)

__all__ = ["HeldValueMode", "ValueChecks"]

_ASKS: Final = {
    *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist, Tensor.numpy),
    *(torch.equal, Tensor.equal, torch.is_nonzero, Tensor.is_nonzero),
}
"""Functions that make values of Python of tensors."""


class HeldValueMode(TorchFunctionMode):
    """Answers, in this thread, what Python code asks of values that depend on no argument of the module.

    Attributes:
        asked: Names of the parameters and buffers that an answer was made of.
        changed: Names of those that hold another tensor after a call, `self.calls = self.calls + 1`, or are written to.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self._own = _tensors_of(module)
        self._made: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}  # the tensor too, so that no `id` is used again
        self._begun: dict[str, tuple[Tensor, int | None]] = {}
        self.asked: set[str] = set()
        self.changed: set[str] = set()

    @contextlib.contextmanager
    def of_calls(self) -> Iterator["HeldValueMode"]:
        """Note, in the context, what stands in the place of the module's tensors when it is called."""
        hooks = (
            self._module.register_forward_pre_hook(lambda *_: self._begin()),
            self._module.register_forward_hook(lambda _, __, results: self._end(results)),
        )
        try:
            with self:
                yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _begin(self) -> None:
        tensors = {name: tensor for name, tensor in _tensors_of(self._module).items() if name in self._own}
        self._begun = {name: (tensor, version_of(tensor)) for name, tensor in tensors.items()}
        self._made = {id(tensor): (tensor, functools.partial(self._held, name)) for name, tensor in tensors.items()}

    def _end(self, results: Any) -> None:  # noqa: ANN401 - the module's
        if any(isinstance(each, PackedField) for each in tree_leaves(results)):
            raise UnsupportedModule(
                "forward returns a PackedSequence, or a field of one; return pad_packed_sequence of it instead"
            )
        after = _tensors_of(self._module)
        self.changed.update(
            name
            for name, (tensor, version) in self._begun.items()
            if after.get(name) is not tensor or version_of(tensor) != version
        )

    def _held(self, name: str) -> Tensor:
        self.asked.add(name)
        return self._own[name]

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, on the module's own numbers if it asks for values that they decide."""
        del types
        kwargs = kwargs or {}
        alone = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(alone, Tensor) and id(alone) not in self._made and func is not Tensor.numpy:
            return func(alone)  # most calls: torch reads shapes, strides and devices
        leaves, structure = tree_flatten((tuple(args), kwargs))
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        symbolic = any(isinstance(each, torch.SymInt | torch.SymFloat | torch.SymBool) for each in leaves)
        held = bool(tensors) and not symbolic and all(id(each) in self._made for each in tensors)
        if held and func in _ASKS:
            return outside_of_modes(lambda: self._again(func, leaves, structure))
        if func is Tensor.numpy and isinstance(args[0], FakeTensor):
            raise AsksForValues(".numpy() needs the values of a tensor")
        result = func(*args, **kwargs)
        if _writes(func, kwargs):
            if any(id(each) in self._made for each in tensors):
                self._made.clear()  # views of it have changed with it
        elif held:
            for at, each in enumerate(tree_leaves(result)):
                if isinstance(each, Tensor) and id(each) not in self._made:
                    self._made[id(each)] = each, functools.partial(self._again, func, leaves, structure, at)
        return result

    def _again(self, func: Callable[..., Any], leaves: list[Any], structure: Argument, at: int | None = None) -> Any:  # noqa: ANN401
        """Run a function on tensors with values; give its result, or one of the tensors in it."""
        values = [self._made[id(each)][1]() if isinstance(each, Tensor) else each for each in leaves]
        args, kwargs = tree_unflatten(values, structure)
        result = func(*args, **kwargs)
        return result if at is None else tree_leaves(result)[at]


def _tensors_of(module: nn.Module) -> dict[str, Tensor]:
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _writes(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a function changes a tensor: `add_`, `x[0] = …`, `x += …`, `out=`."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.startswith(("__set", "__i")) and name not in ("__int__", "__index__", "__invert__")
    return name.endswith("_") or "out" in kwargs


_CHECKS = {"_assert", "_assert_async", "_check", "_check_value", "_check_tensor_all"}  # functions of torch


class ValueChecks:
    """The checks of a module that are left out, as captures are refused for them.

    Attributes:
        told: What the user is told of them.
    """

    def __init__(self, module: nn.Module) -> None:
        self.told: list[str] = []
        self._module = module
        self._places: set[tuple[str, int]] = set()
        self._codes: dict[types.FunctionType, types.CodeType] = {}
        self._of_distributions = False

    def leave_out(self, refused: DependsOnValues) -> bool:
        """Leave out the check that a capture was refused for; False if there is none."""
        if refused.of_distribution:
            found, self._of_distributions = not self._of_distributions and _distributions_check(), True
            if found:
                self.told.append("does not check the arguments of distributions")
            return found
        for place in refused.places:
            if place not in self._places and self._leave_out_at(*place):
                self.told.append(f"makes no check of values at {source_line(*place)}")
                return True
        return False

    def _leave_out_at(self, file: str, line: int) -> bool:
        lines = {at for where, at in self._places if where == file} | {line}
        found = False
        for function in functions_of(self._module):
            if function.__code__.co_filename == file:
                dropped, code = _code_without(function, lines)
                if dropped and code is not None:
                    self._codes[function] = code
                    found = found or line in dropped
        if found:
            self._places.add((file, line))
        return found

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """Run the functions without these checks in the context. The function objects stay; their code is exchanged."""
        before = [(function, function.__code__) for function in self._codes]
        try:
            for function, code in self._codes.items():
                function.__code__ = code
            if self._of_distributions:
                Distribution.set_default_validate_args(False)
            yield
        finally:
            for function, code in before:
                function.__code__ = code
            if self._of_distributions:
                Distribution.set_default_validate_args(True)


def _distributions_check() -> bool:
    """Whether distributions that aren't told check their arguments: torch has no public way to ask for it."""
    with contextlib.suppress(ValueError):
        Bernoulli(probs=torch.tensor(2.0))
        return False
    return True


def _code_without(function: types.FunctionType, lines: Collection[int]) -> tuple[set[int], types.CodeType | None]:
    """Compile a function without the checks at some lines; give those lines, too. None if its file isn't what runs."""
    code = function.__code__
    within = {line for _, _, line in code.co_lines() if line is not None}
    if not any(min(within) <= line <= max(within) for line in lines):
        return set(), None
    try:
        tree = ast.parse("".join(inspect.findsource(function)[0]))
    except (OSError, TypeError, SyntaxError, ValueError):
        return set(), None
    if _compiled(tree, code) != code:
        return set(), None
    dropping = _Dropping(lines)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first == code.co_firstlineno:
                dropping.visit(node)
    found = _compiled(tree, code)
    return dropping.dropped, found if found is not None and found.co_freevars == code.co_freevars else None


class _Dropping(ast.NodeTransformer):
    """Drops checks at lines: the statement's own, or those of the condition before what it raises."""

    def __init__(self, lines: Collection[int]) -> None:
        self._lines = lines
        self.dropped: set[int] = set()

    def visit(self, node: ast.AST) -> ast.AST:
        """Put `pass` in the place of a check."""
        if isinstance(node, ast.stmt) and _is_check(node):
            end = node.test.end_lineno if isinstance(node, ast.If) else node.end_lineno
            found = {line for line in self._lines if node.lineno <= line <= (end or node.lineno)}
            if found:
                self.dropped |= found
                return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def _is_check(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return isinstance(called, ast.Attribute) and called.attr in _CHECKS
    if isinstance(node, ast.If):
        return not node.orelse and all(isinstance(each, ast.Raise) for each in node.body)
    return isinstance(node, ast.Assert)


def _compiled(tree: ast.Module, like: types.CodeType) -> types.CodeType | None:
    """Compile a file, and give the code of one of its functions: which names are imported decides how calls are."""
    waiting: list[types.CodeType] = [compile(tree, like.co_filename, "exec", dont_inherit=True)]
    for each in waiting:  # it grows
        if (each.co_name, each.co_firstlineno) == (like.co_name, like.co_firstlineno):
            return each
        waiting += [constant for constant in each.co_consts if isinstance(constant, types.CodeType)]
    return None
