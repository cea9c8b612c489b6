"""Dicts within a dict that forward takes for one parameter: {"forward": {"x": …, "mask": …}, "backward": …}."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["NestedDict", "leaves_of"]

_Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class NestedDict:
    """Makes the dicts of their tensors.

    Attributes:
        paths: Keys to each tensor, from the outermost; the tensor's name has a dot between each two.
    """

    paths: tuple[_Path, ...]

    def __call__(self, **tensors: Any) -> dict[str, Any]:  # noqa: ANN401 - tensors, or what makes them
        """Put tensors, given by name, in their places."""
        made: dict[str, Any] = {}
        for path in self.paths:
            inner = made
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = tensors[".".join(path)]
        return made


def leaves_of(group: Mapping[str, object], before: _Path = ()) -> Iterator[tuple[_Path, object]]:
    """Give what a dict holds, and the dicts in it, with the keys to each, in order."""
    for key, value in group.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, (*before, str(key)))
        else:
            yield (*before, str(key)), value
