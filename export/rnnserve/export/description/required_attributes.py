"""Attributes that hold states and that no server can begin: the user is told, since no client has what is in them."""

import warnings
from collections.abc import Collection, Sequence

from rnnserve.protos import manifest_pb2

__all__ = ["warn_of_required_attributes"]


def warn_of_required_attributes(inputs: Sequence[manifest_pb2.Tensor], attributes: Collection[str]) -> None:
    """Warn of inputs made of attributes that each request has to send.

    Args:
        inputs: Inputs of the model, with what leaving them out means.
        attributes: The attributes that hold states.
    """
    for tensor in inputs:
        is_held = any(tensor.name == each or tensor.name.startswith(f"{each}.") for each in attributes)
        if is_held and tensor.required_because:
            warnings.warn(
                f'each request has to send "{tensor.name}", what an attribute of the module holds, and clients hardly '
                "know it: what it begins with is neither zeros nor the same numbers for every row. Let it begin with "
                "zeros, and count steps, (batch,), in another attribute that is a state: "
                "torch.where(self.steps == 0, x, 0.9 * self.mem + 0.1 * x)",
                stacklevel=4,
            )
