"""States that are nested, or in attributes: the module is run a few times to find what they are made of.

That tells the tensors of each state, their axes of rows, dtypes and beginnings, and where they are in what forward
returns. From then on they are inputs and outputs like any others.
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
from rnnserve.export.flat_module import MISSING, Filled, FlatModule, Slot, attribute, set_attribute
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.export.tensors import draw_inputs
from rnnserve.export.trees import NoTensor, Path, Tree, leaves, mapped, parts_of, shown
from rnnserve.protos.protocol_words import BATCH

__all__ = ["ReadCall", "read_call"]

Outputs = Sequence[str] | Mapping[str, InputDescription]

_Begin = Callable[[int], Tree]
"""A state at the beginning of a sequence, for a number of rows; None if forward begins by itself."""


class ReadCall(NamedTuple):
    """How a module is called, and the names of what it takes and gives."""

    module: FlatModule
    described: dict[str, InputDescription]  # every tensor that it takes, by name, in order
    outputs: Outputs  # the names of all results, with descriptions if there are such
    states: dict[str, str]  # which output continues as which input


class _FoundState(NamedTuple):
    """A state that has been looked at."""

    tree: Filled  # its structure, with slots in the places of tensors
    described: Mapping[str, InputDescription]  # its tensors, by the names that they have as inputs


class _Run(NamedTuple):
    """One call, with the states that were given, and those after it."""

    before: Mapping[str, Tree]
    held: Mapping[str, Mapping[Path, Any]]  # the leaves of each state before the call, of attributes as they were, too
    after: Mapping[str, Tree]
    places: Mapping[str, Path]  # of the states in what forward returned
    result: Tree


def read_call(module: nn.Module, publication: Publication) -> ReadCall:
    """Read how a module is called: its parameters, and the tensors of its states, wherever these are.

    Raises:
        WrongArguments: If the description does not fit; the message says where.
    """
    reader = CallReader(module, publication.inputs, publication.constants, publication.sizes)
    trees = {name: what for name, what in reader.inputs.items() if isinstance(what, StateTree)}
    attributes = _attributes(module, publication)
    described = {name: what for name, what in reader.inputs.items() if isinstance(what, InputDescription)}
    if not trees and not attributes:
        flat = FlatModule(module, reader.call(), publication.outputs)
        return ReadCall(flat, described, publication.outputs, dict(publication.states))
    return _StateReader(module, publication, reader, trees, attributes).read()


def _attributes(module: nn.Module, publication: Publication) -> dict[str, InputDescription | StateTree]:
    """Return the attributes that hold states, with what is said of each."""
    given = publication.state_attributes
    if isinstance(given, str):
        raise WrongArguments(f'state_attributes is "{given}"; expected a list of names: ["{given}"]')
    attributes: dict[str, InputDescription | StateTree] = {}
    attributes |= given if isinstance(given, Mapping) else {path: StateTree() for path in given}
    for path in attributes:
        owner = path.rpartition(".")[0]
        try:
            held = attribute(module, path)
        except AttributeError as error:
            raise WrongArguments(f'state_attributes names "{path}", but the module has no "{owner}"') from error
        if isinstance(held, nn.Parameter | nn.Module):
            raise WrongArguments(
                f'state_attributes names "{path}", which is a {type(held).__name__}; a state is a tensor, a buffer, or '
                "a tree of tensors that forward replaces or writes to"
            )
        if path in publication.inputs or f"{path}_n" in publication.outputs:
            raise WrongArguments(f'the attribute "{path}" becomes the input "{path}" and the output "{path}_n": rename')
    return attributes


class _StateReader:
    """Looks at the nested states of a module, and at those in its attributes."""

    def __init__(
        self,
        module: nn.Module,
        publication: Publication,
        reader: CallReader,
        trees: Mapping[str, StateTree],
        attributes: Mapping[str, InputDescription | StateTree],
    ) -> None:
        self._module, self._publication, self._reader = module, publication, reader
        self._trees, self._attributes = trees, attributes
        described = reader.inputs.items()
        self._inputs = [what.tensor(name) for name, what in described if isinstance(what, InputDescription)]
        own = {path: what if isinstance(what, StateTree) else StateTree() for path, what in attributes.items()}
        self._said = {**trees, **own}
        self._outputs = _checked_outputs(publication, trees)
        self._finals = {initial: final for final, initial in publication.states.items()}
        self._flat = FlatModule(module, reader.call())

    def read(self) -> ReadCall:
        """Find the states, and give the call with a slot for each of their tensors."""
        states, run = self._find()
        described: dict[str, InputDescription] = {}
        for name, what in self._reader.inputs.items():
            described |= states[name].described if isinstance(what, StateTree) else {name: what}
        outputs: dict[str, InputDescription | None] = {}
        continued = {final: name for final, name in self._publication.states.items() if name not in self._trees}
        of_final = {self._finals[name]: name for name in self._trees}
        for final in self._outputs:
            of = of_final.get(final)
            if of is None:
                outputs[final] = self._outputs[final] if isinstance(self._outputs, Mapping) else None
                continue
            pairs = {final + each.removeprefix(of): each for each in states[of].described}
            outputs |= dict.fromkeys(pairs)
            continued |= pairs
        results = self._results(run, {name: states[name] for name in self._trees}, list(outputs))
        for path, what in self._attributes.items():
            own = _own(path, what, states[path].described)
            described |= own
            outputs |= {f"{path}_n{name.removeprefix(path)}": each for name, each in own.items()}
            continued |= {f"{path}_n{name.removeprefix(path)}": name for name in own}
        call = dataclasses.replace(
            self._reader.call({name: states[name].tree for name in self._trees}),
            inputs=tuple(described),
            attributes={path: states[path].tree for path in self._attributes},
            results=results if self._trees else None,
        )
        every = {name: what for name, what in outputs.items() if what is not None}
        names: Outputs = every if isinstance(self._outputs, Mapping) else list(outputs)
        return ReadCall(FlatModule(self._module, call, names), described, names, continued)

    def _find(self) -> tuple[dict[str, _FoundState], _Run]:
        """Look at each state in every way in which the rows may lie in the examples. One way has to fit."""
        found: list[tuple[dict[str, _FoundState], _Run]] = []
        failed: Exception | None = None
        for begin in self._ways():
            if found and begin.keys() & self._attributes.keys():
                break  # it runs with its attributes as they are
            try:
                runs = [self._run(begin, sizes) for sizes in self._probing_sizes()]
                states = {
                    name: _describe_state(
                        name, what, runs[0].before.get(name), runs[0].held[name], [run.after[name] for run in runs]
                    )
                    for name, what in self._said.items()
                }
            except Exception as error:  # noqa: BLE001 - whatever the user's module raises
                if failed is None or isinstance(error, WrongArguments):
                    failed = error
                continue
            if all(_axes(states) != _axes(other) for other, _ in found):
                found.append((states, runs[0]))
        if len(found) == 1:
            return found[0]
        names = ", ".join(self._said)
        if found:
            raise WrongArguments(
                f"the example of {names} does not tell which axes have the rows: {len(found)} ways run. "
                "Give an example of another number of rows, or a function of it: StateTree(lambda rows: …)"
            )
        if isinstance(failed, WrongArguments):
            raise failed
        raise WrongArguments(
            f"forward does not run with the states {names} as described: {type(failed).__name__}: {failed}"
        ) from failed

    def _ways(self) -> Iterator[dict[str, _Begin]]:
        """Return beginnings of all states: with attributes as they are, and then with rows of what they hold."""
        as_they_are = [path for path in self._attributes if self._said[path].example is None]
        given = {name: what for name, what in self._said.items() if name not in as_they_are}
        held = ((path, attribute(self._module, path)) for path in as_they_are)
        rows_of = {path: StateTree(tree) for path, tree in held if _tensors(tree)}
        for said in (given, given | rows_of) if rows_of else (given,):
            options = {name: _beginnings(name, what) for name, what in said.items()}
            for way in itertools.product(*options.values()):
                yield dict(zip(options, way, strict=True))

    def _probing_sizes(self) -> Iterator[dict[str, int]]:
        """Return the sizes of the calls: some rows, more rows, more steps."""
        if not self._inputs:
            raise WrongArguments("inputs describes states only; a model takes one other tensor at least")
        limits = check_inputs(self._inputs, self._publication.sizes)
        for rows, steps in ((2, 2), (3, 2), (2, 5)):
            yield {
                axis: min(max(rows, low + rows - 2) if axis == BATCH else low + steps, high)
                for axis, (low, high) in limits.items()
            }

    def _run(self, begin: Mapping[str, _Begin], sizes: Mapping[str, int]) -> _Run:
        """Run the module once."""
        arrays = draw_inputs(self._inputs, np.random.default_rng(0), sizes, bounded_states=True)
        before = {name: at(sizes[BATCH]) for name, at in begin.items()}
        for name in self._trees:
            if before[name] is None and name not in self._reader.defaults:
                raise WrongArguments(
                    f'forward needs "{name}": give an example of it, StateTree(module.init_state(1)), or a function '
                    "of the number of rows, StateTree(lambda rows: …)"
                )
        for name, tree in before.items():
            _check_whole(name, tree)
        given = {name: torch.from_numpy(array) for name, array in arrays.items()}
        given |= {name: _copied(before[name]) for name in self._trees}
        with left_as_they_were(self._module), torch.no_grad():
            for path in self._attributes:
                if before.get(path) is not None:
                    set_attribute(self._module, path, _copied(before[path]))
            held = before | {path: attribute(self._module, path) for path in self._attributes}
            held = {name: dict(leaves(tree)) for name, tree in held.items()}
            result = self._flat.called(given)
            after = {path: _copied(attribute(self._module, path)) for path in self._attributes}
        places = {name: self._place(name, before[name], result) for name in self._trees}
        after |= {name: _part(result, path) for name, path in places.items()}
        return _Run(before, held, after, places, result)

    def _place(self, name: str, before: Tree, result: Tree) -> Path:
        """Find where a nested state is among the results of a call."""
        outputs, output = list(self._outputs), self._finals[name]
        at_top = parts_of(result) or {}
        if len(at_top) == len(outputs):
            key = list(at_top)[outputs.index(output)]
            if before is None or _is_like(before, at_top[key]):
                return (key,)
        elif len(outputs) == 1 and before is not None and _is_like(before, result):
            return ()
        fitting = [path for path, part in _containers(result) if before is not None and _is_like(before, part)]
        if len(fitting) != 1:
            raise WrongArguments(
                f'"{output}" is to continue "{name}", but what forward returns, {shown(result)}, has {len(fitting)} '
                f"parts of its structure, {shown(before)}: return it beside the other outputs, in their order"
            )
        return fitting[0]

    def _results(self, run: _Run, states: Mapping[str, _FoundState], outputs: Sequence[str]) -> tuple[Path, ...]:
        """Return the path of each output in what forward returned: those that are no states are named in its order."""
        paths: dict[str, Path] = {}
        for name, state in states.items():
            for path, tensor in state.tree.names.items():
                paths[self._finals[name] + tensor.removeprefix(name)] = (*run.places[name], *path)
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
                f"outputs names {len(names)} tensors beside states, {names}, but forward gives {len(others)}, "
                f"{', '.join('.'.join(path) for path in others)}; name each, nested ones in order"
            )
        paths |= dict(zip(names, others, strict=True))
        return tuple(paths[name] for name in outputs)


def _checked_outputs(publication: Publication, trees: Mapping[str, StateTree]) -> Outputs:
    outputs = publication.outputs
    if isinstance(outputs, str) or not all(isinstance(name, str) for name in outputs):
        raise WrongArguments(f"outputs is {outputs!r}; expected the name of each tensor or state that forward returns")
    if trees and isinstance(outputs, Mapping):
        raise WrongArguments('outputs describes tensors; with a StateTree among the inputs, give names: ["y", "h_n"]')
    continued = list(publication.states.values())
    for name in trees:
        finals = [final for final, initial in publication.states.items() if initial == name]
        if len(finals) != 1 or finals[0] not in outputs:
            raise WrongArguments(
                f'inputs["{name}"] is a StateTree, but states says {dict(publication.states)}; expected the one output '
                f'that continues it: {{"{name}_n": "{name}"}}'
            )
    if len(set(continued)) != len(continued):
        raise WrongArguments(f"states: two outputs continue as one input: {dict(publication.states)}")
    return outputs


def _check_whole(name: str, tree: Tree) -> None:
    """Refuse an example that has no values in some places, which a request could not send."""
    tensors = _tensors(tree)
    for path, leaf in leaves(tree):
        if leaf is None and tensors:
            raise WrongArguments(
                f'the example of "{name}" has None at "{".".join((name, *path))}": give the tensor that a '
                "sequence begins with"
            )
        if isinstance(leaf, Tensor) and not leaf.numel():
            raise WrongArguments(
                f'"{".".join((name, *path))}" of shape {list(leaf.shape)} has no values, so it is no state: let '
                "forward make it, and leave it out of the example"
            )


def _tensors(tree: Tree) -> list[Tensor]:
    return [leaf for _, leaf in leaves(tree) if isinstance(leaf, Tensor)]


def _copied(tree: Tree) -> Tree:
    return mapped(tree, lambda _, leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf)


def _is_like(tree: Tree, result: Tree) -> bool:
    """Whether a result has a tensor wherever a tree has one, and no other parts."""
    one, other = ({path: isinstance(leaf, Tensor) for path, leaf in leaves(each)} for each in (tree, result))
    return one == other


def _containers(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    parts = parts_of(tree)
    if parts is not None:
        yield path, tree
        for key, part in parts.items():
            yield from _containers(part, (*path, key))


def _part(tree: Tree, path: Path) -> Tree:
    for key in path:
        tree = (parts_of(tree) or {})[key]
    return tree


def _axes(states: Mapping[str, _FoundState]) -> list[object]:
    return [(name, what.axes) for state in states.values() for name, what in state.described.items()]


def _own(
    path: str, what: InputDescription | StateTree, found: Mapping[str, InputDescription]
) -> dict[str, InputDescription]:
    """The descriptions of an attribute's tensors: the user's own where there is one."""
    if isinstance(what, StateTree):
        return dict(found)
    one = found.get(path)
    if one is None or len(found) > 1:
        raise WrongArguments(f'the attribute "{path}" holds a tree of tensors: describe it by StateTree()')
    if [size for _, size in one.axes] != [size for _, size in what.axes] or one.dtype != what.dtype:
        raise WrongArguments(
            f'state_attributes["{path}"] describes {what.dtype} {[a if s == DYNAMIC else s for a, s in what.axes]}; '
            f"forward writes {one.dtype} {[a if s == DYNAMIC else s for a, s in one.axes]}"
        )
    return {path: what}


def _beginnings(name: str, what: StateTree) -> list[_Begin]:
    """List the ways in which an example can be made for any number of rows: one for each axis of the rows."""
    example = what.example
    if example is None:
        return [lambda _: None]
    if callable(example) and parts_of(example) is None and not isinstance(example, Tensor):
        return [example]
    shapes = [tuple(leaf.shape) for leaf in _tensors(example)]
    if not shapes:
        return [lambda _: example]
    places = [at for at in range(min(map(len, shapes))) if len({shape[at] for shape in shapes}) == 1]
    if not places:
        raise WrongArguments(
            f'the example of "{name}" has no number of rows that each of its tensors has at the same axis: '
            f"{', '.join(str(list(shape)) for shape in shapes)}. Keep a row of each tensor for each sequence, "
            "or give a function of the number of rows: StateTree(lambda rows: …)"
        )
    return [functools.partial(_with_rows, name, what, at) for at in places]


def _with_rows(name: str, what: StateTree, at: int, rows: int) -> Tree:
    """Make an example of so many rows, which are along one axis of all its tensors."""

    def repeated(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
        if not isinstance(leaf, Tensor):
            return leaf
        if what.initial is None:
            _first_row(".".join((name, *path)), leaf, at)
        return leaf.index_select(at, torch.zeros(rows, dtype=torch.int64))

    return mapped(what.example, repeated)


def _first_row(where: str, leaf: Tensor, rows: int) -> Tensor:
    """Return the row of a beginning that all its rows are like."""
    row = leaf.narrow(rows, 0, 1)
    if not torch.equal(row.expand_as(leaf), leaf):
        raise WrongArguments(
            f'the example of "{where}" has other values in each row, so it is no beginning: give one, as init_state '
            "does, or StateTree(example, initial=0), and reset a module that has run before"
        )
    return row


def _describe_state(
    name: str, what: StateTree, begin: Tree | None, held: Mapping[Path, Any], after: Sequence[Tree]
) -> _FoundState:
    """Describe the tensors of a state, or say which part cannot be a model's state, and why.

    `begin` is the state that the module was given, or None if it began by itself, and `held` has its leaves before a
    call. `after` has the state after a call with some rows, after one with more rows, and after one of more steps.
    """
    first, more_rows, more_steps = (dict(leaves(tree)) for tree in after)
    _check_constants(name, held, first)
    described: dict[str, InputDescription] = {}

    def slot(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
        if not isinstance(leaf, Tensor):
            return leaf
        where, found = ".".join((name, *path)), first.get(path)
        if not isinstance(found, Tensor):
            raise WrongArguments(f'"{where}" is a tensor before a call, and none after it; a state keeps its structure')
        beginning = leaf if begin is not None else None
        shapes = [tuple(each.shape) for each in (found, more_rows[path], more_steps[path])]
        rows = _rows_axis(where, beginning, shapes)
        sizes = tuple((BATCH, DYNAMIC) if at == rows else (f"axis {at}", size) for at, size in enumerate(shapes[0]))
        low, high = what.bounds(path) or (None, None)
        initial = _initial(where, what, beginning, found, rows)
        described[where] = InputDescription(sizes, found.detach().numpy().dtype, low, high, initial=initial)
        return Slot(where)

    tree = Filled(mapped(after[0] if begin is None else begin, slot))
    if not described:
        raise WrongArguments(
            f'"{name}" holds no tensor after a call, so it is no state: what does forward write to it?'
        )
    return _FoundState(tree, described)


def _check_constants(name: str, before: Mapping[Path, Any], after: Mapping[Path, Any]) -> None:
    """Check that what is no tensor has come back as it was."""
    for path, leaf in before.items():
        is_constant = leaf is not None and leaf is not MISSING and not isinstance(leaf, Tensor)
        if is_constant and path in after and not isinstance(after[path], Tensor) and after[path] != leaf:
            raise WrongArguments(
                f'"{".".join((name, *path))}" is {leaf!r} before a call and {after[path]!r} after it: a graph takes '
                "tensors only. Make it a tensor of integers with one number for each row, (batch,)"
            )


def _rows_axis(where: str, begin: Tensor | None, shapes: Sequence[tuple[int, ...]]) -> int:
    """Find the axis of rows of a tensor: its shapes are those after calls with some rows, more rows, and more steps."""
    if shapes[0] != shapes[2] or (begin is not None and tuple(begin.shape) != shapes[0]):
        before = list(begin.shape) if begin is not None else list(shapes[0])
        after = list(shapes[2] if shapes[0] != shapes[2] else shapes[0])
        raise WrongArguments(
            f'"{where}" grows: it is {before} before a call, or after a shorter one, and {after} after it. A state '
            "keeps its size. Keep the last k steps, torch.cat([old, new], dim=1)[:, -k:], and mask those before the "
            "first by a position that is a state, too"
        )
    differ = [at for at, (one, other) in enumerate(zip(shapes[0], shapes[1], strict=True)) if one != other]
    if len(differ) != 1:
        raise WrongArguments(
            f'"{where}" of shape {list(shapes[0])} has no axis of the rows: it is {list(shapes[1])} for one row more. '
            "Rows of a batch are independent sequences, so each needs a value of its own, (batch, …)"
        )
    return differ[0]


def _initial(where: str, what: StateTree, begin: Tensor | None, after: Tensor, rows: int) -> Any:  # noqa: ANN401
    """Find what a leaf is at the beginning, one row; None if forward's own beginning is to be found."""
    if what.initial is not None:
        return what.initial
    if begin is None:
        return None
    if begin.dtype != after.dtype:
        raise WrongArguments(
            f'"{where}" is {begin.dtype} in the example and {after.dtype} after a call; a state keeps its dtype'
        )
    return _first_row(where, begin, rows).detach().numpy()
