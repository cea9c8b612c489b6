"""Find the datatypes and axes of a model's outputs, by runs at a few sizes.

If an axis is neither fixed nor as large as an axis of the inputs, it stays open: a derived axis without a rule. If the
model is a captured program, the program has an expression for the size (`model_onnx`). For an ONNX file, only runs can
find the rule (`settle_by_runs`).

A convolution or pooling of stride d returns (size + a) // d steps. So do several of them in a row, with the product of
their strides as d. A transposed convolution returns m * size + a steps, or m steps for each step that a stride leaves.
Slices limit the size from above (`y[:, -127:]`) or from below (`max(1, n // 2)`). So the size is
times * ((m * size + a) // d) + plus between two bounds (`DerivedSize`), and these numbers are fitted to the output's
sizes at many sizes of the inputs.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.forward_trials import Trial, sizes_taken
from rnnserve.export.description.publication import DYNAMIC, InputDescription
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.tensors import Arrays, axis_of, sequence_axes, shape_of, size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES, datatype_of
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH

Tensors = Sequence[manifest_pb2.Tensor]
_Sizes = Mapping[str, int]
_Numbers = npt.NDArray[np.int64]

OTHER_SIZES = (
    "Pad the output with zeros to the steps of the input, for example with pad_packed_sequence(…, "
    "total_length=x.size(1)), and return the number of steps of each row, (batch,), as another output"
)
"""Advice for an axis whose size doesn't follow from the sizes of the inputs by a known rule."""

_CHECKED = (*range(1, 18), 31, 32, 33, 61, 63, 64, 65, 97, 127, 128, 129, 200, 255, 256, 257, 307, 400, 511, 512, 513)
_CHECKED_FAR = (777, 1000, 1023, 1024, 1025, 1536, 1999, 2047, 2048, 2049, 2500, 2999, 3000)
"""Input sizes, counted from the smallest, at which the size of every output is checked against its rule."""

_DIVISORS: Final = (range(1, 17), range(17, 257), range(257, 4097))  # a bound is more likely than a large divisor
_DENSE: Final = 32
_TRIED: Final = (*range(1, _DENSE + 1), 48, 61, 64, 97, 100, 127, 128)
_FEW: Final = 64
_CHANGES: Final = 3
"""Number of changes of an output's size that are located exactly, to the two input sizes around each."""


def describe_outputs(trial: Trial, given: Sequence[str] | Mapping[str, InputDescription]) -> list[manifest_pb2.Tensor]:
    """Run a model at several sizes to find the datatypes and axes of its outputs. Some outputs have descriptions."""
    runs = _run_at_probes(trial)
    outputs = []
    for name in given:
        first = runs[0][1][name]
        datatype = datatype_of(first.dtype)
        if datatype is None:
            raise UnsupportedModule(f'output "{name}" is {first.dtype}; expected booleans, integers or floats')
        shapes = [results[name].shape for _, results in runs]
        other = next((shape for shape in shapes if len(shape) != first.ndim), None)
        if other is not None:
            raise UnsupportedModule(
                f'output "{name}" has shape {first.shape} for some sizes of the inputs, and {other} for others'
            )
        tensor = manifest_pb2.Tensor(name=name, datatype=datatype)
        for at, found in enumerate(zip(*shapes, strict=True)):
            if len(set(found)) == 1:
                tensor.axes.add(name=f"axis {at}", size=found[0])
                continue
            equal = (axis for axis in trial.sizes if found == tuple(sizes[axis] for sizes, _ in runs))
            tensor.axes.add(name=next(equal, f"axis {at}"), size=DYNAMIC)
            if tensor.axes[at].name == f"axis {at}":
                tensor.derived_axes.add(name=f"axis {at}")
        if axis_of(tensor, BATCH) is None:
            raise UnsupportedModule(
                f'output "{name}" of shape {list(first.shape)} has no axis as large as the batch, so the server could '
                "not divide it among requests. Return one row for each row of the inputs. To return fewer outputs, "
                f"publish a module around this one.{_swapped(first.shape, runs[0][0])}"
            )
        if isinstance(given, Mapping):
            _name_axes(tensor, given[name])
        outputs.append(tensor)
    return outputs


