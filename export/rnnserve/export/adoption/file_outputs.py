"""The outputs of an ONNX file, described by running it; and what to say about sizes for which that does not succeed."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import onnx_ir as ir

from rnnserve.export.adoption.file_inputs import Roles
from rnnserve.export.description.described_outputs import check_sizes, describe_outputs
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.tensors import Arrays
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["choose_outputs", "describe_file_outputs", "describe_states"]

_FAR = 4096
"""The largest size with which files are run: frames of sound have hundreds of samples each."""

_CHECKED = 1025
"""The largest size of those with which the sizes of outputs are compared."""

_FOR_MODULES = ". Pad the output"  # from here on, a message speaks to who can change the module
_FOR_WRAPPERS = ". Every result of forward is an output"  # likewise


def choose_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Keep only the outputs named, in their order; all of them if there are no names."""
    by_name = {value.name: value for value in model.graph.outputs}
    for name in names:
        if name not in by_name:
            raise WrongArguments(f'there is no output "{name}"; the outputs are {", ".join(map(str, by_name))}')
    if names:
        model.graph.outputs[:] = [by_name[name] for name in names]


def describe_file_outputs(
    compute: Callable[[Arrays], Arrays],
    names: Sequence[str],
    inputs: Sequence[manifest_pb2.Tensor],
    sizes: Mapping[str, tuple[int, int]],
    known: Mapping[str, tuple[int, int]],
    roles: Roles,
) -> list[manifest_pb2.Tensor]:
    """Run a file at several sizes, and describe its outputs; `known` sizes are the user's, or found by trial."""
    longer = {
        axis: (low, high if axis == BATCH or axis in known else max(high, _FAR)) for axis, (low, high) in sizes.items()
    }
    try:
        outputs = describe_outputs(compute, inputs, names, longer)
        check_sizes(compute, inputs, outputs, sizes, _CHECKED)
    except UnsupportedModule as error:
        raise UnsupportedModule(_in_options(str(error), sizes, roles)) from error
    for tensor in outputs:
        for at, axis in enumerate(tensor.axes):
            name = roles.axes.get((tensor.name, at), axis.name)
            if axis.size == DYNAMIC and name != axis.name:
                raise WrongArguments(f'--axis {tensor.name}.{at}={name}: this axis is as large as "{axis.name}"')
            axis.name = name
    return outputs


def _in_options(message: str, sizes: Iterable[str], roles: Roles) -> str:
    """Say which sizes to name, in the place of what a module's author could change."""
    said, apart, _ = message.partition(_FOR_WRAPPERS)
    if apart:
        return f"{said}; or publish the other outputs alone: --output NAME"
    said, apart, _ = message.partition(_FOR_MODULES)
    free = [axis for axis in sizes if axis != BATCH and axis not in roles.sizes]
    if not apart or not free:
        return said
    bounds, one = (" ".join(f"--size {axis}={size}" for axis in free) for size in ("LOW:HIGH", "SIZE"))
    return f"{said}. If it follows one rule from some size on, say so: {bounds}; if requests have one size only: {one}"


_Tensors = Sequence[manifest_pb2.Tensor]

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_BEFORE_OR_AFTER = frozenset(
    {"in", "out", "input", "output", "new", "next", "prev", "previous", "past", "present", "init", "initial"}
    | {"final", "last", "cur", "current", "n", "o", "i", "0", "t"}
)
_STATES = frozenset(
    {"h", "c", "s", "z", "hx", "cx", "hidden", "cell", "state", "states", "cache", "caches", "memory", "mem"}
    | {"context", "ctx", "rnn", "lstm", "gru", "carry", "conv"}
)


def describe_states(inputs: _Tensors, outputs: _Tensors, roles: Roles) -> dict[str, str]:
    """Find which output continues as which input: given by the user, or named as states are, with equal axes.

    X_0 and X_n are a pair, and so are names that differ in words such as "in" and "out" or "new" only, and have a word
    such as "h", "state" or "cache": state and stateN, in_cache0 and out_cache0, hidden_in and hidden_out.

    Returns:
        {"h_n": "h_0"}; the inputs among them are marked as zeros where a request leaves them out.
    """
    known = {tensor.name: tensor for tensor in outputs}
    states = dict(roles.states)
    for tensor in inputs:
        final = f"{tensor.name.removesuffix('_0')}_n"
        if not tensor.name.endswith("_0") or final not in known or tensor.name in states.values():
            continue
        if _has_axes_of(tensor, known[final]):
            states[final] = tensor.name
    for tensor in inputs:
        finals = [each.name for each in outputs if each.name not in states and _named_alike(tensor, each)]
        rivals = [each.name for each in inputs if any(_named_alike(each, known[final]) for final in finals)]
        if len(finals) == 1 and rivals == [tensor.name] and tensor.name not in states.values():
            states[finals[0]] = tensor.name
    for tensor in inputs:
        if tensor.name in states.values():
            tensor.default = manifest_pb2.DEFAULT_ZEROS
    return states


def _named_alike(before: manifest_pb2.Tensor, after: manifest_pb2.Tensor) -> bool:
    words = _name_stem(before.name)
    return bool(words) and words == _name_stem(after.name) and bool(_STATES & set(words)) and _is_alike(before, after)


def _is_alike(before: manifest_pb2.Tensor, after: manifest_pb2.Tensor) -> bool:
    if before.datatype != after.datatype or not _may_be_state(before):
        return False
    return _has_axes_of(before, after)


def _has_axes_of(before: manifest_pb2.Tensor, after: manifest_pb2.Tensor) -> bool:
    """Whether what comes out fits in again, whatever its sizes: a cache that grows does not."""
    pairs = [[(axis.size, axis.name if axis.size == DYNAMIC else "") for axis in each.axes] for each in (before, after)]
    return pairs[0] == pairs[1]


def _may_be_state(tensor: manifest_pb2.Tensor) -> bool:
    """Whether it has a row of numbers for each row, and no steps."""
    return tensor.datatype.startswith("FP") and all(axis.name == BATCH for axis in tensor.axes if axis.size == DYNAMIC)


def _name_stem(name: str) -> tuple[str, ...]:
    """Give a name's words without those that say whether it is before or after: hN, h0 and h_in are h."""
    words = [word.lower() for word in _WORDS.findall(name)]
    words = [word[:-1] if len(word) > 1 and word[:-1] in _STATES and word[-1] == "n" else word for word in words]
    return tuple(word for word in words if word not in _BEFORE_OR_AFTER)
