"""The tutorial on recurrent layers as code: its demonstrations, and manually composed layers.

Each function returns tensors that the tutorial prints. The tests compare them with the printed numbers.

Public: nothing.
"""

from rnnserve.models.tutorial.demonstrations import (
    SEED,
    BidirectionalOutput,
    LayerOutput,
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
from rnnserve.models.tutorial.manual_layers import (
    ManuallyBidirectional,
    ManuallyStacked,
    manually_bidirectional,
    manually_stacked,
    run_cell,
)

__all__ = [
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
]
