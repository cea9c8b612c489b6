"""What the body of a loop may change besides tensors: variables, lists, deques, dicts, dataclasses, attributes.

A `Memory` is what they hold before a run of the body. It tells what the run has changed, and restores it.
"""

import collections
import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.held_modules import is_object
from rnnserve.export.outer_variables import OuterVariable
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.item_changes import ItemChanges
from rnnserve.export.recurrence.loops.records import is_record, rebuilt
from rnnserve.export.recurrence.loops.refused import LoopRefused, Site
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_list import StepList

__all__ = ["MISSING", "Appended", "Memory", "Place", "Replaced"]


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()
"""What a variable holds that is not set."""

_BOOKKEEPING = {"_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set"}


@dataclasses.dataclass(frozen=True)
class Place:
    """One variable, item or attribute.

    Attributes:
        container: Dict of variables or attributes, list or dict that holds it.
        key: Its name, position or key.
        label: What messages call it.
        is_variable: Whether it is a local variable of the function with the loop.
    """

    container: Any
    key: Any
    label: str
    is_variable: bool = False

    @property
    def identity(self) -> tuple[int, Any]:
        """What tells it from others; variables have the identity of no container, which is another in each run."""
        return (0 if self.is_variable else id(self.container), self.key)

    def put(self, value: Argument) -> None:
        """Give it a value."""
        if isinstance(self.container, list):  # as Python has it, in a list of ours, too
            list.__setitem__(self.container, self.key, value)
        else:
            self.container[self.key] = value


@dataclasses.dataclass(frozen=True)
class Appended:
    """What a run has added to a list.

    Attributes:
        items: The list.
        added: What is new, in order.
        at_front: Whether it was put before the rest.
        label: What messages call the list.
    """

    items: StepList
    added: tuple[Any, ...]
    at_front: bool
    label: str


@dataclasses.dataclass(frozen=True)
class Replaced:
    """What a run has set in a list that holds all steps.

    Attributes:
        items: The list.
        index: Number of the item.
        value: What it is set to.
        label: What messages call the list.
    """

    items: StepList
    index: StepIndex
    value: Any
    label: str


