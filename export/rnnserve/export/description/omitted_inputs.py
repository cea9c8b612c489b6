"""Find the default of each optional input, by calling forward without the argument.

If a request omits a state, a server fills in zeros, and if it omits lengths, the server fills in full lengths. But the
default of a forward with `if h_0 is None: h_0 = self.h_0.expand(…)` isn't zero. So the results without the argument are
compared with the results for zeros. If they differ, this file looks for the default among the tensors that the
module uses or makes during the call. The default is recorded if it is the same for every row and doesn't change with
the other inputs. A server can't fill in a default that depends on other inputs, so such an input is required.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnnserve.export.description.forward_trials import is_near
from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import FlatModule, slots_in
from rnnserve.export.tensors import Arrays, draw_inputs
from rnnserve.export.torch_adapter import OperatorsSeen, tree_leaves
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import default_shape, fill_left_out

_Array = npt.NDArray[Any]
_Tensors = Sequence[manifest_pb2.Tensor]
_Names = tuple[str, ...]

_CALLS = ((3, 4), (1, 0), (2, 1), (5, 9))
"""Rows, and steps above the module's minimum, of the calls that are compared."""

_MOST_CANDIDATES, _MOST_COMBINATIONS = 64, 512

_REASON = (
    "forward's own default depends on other inputs, on the number of rows, or on chance, so a server cannot fill it in"
)
_OF_ATTRIBUTES = (
    ". Clients would have to send the attribute's value. Let it begin with zeros, and count steps, (batch, 1), in "
    "another state attribute: torch.where(self.steps == 0, x, 0.9 * self.mem + 0.1 * x)"
)


def find_defaults(
    module: FlatModule,
    inputs: _Tensors,
    sizes: Mapping[str, tuple[int, int]],
    initial: Mapping[str, _Array] = MappingProxyType({}),
) -> Arrays:
    """Find the default of each state and each lengths input, and write it into the inputs' descriptions.

    A state defaults to zeros, as for `states=`, if forward has no default for its parameter or doesn't run without it.
    States may also begin with described `initial` values. Returns the defaults to record, by input. Like the initial
    values, they have size 1 along dynamic axes.
    """
    by_name = {tensor.name: tensor for tensor in inputs}
    trials = _Trials(module, inputs, sizes)
    groups = trials.left_out_alone()
    lengths = [names for names in groups if by_name[names[0]].lengths_of]
    states = [names for names in groups if names not in lengths]
    described = [names for names in states if initial.keys() & set(names)]
    for names in described:
        if not trials.agree(names, initial):
            raise WrongArguments(
                f'inputs["{names[0]}"] has initial=, but forward without {", ".join(names)} returns other results '
                "than with these values. Leave initial= out, and the export finds and records the initial state of "
                "forward"
            )
    recorded, known = _of_states(trials, [names for names in states if names not in described])
    recorded |= {name: array for name, array in initial.items() if array.any()}
    required = [names for names in states if names not in (*known, *described)]
    states = [names for names in states if names not in required]
    kept = _flat(states)
    required += [
        names for names in lengths if not (trials.agree(names, {}) and trials.agree((*names, *kept), recorded))
    ]
    held = {name for tree in module.call.attributes.values() for name in slots_in(tree).values()}
    for name in _flat(required):
        by_name[name].default = manifest_pb2.DEFAULT_REQUIRED
        by_name[name].required_because = _REASON + (_OF_ATTRIBUTES if name in held else "")
    subsets = (some for count in range(1, len(states)) for some in itertools.combinations(states, count))
    if any(not trials.agree(_flat(some), recorded) for some in subsets):
        for name in kept:
            by_name[name].left_out_with.extend(other for other in kept if other != name)
    for name, array in recorded.items():
        by_name[name].default = manifest_pb2.DEFAULT_RECORDED
        by_name[name].default_range.low, by_name[name].default_range.high = float(array.min()), float(array.max())
    return recorded


def _of_states(trials: "_Trials", states: Sequence[_Names]) -> tuple[Arrays, Sequence[_Names]]:
    """Find the defaults of states that aren't zeros, and the states with a known default."""
    together = trials.find(_flat(states))
    if together is not None:
        return together, states
    found = {names: trials.find(names) for names in states} if len(states) > 1 else {}
    known = [names for names, arrays in found.items() if arrays is not None]
    recorded = {name: array for arrays in found.values() for name, array in (arrays or {}).items()}
    return (recorded, known) if trials.agree(_flat(known), recorded) else ({}, [])


def _flat(groups: Sequence[_Names]) -> _Names:
    return tuple(name for names in groups for name in names)


