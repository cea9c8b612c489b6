"""What is found of a captured loop: what it carries, what it reads and writes; and the scan that is made of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from rnnserve.export.recurrence import capture_session
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.carried import Carried, Unfit, flattened
from rnnserve.export.recurrence.loops.item_changes import ItemChanges
from rnnserve.export.recurrence.loops.memory import MISSING, Appended, Memory, Place, Replaced
from rnnserve.export.recurrence.loops.refused import Site
from rnnserve.export.recurrence.loops.sequences import Sequences
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_list import StepList
from rnnserve.export.recurrence.loops.step_number import StepNumber, StepsOwner, as_tensors
from rnnserve.export.recurrence.loops.step_pass import AssignedStep, StepPass, as_written
from rnnserve.export.recurrence.loops.steps import Steps, TensorSteps, reversed_steps
from rnnserve.export.recurrence.scan_loop import ScanLoop
from rnnserve.export.recurrence.scan_markers import mark_begin, mark_end

__all__ = ["LoopState"]


class LoopState:
    """What is known of a loop.

    Args:
        loop: The loop.
        site: Place of it in the user's code, and the variables that its body uses.

    Attributes:
        sequences: What its steps read at their number.
        whole: Tensors that are written to and carried whole, by `id`.
        values: What variables are to hold before the body, or after the loop.
        apart: Whether the first step takes another path than those after it.
    """

    def __init__(self, loop: StepsOwner, site: Site) -> None:
        self.sequences = Sequences(loop)
        self.whole: dict[int, Tensor] = {}
        self.values: dict[str, Any] = {}
        self.apart = False
        self._loop, self._site = loop, site
        self._carried: dict[tuple[int, Any], Carried] = {}
        self._last_items: dict[int, tuple[StepList, Carried]] = {}
        self._lists_read: dict[int, StepList] = {}
        self._begun: list[Tensor] = []
        self._clones: dict[int, Tensor] = {}

    def begin(self) -> bool:
        """Put the marker where a step begins; False where nothing is known of a step yet."""
        if not self._all() and not self.whole and not self.sequences:
            return False
        if self._loop.skips or not self.sequences:
            self.sequences.number()
        states = [state for each in self._all() for state in each.states] + list(self.whole.values())
        tensors = self.sequences.tensors()
        self._inputs = (states, tensors)
        self._scan = ScanLoop(0, self.sequences.reverse, self._loop.count - self._loop.lowest)
        self._number = next(capture_session.current().scans)
        self._begun, of_step = mark_begin(self._scan, self._number, states, tensors)
        self.sequences.begin(of_step)
        return True

    def put(self, memory: Memory, inner: StepPass) -> None:
        """Put the state of a step in its places, before a run of the body."""
        inner.made_anew([*self._begun, *self.sequences.of_step()], [])
        left = iter(self._begun)
        self.values = memory.of_variables(self._site.carried)
        states = {id(each): [next(left) for _ in each.states] for each in self._all()}
        self._clones = {key: next(left).clone() for key in self.whole} if self._begun else {}
        for key, clone in self._clones.items():
            self._put_for(memory, self.whole[key], clone)
        for each in self._carried.values():
            pairs = zip(states[id(each)], each.states, strict=True)
            value = each.installed([new.clone() if id(old) in self.whole else new for new, old in pairs])
            self._put(each.place, value)
        for items in memory.step_lists():
            items.changes = ItemChanges(memory.changes_before(items))
            known = self._last_items.get(id(items))
            value = None if known is None else known[1].installed(states[id(known[1])])
            items.read_last = (list.__len__(items), self._reader(items, value))

    def _reader(self, items: StepList, value: Argument) -> Any:  # noqa: ANN401 - a function
        def read() -> Argument:
            if value is not None:
                return value
            self._lists_read[id(items)] = items
            return list.__getitem__(items, -1)

        return read

    def put_back(self, memory: Memory) -> None:
        """Let variables have what they held before the loop, for a first step that runs apart."""
        self.values = memory.of_variables(self._site.carried | self._site.assignable)

    def compare(self, memory: Memory, variables: Mapping[str, Any], inner: StepPass) -> tuple[bool, str]:
        """Look at what a run has changed.

        Returns:
            Whether it has changed what was not known to change, and why the first step has to run apart, or nothing.
        """
        found = self.sequences.found
        self.sequences.found = False
        for key, tensor in inner.written.items():
            if key not in self.whole:
                self.whole[key] = tensor
                found = True
        try:
            for place, before, now in memory.places(variables):
                found |= self._compare_place(place, before, now)
            for appended in memory.appended():
                found |= self._compare_list(appended)
        except Unfit as unfit:
            return found, str(unfit)
        return found, "its first step takes another path than those after it" if self.apart else ""

    def _compare_place(self, place: Place, before: Argument, now: Argument) -> bool:
        known = self._carried.get(place.identity)
        if known is not None:
            known.after(now)
            return False
        if now is before or self._is_clone(before, now) or now is MISSING:
            return False
        is_read = not (place.is_variable and place.key in self._site.last)
        if type(now) is type(before) and isinstance(now, int | float | str) and now == before:
            return False
        if not is_read and not _holds_tensors(now):
            return False
        self._carried[place.identity] = Carried.of(place, before, now, self._loop, is_read=is_read)
        return True

    def _compare_list(self, appended: Appended) -> bool:
        key = id(appended.items)
        if key in self._last_items:
            self._last_items[key][1].after(appended.added[-1])
            return False
        if key not in self._lists_read or appended.at_front:
            return False
        place = Place(appended.items, -1, f"{appended.label}[-1]")
        before = list.__getitem__(appended.items, -1 - len(appended.added))
        self._last_items[key] = (
            appended.items,
            Carried.of(place, before, appended.added[-1], self._loop, is_read=True),
        )
        return True

    def _is_clone(self, before: Argument, now: Argument) -> bool:
        return isinstance(before, Tensor) and now is self._clones.get(id(before), self)

    def end(self, memory: Memory, variables: Mapping[str, Any], inner: StepPass) -> None:
        """Put the marker where a step ends, and the results of the loop in their places."""
        appended, assigned = memory.appended(), list(inner.assigned.values())
        replaced = memory.replaced()
        after = self._states_after(memory, variables, appended)
        filled = appended + [Appended(each.items, (each.value,), False, each.label) for each in replaced]
        lists = [[flattened(as_tensors(item)) for item in each.added] for each in filled]
        for each, items in zip(filled, lists, strict=True):
            self._check_items(each, items)
        outputs = [leaf for items in lists for leaves, _ in items for leaf in leaves]
        outputs += [self._assigned_value(each) for each in assigned]
        memory.restore()
        if self._loop.skips:
            is_step = self.sequences.number() >= self._loop.first
            after = [torch.where(is_step, new, old) for new, old in zip(after, self._begun, strict=True)]
        finals, stacked = mark_end(self._scan, self._number, *self._inputs, after, outputs)
        steps = iter([self._steps_only(each) for each in stacked])
        self._put_finals(memory, iter(finals))
        for each, items in zip(appended, lists, strict=False):
            self._extend(each, [([next(steps) for _ in leaves], spec) for leaves, spec in items])
        for one, ((leaves, spec),) in zip(replaced, lists[len(appended) :], strict=True):
            self._replace(one, self._in_order([next(steps) for _ in leaves], spec))
        for written in assigned:
            self._write(written, next(steps))

    def _states_after(self, memory: Memory, variables: Mapping[str, Any], appended: list[Appended]) -> list[Tensor]:
        now = {place.identity: value for place, _, value in memory.places(variables)}
        after = [tensor for key, each in self._carried.items() for tensor in each.after(now[key])]
        added = {id(each.items): each.added[-1] for each in appended}
        after += [tensor for key, (_, each) in self._last_items.items() for tensor in each.after(added[key])]
        return after + [self._clones[key] for key in self.whole]

    def _put_finals(self, memory: Memory, finals: Any) -> None:  # noqa: ANN401 - an iterator of tensors
        self.values = memory.of_variables(self._site.assignable & frozenset(self._variables_put))
        carried_initials = {id(state) for each in self._carried.values() for state in each.states}
        for each in self._carried.values():
            self._put(each.place, each.final([next(finals) for _ in each.states], self._loop.count))
        for _, each in self._last_items.values():
            for _ in each.states:
                next(finals)
        for key, tensor in self.whole.items():
            final = next(finals)
            if key not in carried_initials:
                tensor.copy_(final)

    def _steps_only(self, stacked: Tensor) -> Tensor:
        """Leave out the step before the first."""
        if not self._loop.skips:
            return stacked
        return stacked.narrow(0, 0 if self._scan.reverse else 1, self._loop.count - self._loop.first)

    def _check_items(self, appended: Appended, items: list[tuple[list[Any], Any]]) -> None:
        written = {clone.untyped_storage()._cdata for clone in self._clones.values()}  # noqa: SLF001
        for leaves, spec in items:
            other = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]
            if other or not leaves or spec != items[0][1]:
                self._loop.refuse(
                    f"a step appends {', '.join(other) or 'items of several structures'} to the list "
                    f"`{appended.label}`; expected tensors, or tuples of them, the same in each step"
                )
            if any(leaf.untyped_storage()._cdata in written for leaf in leaves):  # noqa: SLF001
                self._loop.refuse(
                    f"a step appends a tensor to the list `{appended.label}` that the next step writes to, so that all "
                    "items are one tensor. Append a copy: .clone(), or write h = h + x for h += x."
                )

    def _extend(self, appended: Appended, items: list[tuple[list[Tensor], _pytree.TreeSpec]]) -> None:
        """Put steps into a list."""
        spec = items[0][1]
        columns = list(zip(*(leaves for leaves, _ in items), strict=True))
        in_order = (
            [each.flip(0) for column in columns for each in column] if self._scan.reverse and len(items) > 1 else None
        )
        if in_order is not None:
            columns = [tuple(in_order[at : at + len(items)]) for at in range(0, len(in_order), len(items))]
        tensors = [torch.stack(column, 1).flatten(0, 1) if len(column) > 1 else column[0] for column in columns]
        steps: Steps = TensorSteps(tensors, 0, None if spec.is_leaf() else spec)
        if in_order is None:
            steps = self._in_order(tensors, spec)
        if appended.at_front:
            list.insert(appended.items, 0, reversed_steps(steps))
        else:
            list.append(appended.items, steps)

    def _in_order(self, tensors: list[Tensor], spec: _pytree.TreeSpec) -> Steps:
        """Give what a scan has stacked in the order of the loop."""
        steps = TensorSteps(tensors, 0, None if spec.is_leaf() else spec)
        return reversed_steps(steps) if self._scan.reverse else steps

    def _replace(self, replaced: Replaced, steps: Steps) -> None:
        """Put steps in the places of the items that they have set."""
        index, first, last = replaced.index, self._loop.first, self._loop.count - 1
        in_order = steps if index.scale > 0 else reversed_steps(steps)
        replaced.items.put_steps(in_order, index.at(first if index.scale > 0 else last))

    def _assigned_value(self, assigned: AssignedStep) -> Tensor:
        return as_written(assigned.value, assigned.tensor.select(assigned.dim, 0))

    def _write(self, assigned: AssignedStep, stacked: Tensor) -> None:
        """Write all steps to the tensor that each step writes to."""
        index, first, last = assigned.index, self._loop.first, self._loop.count - 1
        if abs(index.scale) != 1:
            numbers = torch.arange(first, self._loop.count)  # type: ignore[arg-type]  # takes symbols, too
            in_order = stacked.flip(0) if self._scan.reverse else stacked
            at: Tensor = numbers * index.scale + index.offset  # type: ignore[assignment]
            assigned.tensor.index_copy_(assigned.dim, at, in_order.movedim(0, assigned.dim))
            return
        ascending = index.scale > 0
        start = index.at(first if ascending else last)
        stacked = stacked if ascending != self._scan.reverse else stacked.flip(0)
        part = assigned.tensor.narrow(assigned.dim, start, self._loop.count - first)
        part.copy_(stacked.movedim(0, assigned.dim))

    def _all(self) -> list[Carried]:
        return [*self._carried.values(), *(each for _, each in self._last_items.values())]

    @property
    def _variables_put(self) -> list[str]:
        return list(self.values)

    def _put(self, place: Place, value: Argument) -> None:
        if place.is_variable:
            self.values[place.key] = value
        else:
            place.put(value)

    def _put_for(self, memory: Memory, tensor: Tensor, clone: Tensor) -> None:
        """Put a clone wherever a tensor is that the body writes to."""
        places = [place for place, value in memory.holding() if value is tensor]
        places = [each for each in places if not each.is_variable or each.key in self._site.assignable]
        if not places:
            self._loop.refuse(
                "a step writes to a tensor that no variable of the function holds, nor an attribute of a module. Make "
                "it a variable that is set before the loop."
            )
        for place in places:
            self._put(place, clone)


def _holds_tensors(value: Argument) -> bool:
    return any(isinstance(leaf, Tensor | StepIndex | StepNumber) for leaf in flattened(value)[0])