def settle_by_runs(trial: Trial, outputs: Tensors) -> None:
    """Find the rules of open axes by runs, in place. Raises UnsupportedModule if runs don't show a rule."""
    probes = _probing_sizes(trial.sizes)
    limits = {axis: bounds for axis, bounds in trial.sizes.items() if axis != BATCH}
    for tensor in outputs:
        rules = {}
        for at in open_axes(tensor):

            def size_at(sizes: _Sizes, name: str = tensor.name, at: int = at) -> int:
                return int(trial.run(sizes)[name].shape[at])

            rule = derive_axis(size_at, limits, probes[0])
            if rule is None:
                shown = ", ".join(f"{size_at(probe)} for {probe}" for probe in probes)
                raise UnsupportedModule(
                    f'axis {at} of output "{tensor.name}" is {shown}, so the server could not divide it among '
                    "requests. Expected a fixed size, the size of an input axis, or (a * size + b) // c of an input "
                    f"axis. {OTHER_SIZES}"
                )
            rules[at] = rule
        put_rules(tensor, rules)


def open_axes(tensor: manifest_pb2.Tensor) -> list[int]:
    """List the axes without a known size."""
    names = [derived.name for derived in tensor.derived_axes if not derived.of]
    return [at for at, axis in enumerate(tensor.axes) if axis.name in names]


def put_rules(tensor: manifest_pb2.Tensor, rules: Mapping[int, manifest_pb2.DerivedAxis]) -> None:
    """Set the rules of open axes, by position. An axis keeps its name if the description names it."""
    named = [at for at in open_axes(tensor) if tensor.axes[at].name != f"axis {at}"]
    del tensor.derived_axes[:]
    for at, rule in rules.items():
        axis = tensor.axes[at]
        axis.name, axis.size = axis.name if at in named else rule.name, DYNAMIC
        if axis.name not in [each.name for each in tensor.derived_axes]:
            tensor.derived_axes.append(rule)
            tensor.derived_axes[-1].name = axis.name


def check_sizes(trial: Trial, outputs: Tensors, longest: int) -> None:
    """Run a model at many sizes. Raises UnsupportedModule if an output's size differs from its description."""
    probe = _probing_sizes(trial.sizes)[0]
    for name in sequence_axes(trial.inputs):
        low, high = trial.sizes[name]
        high = max(longest, high) if size_limits(trial.inputs)[name][1] is None else high
        for size in sorted({min(low + each - 1, high) for each in (*_CHECKED, *_CHECKED_FAR, high)}):
            tried = {**probe, name: size}
            try:
                results = trial.run(tried)
            except WrongArguments:  # for a module, the trial of sizes reports this; a file is tried as far as it runs
                continue
            for tensor in outputs:
                _check_shape(tensor, results[tensor.name].shape, tried)
                for derived in tensor.derived_axes:
                    derived.tried_to = max(derived.tried_to, size if derived.of == name else 0)


def _check_shape(tensor: manifest_pb2.Tensor, shape: tuple[int, ...], sizes: Mapping[str, int]) -> None:
    expected = shape_of(tensor, sizes)
    steps = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    for derived in tensor.derived_axes if 0 in shape else ():
        rule, least = DerivedSize.of_axis(derived), sizes[derived.of]
        if rule.size(least) == 0:
            least = next((size for size in range(least, 2 * least + rule.divide) if rule.size(size)), least)
            raise UnsupportedModule(
                f'output "{tensor.name}" has shape {list(shape)} for {steps}: it contains no values. {OTHER_SIZES}. '
                f'If requests always have more steps, add sizes={{"{derived.of}": ({least}, …)}}'
            )
    if shape == expected:
        return
    at = next((at for at, (one, other) in enumerate(zip(shape, expected, strict=False)) if one != other), 0)
    raise UnsupportedModule(
        f'axis {at} of output "{tensor.name}" is {tensor.axes[at].name} at the other tried sizes, but its shape is '
        f"{list(shape)} for {steps}; expected {list(expected)}. {OTHER_SIZES}"
    )