class _Trials:
    """Calls of a module with and without some of its inputs."""

    def __init__(self, module: FlatModule, inputs: _Tensors, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._module, self._inputs = module, inputs
        self._sizes = [
            {axis: min(max(rows, low) if axis == BATCH else low + steps, high) for axis, (low, high) in sizes.items()}
            for rows, steps in _CALLS
        ]
        random = np.random.default_rng(0)
        self._drawn = [
            draw_inputs(inputs, random, at, ragged=number % 2 > 0, bounded_states=True)
            for number, at in enumerate(self._sizes)
        ]
        self._without = functools.cache(lambda trial, names: module.run(self._given(trial, names)))

    def left_out_alone(self) -> list[_Names]:
        """List the inputs that can be omitted, by parameter. Attributes that forward makes together count as one."""
        required = {each.name for each in self._inputs if each.default == manifest_pb2.DEFAULT_REQUIRED}
        groups = [names for names in self._module.call.optional if not required.intersection(names)]
        found = [names for names in groups if self._runs_without(names)]
        held = {name for tree in self._module.call.attributes.values() for name in slots_in(tree).values()}
        of_attributes = [names for names in groups if held.issuperset(names)]
        if not all(names in found for names in of_attributes) and self._runs_without(_flat(of_attributes)):
            found = [*(names for names in found if names not in of_attributes), _flat(of_attributes)]
        return found

    def _runs_without(self, names: _Names) -> bool:
        with contextlib.suppress(Exception):  # the user's module may raise anything
            for trial in self._trials_without(names):
                self._without(trial, names)
            return True
        return False

    def agree(self, names: _Names, defaults: Mapping[str, _Array]) -> bool:
        """Whether the module's results without these inputs equal those for their defaults, at every size."""
        return all(self._agrees(trial, names, defaults) for trial in self._trials_without(names))

    def find(self, names: _Names) -> Arrays | None:
        """Find the nonzero defaults of these inputs that fit all trials. None if no default fits."""
        if self.agree(names, {}):
            return {}
        tensors = [tensor for tensor in self._inputs if tensor.name in names]
        ways = itertools.product(*(self._candidates(tensor, names) for tensor in tensors))
        for way in itertools.islice(ways, _MOST_COMBINATIONS):
            defaults = {tensor.name: array for tensor, array in zip(tensors, way, strict=True)}
            if self.agree(names, defaults):
                return {name: array for name, array in defaults.items() if array.any()}
        return None

    def _trials_without(self, names: _Names) -> list[int]:
        """List the trials without these inputs. Without any other input, only trials with one row are possible."""
        has_rows = any(tensor.name not in names for tensor in self._inputs)
        return [number for number, sizes in enumerate(self._sizes) if has_rows or sizes[BATCH] == 1]

    def _given(self, trial: int, names: _Names) -> Arrays:
        return {name: array for name, array in self._drawn[trial].items() if name not in names}

    def _agrees(self, trial: int, names: _Names, defaults: Mapping[str, _Array]) -> bool:
        filled = fill_left_out(self._inputs, self._given(trial, names), defaults, self._sizes[trial])
        try:
            found = self._module.run(filled)
        except Exception:  # noqa: BLE001 - the module doesn't take this candidate
            return False
        return all(is_near(found[name], array) for name, array in self._without(trial, names).items())

    def _candidates(self, tensor: manifest_pb2.Tensor, names: _Names) -> list[_Array]:
        """Find candidates for a default: tensors that the module uses or makes, equal in every row and call."""
        found: dict[bytes, _Array] | None = None
        for trial in self._trials_without(names):
            used: list[Tensor] = []

            def note(_: object, *values: object, used: list[Tensor] = used) -> Callable[[object], None]:
                used += _copies(values, tensor)
                return lambda result: used.extend(_copies(result, tensor))

            with OperatorsSeen(note):
                self._module.run(self._given(trial, names))
            used += _copies([*self._module.parameters(), *self._module.buffers()], tensor)
            these = dict(_rows_in(used, tensor, self._sizes[trial]))
            found = these if found is None else {key: array for key, array in found.items() if key in these}
        zeros = np.zeros(default_shape(tensor), DTYPES[tensor.datatype])
        return [zeros, *itertools.islice((found or {}).values(), _MOST_CANDIDATES)]


def _copies(values: Any, described: manifest_pb2.Tensor) -> list[Tensor]:  # noqa: ANN401 - a nesting of any values
    """Copy every tensor with an input's dtype, since operators may write to it later."""
    dtype = torch.from_numpy(np.zeros(0, DTYPES[described.datatype])).dtype
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.dtype == dtype]
    return [each.detach().clone() for each in tensors if each.layout is torch.strided]


def _rows_in(
    tensors: Sequence[Tensor], described: manifest_pb2.Tensor, sizes: Mapping[str, int]
) -> Iterator[tuple[bytes, _Array]]:
    """Yield tensors with an input's shape, or the shape of one row, if they are equal for every row and step."""
    one = default_shape(described)
    whole = tuple(sizes[axis.name] if axis.size < 0 else axis.size for axis in described.axes)
    first = tuple(slice(0, 1) if axis.size < 0 else slice(None) for axis in described.axes)
    for tensor in tensors:
        for shape in dict.fromkeys((whole, one)):
            if tensor.numel() == math.prod(shape):
                array = tensor.numpy().reshape(shape)
                row = np.ascontiguousarray(array[first])
                if np.array_equal(np.broadcast_to(row, shape), array) and np.isfinite(row).all():
                    yield row.tobytes(), row
