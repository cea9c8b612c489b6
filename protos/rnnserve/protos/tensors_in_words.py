"""Tensors of a manifest in words: their axes and their roles."""

from collections.abc import Iterator

from rnnserve.protos import manifest_pb2

__all__ = ["axes_in_words", "roles_in_words"]


def axes_in_words(tensor: manifest_pb2.Tensor) -> str:
    """Name a tensor's axes, with fixed or limited sizes: "(batch, sequence: 5 to 64, features: 2)"."""
    return f"({', '.join(map(_axis_in_words, tensor.axes))})"


def _axis_in_words(axis: manifest_pb2.Axis) -> str:
    if axis.size >= 0:
        return f"{axis.name}: {axis.size}"
    return f"{axis.name}: {axis.smallest or 1} to {axis.largest}" if axis.largest else axis.name


def _default_in_words(tensor: manifest_pb2.Tensor) -> str:
    if not tensor.HasField("default_range"):  # an older version, without the record
        return ""
    low, high = tensor.default_range.low, tensor.default_range.high
    return f", {low:g}," if low == high else f", {low:.3g} to {high:.3g},"


def roles_in_words(tensor: manifest_pb2.Tensor) -> Iterator[str]:
    """Describe a tensor's role and its valid values."""
    if tensor.lengths_of:
        yield f'lengths of "{tensor.lengths_of}"'
    if tensor.default == manifest_pb2.DEFAULT_FULL_LENGTH:
        yield "full length if a request leaves it out"
    elif tensor.default == manifest_pb2.DEFAULT_ZEROS:
        yield "zeros if a request leaves it out"
    elif tensor.default == manifest_pb2.DEFAULT_RECORDED:
        yield f"the module's own default{_default_in_words(tensor)} if a request leaves it out"
    if tensor.left_out_with:
        yield f"can only be left out together with {', '.join(tensor.left_out_with)}"
    if tensor.required_because:
        yield f"required: {tensor.required_because}"
    if tensor.HasField("integers"):
        yield f"values {tensor.integers.low} to {tensor.integers.high - 1}"
    if tensor.HasField("floats"):
        yield f"usually {tensor.floats.low:g} to {tensor.floats.high:g}"
    if tensor.continues_as:
        yield f'send it as "{tensor.continues_as}" to continue'
    if tensor.zeros_after_lengths:
        yield "zeros after each row's length"
