"""Find the tensors of nested states and of states in attributes, by running the module twice.

The runs show the tensors of each state with their row axes, dtypes and initial values, and their place in the results
of forward. After that, these tensors are ordinary inputs and outputs.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.description.call_reading import CallReader
from rnnserve.export.description.described_tensors import check_inputs
from rnnserve.export.description.publication import DYNAMIC, InputDescription, Publication, StateTree
from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import MISSING, FlatModule, Slot, attribute, copied, set_attribute, slots_in
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.export.tensors import draw_inputs
from rnnserve.export.trees import Path, Tree, leaves, mapped, parts_of, shown
from rnnserve.protos.protocol_words import BATCH

Outputs = Sequence[str] | Mapping[str, InputDescription]

_Shape = tuple[int, ...]

_ROWS = (
    " If an attribute holds one row, which forward does not expand, name its axes: state_attributes="
    '{"hidden": Floats(("layers", 1), "batch", ("hidden", 64))}'
)

_RUNS = ((2, 2), (3, 5))
"""Rows and steps of the two calls, or the nearest that the module takes. A state may differ only in its row axis."""


class ReadCall(NamedTuple):
    """How a module is called, and the names of its inputs and outputs."""

    module: FlatModule
    described: dict[str, InputDescription]  # every input tensor by name, in order
    outputs: Outputs  # the names of all results, or their descriptions by name
    states: dict[str, str]  # input by output: the input through which the next request continues this output


class _Run(NamedTuple):
    """One call, with the states before and after it."""

    rows: int
    begun: Mapping[str, Tree]  # the initial states that forward was given
    held: Mapping[str, Tree]  # the same, and the attributes as they were
    after: Mapping[str, Tree]
    places: Mapping[str, Path]  # paths of the outputs in the result of forward


def read_call(module: nn.Module, publication: Publication) -> ReadCall:
    """Find out how a module is called: its parameters, and the tensors of all its states."""
    reader = CallReader(module, publication)
    attributes = _attributes(module, publication)
    described = {name: what for name, what in reader.inputs.items() if isinstance(what, InputDescription)}
    if len(described) == len(reader.inputs) and not attributes:
        flat = FlatModule(module, reader.call(), publication.outputs)
        return ReadCall(flat, described, publication.outputs, dict(publication.states))
    return _StateReader(module, publication, reader, attributes).read()


def _attributes(module: nn.Module, publication: Publication) -> dict[str, InputDescription | StateTree]:
    """Return the attributes that hold states, each with its description."""
    given = publication.state_attributes
    if isinstance(given, str):
        raise WrongArguments(f'state_attributes is a text, "{given}"; expected a list of names: ["{given}"]')
    attributes: dict[str, InputDescription | StateTree] = {}
    attributes |= given if isinstance(given, Mapping) else {path: StateTree() for path in given}
    for path, what in attributes.items():
        try:
            held = attribute(module, path)
        except AttributeError as error:
            owner = path.rpartition(".")[0]
            raise WrongArguments(f'state_attributes names "{path}", but the module has no "{owner}"') from error
        if isinstance(held, nn.Parameter | nn.Module):
            raise WrongArguments(
                f'state_attributes names "{path}", which is a {type(held).__name__}; expected a tensor, a buffer, or '
                "a tree of tensors that forward replaces or writes to"
            )
        if isinstance(what, InputDescription) and BATCH not in dict(what.axes):
            raise WrongArguments(
                f'state_attributes["{path}"] has no axis "{BATCH}"; a state has a row for each sequence'
            )
        if path in publication.inputs or f"{path}_n" in publication.outputs:
            raise WrongArguments(
                f'the attribute "{path}" becomes the input "{path}" and the output "{path}_n". Rename one of them'
            )
    return attributes


class _StateReader:
    """Finds the tensors of a module's nested states and of states in its attributes."""

    def __init__(
        self,
        module: nn.Module,
        publication: Publication,
        reader: CallReader,
        attributes: Mapping[str, InputDescription | StateTree],
    ) -> None:
        self._module, self._reader, self._attributes = module, reader, attributes
        self._sizes, self._continued = publication.sizes, dict(publication.states)
        self._trees = {name: what for name, what in reader.inputs.items() if isinstance(what, StateTree)}
        own = {path: what if isinstance(what, StateTree) else StateTree() for path, what in attributes.items()}
        self._said = {**self._trees, **own}
        described = reader.inputs.items()
        self._inputs = [what.tensor(name) for name, what in described if isinstance(what, InputDescription)]
        if not self._inputs:
            raise WrongArguments("inputs describes only states; expected at least one other tensor")
        self._outputs = publication.outputs
        self._finals = {initial: final for final, initial in publication.states.items() if final in self._outputs}
        for name in self._trees:
            if name not in self._finals or isinstance(self._outputs, Mapping):
                raise WrongArguments(
                    f'inputs["{name}"] is a StateTree, but states is {dict(publication.states)}; expected only the '
                    f'output that continues it, {{"{name}_n": "{name}"}}, and a list of names as outputs'
                )
        self._flat = FlatModule(module, reader.call())

    def read(self) -> ReadCall:
        """Find the states, and return the call with a slot for each of their tensors."""
        run, more = self._calls()
        trees: dict[str, Tree] = {}
        found: dict[str, dict[str, InputDescription]] = {}
        for name, tree in self._said.items():
            trees[name], found[name] = _describe_state(name, tree, run, more)
        described: dict[str, InputDescription] = {}
        for name, what in self._reader.inputs.items():
            described |= {name: what} if isinstance(what, InputDescription) else found[name]
        continued = {final: name for final, name in self._continued.items() if name not in self._trees}
        outputs: dict[str, InputDescription | None] = {}
        results: list[Path] = []
        for final in self._outputs:
            name, place = self._continued.get(final, ""), run.places[final]
            if name in self._trees:
                for path, tensor in slots_in(trees[name]).items():
                    output = final + tensor.removeprefix(name)
                    outputs[output], continued[output] = None, tensor
                    results.append((*place, *path))
            else:
                outputs[final] = self._outputs[final] if isinstance(self._outputs, Mapping) else None
                results.append(place)
        for held, what in self._attributes.items():
            own = _own(held, what, found[held])
            described |= own
            finals = {f"{held}_n{name.removeprefix(held)}": name for name in own}
            outputs |= {final: own[name] for final, name in finals.items()}
            continued |= finals
        call = dataclasses.replace(
            self._reader.call({name: trees[name] for name in self._trees}),
            inputs=tuple(described),
            attributes={path: trees[path] for path in self._attributes},
            results=tuple(results) if self._trees else None,
        )
        every = {name: what for name, what in outputs.items() if what is not None}
        names: Outputs = every if isinstance(self._outputs, Mapping) else list(outputs)
        return ReadCall(FlatModule(self._module, call, names), described, names, continued)

    def _calls(self) -> tuple[_Run, _Run]:
        """Run the module with few rows and steps, and with more."""
        try:
            few, more = (self._run(rows, steps) for rows, steps in _RUNS)
        except WrongArguments:
            raise
        except Exception as error:  # the user's module may raise anything
            raise WrongArguments(
                f"forward does not run with the states {', '.join(self._said)} as described: {type(error).__name__}: "
                f"{error}.{_ROWS if self._attributes else ''}"
            ) from error
        return few, more

    def _begin(self, rows: int) -> dict[str, Tree]:
        """Make the initial states for a number of rows, except those that forward makes."""
        begun = {name: what.example(rows) for name, what in self._said.items() if what.example is not None}
        for path, what in self._attributes.items():
            held = attribute(self._module, path)
            if isinstance(what, InputDescription) and isinstance(held, Tensor) and held.dim() == len(what.axes):
                at = [axis for axis, _ in what.axes].index(BATCH)
                row = _first_row(path, held, at) if what.initial is None else held.narrow(at, 0, 1)
                begun[path] = row.index_select(at, torch.zeros(rows, dtype=torch.int64))
        return begun

    def _run(self, rows: int, steps: int) -> _Run:
        """Run the module once, with this many rows and steps or the nearest number that it takes."""
        sizes = {
            axis: min(max(rows, low + rows - 2) if axis == BATCH else low + steps, high)
            for axis, (low, high) in check_inputs(self._inputs, self._sizes).items()
        }
        arrays = draw_inputs(self._inputs, np.random.default_rng(0), sizes, bounded_states=True)
        begun = self._begin(sizes[BATCH])
        for name in self._trees:
            if begun.get(name) is None and (name,) not in self._flat.call.optional:
                raise WrongArguments(
                    f'forward needs "{name}": give a function that creates it, StateTree(module.init_state) or '
                    "StateTree(lambda rows: …)"
                )
        for name, tree in begun.items():
            _check_whole(name, tree)
        given = {name: torch.from_numpy(array) for name, array in arrays.items()}
        given |= {name: copied(begun.get(name)) for name in self._trees}
        with left_as_they_were(self._module), torch.no_grad():
            for path in self._attributes:
                if begun.get(path) is not None:
                    set_attribute(self._module, path, copied(begun[path]))
            held = {**begun, **{path: copied(attribute(self._module, path)) for path in self._attributes}}
            result = self._flat.called(given)
            after = {path: copied(attribute(self._module, path)) for path in self._attributes}
        places = self._places(result)
        after |= {name: _part(result, places[self._finals[name]]) for name in self._trees}
        return _Run(sizes[BATCH], begun, held, after, places)

    def _places(self, result: Tree) -> dict[str, Path]:
        """Find the path of each output in the result of forward. With a nested state, each is one part, in order."""
        parts: list[Path] = [(key,) for key, part in (parts_of(result) or {}).items() if part is not None]
        if not self._trees or len(self._outputs) == 1:  # the result itself, or its tensors in order
            parts = [()] * len(self._outputs)
        places = dict(zip(self._outputs, parts, strict=False))
        tensors = [final for final in places if self._trees and self._continued.get(final) not in self._trees]
        if len(parts) != len(self._outputs) or not all(
            isinstance(_part(result, places[final]), Tensor) for final in tensors
        ):
            raise WrongArguments(
                f"outputs names {list(self._outputs)}, but forward returns {shown(result)}. With a StateTree among the "
                "inputs, return one tensor or state for each name, in this order"
            )
        return places


