"""The families, a file for each kind of input or of operator."""

from support.operator_grid.families.activations import ACTIVATIONS
from support.operator_grid.families.binary import BINARY
from support.operator_grid.families.indexing import INDEXING
from support.operator_grid.families.integers import INTEGER_PAIRS
from support.operator_grid.families.losses import LOSSES
from support.operator_grid.families.normalisations import NORMALISATIONS
from support.operator_grid.families.rows import ROW_WISE
from support.operator_grid.families.scans import SCANS
from support.operator_grid.families.shapes import SHAPES
from support.operator_grid.families.unary import CASTS, UNARY

__all__ = ["FAMILIES"]

FAMILIES = (UNARY, CASTS, ACTIVATIONS, BINARY, INTEGER_PAIRS, ROW_WISE, SCANS, NORMALISATIONS, LOSSES, INDEXING, SHAPES)
