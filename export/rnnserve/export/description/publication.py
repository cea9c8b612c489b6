"""A publication: a module, and the description under which it is published, of its inputs above all.

An axis is described by its name if its size is dynamic ("batch", "sequence"), by name and size if it is fixed
(("hidden", 64)), or by its size alone. Axes of one name have one size in a request. The axis named "batch" holds
independent rows; every other dynamic axis is a sequence axis.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
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
"""A dynamic axis by its name, a fixed one by its size or by name and size."""


@dataclasses.dataclass(frozen=True)
class InputDescription:
    """What an input is; `Floats`, `Integers`, `Lengths` and `Flags` make one.

    Attributes:
        axes: Name and size of each axis, outermost first; the size is -1 where it is dynamic.
        dtype: Type of its values.
        low: The lowest value; None for any.
        high: The highest value of floats, one more than the highest of integers; None for any.
        lengths_of: Axis whose steps it counts, if it holds lengths; else empty.
        initial: Values of a state before the first step, a number for all or an array of one row; None for what leaving
            it out means to forward, or zeros.
        padding: Id that forward takes for padding; None where there is none.
        relative: Whether forward takes lengths as shares of the axis.
    """

    axes: tuple[tuple[str, int], ...]
    dtype: np.dtype[Any]
    low: float | int | None = None
    high: float | int | None = None
    lengths_of: str = ""
    initial: Any = dataclasses.field(default=None, compare=False)  # arrays have no one answer to ==
    padding: int | None = None
    relative: bool = False

    def tensor(self, name: str, *, is_state: bool = False) -> manifest_pb2.Tensor:
        """Describe the input as a manifest does. An initial state is zeros if a request leaves it out."""
        datatype = datatype_of(self.dtype)
        if datatype is None:
            raise WrongArguments(f'input "{name}" has dtype {self.dtype}; models take booleans, integers and floats')
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
    """A parameter of forward that is no input of the model: it is made from the lengths of an axis.

    Attributes:
        inside: Value before the end of a row.
        after: Value after it.
    """

    inside: float = True
    after: float = False


def Floats(  # noqa: N802 - it reads as a description where it is used
    *axes: Axis,
    low: float | None = None,
    high: float | None = None,
    dtype: str = "float32",
    initial: Any = None,  # noqa: ANN401 - a number, or whatever numpy or torch make an array of
) -> InputDescription:
    """Describe an input of floats.

    Args:
        axes: Axes, outermost first: `"batch", "sequence", ("features", 2)`.
        low: The lowest usual value, from which on proofs and load tests draw; given together with `high`.
        high: The highest usual value. Without the two, values are drawn from a standard normal distribution.
        dtype: "float32", "float64" or "float16".
        initial: Values of a state at the beginning of a sequence: a number for all, `-inf` among them, or an array of
            one row, of size 1 along the batch. They stand for a state that a request leaves out.

    Raises:
        WrongArguments: If the axes, the bounds or the dtype are none.
    """
    if (low is None) != (high is None) or (low is not None and high is not None and not low < high):
        raise WrongArguments(f"Floats(low={low}, high={high}): give both, low below high, or neither")
    return InputDescription(_axes("Floats", axes), _dtype("Floats", dtype, "f"), low, high, initial=initial)


def Integers(  # noqa: N802
    *axes: Axis,
    high: int,
    low: int = 0,
    padding: int | None = None,
    dtype: str = "int64",
    initial: Any = None,  # noqa: ANN401 - as of Floats
) -> InputDescription:
    """Describe an input of integers, such as token ids; servers refuse values outside its bounds.

    Args:
        axes: Axes, outermost first.
        high: One more than the highest value that the module takes: an embedding's number of entries.
        low: The lowest value that the module takes.
        padding: Id by which forward tells where a row has ended, as in `tokens != 0`. The model gets an input
            "lengths", and writes this id after the end of each row, so that requests of different lengths share a run.
            Where forward takes no rows of nothing else, servers refuse the id in requests, if it is the lowest or the
            highest one.
        dtype: "int64", or another integer type.
        initial: Values of a state at the beginning of a sequence, as of `Floats`, within the bounds.

    Raises:
        WrongArguments: If the axes, the bounds or the dtype are none.
    """
    found = _dtype("Integers", dtype, "iu")
    limits = np.iinfo(found)
    if not limits.min <= low < high <= limits.max + 1:
        raise WrongArguments(f"Integers(low={low}, high={high}, dtype={dtype!r}): no {dtype} lies in this range")
    if padding is not None and not limits.min <= padding <= limits.max:
        raise WrongArguments(f"Integers(padding={padding}, dtype={dtype!r}): {dtype} does not hold this id")
    return InputDescription(_axes("Integers", axes), found, low, high, padding=padding, initial=initial)


def Flags(*axes: Axis, initial: Any = None) -> InputDescription:  # noqa: ANN401, N802
    """Describe an input of booleans.

    Args:
        axes: Axes, outermost first.
        initial: Values of a state at the beginning of a sequence, as of `Floats`.

    Raises:
        WrongArguments: If the axes are none.
    """
    return InputDescription(_axes("Flags", axes), np.dtype(np.bool_), initial=initial)


def Lengths(axis: str = "sequence", dtype: str = "int64", *, relative: bool = False) -> InputDescription:  # noqa: N802
    """Describe an input (batch,) that tells how many steps of a sequence axis each row has.

    A request may leave it out: every row is then as long as the axis.

    Args:
        axis: The name of the sequence axis.
        dtype: "int64" or "int32".
        relative: Whether forward takes shares of the axis, from 0 to 1, as SpeechBrain's modules do. Requests have
            steps all the same, and the model makes float32 shares of them.

    Raises:
        WrongArguments: If the dtype is none of them, or the axis is the batch.
    """
    if dtype not in ("int64", "int32") or axis == BATCH:
        raise WrongArguments(f"Lengths({axis!r}, dtype={dtype!r}): name a sequence axis; lengths are int64 or int32")
    return InputDescription(((BATCH, DYNAMIC),), np.dtype(dtype), lengths_of=axis, relative=relative)


def Mask(  # noqa: N802 - it reads as a description where it is used
    axis: str = "sequence",
    *,
    axes: Sequence[Axis] = (),
    inside: float = True,
    after: float = False,
    dtype: str = "bool",
) -> InputDescription:
    """Describe a parameter of forward that masks a sequence axis: the model makes it from lengths.

    Requests have no mask. They have "lengths", which may be left out: every row is then as long as the axis.

    Args:
        axis: The name of the sequence axis.
        axes: Axes of the mask, outermost first, where they are not ("batch", axis): `("batch", 1, "sequence")`.
        inside: Value before the end of a row.
        after: Value after it: `Mask(inside=False, after=True)` for a key_padding_mask, which marks padding.
        dtype: "bool", or a type of floats or integers.

    Raises:
        WrongArguments: If the dtype is none, or the axes are not the batch, the axis and ones.
    """
    found = np.dtype(np.bool_) if dtype == "bool" else _dtype("Mask", dtype, "fiu")
    named = _axes("Mask", tuple(axes) or (BATCH, axis)) if axis != BATCH else ()
    dynamic = [name for name, size in named if size == DYNAMIC]
    if sorted(dynamic) != sorted((BATCH, axis)) or any(size > 1 for _, size in named):
        raise WrongArguments(
            f'Mask({axis!r}, axes={tuple(axes)}): expected "{BATCH}" and the sequence axis, in any order, and ones'
        )
    return MaskDescription(named, found, lengths_of=axis, inside=inside, after=after)


def _dtype(what: str, dtype: str, kinds: str) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError as error:
        raise WrongArguments(f"{what}(dtype={dtype!r}): {error}") from error
    if found.kind not in kinds or datatype_of(found) is None:
        raise WrongArguments(f"{what}(dtype={dtype!r}): models do not take such values as {what}")
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
                raise WrongArguments(f'{what}: the axis "{BATCH}" is dynamic: requests choose it; write "{BATCH}"')
            return name, size
    raise WrongArguments(f'{what}: {axis!r} is no axis; write "name" for a dynamic one, ("name", size) for a fixed one')


@dataclasses.dataclass(frozen=True)
class StateTree:
    """A state of nested containers, in the place of a description of each tensor in it.

    Axes of rows, dtypes and names are found by running the module. An example is the state at the beginning of a
    sequence, as `init_state(batch)` gives it: its rows are alike, and it is recorded as what a request begins with.

    Attributes:
        example: Tree of tensors; or a function that takes the number of rows and gives such a tree; or None for what
            forward returns where it is called without the state.
        initial: A number for all values at the beginning, where the example is of another moment.
        integers: The lowest value and one more than the highest of leaves of integers, by path: {"position": (0, 512)}.
            A path may have wildcards: "*.position".
    """

    example: Any = None
    initial: float | None = None
    integers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def bounds(self, path: Sequence[str]) -> tuple[int, int] | None:
        """Find the bounds of a leaf of integers."""
        name = ".".join(path)
        return next((limits for of, limits in self.integers.items() if fnmatch.fnmatchcase(name, of)), None)


InputDescriptions = Mapping[str, InputDescription | StateTree | Mapping[str, Any]]
"""By parameter of forward; of one that takes several tensors a dict, whose values are descriptions or such dicts."""


@dataclasses.dataclass(frozen=True)
class Publication:
    """What is published, and as what.

    `rnnserve export FILE.py:NAME` takes one, a list of them, or a function that returns either.

    Attributes:
        module: Any nn.Module that `export_onnx` takes, float32, on the CPU.
        name: The model's.
        inputs: Descriptions by the names of forward's parameters, in its order; parameters with a default may be left
            out. For a parameter that is a tuple or a dict of tensors, a dict of the tensors' names and descriptions,
            with dicts in it as forward takes them: "x_d": {"rain": Floats(…)} in it has the tensor "x_d.rain". For a
            nested state a `StateTree`.
        outputs: Names of what forward returns, in its order, nested ones flattened; or a dict of names and
            descriptions, which names fixed axes, too.
        states: Which output continues as which input: {"h_n": "h_0"}. Such inputs are zeros where a request leaves them
            out.
        state_attributes: Attributes that forward reads and writes from call to call, "cell.mem", where the state is not
            among its parameters; or a dict of them with a description each. Each becomes an input of that name, and an
            output, "cell.mem_n". What they hold when the module is published is the beginning of a sequence.
        labels: Names of the classes: of the last axis of the first output that has as many.
        samples: Real inputs, each a dict of arrays by input name; lengths and states may be left out. The proof and
            the golden results use them beside drawn ones.
        sizes: The smallest and the largest size of a dynamic axis that the module takes, where that is less than any:
            {"sequence": (5, 64)}. No row is shorter. The proof keeps to them, and servers refuse others.
        sequences: Whether config.pbtxt tells Triton to serve the model a step at a time and to keep its states. Triton
            then takes no request without a sequence, and no states. None is for models without a sequence axis only,
            which have no other way. Our own server does both, whatever this says.
        allow_non_finite: Whether NaN and infinity are among the ordinary values of the outputs, and may be among those
            of the inputs: they are then compared as such, recurrent operators keep them, and servers do not refuse
            them in outputs; in inputs where they run with --allow-non-finite. Otherwise a module that gives them on
            ordinary values is refused.
        constants: Values of parameters of forward that are the same in every request: {"temperature": 1.0}. Numbers,
            strings, flags, None, or tensors.
        checkpoint_sha256: The digest of the weights' file, where there is one.

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
