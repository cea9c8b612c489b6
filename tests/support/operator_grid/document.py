"""docs/reference/operators.md, from the entries of the grid: the tests hold that each entry is true."""

from support.operator_grid.families import FAMILIES
from support.operator_grid.operators import Operator

__all__ = ["document"]

_HEAD = """\
# Operators

What onnxruntime gives for the operators that a module may use, beside eager PyTorch and float64, on the values where
exports go wrong: zeros of either sign, denormals, 1e-10, ±20, ±100, ±1e4, ±inf, nan, equal values, extreme integers.

**right**: within 8 units in the last place of float32 of the exact result, or within 4 times eager's own distance, with
the same nan and inf. **within** a distance: a kernel of onnxruntime is right to that distance, not to the last digits.
**differs**: another result than eager's on the values named. **refused**: the export ends with a message that has these
words, and says what to write instead or that there is no form in ONNX.

Signs of zeros are not compared: onnxruntime's Where, Max and Add lose them. `tests/support/operator_grid/` has the
operators, one a line, and the values; `tests/export/operators/` tries every line. This page is written by

```
PYTHONPATH=tests .venv/bin/python -m support.operator_grid > docs/reference/operators.md
```
"""


def document() -> str:
    """Write the page."""
    parts = [_HEAD]
    for family in FAMILIES:
        rows = "\n".join(f"| `{_escaped(operator.name)}` | {_verdict(operator)} |" for operator in family.operators)
        parts.append(f"## {family.name}\n\n| operator | result |\n| --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _verdict(operator: Operator) -> str:
    if operator.refused:
        return f"refused: “{_escaped(operator.refused)}”"
    exact = f"within {operator.within:g}" if operator.within else "right"
    return f"differs: {_escaped(operator.differs)}; otherwise {exact}" if operator.differs else exact


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
