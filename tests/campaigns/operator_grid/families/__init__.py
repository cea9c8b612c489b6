"""The families, a file for each kind of input or of operator."""

from campaigns.operator_grid.families.activations import ACTIVATIONS
from campaigns.operator_grid.families.binary import BINARY
from campaigns.operator_grid.families.images import IMAGES, IMAGES_OF_STEPS
from campaigns.operator_grid.families.indexing import INDEXING
from campaigns.operator_grid.families.integer_types import BOOLEANS, INT8, INT16, INT32, UINT8
from campaigns.operator_grid.families.integers import INTEGER_PAIRS
from campaigns.operator_grid.families.linear_algebra import LINEAR_ALGEBRA
from campaigns.operator_grid.families.losses import LOSSES
from campaigns.operator_grid.families.normalisations import LONG_NORMALISATIONS, NORMALISATIONS
from campaigns.operator_grid.families.rows import ROW_WISE
from campaigns.operator_grid.families.scans import PARALLEL_SCANS, SCANS
from campaigns.operator_grid.families.shapes import SHAPES
from campaigns.operator_grid.families.steps import STEPS
from campaigns.operator_grid.families.unary import CASTS, OUT_OF_RANGE, UNARY

__all__ = ["FAMILIES"]

FAMILIES = (
    UNARY,
    CASTS,
    OUT_OF_RANGE,
    ACTIVATIONS,
    BINARY,
    INTEGER_PAIRS,
    ROW_WISE,
    SCANS,
    PARALLEL_SCANS,
    STEPS,
    NORMALISATIONS,
    LONG_NORMALISATIONS,
    LOSSES,
    INDEXING,
    SHAPES,
    IMAGES,
    IMAGES_OF_STEPS,
    LINEAR_ALGEBRA,
    BOOLEANS,
    INT32,
    INT16,
    INT8,
    UINT8,
)
