"""The direction classifiers: data, modules, training, checkpoints, and the tutorial that they come from.

Walks go in, and checkpoints (trained weights with their description) come out; `rnnserve.export` reads them. This
package imports no other area: a classifier does not depend on how it is exported or served.
"""

try:
    from rnnserve.models.architecture import ARCHITECTURES, LABELS, Architecture, architecture_named
    from rnnserve.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from rnnserve.models.classifier import DirectionClassifier
    from rnnserve.models.data_loading import Batch, SequenceDataset, data_loader, pad
    from rnnserve.models.errors import (
        ArchitectureError,
        CheckpointError,
        DataError,
        ModelError,
        ShapeError,
        TrainingError,
    )
    from rnnserve.models.evaluation import Accuracies, Evaluation, evaluate
    from rnnserve.models.sequences import generate_sequences, generate_walks
    from rnnserve.models.training import Schedule, Trained, TrainingReport, train
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("rnnserve"):
        raise
    raise ModuleNotFoundError(
        f"rnnserve.models needs {error.name}: pip install 'rnnserve[train]'", name=error.name
    ) from None

__all__ = [
    "ARCHITECTURES",
    "LABELS",
    "Accuracies",
    "Architecture",
    "ArchitectureError",
    "Batch",
    "Checkpoint",
    "CheckpointError",
    "DataError",
    "DirectionClassifier",
    "Evaluation",
    "ModelError",
    "Schedule",
    "SequenceDataset",
    "ShapeError",
    "Trained",
    "TrainingError",
    "TrainingReport",
    "architecture_named",
    "data_loader",
    "evaluate",
    "generate_sequences",
    "generate_walks",
    "load_checkpoint",
    "pad",
    "save_checkpoint",
    "train",
]
