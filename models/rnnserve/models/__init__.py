"""The direction classifiers: data, modules, training, checkpoints, and the tutorial that they come from.

The input is walks. The output is checkpoints (trained weights with their description), which `rnnserve.export` reads.
This package imports no other area, because a classifier doesn't depend on how it is exported or served.

Public names are imported at their first use: importing torch takes seconds, and `rnnserve train --help` doesn't need
it.

Public: `__all__`.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from rnnserve.common.extras import missing_package

if TYPE_CHECKING:
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

for _package in ("torch", "safetensors", "tqdm"):
    if importlib.util.find_spec(_package) is None:
        raise ModuleNotFoundError(f"rnnserve.models {missing_package(_package, 'train')}", name=_package)

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

_MODULES = {
    **dict.fromkeys(
        (
            "ARCHITECTURES",
            "LABELS",
            "Architecture",
            "architecture_named",
        ),
        "architecture",
    ),
    **dict.fromkeys(
        (
            "Checkpoint",
            "load_checkpoint",
            "save_checkpoint",
        ),
        "checkpoint",
    ),
    "DirectionClassifier": "classifier",
    **dict.fromkeys(
        (
            "Batch",
            "SequenceDataset",
            "data_loader",
            "pad",
        ),
        "data_loading",
    ),
    **dict.fromkeys(
        (
            "ArchitectureError",
            "CheckpointError",
            "DataError",
            "ModelError",
            "ShapeError",
            "TrainingError",
        ),
        "errors",
    ),
    **dict.fromkeys(
        (
            "Accuracies",
            "Evaluation",
            "evaluate",
        ),
        "evaluation",
    ),
    **dict.fromkeys(
        (
            "generate_sequences",
            "generate_walks",
        ),
        "sequences",
    ),
    **dict.fromkeys(
        (
            "Schedule",
            "Trained",
            "TrainingReport",
            "train",
        ),
        "training",
    ),
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
