"""Print docs/reference/operators.md."""

from campaigns.operator_grid.document import document

print(document(), end="")
