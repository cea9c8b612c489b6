"""Find the tensors of nested states and of states in attributes, by running the module a few times.

The runs show the tensors of each state with their row axes, dtypes and initial values, and their place in the results
of forward. After that, these tensors are ordinary inputs and outputs.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from rnnserve.export.trees import NoTensor, Path, Tree, leaves, mapped, parts_of, shown
from rnnserve.protos.protocol_words import BATCH

Outputs = Sequence[str] | Mapping[str, InputDescription]

_Shape = tuple[int, ...]

_Begin = Callable[[int], Tree]
"""Makes the initial state for a number of rows. It returns None if forward makes the state."""

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
    before: Mapping[str, Tree]  # None for a state that forward made
    held: Mapping[str, Mapping[Path, Any]]  # the leaves of each state before the call, including unchanged attributes
    after: Mapping[str, Tree]
    places: Mapping[str, Path]  # paths of the states in the result of forward
    result: Tree


_Found = tuple[dict[str, Tree], dict[str, dict[str, InputDescription]], _Run]
"""By state: the tree with slots instead of tensors, and the tensors by their names as inputs."""


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
        raise WrongArguments(f'state_attributes is "{given}"; expected a list of names: ["{given}"]')
    attributes: dict[str, InputDescription | StateTree] = {}
    attributes |= given if isinstance(given, Mapping) else {path: StateTree() for path in given}
    for path in attributes:
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
        self._outputs = _checked_outputs(publication, self._trees)
        self._finals = {initial: final for final, initial in publication.states.items()}
        self._flat = FlatModule(module, reader.call())

    def read(self) -> ReadCall:
        """Find the states, and return the call with a slot for each of their tensors."""
        trees, found, run = self._find()
        described: dict[str, InputDescription] = {}
        for name, what in self._reader.inputs.items():
            described |= {name: what} if isinstance(what, InputDescription) else found[name]
        continued = {final: name for final, name in self._continued.items() if name not in self._trees}
        outputs: dict[str, InputDescription | None] = {}
        for final in self._outputs:
            name = self._continued.get(final, "")
            if name in self._trees:
                pairs = {final + each.removeprefix(name): each for each in found[name]}
                outputs |= dict.fromkeys(pairs)
                continued |= pairs
            else:
                outputs[final] = self._outputs[final] if isinstance(self._outputs, Mapping) else None
        results = self._results(run, trees, list(outputs)) if self._trees else None
        for path, what in self._attributes.items():
            own = _own(path, what, found[path])
            described |= own
            finals = {f"{path}_n{name.removeprefix(path)}": name for name in own}
            outputs |= {final: own[name] for final, name in finals.items()}
            continued |= finals
        call = dataclasses.replace(
            self._reader.call({name: trees[name] for name in self._trees}),
            inputs=tuple(described),
            attributes={path: trees[path] for path in self._attributes},
            results=results,
        )
        every = {name: what for name, what in outputs.items() if what is not None}
        names: Outputs = every if isinstance(self._outputs, Mapping) else list(outputs)
        return ReadCall(FlatModule(self._module, call, names), described, names, continued)

    def _find(self) -> _Found:
        """Run the module with each possible axis of rows in the examples. Exactly one combination must fit."""
        every: list[_Found] = []
        failed: Exception | None = None
        for begin in self._ways():
            if every and begin.keys() & self._attributes.keys():
                break  # the module runs with its attributes unchanged
            try:
                few, more = (self._run(begin, rows, steps) for rows, steps in _RUNS)
                trees, found = {}, {}
                for name, what in self._said.items():
                    trees[name], found[name] = _describe_state(name, what, few, more)
            except Exception as error:  # noqa: BLE001 - the user's module may raise anything
                if failed is None or isinstance(error, WrongArguments):
                    failed = error
                continue
            if all(_axes(found) != _axes(other) for _, other, _ in every):
                every.append((trees, found, few))
        if len(every) == 1:
            return every[0]
        names = ", ".join(self._said)
        if every:
            raise WrongArguments(
                f"the example of {names} does not show which axes hold the rows; {len(every)} choices work. Give an "
                "example with another number of rows, or a function of the number of rows: StateTree(lambda rows: …)"
            )
        if isinstance(failed, WrongArguments):
            raise failed
        raise WrongArguments(
            f"forward does not run with the states {names} as described: {type(failed).__name__}: {failed}"
        ) from failed

    def _ways(self) -> Iterator[dict[str, _Begin]]:
        """Yield ways to begin all states: first with unchanged attributes, then with repeated rows of their values."""
        as_they_are = [path for path in self._attributes if self._said[path].example is None]
        given = {name: what for name, what in self._said.items() if name not in as_they_are}
        held = ((path, attribute(self._module, path)) for path in as_they_are)
        rows_of = {path: StateTree(tree) for path, tree in held if _tensors(tree)}
        for said in (given, given | rows_of) if rows_of else (given,):
            options = {name: _beginnings(name, what) for name, what in said.items()}
            for way in itertools.product(*options.values()):
                yield dict(zip(options, way, strict=True))

    def _run(self, begin: Mapping[str, _Begin], rows: int, steps: int) -> _Run:
        """Run the module once, with this many rows and steps or the nearest number that it takes."""
        if not self._inputs:
            raise WrongArguments("inputs describes only states; expected at least one other tensor")
        sizes = {
            axis: min(max(rows, low + rows - 2) if axis == BATCH else low + steps, high)
            for axis, (low, high) in check_inputs(self._inputs, self._sizes).items()
        }
        arrays = draw_inputs(self._inputs, np.random.default_rng(0), sizes, bounded_states=True)
        before = {name: at(sizes[BATCH]) for name, at in begin.items()}
        for name in self._trees:
            if before[name] is None and (name,) not in self._flat.call.optional:
                raise WrongArguments(
                    f'forward needs "{name}". Give an example, StateTree(module.init_state(1)), or a function of the '
                    "number of rows, StateTree(lambda rows: …)"
                )
        for name, tree in before.items():
            _check_whole(name, tree)
        given = {name: torch.from_numpy(array) for name, array in arrays.items()}
        given |= {name: copied(before[name]) for name in self._trees}
        with left_as_they_were(self._module), torch.no_grad():
            for path in self._attributes:
                if before.get(path) is not None:
                    set_attribute(self._module, path, copied(before[path]))
            held = before | {path: attribute(self._module, path) for path in self._attributes}
            held = {name: dict(leaves(tree)) for name, tree in held.items()}
            result = self._flat.called(given)
            after = {path: copied(attribute(self._module, path)) for path in self._attributes}
        places = {name: self._place(name, before[name], result) for name in self._trees}
        for name, place in places.items():
            after[name] = functools.reduce(lambda tree, key: (parts_of(tree) or {})[key], place, result)
        return _Run(sizes[BATCH], before, held, after, places, result)

    def _place(self, name: str, before: Tree, result: Tree) -> Path:
        """Find a nested state in the results of a call: at the position of its name, or by its structure."""
        outputs, output = list(self._outputs), self._finals[name]
        at_top = list(parts_of(result) or ())
        fitting = [path for path, part in _parts(result) if before is None or _is_like(before, part)]
        named = (at_top[outputs.index(output)],) if len(at_top) == len(outputs) else ()
        if named in fitting and (named or len(outputs) == 1):
            return named
        if before is None or len(fitting) != 1:
            raise WrongArguments(
                f'"{output}" should continue "{name}", but what forward returns, {shown(result)}, has '
                f"{0 if before is None else len(fitting)} parts with its structure, {shown(before)}. Return it once "
                "among the outputs, in their order"
            )
        return fitting[0]

    def _results(self, run: _Run, trees: Mapping[str, Tree], outputs: Sequence[str]) -> tuple[Path, ...]:
        """Return the path of each output in forward's result. Outputs that aren't states are named in its order."""
        paths: dict[str, Path] = {}
        for name, place in run.places.items():
            for path, tensor in slots_in(trees[name]).items():
                paths[self._finals[name] + tensor.removeprefix(name)] = (*place, *path)
        places = run.places.values()
        others = {
            path: leaf
            for path, leaf in leaves(run.result)
            if leaf is not None and not any(path[: len(place)] == place for place in places)
        }
        for leaf in others.values():
            if not isinstance(leaf, Tensor):
                raise NoTensor(leaf)
        names = [name for name in outputs if name not in paths]
        if len(names) != len(others):
            raise WrongArguments(
                f"outputs names {len(names)} tensors in addition to states, {names}, but forward returns "
                f"{len(others)}, {', '.join('.'.join(path) for path in others)}; expected one name for each, with "
                "nested tensors in order"
            )
        paths |= dict(zip(names, others, strict=True))
        return tuple(paths[name] for name in outputs)


def _checked_outputs(publication: Publication, trees: Mapping[str, StateTree]) -> Outputs:
    outputs = publication.outputs
    if isinstance(outputs, str) or not all(isinstance(name, str) for name in outputs):
        raise WrongArguments(f"outputs is {outputs!r}; expected one name for each tensor or state that forward returns")
    if trees and isinstance(outputs, Mapping):
        raise WrongArguments(
            'outputs describes tensors, but with a StateTree among the inputs it must list names: ["y", "h_n"]'
        )
    for name in trees:
        finals = [final for final, initial in publication.states.items() if initial == name]
        if len(finals) != 1 or finals[0] not in outputs:
            raise WrongArguments(
                f'inputs["{name}"] is a StateTree, but states says {dict(publication.states)}; expected the one output '
                f'that continues it: {{"{name}_n": "{name}"}}'
            )
    return outputs


def _check_whole(name: str, tree: Tree) -> None:
    """Refuse an example with missing values, because a request could not send them."""
    tensors = _tensors(tree)
    for path, leaf in leaves(tree):
        where = ".".join((name, *path))
        if leaf is None and tensors:
            raise WrongArguments(
                f'the example of "{name}" has None at "{where}". Give the tensor with which a sequence begins'
            )
        if isinstance(leaf, Tensor) and not leaf.numel():
            raise WrongArguments(
                f'"{where}" of shape {list(leaf.shape)} has no values, so it is not a state. Leave it out of the '
                "example, and let forward create it"
            )


def _tensors(tree: Tree) -> list[Tensor]:
    return [leaf for _, leaf in leaves(tree) if isinstance(leaf, Tensor)]


def _is_like(tree: Tree, result: Tree) -> bool:
    """Whether a result has tensors at exactly the same paths as a tree, and no other parts."""
    one, other = ({path: isinstance(leaf, Tensor) for path, leaf in leaves(each)} for each in (tree, result))
    return one == other


def _parts(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    """List a tree and everything in it, with paths."""
    yield path, tree
    for key, part in (parts_of(tree) or {}).items():
        yield from _parts(part, (*path, key))


def _axes(found: Mapping[str, Mapping[str, InputDescription]]) -> list[object]:
    return [(name, what.axes) for tensors in found.values() for name, what in tensors.items()]


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
    return {path: what}


def _beginnings(name: str, what: StateTree) -> list[_Begin]:
    """List the functions that extend an example to any number of rows: one function for each possible row axis."""
    example = what.example
    if callable(example) and parts_of(example) is None and not isinstance(example, Tensor):
        return [example]
    shapes = [tuple(leaf.shape) for leaf in _tensors(example)]
    if not shapes:
        return [lambda _: example]
    places = [at for at in range(min(map(len, shapes))) if len({shape[at] for shape in shapes}) == 1]
    if not places:
        raise WrongArguments(
            f'the example of "{name}" must have the rows of all tensors at the same axis; the shapes are '
            f"{', '.join(str(list(shape)) for shape in shapes)}. Keep one row of each tensor per sequence, or give a "
            "function of the number of rows: StateTree(lambda rows: …)"
        )
    return [functools.partial(_with_rows, name, what, at) for at in places]


def _with_rows(name: str, what: StateTree, at: int, rows: int) -> Tree:
    """Make an example with this many rows, along the same axis of all its tensors."""

    def repeated(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
        if not isinstance(leaf, Tensor):
            return leaf
        if what.initial is None:
            _first_row(".".join((name, *path)), leaf, at)
        return leaf.index_select(at, torch.zeros(rows, dtype=torch.int64))

    return mapped(what.example, repeated)


def _first_row(where: str, leaf: Tensor, rows: int) -> Tensor:
    """Return the first row of an initial state. Raises WrongArguments if the other rows differ from it."""
    row = leaf.narrow(rows, 0, 1)
    if not torch.equal(row.expand_as(leaf), leaf):
        raise WrongArguments(
            f'the example of "{where}" has different values in each row, so it is not an initial state. Give the '
            "initial state, as init_state does, or StateTree(example, initial=0). Reset a module that has run before"
        )
    return row


def _describe_state(name: str, what: StateTree, few: _Run, more: _Run) -> tuple[Tree, dict[str, InputDescription]]:
    """Describe the tensors of a state from two calls. Raises WrongArguments if a part can't be a model's state."""
    begin = few.before.get(name)
    first, second = (dict(leaves(run.after[name])) for run in (few, more))
    for path, leaf in few.held[name].items():
        is_constant = leaf is not None and leaf is not MISSING and not isinstance(leaf, Tensor)
        if is_constant and path in first and not isinstance(first[path], Tensor) and first[path] != leaf:
            raise WrongArguments(
                f'"{".".join((name, *path))}" is {leaf!r} before a call and {first[path]!r} after it, but a graph '
                "takes only tensors. Make it an integer tensor with one number for each row, (batch,)"
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
        initial: Any = what.initial
        if begin is not None and initial is None:
            if leaf.dtype != found.dtype:
                raise WrongArguments(
                    f'"{where}" is {leaf.dtype} in the example and {found.dtype} after a call. A state must keep its '
                    "dtype"
                )
            initial = _first_row(where, leaf, rows).detach().numpy()
        axes = tuple((BATCH, DYNAMIC) if at == rows else (f"axis {at}", size) for at, size in enumerate(one))
        low, high = what.bounds(path) or (None, None)
        described[where] = InputDescription(axes, found.detach().numpy().dtype, low, high, initial=initial)
        return Slot(where)

    tree = mapped(few.after[name] if begin is None else begin, slot)
    if not described:
        raise WrongArguments(
            f'"{name}" holds no tensor after a call, so it is not a state. What does forward write to it?'
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
