"""The families, a file for each kind of input or of operator."""

from campaigns.operator_grid.families.floats import ACTIVATIONS, BINARY, CASTS, OUT_OF_RANGE, UNARY
from campaigns.operator_grid.families.images import IMAGES, IMAGES_OF_STEPS
from campaigns.operator_grid.families.integers import BOOLEANS, INT8, INT16, INT32, INTEGER_PAIRS, UINT8
from campaigns.operator_grid.families.linear_algebra import LINEAR_ALGEBRA
from campaigns.operator_grid.families.rows import LONG_NORMALISATIONS, LOSSES, NORMALISATIONS, ROW_WISE
from campaigns.operator_grid.families.shapes import INDEXING, SHAPES
from campaigns.operator_grid.families.steps import PARALLEL_SCANS, SCANS, STEPS

FAMILIES = (
    *(UNARY, CASTS, OUT_OF_RANGE, ACTIVATIONS, BINARY, INTEGER_PAIRS, ROW_WISE, SCANS, PARALLEL_SCANS, STEPS),
    *(NORMALISATIONS, LONG_NORMALISATIONS, LOSSES, INDEXING, SHAPES, IMAGES, IMAGES_OF_STEPS, LINEAR_ALGEBRA),
    *(BOOLEANS, INT32, INT16, INT8, UINT8),
)
