"""A publication: a module and the descriptions of its inputs and outputs, under which it is published.

If the size of an axis is dynamic, you describe the axis by its name ("batch", "sequence"). If the size is fixed, you
describe the axis by name and size (("hidden", 64)), or by its size alone. Axes with the same name have the same size in
a request. The axis named "batch" holds independent rows. Every other dynamic axis is a sequence axis.
"""

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import datatype_of
from rnnserve.protos.protocol_words import BATCH

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "DYNAMIC",
    "Axis",
    "Flags",
    "Floats",
    "InputDescription",
    "InputDescriptions",
    "Integers",
    "Lengths",
    "Mask",
    "MaskDescription",
    "Publication",
    "StateTree",
]

DYNAMIC = -1

Axis = str | int | tuple[str, int]
"""A dynamic axis by its name, or a fixed axis by its size or by name and size."""


@dataclasses.dataclass(frozen=True)
class InputDescription:
    """The description of an input, made by `Floats`, `Integers`, `Lengths` or `Flags`.

    Attributes:
        axes: Name and size of each axis, outermost first. The size is -1 for a dynamic axis.
        dtype: Type of the values.
        low: The lowest value. None for any.
        high: The highest value of floats, or one more than the highest value of integers. None for any.
        lengths_of: Axis whose steps this input counts, if it holds lengths. Otherwise empty.
        initial: Values of a state before the first step: one number for all values, or an array of one row. If None,
            the state begins with forward's own default, or else with zeros.
        padding: Id that forward treats as padding, or None.
        relative: Whether forward takes lengths as fractions of the axis.
    """

    axes: tuple[tuple[str, int], ...]
    dtype: np.dtype[Any]
    low: float | int | None = None
    high: float | int | None = None
    lengths_of: str = ""
    initial: Any = dataclasses.field(default=None, compare=False)  # arrays don't compare to one bool
    padding: int | None = None
    relative: bool = False

    def tensor(self, name: str, *, is_state: bool = False) -> manifest_pb2.Tensor:
        """Describe the input in the manifest's form. An initial state is zeros if a request omits it."""
        datatype = datatype_of(self.dtype)
        if datatype is None:
            raise WrongArguments(f'input "{name}" has dtype {self.dtype}; expected booleans, integers or floats')
        tensor = manifest_pb2.Tensor(
            name=name,
            datatype=datatype,
            axes=[manifest_pb2.Axis(name=axis, size=size) for axis, size in self.axes],
            lengths_of=self.lengths_of,
        )
        if self.lengths_of:
            tensor.default = manifest_pb2.DEFAULT_FULL_LENGTH
        elif is_state:
            tensor.default = manifest_pb2.DEFAULT_ZEROS
        if self.dtype.kind in "iu" and self.high is not None:
            tensor.integers.low, tensor.integers.high = int(self.low or 0), int(self.high)
        elif self.dtype.kind == "f" and self.low is not None and self.high is not None:
            tensor.floats.low, tensor.floats.high = self.low, self.high
        return tensor


@dataclasses.dataclass(frozen=True)
class MaskDescription(InputDescription):
    """A parameter of forward that the model makes from the lengths of an axis, instead of taking it as an input.

    Attributes:
        inside: Value before the end of a row.
        after: Value after the end of a row.
    """

    inside: float = True
    after: float = False


def Floats(  # noqa: N802 - it reads as a description in calls
    *axes: Axis,
    low: float | None = None,
    high: float | None = None,
    dtype: str = "float32",
    initial: Any = None,  # noqa: ANN401 - a number, or anything that numpy or torch can convert to an array
) -> InputDescription:
    """Describe an input of floats.

    Args:
        axes: Axes, outermost first: `"batch", "sequence", ("features", 2)`.
        low: The lowest usual value. Verification and load tests draw values between `low` and `high`, so pass both or
            neither.
        high: The highest usual value. Without `low` and `high`, values are drawn from a standard normal distribution.
        dtype: "float32", "float64" or "float16".
        initial: Values of a state at the beginning of a sequence: a number for all values (`-inf` is allowed), or an
            array of one row, of size 1 along the batch. Servers use them if a request omits the state.

    Raises:
        WrongArguments: If the axes, the bounds or the dtype are invalid.
    """
    if (low is None) != (high is None) or (low is not None and high is not None and not low < high):
        raise WrongArguments(f"Floats(low={low}, high={high}): expected both bounds, with low below high, or neither")
    return InputDescription(_axes("Floats", axes), _dtype("Floats", dtype, "f"), low, high, initial=initial)


