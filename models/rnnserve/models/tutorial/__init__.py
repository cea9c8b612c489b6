"""The tutorial that the classifiers come from, as code: its demonstrations, and layers composed by hand."""

from rnnserve.models.tutorial.demonstrations import (
    SEED,
    BothWays,
    Run,
    batch_first,
    bidirectional,
    cell_in_a_loop,
    first_sequence,
    manual_bidirectional,
    manual_stack,
    output_ends_in_final_state,
    permuted_to_sequence_first,
    rnn_cell,
    rnn_layer,
    sample_batch,
    stacked,
)
from rnnserve.models.tutorial.manual import (
    ManuallyBidirectional,
    ManuallyStacked,
    manually_bidirectional,
    manually_stacked,
    run_cell,
)

__all__ = [
    "SEED",
    "BothWays",
    "ManuallyBidirectional",
    "ManuallyStacked",
    "Run",
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
]
