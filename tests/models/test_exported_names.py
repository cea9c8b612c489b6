"""Names of `rnnserve.models` that other people's code imports: removing one is a breaking change."""

from rnnserve import models
from rnnserve.models import tutorial

USED = {
    "ARCHITECTURES", "LABELS", "Architecture", "Batch", "Checkpoint", "DirectionClassifier", "Evaluation", "Schedule",
    "SequenceDataset", "Trained", "TrainingReport", "architecture_named", "data_loader", "evaluate",
    "generate_sequences", "generate_walks", "load_checkpoint", "pad", "save_checkpoint", "train",
}  # fmt: skip
TUTORIAL = {
    "SEED", "ManuallyBidirectional", "ManuallyStacked", "batch_first", "bidirectional", "cell_in_a_loop",
    "first_sequence", "manual_bidirectional", "manual_stack", "manually_bidirectional", "manually_stacked",
    "output_ends_in_final_state", "permuted_to_sequence_first", "rnn_cell", "rnn_layer", "sample_batch", "stacked",
}  # fmt: skip


def test_public_names_stay():
    assert set(models.__all__) >= USED
    assert set(tutorial.__all__) >= TUTORIAL
    for module in (models, tutorial):
        assert all(hasattr(module, name) for name in module.__all__)