def Integers(  # noqa: N802
    *axes: Axis,
    high: int,
    low: int = 0,
    padding: int | None = None,
    dtype: str = "int64",
    initial: Any = None,  # noqa: ANN401 - as for Floats
) -> InputDescription:
    """Describe an input of integers, such as token ids. Servers refuse values outside its bounds.

    Args:
        axes: Axes, outermost first.
        high: One more than the highest value that the module takes: an embedding's number of entries.
        low: The lowest value that the module takes.
        padding: Id by which forward finds the end of a row, as in `tokens != 0`. The model gets an input "lengths" and
            writes this id after the end of each row, so that requests of different lengths can share a batch. If
            forward fails on rows of padding alone, servers refuse requests with this id, as long as it is the lowest or
            the highest id.
        dtype: "int64", or another integer type.
        initial: Values of a state at the beginning of a sequence, as for `Floats`, within the bounds.

    Raises:
        WrongArguments: If the axes, the bounds or the dtype are invalid.
    """
    found = _dtype("Integers", dtype, "iu")
    limits = np.iinfo(found)
    if not limits.min <= low < high <= limits.max + 1:
        raise WrongArguments(f"Integers(low={low}, high={high}, dtype={dtype!r}): this range contains no {dtype}")
    if padding is not None and not limits.min <= padding <= limits.max:
        raise WrongArguments(f"Integers(padding={padding}, dtype={dtype!r}): the id does not fit {dtype}")
    return InputDescription(_axes("Integers", axes), found, low, high, padding=padding, initial=initial)


def Flags(*axes: Axis, initial: Any = None) -> InputDescription:  # noqa: ANN401, N802
    """Describe an input of booleans.

    Args:
        axes: Axes, outermost first.
        initial: Values of a state at the beginning of a sequence, as for `Floats`.

    Raises:
        WrongArguments: If the axes are invalid.
    """
    return InputDescription(_axes("Flags", axes), np.dtype(np.bool_), initial=initial)


def Lengths(axis: str = "sequence", dtype: str = "int64", *, relative: bool = False) -> InputDescription:  # noqa: N802
    """Describe an input (batch,) that holds each row's number of steps along a sequence axis.

    If a request omits it, every row is as long as the axis.

    Args:
        axis: The name of the sequence axis.
        dtype: "int64" or "int32".
        relative: Whether forward takes fractions of the axis, from 0 to 1, as SpeechBrain's modules do. Requests still
            count steps, and the model converts them to float32 fractions.

    Raises:
        WrongArguments: If the dtype is neither "int64" nor "int32", or if the axis is the batch.
    """
    if dtype not in ("int64", "int32") or axis == BATCH:
        raise WrongArguments(
            f"Lengths({axis!r}, dtype={dtype!r}): expected the name of a sequence axis, and int64 or int32"
        )
    return InputDescription(((BATCH, DYNAMIC),), np.dtype(dtype), lengths_of=axis, relative=relative)


def Mask(  # noqa: N802 - it reads as a description in calls
    axis: str = "sequence",
    *,
    axes: Sequence[Axis] = (),
    inside: float = True,
    after: float = False,
    dtype: str = "bool",
) -> InputDescription:
    """Describe a parameter of forward that masks a sequence axis. The model makes the mask from lengths.

    Requests don't have a mask. They have an optional input "lengths". If a request omits it, every row is as long as
    the axis.

    Args:
        axis: The name of the sequence axis.
        axes: Axes of the mask, outermost first, unless they are ("batch", axis): `("batch", 1, "sequence")`.
        inside: Value before the end of a row.
        after: Value after the end of a row: `Mask(inside=False, after=True)` for a key_padding_mask, which marks
            padding.
        dtype: "bool", or a float or integer type.

    Raises:
        WrongArguments: If the dtype is invalid, or if the axes are not the batch, the sequence axis and ones.
    """
    found = np.dtype(np.bool_) if dtype == "bool" else _dtype("Mask", dtype, "fiu")
    named = _axes("Mask", tuple(axes) or (BATCH, axis)) if axis != BATCH else ()
    dynamic = [name for name, size in named if size == DYNAMIC]
    if sorted(dynamic) != sorted((BATCH, axis)) or any(size > 1 for _, size in named):
        raise WrongArguments(
            f'Mask({axis!r}, axes={tuple(axes)}): expected "{BATCH}" and the sequence axis, in any order, and axes of '
            "size 1"
        )
    return MaskDescription(named, found, lengths_of=axis, inside=inside, after=after)


def _dtype(what: str, dtype: str, kinds: str) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError as error:
        raise WrongArguments(f"{what}(dtype={dtype!r}): {error}") from error
    if found.kind not in kinds or datatype_of(found) is None:
        raise WrongArguments(f"{what}(dtype={dtype!r}): {what} does not support this dtype")
    return found


def _axes(what: str, axes: Sequence[Axis]) -> tuple[tuple[str, int], ...]:
    named: dict[str, int] = {}
    for number, axis in enumerate(axes):
        name, size = _axis(what, number, axis)
        if name in named:
            raise WrongArguments(f'{what}{axes}: two axes are named "{name}"')
        named[name] = size
    return tuple(named.items())


def _axis(what: str, number: int, axis: Axis) -> tuple[str, int]:
    match axis:
        case bool():
            pass
        case str() if axis:
            return axis, DYNAMIC
        case int() if axis > 0:
            return f"axis {number}", axis
        case (str() as name, int() as size) if name and size > 0 and not isinstance(size, bool):
            if name == BATCH:
                raise WrongArguments(
                    f'{what}: the axis "{BATCH}" must be dynamic, because requests choose its size; write "{BATCH}"'
                )
            return name, size
    raise WrongArguments(
        f'{what}: {axis!r} is not an axis; write "name" for a dynamic axis, ("name", size) for a fixed axis'
    )


