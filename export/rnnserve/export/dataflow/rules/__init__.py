"""The rules: what each family of operators does with the axes of its inputs, a family in each file.

Each file registers its rules when it is imported. A rule gives what is known of a node's results; for what it does not
cover it raises `NotCovered`, and the results are undecided.

Door: `__all__`.
"""

from rnnserve.export.dataflow.rules import (
    contractions,
    elementwise,
    gathering,
    joining,
    layout,
    recurrent,
    reductions,
    reshaping,
    shapes,
    slicing,
    splitting,
    windows,
)

__all__ = [
    "contractions",
    "elementwise",
    "gathering",
    "joining",
    "layout",
    "recurrent",
    "reductions",
    "reshaping",
    "shapes",
    "slicing",
    "splitting",
    "windows",
]
