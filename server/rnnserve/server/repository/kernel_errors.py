"""Errors of onnxruntime's kernels during a run: which of them the values of a request have caused, and what is told.

A kernel checks what no signature says: that a token id is within a table, that shapes which depend on values fit. Its
message names the operator and the value; paths of onnxruntime's own source are removed from it.
"""

import re
from typing import NoReturn

import onnxruntime as ort

from rnnserve.common.refusing_nodes import refusal_of_node
from rnnserve.server.errors import InvalidRequest, one_line

__all__ = ["KERNEL_ERRORS", "reraise"]

_state = ort.capi.onnxruntime_pybind11_state

KERNEL_ERRORS = (_state.InvalidArgument, _state.RuntimeException, _state.Fail, RuntimeError)
"""What a run raises where a kernel refuses its inputs, and for other reasons, which `reraise` tells apart. RuntimeError
is that of bound runs."""

_NODE = re.compile(
    r"Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: (.*)", re.DOTALL
)
_NOT_OF_VALUES = re.compile(r"alloc|out of memory|\b(?:CUDA|CUDNN|CUBLAS)\w* (?:failure|error)", re.IGNORECASE)
"""What a node also fails of, whatever its inputs are: too little memory, and a device that does not work."""


def reraise(error: Exception) -> NoReturn:
    """Raise what a run is to raise that raised one of `KERNEL_ERRORS`.

    Raises:
        InvalidRequest: If a kernel refused the values of a request; otherwise the error itself.
    """
    refused = _NODE.search(str(error))
    if refused is None or _NOT_OF_VALUES.search(refused[3]):
        raise error
    operator, name, said = refused.groups()
    if why := refusal_of_node(name):
        raise InvalidRequest(
            f"the values of this request leave an axis within the model empty, and the model computes {why}, which "
            "is an error. Send values of which the model chooses some"
        ) from error
    raise InvalidRequest(f"onnxruntime refuses the values of this request: {operator}: {one_line(said)}") from error
