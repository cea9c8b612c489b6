"""What one step of a session is given: one point of each row, or several; and the outputs in the same form."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.tensors import Array, as_array

__all__ = ["SessionPoints", "sequence_axis"]


def sequence_axis(metadata: ModelMetadata) -> str:
    """Return the name of the axis along which a model's sequences go on; empty for a model of single steps.

    Raises:
        InvalidRequest: There are several.
    """
    axes = dict.fromkeys(
        axis
        for name, tensor in metadata.inputs.items()
        if name not in metadata.states and not tensor.lengths_of
        for axis, size in tensor.row_axes
        if size < 0
    )
    if len(axes) > 1:
        raise InvalidRequest(
            f"model {metadata.name} has several sequence axes ({', '.join(axes)}), so that it has no sessions: it is "
            "not said along which a sequence goes on"
        )
    return next(iter(axes), "")


class SessionPoints:
    """The rows of one step, and the requests that they make.

    Attributes:
        requests: For each request the rows of each input: one request, or for a model without a sequence axis one for
            each step.
    """

    def __init__(self, metadata: ModelMetadata, given: Mapping[str, Any], rows: int | None) -> None:
        """Give each row the axes that the model takes.

        Args:
            metadata: The model's metadata.
            given: The points that the caller passed, by input: one row, or a list of as many as the session has.
            rows: Number of the session's rows; None for one, which is passed without a list.

        Raises:
            InvalidRequest: There are more or fewer rows, or rows of one step have different numbers of steps.
        """
        self._metadata = metadata
        self._axis = sequence_axis(metadata)
        by_input = {name: _rows_of(value, rows, name) for name, value in given.items()}
        self._are_points = True
        if self._axis:
            self.requests = [{name: self._with_axis(name, arrays) for name, arrays in by_input.items()}]
        else:
            self.requests = self._in_steps(by_input)

    def combine(self, answers: Sequence[Sequence[Prediction]]) -> list[Prediction]:
        """Return each row's outputs: of one point without the sequence axis, of several with it.

        For a model without a sequence axis, the outputs of several steps are stacked along a first one. Final states
        are those after the last step.

        Args:
            answers: Predictions of the rows, for each request.
        """
        if not self._are_points and not self._axis:
            return [self._stack(row) for row in zip(*answers, strict=True)]
        (predictions,) = answers
        if not self._axis or not self._are_points:
            return list(predictions)
        return [
            Prediction({name: self._point(name, array) for name, array in row.items()}, row.model_version)
            for row in predictions
        ]

    def _with_axis(self, name: str, arrays: list[Any]) -> list[Any]:
        """Give points of an input the sequence axis, of size 1."""
        tensor = self._metadata.inputs.get(name)
        names = [axis for axis, _ in tensor.row_axes] if tensor is not None else []
        if self._axis not in names:
            return arrays  # also an input that the model does not have, which is refused later
        at = names.index(self._axis)
        given = [as_array(array, name) for array in arrays]
        are_points = [array.ndim == len(names) - 1 for array in given]
        self._are_points &= all(are_points)
        return [
            np.expand_dims(array, at) if is_point else array for array, is_point in zip(given, are_points, strict=True)
        ]

    def _in_steps(self, by_input: dict[str, list[Any]]) -> list[dict[str, list[Any]]]:
        """Divide several steps of a model without a sequence axis into requests."""
        counts: dict[str, int] = {}
        given: dict[str, list[Array]] = {}
        for name, arrays in by_input.items():
            tensor = self._metadata.inputs.get(name)
            given[name] = [as_array(array, name) for array in arrays]
            if tensor is not None and all(array.ndim == len(tensor.row_axes) + 1 for array in given[name]):
                sizes = {len(array) for array in given[name]}
                if len(sizes) > 1 or 0 in sizes:
                    raise InvalidRequest(f"{name} has {_listed(sizes)} steps: expected as many in each row, at least 1")
                counts[name] = sizes.pop()
        if not counts:
            return [given]
        if len(counts) < len(given) or len(set(counts.values())) > 1:
            said = ", ".join(f"{name} {counts.get(name, 'none')}" for name in given)
            raise InvalidRequest(f"the inputs have different numbers of steps: {said}. Expected as many in each")
        self._are_points = False
        (count,) = set(counts.values())
        return [{name: [array[step] for array in arrays] for name, arrays in given.items()} for step in range(count)]

    def _point(self, name: str, array: Array) -> Array:
        at = _axis_in(self._metadata.outputs[name], self._axis)
        return array if at is None else array.take(0, at)

    def _stack(self, row: Sequence[Prediction]) -> Prediction:
        outputs = self._metadata.outputs
        return Prediction(
            {
                name: row[-1][name] if outputs[name].continues_as else np.stack([step[name] for step in row])
                for name in row[0]
            },
            row[-1].model_version,
        )


def _rows_of(value: Any, rows: int | None, name: str) -> list[Any]:  # noqa: ANN401 - whatever the caller passes
    if rows is None:
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequest(
            f"{name} is a {type(value).__name__}. Expected a list with one entry for each of {rows} rows"
        )
    listed = list(value)
    if len(listed) != rows:
        raise InvalidRequest(f"{name} has {len(listed)} rows. Expected {rows}, as many as the session has")
    return listed


def _axis_in(tensor: TensorMetadata, axis: str) -> int | None:
    names = [name for name, _ in tensor.row_axes]
    return names.index(axis) if axis in names else None


def _listed(sizes: Iterable[int]) -> str:
    return " and ".join(str(size) for size in sorted(sizes))
