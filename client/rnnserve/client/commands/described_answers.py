"""Answers as the commands print them: cells of a table, and fields of a JSON document."""

from collections.abc import Sequence

from rnnserve.client.classification import Classification
from rnnserve.client.predictions import Prediction
from rnnserve.client.tensors import Array

__all__ = ["describe_labels", "describe_outputs"]

_SHOWN_NUMBERS = 8


def describe_labels(results: Sequence[Classification]) -> tuple[dict[str, list[str]], list[dict[str, object]]]:
    """Return the table's columns, and each row's fields of the JSON document."""
    cells = {
        "label": [result.label for result in results],
        "probability": [f"{result.probabilities[result.index]:.4f}" for result in results],
    }
    return cells, [
        {
            "label": result.label,
            "index": result.index,
            "probability": float(result.probabilities[result.index]),
            "probabilities": result.probabilities.tolist(),
        }
        for result in results
    ]


def describe_outputs(results: Sequence[Prediction]) -> tuple[dict[str, list[str]], list[dict[str, object]]]:
    """Return the table's columns, and each row's fields of the JSON document."""
    cells = {name: [_cell(result[name]) for result in results] for name in results[0]}
    return cells, [{"outputs": {name: array.tolist() for name, array in result.items()}} for result in results]


def _cell(array: Array) -> str:
    """Return a few numbers, or the shape of many."""
    if array.size > _SHOWN_NUMBERS or array.dtype == object:
        return f"{'x'.join(map(str, array.shape))} {array.dtype.name}"
    numbers = array.ravel().tolist()
    return " ".join(f"{number:.5g}" if array.dtype.kind == "f" else str(number) for number in numbers)