class Memory:
    """What may change, as it is now.

    Args:
        variables: Local variables of the function with the loop.
        modules: Modules of the exported one, by name.
        site: The loop.
        outer: Variables outside of the exported module.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        modules: Mapping[str, nn.Module],
        site: Site,
        outer: Sequence[OuterVariable] = (),
    ) -> None:
        self.site = site
        self.variables = dict(variables)
        self._names = site.carried | site.last
        self._seen: set[int] = set()
        self._containers: list[tuple[str, Any, Any]] = []
        for name, module in modules.items():
            self._containers.append((name, module.__dict__, dict(module.__dict__)))
            self._containers.append((name, module._buffers, dict(module._buffers)))  # noqa: SLF001
            for attribute, value in module.__dict__.items():
                if attribute not in _BOOKKEEPING and not attribute.startswith("_forward"):
                    self._add(f"{name}.{attribute}", value)
        for name, value in variables.items():
            self._add(name, value)
        for each in outer:
            self._add(each.key, each.get())
        self._before = {id(items): (items.inserted, items.changes, items.read_last) for _, items, _ in self._lists()}

    def restore(self) -> None:
        """Give all containers what they held."""
        for _, container, saved in self._containers:
            if isinstance(container, list):
                list.__setitem__(container, slice(None), saved)
            elif isinstance(container, dict):
                for key in container.keys() - saved.keys():
                    del container[key]
                for key, value in saved.items():
                    if container.get(key, MISSING) is not value:
                        container[key] = value
            elif isinstance(container, collections.deque):
                container.clear()
                container.extend(saved)
            if isinstance(container, StepList):
                container.inserted, container.changes, container.read_last = self._before[id(container)]

    def places(self, variables: Mapping[str, Any]) -> Iterator[tuple[Place, Any, Any]]:
        """Give each place, what it held before, and what it holds now.

        Raises:
            LoopRefused: If a container has changed in a way that no step of a scan has.
        """
        for name in sorted(self._names):
            now = variables.get(name, MISSING)
            yield (
                Place(variables, name, name, is_variable=True),
                self._before_now(self.variables.get(name, MISSING), now),
                now,
            )
        for label, container, saved in self._containers:
            if isinstance(container, list):
                offset = len(list(list.__iter__(container))) - len(saved) if self._is_fronted(container) else 0
                if list.__len__(container) < len(saved):
                    raise LoopRefused(
                        self.site, f"a step removes items from the list `{label}`, which is as long as it is"
                    )
                for position, value in enumerate(saved):
                    now = list.__getitem__(container, position + offset)
                    yield Place(container, position, f"{label}[{position}]"), self._before_now(value, now), now
            elif isinstance(container, dict):
                for key in [*saved, *(key for key in container if key not in saved)]:
                    if key not in _BOOKKEEPING:
                        name = (
                            f"{label}.{key}" if "." in label or self._is_attributes(container) else f"{label}[{key!r}]"
                        )
                        now = container.get(key, MISSING)
                        yield (
                            Place(container, key, name.strip(".")),
                            self._before_now(saved.get(key, MISSING), now),
                            now,
                        )
            elif isinstance(container, collections.deque) and len(container) == len(saved):
                for position, (value, now) in enumerate(zip(saved, container, strict=True)):
                    yield Place(container, position, f"{label}[{position}]"), self._before_now(value, now), now
            elif isinstance(container, collections.deque):
                raise LoopRefused(
                    self.site,
                    f"a step changes how many items the deque `{label}` has. Fill it before the loop, to its maxlen: "
                    f"{label} = deque([x.new_zeros(x.size(0), …)] * n, maxlen=n)",
                )
            elif list(map(id, container)) != list(map(id, saved)):
                raise LoopRefused(self.site, f"a step changes `{label}`, a {type(container).__name__}")

    def _before_now(self, before: Argument, now: Argument) -> Argument:
        """Give what a place held: where it holds something else now, with the items that lists and dicts had then."""
        return before if now is before else self._with_items(before)

    def _with_items(self, value: Argument) -> Argument:
        if type(value) is tuple:
            return tuple(self._with_items(each) for each in value)
        held = value.__dict__ if is_record(value) and hasattr(value, "__dict__") else value
        saved = next((saved for _, container, saved in self._containers if container is held), None)
        if isinstance(saved, dict) and held is not value:
            made = rebuilt(value, lambda entry: entry)
            made.__dict__.update((key, self._with_items(each)) for key, each in saved.items())
            return made
        if isinstance(saved, dict):
            made = copy.copy(value)  # of its class
            made.clear()
            made.update((key, self._with_items(each)) for key, each in saved.items())
            return made
        return [self._with_items(each) for each in saved] if type(value) in (list, StepList) and saved else value

    def of_variables(self, names: Iterable[str]) -> dict[str, Any]:
        """Give what variables held, those that are set."""
        return {name: self.variables[name] for name in names if name in self.variables}

    def step_lists(self) -> list[StepList]:
        """Give the lists that loops may fill."""
        return [container for _, container, _ in self._lists()]

    def leave_lists(self) -> None:
        """Let lists be read as the step of a loop around this one reads them."""
        for items in self.step_lists():
            items.read_last = self._before[id(items)][2]

    def holding(self) -> Iterator[tuple[Place, Any]]:
        """Give every variable, item and attribute, with what it held."""
        for name, value in self.variables.items():
            yield Place(self.variables, name, name, is_variable=True), value
        for label, container, saved in self._containers:
            if isinstance(container, list | dict | collections.deque):
                for key, value in saved.items() if isinstance(saved, dict) else enumerate(saved):
                    yield Place(container, key, f"{label}[{key!r}]"), value

    def appended(self) -> list[Appended]:
        """Give what has been added to lists.

        Raises:
            LoopRefused: If a list was not made in a function with a loop.
        """
        found = []
        for label, container, saved in self._containers:
            if not isinstance(container, list) or list.__len__(container) == len(saved):
                continue
            if not isinstance(container, StepList):
                raise LoopRefused(
                    self.site,
                    f"a step appends to the list `{label}`, which another function has made. Make it in this function, "
                    f"before the loop: {label} = []",
                )
            now, added = list(list.__iter__(container)), list.__len__(container) - len(saved)
            fronted = self._is_fronted(container)
            found.append(Appended(container, tuple(now[:added] if fronted else now[len(saved) :]), fronted, label))
        return found

    def changes_before(self, items: StepList) -> ItemChanges:
        """Give what had been done to a list when the loop began, by the step of a loop around it."""
        return self._before[id(items)][1]

    def replaced(self) -> list[Replaced]:
        """Give the items that a step has set in lists that hold all steps."""
        return [
            Replaced(items, items.changes.index, items.changes.value, label)
            for label, items, _ in self._lists()
            if items.changes.index is not None
        ]

    def _is_fronted(self, container: list[Any]) -> bool:
        return isinstance(container, StepList) and container.inserted > self._before[id(container)][0]

    def _is_attributes(self, container: dict[str, Any]) -> bool:
        return "training" in container

    def _lists(self) -> Iterator[tuple[str, StepList, list[Any]]]:
        return (entry for entry in self._containers if isinstance(entry[1], StepList))

    def _add(self, label: str, value: Argument) -> None:
        """Note a container, and those in it."""
        is_record = (dataclasses.is_dataclass(value) and not isinstance(value, type)) or is_object(value)
        if not is_record and not isinstance(value, list | tuple | dict | set | collections.deque):
            return
        if id(value) in self._seen or isinstance(value, PackedSequence):  # to read its fields is an operation
            return
        self._seen.add(id(value))
        if is_record:
            value = value.__dict__ if hasattr(value, "__dict__") else {}
        entries = list(list.__iter__(value)) if isinstance(value, list) else None
        if isinstance(value, dict):
            self._containers.append((label, value, dict(value)))
            entries = list(value.values())
        elif entries is not None:
            self._containers.append((label, value, entries))
        elif not isinstance(value, tuple):
            self._containers.append((label, value, list(value)))
        for position, entry in enumerate(entries if entries is not None else value):
            self._add(f"{label}[{position}]", entry)
