"""What can go wrong between data and checkpoint.

ModelError                  the root: every error of ours, and nothing else
├── ArchitectureError       a classifier nobody can build (also a ValueError)
├── ShapeError              a tensor of the wrong rank, size, dtype or range (also a ValueError)
├── DataError               walks nobody can draw or pad (also a ValueError)
├── TrainingError           a training that missed its targets: what it made is not to be used
└── CheckpointError         a checkpoint that is missing, incomplete, or not what its own description says
"""

__all__ = ["ArchitectureError", "CheckpointError", "DataError", "ModelError", "ShapeError", "TrainingError"]


class ModelError(Exception):
    """The root of this area's errors; its message is a sentence for users."""


class ArchitectureError(ModelError, ValueError):
    """An `Architecture` that no classifier can have: an unknown cell or name, a size below 1."""


class ShapeError(ModelError, ValueError):
    """A tensor that does not fit: says what came, what was expected axis by axis, and the likely mistake."""


class DataError(ModelError, ValueError):
    """Walks that cannot be drawn, or points that cannot be padded into one batch."""


class TrainingError(ModelError):
    """A training missed its targets; the message holds the figures."""


class CheckpointError(ModelError):
    """A checkpoint cannot be read or written; the message names the file and the entry."""
