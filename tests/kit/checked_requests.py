"""Checked requests for tests of what comes after validation."""

from collections.abc import Mapping

import numpy as np

from rnnserve.server.validation.signature import Batching, CheckedRequest, Signature, TensorSpec


def checked_request(
    batch: int,
    sequence: int,
    inputs: Mapping[str, np.ndarray] | None = None,
    outputs: tuple[str, ...] = ("logits",),
    *,
    longest: int | None = None,
    id: str = "",
    is_raw: bool = True,
) -> CheckedRequest:
    """Make a checked request of a model with one sequence axis, "sequence".

    Args:
        batch: Its rows.
        sequence: Size of the sequence axis.
        inputs: By name.
        outputs: Names of those asked for.
        longest: The longest length; None for `sequence`.
        id: The request's id.
        is_raw: Whether its tensors are sent as bytes.
    """
    steps = sequence if longest is None else longest
    sizes = {"sequence": sequence}
    return CheckedRequest(batch, sizes, {"sequence": steps}, steps, inputs or {}, outputs, id=id, is_raw=is_raw)


def signature(batching: Batching = Batching.PADDED, *axes: str) -> Signature:
    """Make the signature of a model with these sequence axes, one input each; with "sequence" where there are none."""
    inputs: dict[str, TensorSpec] = {}
    for axis in axes or ("sequence",):
        inputs[f"{axis} input"] = TensorSpec(f"{axis} input", "FP32", ("batch", axis, "features"), (-1, -1, 2))
        inputs[f"{axis} lengths"] = TensorSpec(
            f"{axis} lengths", "INT64", ("batch",), (-1,), optional=True, lengths_of=axis
        )
    return Signature(inputs, {"logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 2))}, batching)
