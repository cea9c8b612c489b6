"""The direction classifiers: data, modules, training, checkpoints, and the tutorial that they come from."""

from rnnserve.models.architecture import ARCHITECTURES, LABELS, Architecture, architecture_named
from rnnserve.models.classifier import DirectionClassifier
from rnnserve.models.errors import (
    ArchitectureError,
    CheckpointError,
    DataError,
    ModelError,
    ShapeError,
    TrainingError,
)
from rnnserve.models.loading import Batch, SequenceDataset, data_loader, pad
from rnnserve.models.sequences import generate_sequences, generate_walks

__all__ = [
    "ARCHITECTURES",
    "LABELS",
    "Architecture",
    "ArchitectureError",
    "Batch",
    "CheckpointError",
    "DataError",
    "DirectionClassifier",
    "ModelError",
    "SequenceDataset",
    "ShapeError",
    "TrainingError",
    "architecture_named",
    "data_loader",
    "generate_sequences",
    "generate_walks",
    "pad",
]
