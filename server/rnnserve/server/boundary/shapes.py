"""Messages that teach tensor shapes: what came, what was expected axis by axis, and the likely mistake.

Each function takes an input's `TensorSpec` and the shape that came, and returns the message, or None where the shape is
right.
"""

from collections.abc import Sequence

from rnnserve.server.boundary.signature import BATCH, SEQUENCE, TensorSpec

__all__ = ["axis_name", "wrong_batch", "wrong_shape"]


def axis_name(spec: TensorSpec, axis: int) -> str:
    """Name an axis: `axis 2 (features)`."""
    return f"axis {axis} ({spec.axes[axis]})"


def wrong_shape(spec: TensorSpec, shape: Sequence[int]) -> str | None:
    """Say what is wrong with the shape of an input on its own, or None where nothing is.

    An axis whose size a request chooses must be 1 or more; every other axis has the size that the model was built with.
    """
    shape = list(shape)
    if len(shape) != len(spec.sizes):
        return _say(spec, shape, f"has {_count(len(shape))} where {_count(len(spec.sizes))} should be")
    for axis, (size, expected) in enumerate(zip(shape, spec.sizes, strict=True)):
        if size < 1:
            return _say(spec, shape, f"{axis_name(spec, axis)} is {size}, and must be 1 or more")
        if expected not in (-1, size):
            return _say(spec, shape, f"{axis_name(spec, axis)} is {size} where {expected} is expected")
    return None


def wrong_batch(spec: TensorSpec, shape: Sequence[int], main: TensorSpec, main_shape: Sequence[int]) -> str | None:
    """Say where an input's batch differs from the main input's, or None where it does not."""
    axis, main_axis = spec.batch_axis, main.batch_axis
    size, expected = shape[axis], main_shape[main_axis]
    if size == expected:
        return None
    said = (
        f'input "{spec.name}" has shape {list(shape)}: {axis_name(spec, axis)} is {size}, but '
        f'{axis_name(main, main_axis)} of "{main.name}" is {expected}; every input has one entry a sequence'
    )
    sequence_axis = main.sequence_axis
    if sequence_axis is not None and main_shape[sequence_axis] == size:
        said += (
            f'. Is "{main.name}" sequence-first? Its shape {list(main_shape)} would fit as '
            f"({SEQUENCE}, {BATCH}, {main.axes[-1]}); send ({', '.join(main.axes)})"
        )
    return said


def _count(axes: int) -> str:
    return "1 axis" if axes == 1 else f"{axes} axes"


def _say(spec: TensorSpec, shape: list[int], wrong: str) -> str:
    said = f'input "{spec.name}" has shape {shape}: {wrong}; {spec.name} is {_expected(spec)}'
    mistake = _likely_mistake(spec, shape)
    return f"{said}. {mistake}" if mistake else said


def _expected(spec: TensorSpec) -> str:
    return "(" + ", ".join(a if s < 0 else f"{a}={s}" for a, s in zip(spec.axes, spec.sizes, strict=True)) + ")"


def _likely_mistake(spec: TensorSpec, shape: list[int]) -> str:
    if spec.sequence_axis is not None:
        return _mistake_in_sequences(spec, shape)
    if len(spec.sizes) == 1:
        return f"Flatten it to [{shape[0]}]" if len(shape) == 2 and shape[1] == 1 else ""
    return _mistake_in_state(spec, shape)


def _mistake_in_sequences(spec: TensorSpec, shape: list[int]) -> str:
    features = spec.sizes[-1]
    if len(shape) == 2 and shape[1] == features:
        return f"Is the batch axis missing? One sequence of {shape[0]} points is [1, {shape[0]}, {features}]"
    if len(shape) == 1 and shape[0] == features:
        return f"Are batch and sequence axes missing? One sequence of one point is [1, 1, {features}]"
    if len(shape) == 4 and shape[-1] == features and 1 in shape[:2]:
        return "Is there an axis of size 1 too many in front?"
    if len(shape) == 3 and shape[2] != features:
        if shape[1] == features:
            return (
                f"Are the features in the middle, (batch, features, sequence)? Swap the last two axes: {_swap(shape)}"
            )
        if shape[0] == features:
            return f"Are the features in front? They come last: (batch, sequence, features={features})"
    return ""


def _mistake_in_state(spec: TensorSpec, shape: list[int]) -> str:
    layers, hidden = spec.sizes[0], spec.sizes[-1]
    if len(shape) == 3 and shape[1:] == [layers, hidden] and shape[0] != layers:
        return (
            f"Is it batch-first? A hidden state is ({', '.join(spec.axes)}), also where the input is batch-first: "
            f"[{layers}, {shape[0]}, {hidden}]"
        )
    if len(shape) == 2 and shape[1] == hidden:
        return (
            f"Is an axis missing? A hidden state is ({', '.join(spec.axes)}): "
            f"[{layers}, {shape[0] if layers == 1 else 'batch'}, {hidden}]"
        )
    if len(shape) == 3 and shape[2] == hidden and shape[0] != layers:
        return f"This model has {layers} in layers * directions: one entry a layer and direction"
    return ""


def _swap(shape: list[int]) -> list[int]:
    return [shape[0], shape[2], shape[1]]
