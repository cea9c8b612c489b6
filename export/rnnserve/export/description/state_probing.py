"""Running a module a few times to find what its nested states are made of: names, axes of rows, dtypes, beginnings."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.description.described_tensors import check_inputs
from rnnserve.export.description.forward_parameters import ForwardParameters
from rnnserve.export.description.input_descriptions import DYNAMIC, InputDescription
from rnnserve.export.description.state_trees import (
    Empty,
    Path,
    StateTree,
    Tree,
    filled,
    leaves,
    merged,
    parts_of,
    picked,
    shown,
)
from rnnserve.export.description.state_wrapper import attribute, set_attribute
from rnnserve.export.errors import WrongArguments
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Constant
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Probe", "ProbedState", "beginnings", "call", "describe_leaves", "probed_states", "probing_sizes"]

_MOST_PLACES = 64
"""How many ways of placing the rows in the leaves of an example are tried."""

Begin = Callable[[int], Tree]
"""A state at the beginning of a sequence, for a number of rows; None where forward begins by itself."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """How a module is run to look at its states.

    Attributes:
        forward: How it is called, with one tensor in the place of each nested state.
        trees: The nested states among its parameters.
        outputs: The names of its results, in order.
        states: For each nested state the output that it continues as.
        attributes: The attributes that hold states.
        sizes: The sizes that the user gives.
        owner: The module itself, whose attributes they are.
    """

    forward: ForwardParameters
    trees: Mapping[str, StateTree]
    outputs: Sequence[str]
    states: Mapping[str, str]
    attributes: Sequence[str]
    sizes: Mapping[str, tuple[int, int]]
    owner: nn.Module


@dataclasses.dataclass(frozen=True)
class ProbedState:
    """A state before and after calls with some rows, with more rows, and of more steps.

    Attributes:
        before: Before the first call; None where forward begins by itself.
        after: After each of the three.
    """

    before: Tree
    after: tuple[Tree, Tree, Tree]


def beginnings(name: str, what: StateTree) -> list[Begin]:
    """Give the ways in which an example can be made for any number of rows: one for each place of the rows.

    Raises:
        WrongArguments: If no axis of it can have the rows.
    """
    example = what.example
    if example is None:
        return [lambda _: None]
    if callable(example) and parts_of(example) is None and not isinstance(example, Tensor):
        return [example]
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves(example) if isinstance(leaf, Tensor)}
    if not shapes:
        return [lambda _: example]
    found: list[Begin] = []
    for size in sorted(set.intersection(*(set(shape) for shape in shapes.values()))):
        options = [[at for at, one in enumerate(shape) if one == size] for shape in shapes.values()]
        same = [(at,) * len(options) for at in range(8) if all(at in some for some in options)]
        ways = dict.fromkeys([*same, *itertools.islice(itertools.product(*options), _MOST_PLACES)])
        found += [_with_rows(name, what, dict(zip(shapes, way, strict=True))) for way in ways]
    if not found:
        raise WrongArguments(
            f'the example of "{name}" has no number of rows that each of its tensors has: '
            f"{', '.join(str(list(shape)) for shape in shapes.values())}. Keep a row of each tensor for each sequence, "
            "or give a function of the number of rows: StateTree(lambda rows: …)"
        )
    return found


def _with_rows(name: str, what: StateTree, places: Mapping[Path, int]) -> Begin:
    def begin(rows: int) -> Tree:
        def repeated(path: Path, leaf: Tensor | Empty) -> Any:  # noqa: ANN401
            if isinstance(leaf, Empty):
                return leaf
            if what.initial is None:
                _first_row(".".join((name, *path)), leaf, places[path])
            return leaf.index_select(places[path], torch.zeros(rows, dtype=torch.int64))

        return filled(what.example, repeated)

    return begin


def _first_row(where: str, leaf: Tensor, rows: int) -> Tensor:
    row = leaf.narrow(rows, 0, 1)
    if not torch.equal(row.expand_as(leaf), leaf):
        raise WrongArguments(
            f'the example of "{where}" has other values in each row, so it is no beginning: give one, as init_state '
            "does, or StateTree(example, initial=0), and reset a module that has run before"
        )
    return row


def probed_states(probe: Probe, begin: Mapping[str, Begin]) -> dict[str, ProbedState]:
    """Run the module with some rows, more rows, and more steps; give its states by parameter and attribute.

    Args:
        probe: Way in which it is run.
        begin: The beginning of each nested state.

    Raises:
        Exception: Whatever the module raises.
        WrongArguments: If a state is not among the results.
    """
    runs = list(probing_sizes(probe))
    before = {name: at(runs[0][BATCH]) for name, at in begin.items()}
    few, more_rows, more_steps = (
        _run(probe, {name: at(sizes[BATCH]) for name, at in begin.items()}, sizes) for sizes in runs
    )
    return {name: ProbedState(before.get(name), (few[name], more_rows[name], more_steps[name])) for name in few}


def probing_sizes(probe: Probe) -> Iterator[dict[str, int]]:
    """Give the sizes of the calls: some rows, more rows, more steps."""
    inputs = [what.tensor(name) for name, what in probe.forward.described.items() if name not in probe.trees]
    if not inputs:
        raise WrongArguments("inputs describes states only; a model takes one other tensor at least")
    limits = check_inputs(inputs, probe.sizes)
    for rows, steps in ((2, 2), (3, 2), (2, 5)):
        yield {
            axis: min(max(rows, low + rows - 2) if axis == BATCH else low + steps, high)
            for axis, (low, high) in limits.items()
        }


def _run(probe: Probe, begin: Mapping[str, Tree], sizes: Mapping[str, int]) -> dict[str, Tree]:
    """Run the module once; give what each state is after the call."""
    result, after = call(probe, begin, sizes)
    return after | {name: _found(probe, name, begin[name], result) for name in probe.trees}


def call(probe: Probe, begin: Mapping[str, Tree], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Tree]]:
    """Run the module once; give its result, and what its attributes hold then."""
    forward = probe.forward
    inputs = [what.tensor(name) for name, what in forward.described.items() if name not in probe.trees]
    arrays = draw_inputs(inputs, np.random.default_rng(0), sizes, bounded_states=True)
    arguments: list[Any] = []
    for parameter in forward.parameters:
        if isinstance(parameter, Constant):
            arguments.append(parameter.value)
        elif isinstance(parameter, tuple):
            arguments.append(tuple(torch.from_numpy(arrays[name]) for name in parameter))
        elif parameter not in probe.trees:
            arguments.append(torch.from_numpy(arrays[parameter]))
        elif begin[parameter] is not None:
            arguments.append(begin[parameter])
        elif parameter in forward.defaults:
            arguments.append(forward.defaults[parameter])
        else:
            raise WrongArguments(
                f'forward needs "{parameter}": give an example of it, StateTree(module.init_state(1)), or a function '
                "of the number of rows, StateTree(lambda rows: …)"
            )
    with left_as_they_were(probe.owner), torch.no_grad():
        for path in probe.attributes:
            if begin.get(path) is not None:
                set_attribute(probe.owner, path, begin[path])
        result = forward.module(*arguments)
        after = {path: filled(attribute(probe.owner, path), _kept) for path in probe.attributes}
    return result, after


def _kept(_: object, leaf: Tensor | Empty) -> Any:  # noqa: ANN401
    return leaf if isinstance(leaf, Empty) else leaf.detach().clone()


def _found(probe: Probe, name: str, before: Tree, result: Any) -> Tree:  # noqa: ANN401 - what a forward returns
    """Find what a nested state is among the results of a call."""
    output = probe.states[name]
    at_top = parts_of(result) or {}
    if len(at_top) == len(probe.outputs):
        there = list(at_top.values())[list(probe.outputs).index(output)]
        if before is None or picked(before, there) is not None:
            return there
    elif len(probe.outputs) == 1 and before is not None and picked(before, result) is not None:
        return result
    fitting = [part for part in _containers(result) if before is not None and picked(before, part) is not None]
    if len(fitting) != 1:
        raise WrongArguments(
            f'"{output}" is to continue "{name}", but what forward returns, {shown(result)}, has {len(fitting)} parts '
            f"of its structure, {shown(before)}: return it beside the other outputs, in their order"
        )
    return fitting[0]


def _containers(result: Any) -> Iterator[Any]:  # noqa: ANN401
    parts = parts_of(result)
    if parts is not None:
        yield result
        for part in parts.values():
            yield from _containers(part)


def describe_leaves(name: str, what: StateTree, state: ProbedState) -> tuple[Tree, dict[str, InputDescription], int]:
    """Describe the tensors of a state.

    Args:
        name: The parameter or attribute.
        what: Description by the user.
        state: Values of it in some calls.

    Returns:
        Its structure; a description of each tensor, by the name that it has as an input; and the axis of rows of the
        first.

    Raises:
        WrongArguments: If it cannot be a model's state; the message says which part, and why.
    """
    first, more_rows, more_steps = (dict(leaves(tree)) for tree in state.after)
    begins = dict(leaves(state.before)) if state.before is not None else {}
    described: dict[str, InputDescription] = {}
    axes: list[int] = []
    empty: dict[tuple[str, ...], Empty] = {}
    structure = merged(state.before, state.after[0])
    for path, one in leaves(structure):
        leaf = first.get(path)
        if not isinstance(one, Tensor) or not isinstance(leaf, Tensor):
            continue
        where = ".".join((name, *path))
        begin = begins.get(path)
        shapes = [tuple(tensor.shape) for tensor in (leaf, more_rows[path], more_steps[path])]
        rows = _rows_axis(where, begin, shapes)
        if leaf.numel() == 0:
            empty[path] = Empty(shapes[0], rows, leaf.dtype)
            continue
        sizes = tuple((BATCH, DYNAMIC) if at == rows else (f"axis {at}", size) for at, size in enumerate(shapes[0]))
        low, high = what.bounds(path) or (None, None)
        described[where] = InputDescription(
            sizes, leaf.detach().numpy().dtype, low, high, initial=_initial(where, what, state, begin, leaf, rows)
        )
        axes.append(rows)
    if not described:
        raise WrongArguments(
            f'"{name}" holds no tensor after a call, so it is no state: what does forward write to it?'
        )
    return filled(structure, lambda path, leaf: empty.get(path, leaf)), described, axes[0]


def _rows_axis(where: str, begin: object, shapes: Sequence[tuple[int, ...]]) -> int:
    """Find the axis of rows of a tensor: its shapes are those after calls with some rows, more rows, and more steps."""
    if shapes[0] != shapes[2] or (isinstance(begin, Tensor) and tuple(begin.shape) != shapes[0]):
        before = list(begin.shape) if isinstance(begin, Tensor) else list(shapes[0])
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


def _initial(where: str, what: StateTree, state: ProbedState, begin: object, leaf: Tensor, rows: int) -> Any:  # noqa: ANN401
    """What a leaf is at the beginning, one row; None where forward's own beginning is to be found."""
    if what.initial is not None:
        return what.initial
    if state.before is None:
        return None
    if not isinstance(begin, Tensor):
        return 0
    if begin.dtype != leaf.dtype:
        raise WrongArguments(
            f'"{where}" is {begin.dtype} in the example and {leaf.dtype} after a call; a state keeps its dtype'
        )
    return _first_row(where, begin, rows).detach().numpy()