@dataclasses.dataclass(frozen=True)
class StateTree:
    """A state of nested containers. Use it instead of a description of each tensor in the state.

    The row axes, dtypes and names of the tensors are found by running the module.

    Attributes:
        example: A function that takes the number of rows and returns the state at the beginning of a sequence:
            `StateTree(module.init_state)`. Its rows must be equal. They are recorded as the initial state. If None,
            forward makes the state when it is called without one.
        integers: For integer leaves, the lowest value and one more than the highest value, by path:
            {"position": (0, 512)}. A path may have wildcards: "*.position".

    Raises:
        WrongArguments: If the example isn't a function.
    """

    example: Callable[[int], Any] | None = None
    integers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse tensors, whose row axis isn't known."""
        if self.example is not None and not callable(self.example):
            raise WrongArguments(
                f"StateTree got a {type(self.example).__name__}; give a function that takes the number of rows and "
                "returns the first state: StateTree(module.init_state), StateTree(lambda rows: …)"
            )

    def bounds(self, path: Sequence[str]) -> tuple[int, int] | None:
        """Return the bounds of an integer leaf, if there are any."""
        name = ".".join(path)
        return next((limits for of, limits in self.integers.items() if fnmatch.fnmatchcase(name, of)), None)


InputDescriptions = Mapping[str, InputDescription | StateTree | Mapping[str, Any]]
"""Descriptions by parameter of forward. A parameter with several tensors has a dict of descriptions or such dicts."""


@dataclasses.dataclass(frozen=True)
class Publication:
    """A module to publish, with its name and the descriptions of its inputs and outputs.

    `rnnserve export FILE.py:NAME` takes a publication, a list of publications, or a function that returns either.

    Attributes:
        module: Any nn.Module that `export_onnx` takes, in float32, on the CPU.
        name: The model's name.
        inputs: Descriptions by the names of forward's parameters, in the order of forward. You may leave out parameters
            with a default. For a parameter that takes a tuple or a dict of tensors, use a dict of names and
            descriptions, nested like the parameter: "x_d": {"rain": Floats(…)} describes the tensor "x_d.rain". For a
            nested state, use a `StateTree`.
        outputs: Names of the tensors that forward returns, in its order, with nested ones flattened. To name fixed axes
            as well, use a dict of names and descriptions.
        states: Maps each state output to the input through which the next request continues it: {"h_n": "h_0"}. If a
            request omits such an input, the sequence begins with forward's own default, or else with zeros.
        state_attributes: Attributes that forward reads and writes from call to call, such as "cell.mem", if the state
            isn't among its parameters. To describe them, use a dict. Each attribute becomes an input of that name and
            an output "cell.mem_n". Its value at publication is the state at the beginning of a sequence.
        labels: Names of the classes. They belong to the last axis of the first output with as many values.
        samples: Real inputs, each a dict of arrays by input name. You may leave out lengths and states. Verification
            and the golden tests use these inputs as well as random ones.
        sizes: The smallest and largest size that the module takes for a dynamic axis, unless it takes any:
            {"sequence": (5, 64)}. No row is shorter than the smallest size. Verification stays within these sizes, and
            servers refuse others.
        sequences: Whether config.pbtxt makes Triton serve the model a step at a time and keep its states. Triton then
            takes only requests that belong to a sequence, and no states in requests. With None, this applies only to
            models without a sequence axis, because Triton can't serve their sequences in another way. rnnserve's own
            server supports both, whatever the value.
        allow_non_finite: Whether NaN and infinity are ordinary values of the outputs, and may occur in the inputs. If
            so, verification compares them like other values, recurrent operators keep them, and servers allow them in
            outputs. Servers allow them in inputs only if they run with --allow-non-finite. Without this flag, a module
            is refused if it returns NaN or infinity for ordinary inputs.
        constants: Values of parameters of forward that are the same in every request: {"temperature": 1.0}. They can be
            numbers, strings, flags, None, or tensors.
        checkpoint_sha256: The digest of the weights' file, if there is one.

    Example:
        import torch
        from rnnserve.export import Floats, Publication, publish

        adder = Publication(
            torch.nn.RNN(2, 4, batch_first=True).eval(),  # with your weights
            "adder",
            inputs={"input": Floats("batch", "sequence", 2)},
            outputs=["output", "h_n"],
        )
        print(publish(adder, repository="own_models", progress=False).name)  # adder
    """

    module: "nn.Module"
    name: str
    inputs: InputDescriptions
    outputs: Sequence[str] | Mapping[str, InputDescription]
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Sequence[str] = ()
    samples: Sequence[Mapping[str, npt.NDArray[Any]]] = ()
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    sequences: bool | None = None
    allow_non_finite: bool = False
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    state_attributes: Sequence[str] | Mapping[str, InputDescription | StateTree] = ()
    checkpoint_sha256: str = ""
