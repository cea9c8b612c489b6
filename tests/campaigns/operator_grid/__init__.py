"""The operator grid: every operator that export can meet, over the values where translations go wrong.

`families` has the operators, one a line, with the inputs that each is tried on; `values` has the values. `trial`
exports the operators of a family together, runs them with onnxruntime, and compares with eager and float64.

To extend the grid, add a value to `values` or a line to a family. `make docs` writes the operators of
docs/reference/compatibility.md from the entries.
"""

from campaigns.operator_grid.families import FAMILIES
from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.trial import try_family

__all__ = ["FAMILIES", "Family", "Operator", "try_family"]