def _run_at_probes(trial: Trial) -> list[tuple[_Sizes, Arrays]]:
    """Run a model at sizes unlike each other, at the smallest sizes, and with each sequence axis at its largest size.

    At similar sizes, a fixed axis looks the same as an axis of frames of 160 samples each, or as an axis that gets
    shorter only if there are few steps.
    """
    probes = _probing_sizes(trial.sizes)
    try:
        runs = [(probe, trial.run(probe)) for probe in probes]
    except WrongArguments as error:
        advice = sizes_taken(trial, probes[0])
        raise (WrongArguments(f"{error}. {advice}") if advice else error) from error.__cause__
    largest = ({**probes[0], axis: high} for axis, (_, high) in trial.sizes.items() if axis != BATCH)
    for probe in (trial.smallest, *largest):
        if probe not in probes:
            with contextlib.suppress(WrongArguments):  # the trial of sizes reports an error at these sizes
                runs.append((probe, trial.run(probe)))
    return runs


def _probing_sizes(sizes: Mapping[str, tuple[int, int]]) -> list[_Sizes]:
    """Return two sizes for each axis, within its bounds, that differ from each other and from other axes' sizes."""
    pairs: dict[str, tuple[int, int]] = {}
    for number, (axis, (low, high)) in enumerate(sizes.items()):
        usual = (low + 2 + 2 * number, low + 7 + 2 * number)
        few = range(max(low, high - len(sizes)), high + 1)
        wanted = [usual] if usual[1] <= high else list(itertools.permutations(few, 2)) or [(low, high)]
        unused = [pair for pair in wanted if pair not in pairs.values()]
        pairs[axis] = (unused or wanted)[0]
    return [{axis: pair[turn] for axis, pair in pairs.items()} for turn in range(2)]


def _swapped(shape: Sequence[int], sizes: Mapping[str, int]) -> str:
    """If an output has no batch axis, return a hint in case the batch and a sequence axis are swapped."""
    axis = next((axis for axis, size in sizes.items() if axis != BATCH and size in shape), None)
    if axis is None:
        return ""
    return f' It has the size of "{axis}", {sizes[axis]}. Are "{BATCH}" and "{axis}" exchanged in the inputs\' axes?'


def _name_axes(tensor: manifest_pb2.Tensor, described: InputDescription) -> None:
    derived = {axis.name: axis for axis in tensor.derived_axes}
    found = [axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes]
    expected = [name if size == DYNAMIC else size for name, size in described.axes]
    # The description may choose any name for an axis with a derived size.
    fits = len(found) == len(expected) and all(
        one == other or (one in derived and isinstance(other, str)) for one, other in zip(found, expected, strict=True)
    )
    if not fits or DTYPES[tensor.datatype] != described.dtype:
        raise WrongArguments(
            f'outputs["{tensor.name}"] describes {described.dtype} {expected}, but forward returns '
            f"{DTYPES[tensor.datatype]} {found}"
        )
    for axis, (name, _) in zip(tensor.axes, described.axes, strict=True):
        if axis.name in derived:
            derived[axis.name].name = name
        axis.name = name


