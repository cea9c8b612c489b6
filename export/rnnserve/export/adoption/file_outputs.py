"""The outputs of an ONNX file, described by running it; and what to say about sizes for which that does not succeed."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import onnx_ir as ir

from rnnserve.export.adoption.roles import Roles
from rnnserve.export.description.described_outputs import check_sizes, describe_outputs
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.module_interface import Arrays
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["choose_outputs", "describe_file_outputs"]

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
    """Run a file at several sizes, and describe its outputs.

    Args:
        compute: The file.
        names: Names of its outputs.
        inputs: Inputs, described.
        sizes: The smallest and the largest size of each dynamic axis that are tried.
        known: Sizes that the file takes, as far as the user says them or trials have shown them.
        roles: Roles that the user gives.
    """
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
