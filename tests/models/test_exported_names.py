"""The names that other people's code imports: to remove one is a breaking change, to add one is a decision."""

from rnnserve import models
from rnnserve.models import tutorial


def test_the_names_of_rnnserve_models():
    assert set(models.__all__) == {
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
    }
    assert all(hasattr(models, name) for name in models.__all__)


def test_the_names_of_rnnserve_models_tutorial():
    assert set(tutorial.__all__) == {
        "SEED",
        "BidirectionalOutput",
        "LayerOutput",
        "ManuallyBidirectional",
        "ManuallyStacked",
        "batch_first",
        "bidirectional",
        "cell_in_a_loop",
        "first_sequence",
        "manual_bidirectional",
        "manual_stack",
        "manually_bidirectional",
        "manually_stacked",
        "output_ends_in_final_state",
        "permuted_to_sequence_first",
        "rnn_cell",
        "rnn_layer",
        "run_cell",
        "sample_batch",
        "stacked",
    }
    assert all(hasattr(tutorial, name) for name in tutorial.__all__)


def test_every_error_has_one_root():
    errors = {getattr(models, name) for name in models.__all__ if name.endswith("Error")}
    assert len(errors) == 6
    assert all(issubclass(error, models.ModelError) for error in errors)