def derive_axis(
    size_at: Callable[[Mapping[str, int]], int], limits: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]
) -> manifest_pb2.DerivedAxis | None:
    """Find the rule by which the size of an output's axis follows from one axis of the inputs, by runs.

    `size_at` runs the module at `sizes`, with one axis changed within its `limits`. Returns None if the size depends on
    more than one axis or follows no known rule, or if the runs don't cover every remainder of the division.
    """
    found = None
    for axis, (low, high) in limits.items():
        pairs: dict[int, int] = {}
        wanted = {
            size for size in (*(low + each - 1 for each in _TRIED), (low + high) // 2, high) if low <= size <= high
        }
        while wanted:
            for size in wanted:
                with contextlib.suppress(WrongArguments):  # too short for a kernel: the trial of sizes reports it
                    pairs[size] = size_at({**sizes, axis: size})
            wanted = set(_between_changes(pairs)) - pairs.keys() if wanted & pairs.keys() else set()
        if len(set(pairs.values())) < 2:
            continue
        ascending = np.array(sorted(pairs), np.int64)
        rule = fit_size(axis, ascending, np.array([pairs[size] for size in ascending.tolist()], np.int64))
        if rule is None or found is not None or (rule.multiply > 1 and rule.divide > _DENSE):
            return None
        found = described_axis(rule, means=manifest_pb2.MEANS_TRIED, tried_to=max(pairs))
    return found


def described_axis(rule: DerivedSize, **more: Any) -> manifest_pb2.DerivedAxis:  # noqa: ANN401 - fields of the message
    """Return the axis in the manifest's form, named by its rule."""
    return manifest_pb2.DerivedAxis(name=str(rule), **rule._asdict(), **more)


def _between_changes(pairs: Mapping[int, int]) -> Iterator[int]:
    """Yield sizes that narrow down the first and last changes of the output's size, until the changes are located."""
    sizes = sorted(pairs)
    changes = [(one, other) for one, other in itertools.pairwise(sizes) if pairs[one] != pairs[other]]
    for one, other in {*changes[:_CHANGES], *changes[-1:]}:
        if other - one > 1:
            yield (one + other) // 2


def fit_size(of: str, sizes: _Numbers, found: _Numbers) -> DerivedSize | None:
    """Find the rule for the sizes of an output's axis. If several rules fit, the smallest d wins.

    `sizes` are the sizes of the inputs' axis `of`, ascending, and `found` has the output's size for each.
    """
    bounds = list(itertools.product((0, int(found.min())), (0, int(found.max()))))
    for smallest, largest in bounds:  # for `y[:, -2:]`, no size lies strictly between the bounds
        rule = DerivedSize(of, 1, 0, 1, 1, 0, smallest, largest)
        if np.array_equal(rule.sizes(sizes), found):
            return rule
    for divisors, (smallest, largest) in itertools.product(_DIVISORS, bounds):
        inner = (found > smallest) & ((found < largest) if largest else True)
        if len(np.unique(found[inner])) < 2:
            continue
        for times, plus in _multiples(found[inner]):
            linear = _fit_linear(sizes[inner], (found[inner] - plus) // times, divisors)
            if linear is None:
                continue
            rule = DerivedSize(of, *linear, times, plus, smallest, largest)
            if np.array_equal(rule.sizes(sizes), found):
                return rule
    return None


def _multiples(found: _Numbers) -> Iterator[tuple[int, int]]:
    """Yield pairs of a factor and an offset that fit all sizes: 1 and 0 first."""
    yield 1, 0
    times = int(np.gcd.reduce(np.diff(found)))
    if times > 1:
        yield times, int(found[0]) % times


def _fit_linear(sizes: _Numbers, found: _Numbers, divisors: range) -> tuple[int, int, int] | None:
    """Find m, the smallest a, and the smallest d for which (m * size + a) // d is correct for every size."""
    span = int(sizes[-1] - sizes[0])
    slope, spread = int(found[-1] - found[0]) / span, 1 / span
    few = slice(None, None, max(1, len(sizes) // _FEW))
    # n consecutive sizes never need a divisor above n.
    for divide in range(divisors.start, min(divisors.stop, span + 2)):
        for multiply in range(max(1, math.ceil(divide * (slope - spread))), int(divide * (slope + spread)) + 1):
            for part in (few, slice(None)):  # most candidates already fail for a few sizes
                remaining = divide * found[part] - multiply * sizes[part]
                least, most = int(remaining.max()), int(remaining.min()) + divide - 1
                if least > most:
                    break
            else:
                return multiply, least, divide
    return None
