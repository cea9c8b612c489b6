"""Errors of data, classifiers, training and checkpoints.

ModelError                  the root of all errors that this area raises itself
├── ArchitectureError       an invalid architecture (also a ValueError)
├── ShapeError              a tensor of the wrong rank, size, dtype or range (also a ValueError)
├── DataError               invalid arguments for drawing or padding sequences (also a ValueError)
├── TrainingError           arguments that do not fit, or a training that missed its accuracy targets
└── CheckpointError         a checkpoint that is missing, incomplete, or not as its own description says
"""

__all__ = ["ArchitectureError", "CheckpointError", "DataError", "ModelError", "ShapeError", "TrainingError"]


class ModelError(Exception):
    """The root of this area's errors; its message is a sentence for users."""


class ArchitectureError(ModelError, ValueError):
    """An `Architecture` is invalid: an unknown cell or name, or a size below 1."""


class ShapeError(ModelError, ValueError):
    """A tensor does not fit; the message has its shape, the expected axes and the likely mistake."""


class DataError(ModelError, ValueError):
    """Walks cannot be drawn, or sequences cannot be padded into one batch."""


class TrainingError(ModelError):
    """Training arguments do not fit, or a training missed its targets; the message has the figures."""


class CheckpointError(ModelError):
    """A checkpoint cannot be read or written; the message names the file and the entry."""
