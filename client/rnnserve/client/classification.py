"""Classifications: predictions with probabilities and a label, computed from the output with the classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidAnswer, InvalidRequest
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.predictions import Prediction

__all__ = ["Classification", "classified_output", "read_classification", "require_classified_output"]

_CLASSES, _LOGITS = "classes", "logits"


@dataclass(frozen=True, eq=False)
class Classification:
    """The model's result for one sequence.

    Attributes:
        label: Label of the most probable class, or its index as text if the model has no labels.
        index: Index of the same class in `logits`.
        probabilities: (classes,) float64, the softmax of `logits`.
        logits: (classes,), in the model's dtype: the output whose last axis has the classes, whatever its name.
        outputs: This output and the final states, by name. To continue the sequence, pass it in `continue_from`.
    """

    label: str
    index: int
    probabilities: npt.NDArray[np.float64]
    logits: npt.NDArray[Any]
    outputs: Prediction

    @property
    def model_version(self) -> str:
        """The version that computed the result, or empty if the server does not report it."""
        return self.outputs.model_version

    @property
    def h_n(self) -> npt.NDArray[Any] | None:
        """(layers * directions, hidden): the hidden state after the last point, or None if the model has none."""
        return self.outputs.get("h_n")


def classified_output(metadata: ModelMetadata) -> str | None:
    """Return the name of a model's output (batch, classes) for classification, or None if it has none.

    It is the first float output whose last axis is named "classes", or `logits` if the server does not name axes.
    """
    for name, tensor in metadata.outputs.items():
        if not tensor.datatype.startswith("FP") or len(tensor.row_axes) != 1:
            continue
        if tensor.axis_names[-1] == _CLASSES or (name == _LOGITS and not tensor.axes):
            return name
    return None


def require_classified_output(metadata: ModelMetadata) -> str:
    """Return the name of a model's output for classification. Raises InvalidRequest if it has none."""
    name = classified_output(metadata)
    if name is None:
        raise InvalidRequest(
            f"model {metadata.name} has no output (batch, classes) to classify by; its outputs are "
            f"{', '.join(metadata.outputs) or 'none'}. Use predict()"
        )
    return name


def read_classification(prediction: Prediction, output: str, metadata: ModelMetadata) -> Classification:
    """Return the classification of one row from its output `output`. `metadata` is of the version that computed it.

    Raises:
        InvalidAnswer: The output has no classes, or the numbers of labels and classes differ.
    """
    logits, labels = prediction[output], metadata.labels
    if logits.dtype.kind != "f" or not logits.size:
        raise InvalidAnswer(f"output {output} has dtype {logits.dtype} and {logits.size} classes; expected floats")
    if labels is not None and len(labels) != logits.size:
        raise InvalidAnswer(f"output {output} has {logits.size} classes, but the model has {len(labels)} labels")
    index = int(logits.argmax())
    # Subtract the maximum, so that no exponential overflows. Infinite logits become NaN without a warning.
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits.astype(np.float64) - logits.max())
    return Classification(
        label=str(index) if labels is None else labels[index],
        index=index,
        probabilities=powers / powers.sum(),
        logits=logits,
        outputs=prediction,
    )
