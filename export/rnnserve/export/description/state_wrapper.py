"""A module whose states are nested, or in its attributes, as one that takes and gives a flat list of tensors."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from rnnserve.export.description.state_trees import Empty, Path, check_constants, filled, parts_of, picked, tensors_of
from rnnserve.export.errors import WrongArguments
from rnnserve.export.held_modules import Wrapper, owner_of
from rnnserve.export.returned_numbers import NoTensor

__all__ = ["MISSING", "AttributeState", "TreeInput", "TreeOutput", "WithStates", "attribute", "set_attribute", "taken"]

MISSING = object()
"""What an attribute is that a module does not have before its first call."""


@dataclasses.dataclass(frozen=True)
class TreeOutput:
    """A state among the results of forward.

    Attributes:
        name: Its name.
        tree: A state of its structure.
    """

    name: str
    tree: Any


@dataclasses.dataclass(frozen=True)
class TreeInput:
    """A state among the arguments of forward.

    Attributes:
        tree: A state of its structure.
        rows: The axis of rows of the first tensor in it.
    """

    tree: Any
    rows: int


@dataclasses.dataclass(frozen=True)
class AttributeState:
    """A state in an attribute.

    Attributes:
        path: The attribute, from the module on: "cell.mem".
        tree: What it is after a call: a tensor, or a tree of tensors.
        rows: The axis of rows of the first tensor in it.
    """

    path: str
    tree: Any
    rows: int


class WithStates(Wrapper):
    """Takes the tensors of each nested state as one tuple, and those of attributes after all arguments.

    An argument that is None is left out: the module begins as it does by itself. The module is as it was after a call.
    """

    def __init__(
        self,
        module: nn.Module,
        trees: Sequence[TreeInput | None],
        outputs: Sequence[str | TreeOutput],
        attributes: Sequence[AttributeState],
    ) -> None:
        """Wrap a module.

        Args:
            module: The module, which takes its arguments by position.
            trees: Structure of each argument; None for one that is passed as it is.
            outputs: The names of its results, in order, and those that are nested states.
            attributes: The states in attributes.
        """
        super().__init__()
        self.module = module
        self._trees = list(trees)
        self._outputs = list(outputs)
        self._attributes = list(attributes)
        self.eval()

    def forward(self, *args: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 - what the module takes
        """Run the module."""
        count = len(args) - len(self._attributes)
        given = [
            value if tree is None or not isinstance(value, tuple) else _of_structure(tree.tree, tree.rows, value)
            for tree, value in zip(self._trees, args[:count], strict=True)
        ]
        results: list[Tensor] = []
        with self._attributes_kept():
            for state, value in zip(self._attributes, args[count:], strict=True):
                _begin(self.module, state, value)
            result = self.module(*given)
            results += taken(result, self._outputs)
            for state in self._attributes:
                after = attribute(self.module, state.path)
                found = picked(state.tree, after)
                if found is None:
                    raise WrongArguments(f'the attribute "{state.path}" has another structure after some calls')
                check_constants(state.tree, after, state.path)
                results += [leaf for _, leaf in found]
        return tuple(results)

    @contextlib.contextmanager
    def _attributes_kept(self) -> Iterator[None]:
        before = [attribute(self.module, state.path) for state in self._attributes]
        try:
            yield
        finally:
            for state, value in zip(self._attributes, before, strict=True):
                set_attribute(self.module, state.path, value)


def _begin(module: nn.Module, state: AttributeState, value: Any) -> None:  # noqa: ANN401
    """Set an attribute before a call: copies, since forward may write to them."""
    if value is None:
        value = attribute(module, state.path)
        set_attribute(module, state.path, filled(value, _copied))
    else:
        tensors = (value,) if isinstance(value, Tensor) else value
        set_attribute(module, state.path, _of_structure(state.tree, state.rows, [tensor.clone() for tensor in tensors]))


def _copied(_: Path, leaf: Tensor | Empty) -> Tensor | Empty:
    return leaf if isinstance(leaf, Empty) else leaf.clone()


def _of_structure(tree: Any, rows_axis: int, tensors: Sequence[Tensor]) -> Any:  # noqa: ANN401
    """Put tensors into a structure, in its order; empty ones have as many rows as the first."""
    given = dict(zip((path for path, _ in tensors_of(tree)), tensors, strict=True))
    rows = tensors[0].size(rows_axis)
    return filled(tree, lambda path, leaf: leaf.of(rows) if isinstance(leaf, Empty) else given[path])


def taken(result: Any, outputs: Sequence[str | TreeOutput]) -> list[Tensor]:  # noqa: ANN401 - what a forward returns
    """List the tensors of a result: nested ones in their order, but those of a state in the order of its structure.

    Raises:
        WrongArguments: If a state is not where the outputs say.
    """
    remaining = list(outputs)
    found = list(_taken(result, remaining))
    missing = next((output for output in remaining if isinstance(output, TreeOutput)), None)
    if missing is not None:
        paths = ", ".join(".".join(path) or "a tensor" for path, _ in tensors_of(missing.tree))
        raise WrongArguments(
            f'outputs names the state "{missing.name}", but forward does not return what it takes as this state, '
            f"{paths}, at its place among the outputs"
        )
    return found


def _taken(result: Any, remaining: list[str | TreeOutput]) -> Iterator[Tensor]:  # noqa: ANN401
    head = remaining[0] if remaining else ""
    if isinstance(head, TreeOutput):
        found = picked(head.tree, result)
        if found is not None:
            check_constants(head.tree, result, head.name)
            del remaining[0]
            yield from (leaf for _, leaf in found)
            return
    elif isinstance(result, Tensor):
        del remaining[:1]
        yield result
        return
    if result is None or isinstance(result, Tensor):
        return
    parts = parts_of(result)
    if parts is None:
        raise NoTensor(result)
    for part in parts.values():
        yield from _taken(part, remaining)


def attribute(module: nn.Module, path: str) -> Any:  # noqa: ANN401 - whatever it holds
    """What an attribute holds; `MISSING` where there is none yet."""
    return getattr(owner_of(module, path), path.rpartition(".")[2], MISSING)


def set_attribute(module: nn.Module, path: str, value: Any) -> None:  # noqa: ANN401
    """Set an attribute, a buffer among them; `MISSING` takes it away."""
    holder, name = owner_of(module, path), path.rpartition(".")[2]
    if value is not MISSING:
        setattr(holder, name, value)
    elif hasattr(holder, name):
        delattr(holder, name)
