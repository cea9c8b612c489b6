"""Print the operators of docs/reference/compatibility.md. `make docs` writes them into the page."""

from campaigns.operator_grid.document import document

print(*document(), sep="\n")
