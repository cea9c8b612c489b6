"""Errors of data, classifiers, training and checkpoints.

ModelError                  the base class of this area's errors
├── ArchitectureError       an invalid architecture (also a ValueError)
├── ShapeError              a tensor of the wrong rank, size, dtype or range (also a ValueError)
├── DataError               invalid arguments for drawing or padding sequences (also a ValueError)
├── TrainingError           arguments that do not fit, or a training that missed its accuracy targets
└── CheckpointError         a checkpoint is missing, incomplete, or different from its description
"""

__all__ = ["ArchitectureError", "CheckpointError", "DataError", "ModelError", "ShapeError", "TrainingError"]


class ModelError(Exception):
    """The base class of this area's errors. Messages are sentences for users."""


class ArchitectureError(ModelError, ValueError):
    """An `Architecture` is invalid: an unknown cell or name, or a size below 1."""


class ShapeError(ModelError, ValueError):
    """A tensor has a wrong shape, dtype or range. The message has the expected axes and the likely mistake."""


class DataError(ModelError, ValueError):
    """Walks cannot be drawn, or sequences cannot be padded into one batch."""


class TrainingError(ModelError):
    """Training arguments don't fit, or a training missed its targets. The message has the figures."""


class CheckpointError(ModelError):
    """A checkpoint cannot be read or written. The message names the file and the entry."""