def _part(tree: Tree, path: Path) -> Tree:
    return functools.reduce(lambda part, key: (parts_of(part) or {})[key], path, tree)


def _check_whole(name: str, tree: Tree) -> None:
    """Refuse an example with missing values, because a request could not send them."""
    for path, leaf in leaves(tree):
        if leaf is None or (isinstance(leaf, Tensor) and not leaf.numel()):
            raise WrongArguments(
                f'the example of "{".".join((name, *path))}" has no values: give the state before the first step, or '
                "leave it out and let forward create it"
            )


def _own(
    path: str, what: InputDescription | StateTree, found: Mapping[str, InputDescription]
) -> dict[str, InputDescription]:
    """Return the descriptions of an attribute's tensors. The user's own description takes precedence."""
    if isinstance(what, StateTree):
        return dict(found)
    one = found.get(path)
    if one is None or len(found) > 1:
        raise WrongArguments(f'the attribute "{path}" holds a tree of tensors. Describe it with StateTree()')
    if [size for _, size in one.axes] != [size for _, size in what.axes] or one.dtype != what.dtype:
        said, written = ([size if size != DYNAMIC else axis for axis, size in each.axes] for each in (what, one))
        raise WrongArguments(
            f'state_attributes["{path}"] describes {what.dtype} {said}; forward writes {one.dtype} {written}'
        )
    return {path: what if what.initial is not None else dataclasses.replace(what, initial=one.initial)}


