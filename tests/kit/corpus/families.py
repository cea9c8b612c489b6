"""The rows of all families whose modules `export_onnx` takes or refuses."""

import importlib

from kit.corpus.rows import Family

_FILES = (
    "buffers", "numbers", "outside_states", "layers", "loops", "numbered_loops", "packed",
    "refused_layers", "sizes", "refused_loops", "scans", "values",
)  # fmt: skip
ROWS = [
    row
    for name in _FILES
    for family in vars(importlib.import_module(f"kit.corpus.{name}")).values()
    if isinstance(family, Family)
    for row in family
]
