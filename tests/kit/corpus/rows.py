"""Rows of the corpus: a module, how its arguments are drawn, and whether its export is right or refused."""

import dataclasses
import inspect
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

Sizes = Mapping[str, int]
OTHER_SIZES = (1, 5, 3, 9, 2)
"""Sizes of axes that aren't named batch or sequence, from one run to the next."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A tensor that each run draws anew.

    Attributes:
        axes: Name or size of each axis.
        kind: "floats" or "lengths".
        is_sorted: Lengths fall from row to row.
    """

    axes: tuple[str | int, ...]
    kind: str = "floats"
    is_sorted: bool = False

    @property
    def dynamic(self) -> dict[int, str]:
        return {axis: name for axis, name in enumerate(self.axes) if isinstance(name, str)}

    def draw(self, sizes: Sizes, random: torch.Generator) -> torch.Tensor:
        """Draw a tensor; the longest row is `sizes["longest"]` long, or as long as the axis."""
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in self.axes]
        if self.kind == "lengths":
            longest = sizes.get("longest", sizes["sequence"])
            drawn = torch.randint(1, longest + 1, shape, generator=random)
            drawn[shape[0] // 2] = longest
            return drawn.sort(descending=True).values if self.is_sorted else drawn
        return torch.randn(shape, generator=random)


def floats(*axes: str | int) -> Drawn:
    return Drawn(axes)


def lengths(*, is_sorted: bool = False) -> Drawn:
    return Drawn(("batch",), "lengths", is_sorted)


X, LENGTHS = floats("batch", "sequence", 3), lengths()


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A module of the corpus and the verdict on it.

    Attributes:
        name: Name of the row, unique in its family.
        family: Name of the family.
        make: Function that makes the module.
        arguments: Arguments of the module; each `Drawn` in them is a tensor.
        refused: Regular expression that the refusal matches. Empty if the export is right.
        is_core: Whether the core suite has the row.
        is_located: Whether the refusal names a line of the module's own code.
        told: Regular expression of a warning of the export.
        limit: Largest difference from eager, in multiples of the usual one.
        layers: Number of native recurrent operators; None if the row doesn't say.
        longer: Whether the sequence axis may be longer than the longest row.
        bounds: Argument `sizes` of the export.
        together: Rows that one export may hold; 1 for a loop whose size is divided, which is traced twice as often.
        runs: Sizes of the runs; empty for the usual ones.
        is_scaled: Whether runs have zeros, large and small numbers, too.
        outside: Function that describes variables outside the module that the export must leave as they were.
    """

    name: str
    family: str
    make: Callable[[], nn.Module]
    arguments: tuple[Any, ...]
    refused: str = ""
    is_core: bool = False
    is_located: bool = True
    told: str = ""
    limit: float = 1.0
    layers: int | None = None
    longer: bool = False
    bounds: tuple[tuple[str, tuple[int, int | None]], ...] = ()
    runs: tuple[tuple[int, int], ...] = ()
    is_scaled: bool = True
    together: int = 8
    outside: Callable[[], object] | None = None

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"

    @property
    def seed(self) -> int:
        return zlib.crc32(str(self).encode())

    def module(self) -> nn.Module:
        """Make the module; its weights depend on the row's name alone."""
        torch.manual_seed(self.seed)
        return self.make().eval()

    def draw(self, sizes: Sizes, number: int, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Any:
        """Draw arguments for the run of this number."""
        random = torch.Generator().manual_seed(self.seed + number)
        others = {
            axis: OTHER_SIZES[(number + zlib.crc32(axis.encode())) % len(OTHER_SIZES)]
            for drawn in self._drawn()
            for axis in drawn.axes
            if isinstance(axis, str)
        }

        def tensor(leaf: Any) -> Any:
            if not isinstance(leaf, Drawn):
                return leaf
            drawn = leaf.draw({**others, **sizes}, random)
            return change(drawn).to(drawn.dtype) if change and drawn.is_floating_point() else drawn

        return _pytree.tree_map(tensor, self.arguments)

    def shapes(self) -> Any:
        """Dynamic shapes of the arguments."""
        return _pytree.tree_map(lambda leaf: leaf.dynamic if isinstance(leaf, Drawn) else None, self.arguments)

    def _drawn(self) -> list[Drawn]:
        return [leaf for leaf in _pytree.tree_leaves(self.arguments) if isinstance(leaf, Drawn)]


class Members(nn.Module):
    """Layers that the modules of several families use."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.lstm = nn.GRU(3, 4, batch_first=True), nn.LSTM(3, 4, batch_first=True)
        self.cell, self.linear, self.head = nn.GRUCell(3, 4), nn.Linear(3, 3), nn.Linear(4, 2)


def forward(self: Any, *arguments: Any) -> Any:
    """The `forward` of modules that a function makes. Torch tells lines of the user below such a name only."""
    return self.way(*arguments)


class Family(list[Row]):
    """Rows that belong together. Its decorators make rows of functions that a module's `forward` calls.

    Args:
        name: Name of the family.
        base: Class of the modules; its `__init__` makes the layers that the functions use.
        arguments: Arguments of the modules.
        usual: Attributes of the rows that aren't given with each.
    """

    def __init__(
        self, name: str, base: type[nn.Module] = nn.Module, arguments: tuple[Any, ...] = (X,), **usual: Any
    ) -> None:
        super().__init__()
        self.name, self.base, self.arguments, self.usual = name, base, arguments, usual

    def add(self, name: str, make: Callable[[], nn.Module], *arguments: Any, **more: Any) -> None:
        """Add a row for a module that a function or class makes."""
        assert name not in {row.name for row in self}, f"{self.name} has two rows named {name}"
        self.append(Row(name, self.name, make, arguments or self.arguments, **{**self.usual, **more}))

    def right(self, function: Any = None, *, arguments: tuple[Any, ...] = (), **more: Any) -> Any:
        """Add a row whose export is right."""
        if function is None:
            return lambda function: self.right(function, arguments=arguments, **more)
        make, name = function, function.__name__
        if inspect.isclass(function):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
        else:
            make = type(name, (self.base,), {"forward": forward, "way": function, "__module__": function.__module__})
        self.add(name.replace("_", " "), make, *arguments, **more)
        return function

    def core(self, function: Any = None, **more: Any) -> Any:
        """Add a row whose export is right to the core suite, too."""
        return self.right(function, is_core=True, **more)

    def refused(self, phrase: str, **more: Any) -> Any:
        """Add a row that is refused."""
        return self.right(refused=phrase, **more)