def _first_row(where: str, leaf: Tensor, rows: int) -> Tensor:
    """Return the first row of an initial state. Raises WrongArguments if the other rows differ from it."""
    row = leaf.narrow(rows, 0, 1)
    if not torch.equal(row.expand_as(leaf), leaf):
        raise WrongArguments(
            f'"{where}" has different values in each row, so it cannot be an initial state. Give one with '
            "StateTree(module.init_state), and reset a module that has run before"
        )
    return row


def _describe_state(name: str, what: StateTree, few: _Run, more: _Run) -> tuple[Tree, dict[str, InputDescription]]:
    """Describe the tensors of a state from two calls. Raises WrongArguments if a part can't be a model's state."""
    begin = few.begun.get(name)
    held, first, second = (dict(leaves(tree)) for tree in (few.held.get(name), few.after[name], more.after[name]))
    for path, leaf in held.items():
        is_constant = leaf is not None and leaf is not MISSING and not isinstance(leaf, Tensor)
        if is_constant and path in first and not isinstance(first[path], Tensor) and first[path] != leaf:
            raise WrongArguments(
                f'"{".".join((name, *path))}" is {leaf!r} before a call and {first[path]!r} after it: a graph accepts '
                "only tensors, in tuples, lists, dicts and dataclasses. Make a number a tensor of integers, with one "
                "number for each row, (batch,)"
            )
    described: dict[str, InputDescription] = {}

    def slot(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
        if not isinstance(leaf, Tensor):
            return leaf
        where, found = ".".join((name, *path)), first.get(path)
        if not isinstance(found, Tensor):
            raise WrongArguments(
                f'"{where}" is a tensor before a call, but not after it. A state must keep its structure'
            )
        before, one, other = (tuple(each.shape) for each in (found if begin is None else leaf, found, second[path]))
        rows = _rows_axis(where, before, one, other, (few.rows, more.rows))
        initial = None
        if begin is not None:
            if leaf.dtype != found.dtype:
                raise WrongArguments(
                    f'"{where}" is {leaf.dtype} before a call and {found.dtype} after it; a state must keep its dtype'
                )
            initial = _first_row(where, leaf, rows).detach().numpy()
        axes = tuple((BATCH, DYNAMIC) if at == rows else (f"axis {at}", size) for at, size in enumerate(one))
        low, high = what.bounds(path) or (None, None)
        described[where] = InputDescription(axes, found.detach().numpy().dtype, low, high, initial=initial)
        return Slot(where)

    tree = mapped(few.after[name] if begin is None else begin, slot)
    missing = [path for path, leaf in first.items() if isinstance(leaf, Tensor) and path not in slots_in(tree)]
    if missing:
        raise WrongArguments(
            f'"{".".join((name, *missing[0]))}" is a tensor after a call, but not before it. A state must keep its '
            "structure"
        )
    if not described:
        raise WrongArguments(
            f'"{name}" is a {type(few.after[name]).__name__} after a call, in which there is no tensor; expected a '
            "tensor (batch, …), or tensors in tuples, lists, dicts and dataclasses"
        )
    return tree, described


def _rows_axis(where: str, before: _Shape, one: _Shape, other: _Shape, rows: tuple[int, int]) -> int:
    """Find the row axis of a tensor from its shapes before a call, after it, and after a call with more rows."""
    differ = [at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]]
    of_rows = [at for at in differ if (one[at], other[at]) == rows]
    if before != one or len(one) != len(other) or (of_rows and of_rows != differ):
        grown = (before, one) if before != one else (one, other)
        raise WrongArguments(
            f'"{where}" grows from {list(grown[0])} before a call, or after a shorter call, to {list(grown[1])}. A '
            "state must keep its size. Keep the last k steps, torch.cat([old, new], dim=1)[:, -k:], and mask the "
            "steps before the first one. For the mask, keep the position as a second state"
        )
    if len(of_rows) != 1:
        raise WrongArguments(
            f'"{where}" has no batch axis: its shape is {list(one)} for {rows[0]} rows and {list(other)} for '
            f"{rows[1]}. The rows of a batch are independent sequences, so each row needs its own value, (batch, …)"
        )
    return of_rows[0]
