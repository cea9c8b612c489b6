"""Naming the operator that torch's exporter has no translation of, its line, and what to write instead."""

import re

import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.source_lines import first_line, line_of

__all__ = ["untranslated"]

_WRITE = {
    "hypot": "write torch.sqrt(x * x + y * y), or where squares overflow, of both divided by the larger one",
    "searchsorted": "count the boundaries below: (x[..., None] > boundaries).sum(-1), or >= with right=True",
    "bucketize": "count the boundaries below: (x[..., None] > boundaries).sum(-1), or >= with right=True",
    "histc": "compare with the edges of the bins, and sum: ((x[..., None] >= low) & (x[..., None] < high)).sum(-2)",
    "scaled_dot_product_attention": "give it three or four axes: join those before them, x.flatten(0, 1)",
    "lgamma": "compute it outside of the module, or from a table by an embedding, if its argument is an integer",
    "digamma": "compute it outside of the module, or from a table by an embedding, if its argument is an integer",
} | dict.fromkeys(
    ("svd", "qr", "eigh", "eig", "matrix_exp", "lu", "lu_factor", "lstsq"),
    "if the matrix does not depend on the inputs, compute the result once, in __init__, and keep it as a buffer. Else "
    "compute it outside of the module and make it an input",
)
"""By operator, what to write instead."""


def untranslated(error: Exception, program: torch.export.ExportedProgram) -> UnsupportedModule:
    """Turn an error of torch.onnx into one that names the operator without a translation; a translation's own stays.

    Args:
        error: Error of torch.onnx.
        program: Program that was to be translated.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UnsupportedModule):
        return cause
    said = f"{error}{cause}"
    found = re.search(r"target=torch\.ops\.\w+\.(\w+)", said) or re.search(r"OpOverload\(op='\w+\.(\w+)'", said)
    if found is None:
        return UnsupportedModule(
            f"the module was captured, but torch.onnx cannot translate it: {type(cause).__name__}: "
            f"{first_line(str(cause))}"
        )
    name = _name(found[1])
    why = "has no form in ONNX"
    if "No ONNX function found" not in said:
        why = f"cannot be translated: {first_line(str(cause)).rstrip('.')}"
    advice = _WRITE.get(name, "write it with operators that can: docs/reference/operators.md lists them")
    return UnsupportedModule(f"{name}{_line(name, program)} {why}. Instead, {advice}.")


def _line(name: str, program: torch.export.ExportedProgram) -> str:
    """Name the first line of the user's code where an operator is called."""
    called = (node for node in program.graph.nodes if _name(getattr(node.target, "__name__", "")) == name)
    return next((line for node in called if (line := line_of(node))), "")


def _name(overload: str) -> str:
    """Name an operator as users do: `_pdist_forward.default` is pdist, `special_i0` i0, `linalg_inv_ex` inv."""
    name = overload.partition(".")[0].strip("_").removesuffix("_forward").removesuffix("_ex")
    return name.removeprefix("special_").removeprefix("bessel_").removeprefix("linalg_")
