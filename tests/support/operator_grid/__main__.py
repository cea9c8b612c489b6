"""Print docs/reference/operators.md."""

from support.operator_grid.document import document

print(document(), end="")
