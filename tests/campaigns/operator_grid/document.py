"""docs/reference/operators.md, from the entries of the grid: the tests hold that each entry is true."""

from campaigns.operator_grid.empty import DIFFERS_OF_NOTHING
from campaigns.operator_grid.families import FAMILIES
from campaigns.operator_grid.operators import KERNELS, Family, Operator
from campaigns.operator_grid.signs import SIGNS_LOST

__all__ = ["document"]

_HEAD = """\
# Operators

What onnxruntime gives for the operators that a module may use, beside eager PyTorch and float64, on the values where
exports go wrong: zeros of either sign, denormals, 1e-10, ±20, ±100, ±1e4, ±inf, nan, equal values, extreme integers,
and nothing: no rows, no steps.

**right**: the same nan and inf, and of finite values at most 4 times as far from float64's result as eager is, and 8
units in the last place beside that. It is one rule for all. **right for its terms**: the result is a sum that cancels,
and the units are those of its terms. **right within** a distance: the exceptions, kernels whose error is absolute:
{kernels}.
**differs**: another result than eager's on the values named. **refused**: the export ends with a message that has these
words, and says what to write instead or that there is no form in ONNX. **sign of zero lost**: onnxruntime's Where, Max
and Min do not keep it, where eager gives the same sign for any layout of its input.

**Empty**: every family is also run on no rows, and the family of steps on no steps, as `x[mask]` and `x[:, 1:]` may
give within a module. There the results are eager's, values and shapes; and where eager raises an error, such as for the
largest of no values, so does the run, and the server's answer says why. **of nothing** has the exceptions.

{tried} entries are tried, {refused} are refused. `tests/campaigns/operator_grid/` has the operators, one a
line, and the values; `make operators` tries every line. This page is written by

```
$ PYTHONPATH=tests .venv/bin/python -m campaigns.operator_grid > docs/reference/operators.md
```
"""


def document() -> str:
    """Write the page."""
    operators = [operator for family in FAMILIES for operator in family.operators]
    refused = sum(bool(operator.refused) for operator in operators)
    kernels = "; ".join(f"{name}, {within:g} ({why})" for name, (within, why) in KERNELS.items())
    parts = [_HEAD.format(kernels=kernels, tried=len(operators) - refused, refused=refused)]
    for family in FAMILIES:
        rows = "\n".join(
            f"| `{_escaped(operator.name)}` | {_verdict(operator, family)} |" for operator in family.operators
        )
        parts.append(f"## {family.name}\n\n| operator | result |\n| --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _verdict(operator: Operator, family: Family) -> str:
    if operator.refused:
        return f"refused: “{_escaped(operator.refused)}”"
    exact = f"right within {KERNELS[operator.kernel][0]:g}" if operator.kernel else "right"
    exact += " for its terms" if operator.terms is not None else ""
    exact += ", sign of zero lost" if (family.name, operator.name) in SIGNS_LOST else ""
    nothing = DIFFERS_OF_NOTHING.get((family.name, operator.name), "")
    exact += f"; of nothing: {_escaped(nothing)}" if nothing else ""
    return f"differs: {_escaped(operator.differs)}; otherwise {exact}" if operator.differs else exact


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
