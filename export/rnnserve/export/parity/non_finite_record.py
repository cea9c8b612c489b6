"""Values for which a module itself gives NaN or infinity: refused if they are ordinary, else recorded."""

from collections.abc import Mapping

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.first_non_finite import find_first_non_finite, non_finite_advice
from rnnserve.export.input_drawing import is_state
from rnnserve.export.parity.extreme_batches import IDS, LENGTHS, NOT_FINITE
from rnnserve.export.parity.extreme_values import EXTREMES
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import USUAL, InputBatch

__all__ = ["say_non_finite"]


def say_non_finite(
    model: DescribedModel, found: Mapping[str, tuple[InputBatch, str]], failures: FailureCollector
) -> list[str]:
    """Say for each kind of values which output is not finite, where that begins, and what to do.

    Args:
        model: Model that was compared.
        found: The first batch of each kind for which eager gives NaN or infinity, and the output.
        failures: Collector to which refusals are added: of such an answer to ordinary values, unless the model is
            published so.

    Returns:
        A sentence for each kind, for the record. It has no line of a file: the same module gives the same record.
    """
    said, is_advised = [], False
    for kind, (batch, name) in found.items():
        if kind == NOT_FINITE:
            continue
        sentence = f'{kind}: eager itself gives NaN or infinity in "{name}"'
        origin = find_first_non_finite(model.module, model.interface, batch.inputs)
        said.append(sentence if origin is None else f"{sentence}, first from {origin}")
        if _is_ordinary(kind, model) and not model.allow_non_finite:
            advice = "" if is_advised else non_finite_advice(model.module, model.interface, batch.inputs)
            is_advised = True
            failures.add(f"eager, {sentence}{advice}")
    return said


def _is_ordinary(kind: str, model: DescribedModel) -> bool:
    """Whether a kind has only values that the description means: usual ones, or any within described bounds."""
    if kind in (*USUAL, IDS, LENGTHS):
        return True
    floats = [tensor for tensor in model.inputs if tensor.datatype.startswith("FP") and not is_state(tensor)]
    return kind in EXTREMES and not EXTREMES[kind].is_of_states and all(tensor.HasField("floats") for tensor in floats)
