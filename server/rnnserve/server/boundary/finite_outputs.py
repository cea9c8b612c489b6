"""Answers that are not finite: refused, with the output and the row, where the model can give such."""

from collections.abc import Mapping

import numpy as np

from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature
from rnnserve.server.boundary.values import all_finite, before_ends
from rnnserve.server.errors import InvalidRequest

__all__ = ["refuse_non_finite"]


def refuse_non_finite(request: CheckedRequest, outputs: Mapping[str, Array], signature: Signature) -> None:
    """Check the answer to a request. Steps after a row's length do not count.

    Args:
        request: The request that was answered.
        outputs: The results, by name, in the request's own shapes.
        signature: Signature of the model.

    Raises:
        InvalidRequest: If a number is NaN or infinite, in an output that is marked as `may_be_non_finite`.
    """
    for name, array in outputs.items():
        spec = signature.outputs[name]
        if not spec.may_be_non_finite or all_finite(array):
            continue
        wrong = np.isnan(array) if spec.may_be_infinite else ~np.isfinite(array)
        for axis, lengths in signature.lengths.items():
            if axis in spec.sequence_axes and lengths.name in request.inputs:
                wrong &= before_ends(request.inputs[lengths.name], spec, axis, array.shape)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            where = ", ".join(f"{axis} {i}" for axis, i in zip(spec.axes, at, strict=True))
            raise InvalidRequest(
                f'output "{name}" is {array[at]} at {list(at)} ({where}), as PyTorch computes it for these inputs: are '
                "there zeros or negative numbers of which the model takes a logarithm or by which it divides, or very "
                "large ones? (--allow-non-finite lets such answers through)"
            )
